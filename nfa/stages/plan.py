"""Functions that the Snakefile calls before its rules: read the sweep, and take its results folder for this process."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from nfa.errors import SweepError, UserError
from nfa.storage.documents import write_plan
from nfa.storage.paths import SweepPaths
from nfa.sweep.cells import Sweep
from nfa.sweep.command_line_config import refuse_nested_text
from nfa.sweep.grid import from_file, parse
from nfa.sweep.origin import Origin
from nfa.sweep.read_yaml import read_yaml
from nfa.tracking.destinations import open_wandb
from nfa.tracking.tracker import TrackerUnavailableError

_LOCKS: list[FileLock] = []  # held until the process ends, however it ends


def read_sweep(config: Mapping[str, Any], files: Sequence[str | Path]) -> Sweep:
    """Parse the sweep that Snakemake was given, including the changes made by ``--config``.

    Args:
        config: Snakemake's merged configuration.
        files: The configuration files that it was read from.

    Raises:
        UserError: Two sweep files were given, or the sweep cannot be run: one line.
    """
    if len(files) > 1:
        raise SweepError(f"--configfile: {len(files)} sweep files; give one, because Snakemake would merge them")
    if Path("results").exists() and not Path("results").is_dir():
        raise UserError("results: is a file, but results are written to a folder of that name; move the file away")
    source = os.path.relpath(files[0])
    content = read_yaml(Path(source))  # detects a key that is given twice, which Snakemake's own reader does not
    refuse_nested_text(config, content)
    return from_file(parse(dict(config), source), Origin.of(Path(source), content))


def begin(sweep: Sweep, paths: SweepPaths) -> None:
    """Lock the results folder of a sweep for this process, and write the plan that its jobs read.

    The operating system releases the lock when the process ends, so that a killed Snakemake needs no ``--unlock``. In
    the mode online, a wrong key or account of W&B is found here, before anything is trained.

    Raises:
        UserError: Another Snakemake works on this folder, or it cannot be written, or W&B refuses.
    """
    try:
        paths.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(paths.folder / ".lock")
        lock.acquire(timeout=0)
        _LOCKS.append(lock)
        write_plan(sweep, paths)
    except Timeout:
        raise UserError(
            f"{paths.folder}: another snakemake works on this sweep; wait for it, or stop it first"
        ) from None
    except OSError as error:
        raise UserError(f"{paths.folder}: cannot be written: {error.strerror}") from None
    if sweep.wandb.mode == "online":
        _check_account(sweep, paths)


def _check_account(sweep: Sweep, paths: SweepPaths) -> None:
    """Log in to W&B; a server that does not answer gives one warning and does not stop the sweep."""
    try:
        open_wandb(sweep, paths.wandb).close()
    except TrackerUnavailableError as error:
        print(f"nfa: W&B: warning: {error}; the sweep goes on, and `nfa publish` catches up", file=sys.stderr)
