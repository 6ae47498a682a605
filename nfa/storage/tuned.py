"""Values that were found for the settings that a sweep tunes: how later stages get them. Imports no torch.

The stage ``tune`` writes ``tuned.json`` into the folder of every cell that has such settings. A sweep that is read from
its file does not know them; ``with_tuned`` puts them into its cells.
"""

from dataclasses import replace
from typing import Any

from nfa.digests import read_sealed
from nfa.errors import UserError
from nfa.storage.paths import CellPaths, SweepPaths
from nfa.sweep.cells import Cell, Sweep


def read_tuned(sweep: Sweep, cell: Cell, paths: CellPaths) -> dict[str, Any] | None:
    """Read the document of a cell's search.

    Returns:
        The content of ``tuned.json``: ``found`` (setting -> value), ``at_edge`` (setting -> ``low`` or ``high``),
        ``validation_loss``, and the number of ``trials``, ``diverged`` ones, ``seeds`` and ``steps``. None if the file
        is missing, damaged, or made with other settings.
    """
    try:
        document = read_sealed(paths.tuned)
    except (OSError, ValueError):
        return None
    fits = document.get("hash") == sweep.tune_hash(cell) and set(document.get("found", ())) == set(cell.searches)
    return document if fits else None


def with_tuned(sweep: Sweep, paths: SweepPaths) -> Sweep:
    """Put the values that were found into those cells of a sweep whose search is done; ids stay as they are."""
    if not any(cell.searches for cell in sweep.cells):
        return sweep
    cells = []
    for cell in sweep.cells:
        document = read_tuned(sweep, cell, paths.cell(cell.id)) if cell.searches else None
        cells.append(cell.with_found(document["found"]) if document else cell)
    return replace(sweep, cells=tuple(cells))


def found_values(sweep: Sweep, cell: Cell, paths: CellPaths) -> dict[str, Any]:
    """Read the document of a cell's search, which must be there.

    Raises:
        UserError: It is missing, damaged, or made with other settings.
    """
    document = read_tuned(sweep, cell, paths)
    if document is None:
        raise _untuned(sweep, cell)
    return document


def refuse_untuned(sweep: Sweep, cell: Cell) -> None:
    """Refuse a cell whose tuned settings have no value yet.

    Raises:
        UserError: One line, with the command that finds them.
    """
    if cell.searches and not cell.found:
        raise _untuned(sweep, cell)


def _untuned(sweep: Sweep, cell: Cell) -> UserError:
    names = ", ".join(cell.searches)
    return UserError(f"{cell.id}: {names}: not tuned yet; run `nfa tune {sweep.source} --cells {cell.id}`")
