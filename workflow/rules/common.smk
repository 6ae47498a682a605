# What several rules need.


def cell_files(*names):
    """Files of every cell, by their names in nfa/paths.py."""
    cells = [PATHS.cell(cell.id) for cell in SWEEP.cells]
    return [getattr(cell, name) for name in names for cell in cells]
