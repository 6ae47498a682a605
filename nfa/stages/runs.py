"""What the later stages need of a trained cell."""

import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from nfa.errors import UserError, one_line
from nfa.paths import CellPaths
from nfa.sweep import Cell, Sweep
from nfa.tables import read_stamp

REQUIRED = {"status", "last_step", "checkpoints", "constant_predictor"}  # keys of a run in cell.json


def finished_runs(paths: CellPaths, seeds: Iterable[int]) -> dict[int, dict[str, Any]]:
    """Return what cell.json says of each seed's run: its status, last step and checkpoints.

    Raises:
        UserError: The cell, or one of the seeds, is not trained, or its file is damaged.
    """
    try:
        runs = json.loads(paths.cell.read_text(encoding="utf-8"))["runs"]
        found = {seed: runs[str(seed)] for seed in seeds if str(seed) in runs}
        whole = all(run.keys() >= REQUIRED for run in found.values())
    except FileNotFoundError:
        raise UserError(f"{paths.cell}: missing; run `nfa train` for this cell first") from None
    except (ValueError, TypeError, KeyError, AttributeError):
        whole, found = False, {}
    if not whole:
        raise UserError(f"{paths.cell}: damaged; remove it and run `nfa train` for this cell again")
    missing = [seed for seed in seeds if seed not in found]
    if missing:
        raise UserError(f"{paths.cell}: seed {missing[0]} is not trained; run `nfa train` for this cell first")
    return found


def check_outputs(sweep: Sweep, cell: Cell, paths: CellPaths) -> None:
    """Refuse a cell whose files are missing, damaged, or were made with other settings or without one of the seeds.

    Snakemake plans by modification times and what it remembers; results that came from elsewhere, or have lost that
    memory, are found here.

    Raises:
        UserError: One line, with the command that mends it.
    """
    finished_runs(paths, sweep.seeds)
    hashes = sweep.hashes(cell)
    for stage, file in (("train", paths.history), ("measure", paths.alignment), ("probe", paths.probes)):
        remedy = f"run `nfa {stage} {sweep.source} --cells {cell.id}`"
        try:
            stamp = read_stamp(file)
        except FileNotFoundError:
            raise UserError(f"{file}: missing; {remedy}") from None
        except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
            raise UserError(f"{file}: damaged ({one_line(str(error), 80)}); {remedy}") from None
        if stamp.get("hash") != hashes[stage]:
            raise UserError(f"{file}: made with other settings than the sweep file's; {remedy}")
        if not set(sweep.seeds) <= set(stamp["seeds"]):
            raise UserError(f"{file}: seeds {stamp['seeds']} only; {remedy}")
    try:
        with np.load(paths.matrices, allow_pickle=False):
            pass
    except FileNotFoundError:
        raise UserError(f"{paths.matrices}: missing; {remedy.replace('probe', 'measure', 1)}") from None
    except (OSError, ValueError):
        raise UserError(f"{paths.matrices}: damaged; {remedy.replace('probe', 'measure', 1)}") from None
