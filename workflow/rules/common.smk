# What several rules need.
from functools import cache


@cache
def stage_hash(cell, stage):
    """Hash of what a cell's stage depends on: asked for several times a job."""
    return SWEEP.hashes(SWEEP.cell(cell))[stage]


def cell_files(*names):
    """Files of every cell, by their names in nfa/paths.py."""
    cells = [PATHS.cell(cell.id) for cell in SWEEP.cells]
    return [getattr(cell, name) for name in names for cell in cells]
