"""Checks of the files of a cell before a later stage uses them: present, whole, and made with the sweep's settings."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nfa.digests import read_sealed
from nfa.errors import UserError, one_line
from nfa.storage.paths import CellPaths
from nfa.storage.tables import UNREADABLE, array_names, read_stamp
from nfa.sweep.cells import Cell, Sweep

REQUIRED = {"status", "last_step", "checkpoints", "constant_predictor"}  # keys that a run in cell.json must have


def read_cell(paths: CellPaths) -> dict[str, Any]:
    """Read cell.json.

    Raises:
        UserError: The cell is not trained, or its file is damaged.
    """
    try:
        document = read_sealed(paths.cell)
        if document["hashes"]["train"] and all(run.keys() >= REQUIRED for run in document["runs"].values()):
            return document
    except FileNotFoundError:
        raise UserError(f"{paths.cell}: missing; run `nfa train` for this cell first") from None
    except (ValueError, TypeError, KeyError, AttributeError):
        pass
    raise UserError(f"{paths.cell}: damaged; run `nfa train` for this cell again")


def finished_runs(paths: CellPaths, seeds: Iterable[int]) -> dict[int, dict[str, Any]]:
    """Return the record of each seed's run in cell.json: its status, last step and checkpoints.

    Raises:
        UserError: The cell or one of the seeds is not trained, or cell.json is damaged.
    """
    runs = read_cell(paths)["runs"]
    found = {seed: runs[str(seed)] for seed in seeds if str(seed) in runs}
    missing = [seed for seed in seeds if seed not in found]
    if missing:
        raise UserError(f"{paths.cell}: seed {missing[0]} is not trained; run `nfa train` for this cell first")
    return found


def check_cell(sweep: Sweep, cell: Cell, paths: CellPaths) -> dict[str, Any]:
    """Read cell.json, and refuse it if it was made with other settings or without one of the seeds.

    Raises:
        UserError: One line, with the command that repairs it.
    """
    finished_runs(paths, sweep.seeds)
    document = read_cell(paths)
    check_stamp(sweep, cell, "train", paths.cell, {"hash": document["hashes"]["train"], "seeds": sweep.seeds})
    return document


def check_outputs(sweep: Sweep, cell: Cell, paths: CellPaths) -> None:
    """Refuse a cell whose files are missing, damaged, or were made with other settings or without one of the seeds.

    Snakemake decides by modification times and its own records. This check also finds results that were copied from
    elsewhere or have lost these records.

    Raises:
        UserError: One line, with the command that repairs it.
    """
    check_cell(sweep, cell, paths)
    for stage, file in outputs(paths).items():
        try:
            stamp = read_stamp(file)
        except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
            raise unreadable(sweep, cell, stage, file, error) from None
        check_stamp(sweep, cell, stage, file, stamp)
    check_matrices(sweep, cell, paths)


def outputs(paths: CellPaths) -> dict[str, Path]:
    """Return the table that each stage of a cell writes: stage -> path."""
    return {"train": paths.history, "measure": paths.alignment, "probe": paths.probes}


def unreadable(sweep: Sweep, cell: Cell, stage: str, file: Path, error: Exception) -> UserError:
    """Make the error for a missing or damaged table of a cell, with the command that repairs it."""
    if isinstance(error, FileNotFoundError):
        return UserError(f"{file}: missing; {_remedy(sweep, cell, stage)}")
    return UserError(f"{file}: damaged ({one_line(str(error), 80)}); {_remedy(sweep, cell, stage)}")


def check_stamp(sweep: Sweep, cell: Cell, stage: str, file: Path, stamp: dict[str, Any]) -> None:
    """Refuse a table that was made with other settings or without one of the seeds.

    Raises:
        UserError: One line, with the command that repairs it.
    """
    if stamp.get("hash") != sweep.hashes(cell)[stage]:
        raise UserError(f"{file}: made with other settings than the sweep file's; {_remedy(sweep, cell, stage)}")
    if not set(sweep.seeds) <= set(stamp["seeds"]):
        raise UserError(f"{file}: seeds {stamp['seeds']} only; {_remedy(sweep, cell, stage)}")


def check_matrices(sweep: Sweep, cell: Cell, paths: CellPaths) -> None:
    """Refuse a cell whose arrays are missing or damaged.

    Raises:
        UserError: One line, with the command that repairs it.
    """
    try:
        array_names(paths.matrices)
    except FileNotFoundError:
        raise UserError(f"{paths.matrices}: missing; {_remedy(sweep, cell, 'measure')}") from None
    except UNREADABLE:
        raise UserError(f"{paths.matrices}: damaged; {_remedy(sweep, cell, 'measure')}") from None


def _remedy(sweep: Sweep, cell: Cell, stage: str) -> str:
    return f"run `nfa {stage} {sweep.source} --cells {cell.id}`"
