"""``nfa report``: the report of an unfinished sweep, over its finished cells."""

from dataclasses import replace
from pathlib import Path

from nfa.errors import UserError
from nfa.report.numbers import plural
from nfa.storage.checks import check_outputs
from nfa.storage.paths import SweepPaths
from nfa.storage.status import planned_sweep


def report_so_far(results: Path) -> str:
    """Write tables, figures and the report of the finished cells to ``results``/so-far.

    Returns:
        One line with the number of finished cells and the path of the report.

    Raises:
        UserError: No cell is finished, or the folder holds no sweep's results.
    """
    from nfa.stages.aggregate import write_aggregate

    sweep, paths = planned_sweep(results)
    cells, reason = [], ""
    for cell in sweep.cells:
        try:
            check_outputs(sweep, cell, paths.cell(cell.id))
            cells.append(cell)
        except UserError as error:
            reason = reason or str(error)
    if not cells:
        raise UserError(f"{results}: no cell is done yet: {reason}")
    made = SweepPaths(paths.folder, "so-far")
    write_aggregate(replace(sweep, cells=tuple(cells)), made, unfinished=len(sweep.cells) - len(cells))
    done = f"{len(cells):,} of {plural(len(sweep.cells), 'cell')} {'is' if len(cells) == 1 else 'are'} done"
    return f"{done}. Report of {'it' if len(cells) == 1 else 'these'}: {made.report}"
