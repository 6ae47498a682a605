"""``nfa clean``: what lies in the results folder and no sweep file names any more."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from nfa.paths import SweepPaths
from nfa.sweep import Sweep


def stale_cells(sweeps: Sequence[Sweep], results: Path) -> list[Path]:
    """Find cell folders, below the results of the given sweeps, that none of them names.

    Only folders with a cell.json or a .state are cells; the results of sweeps that are not given are left alone.
    """
    stale = []
    for name in sorted({sweep.name for sweep in sweeps}):
        kept = {cell.id for sweep in sweeps if sweep.name == name for cell in sweep.cells}
        folder = SweepPaths(results / name).folder
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            is_cell = (path / "cell.json").exists() or (path / ".state").is_dir()
            if is_cell and path.name not in kept and not path.is_symlink():
                stale.append(path)
    return stale


def clean(sweeps: Sequence[Sweep], results: Path, remove: bool) -> None:
    """List stale cells with their size; delete them when asked to."""
    stale = stale_cells(sweeps, results)
    total = 0
    for path in stale:
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        total += size
        print(f"{path}  {size / 1e6:.1f} MB")
        if remove:
            shutil.rmtree(path)
    if not stale:
        print("nothing to clean: every cell is named by a sweep file")
    elif remove:
        print(f"removed {len(stale)} cells, {total / 1e6:.1f} MB")
    else:
        print(f"{len(stale)} cells, {total / 1e6:.1f} MB; --remove deletes them")
