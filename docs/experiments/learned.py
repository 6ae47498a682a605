"""Write into an experiment's page how many of its runs learned their task: ``docs/experiments/run.sh`` calls this.

    python docs/experiments/learned.py results/NAME docs/experiments/PAGE.md

The line of a sweep is generated, so that it is that of the results: ``Learned in `NAME`: 28 of 30 runs; not in sgd lr 1
(2 of 3).`` It replaces the earlier line of this sweep, or comes before the findings. ``tests/test_experiments.py``
refuses a page whose runs did not all learn, unless the page says why it is about such networks.
"""

import re
import sys
from pathlib import Path

from nfa.report.statistics.chart_points import read_cells
from nfa.report.statistics.labels import name_list

FINDINGS = "## What we find"


def learned_line(results: Path) -> str:
    """Count the runs of an aggregated sweep that learned, and name the cells with runs that did not."""
    cells = read_cells(results)
    weak = cells[~cells["learned"]]
    others = (
        f"{row['label']} ({row['n_seeds'] - row['n_learned']} of {row['n_seeds']})" for row in weak.to_dict("records")
    )
    exceptions = f"; not in {name_list(others)}" if len(weak) else ""
    return f"Learned in `{results.name}`: {cells['n_learned'].sum()} of {cells['n_seeds'].sum()} runs{exceptions}."


def with_line(page: str, line: str) -> str:
    """Put the line of a sweep into the text of a page."""
    name = line[: line.index(":") + 1]
    earlier = re.compile(f"^{re.escape(name)} .*$", re.MULTILINE)
    if earlier.search(page):
        return earlier.sub(lambda _: line, page)
    return page.replace(FINDINGS, f"{line}\n\n{FINDINGS}", 1)


if __name__ == "__main__":
    where = Path(sys.argv[2])
    where.write_text(with_line(where.read_text(encoding="utf-8"), learned_line(Path(sys.argv[1]))), encoding="utf-8")
