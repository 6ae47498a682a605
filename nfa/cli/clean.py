"""``nfa clean``: list or delete cells in the results folder that no sweep file has any more."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from nfa.report.numbers import plural
from nfa.storage.paths import SweepPaths
from nfa.sweep.cells import Sweep
from nfa.tracking.ledger import Ledger

CELL_ID = re.compile(r".+\.[0-9a-f]{8}")


def stale_cells(sweeps: Sequence[Sweep], results: Path) -> list[Path]:
    """Find the folders of cells in the results of the given sweeps that are in none of these sweeps.

    A cell's folder has the cell's id as its name, which ends in a hash. Results of other sweeps are not looked at.
    """
    stale = []
    for name in sorted({sweep.name for sweep in sweeps}):
        kept = {cell.id for sweep in sweeps if sweep.name == name for cell in sweep.cells}
        folder = SweepPaths(results / name).folder
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            is_cell = CELL_ID.fullmatch(path.name) and path.is_dir() and not path.is_symlink()
            if is_cell and path.name not in kept:
                stale.append(path)
    return stale


def _forget_runs(paths: SweepPaths, cell: str) -> None:
    """Remove a cell's offline W&B runs, so that ``wandb sync`` does not upload deleted cells; uploaded runs stay."""
    ledger = Ledger(paths.wandb)
    for file in (ledger.state / cell).glob("*.json"):
        entry = ledger.read(f"{cell}/{file.stem}")
        if entry is not None and not entry.sent:
            ledger.remove(entry.folder)
        file.unlink()


def clean(sweeps: Sequence[Sweep], results: Path, remove: bool) -> None:
    """List cells that no sweep file has, with their size; delete them if ``remove`` is true."""
    stale = stale_cells(sweeps, results)
    total = 0
    for path in stale:
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        total += size
        print(f"{path}  {size / 1e6:.1f} MB")
        if remove:
            _forget_runs(SweepPaths(path.parent), path.name)
            shutil.rmtree(path)
    if not stale:
        print("nothing to clean: every cell in the results is in one of the sweep files")
    elif remove:
        print(f"removed {plural(len(stale), 'cell')}, {total / 1e6:.1f} MB")
    else:
        print(f"{plural(len(stale), 'cell')}, {total / 1e6:.1f} MB; --remove deletes them")
