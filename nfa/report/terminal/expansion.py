"""The tables that ``nfa expand`` prints: the cells of a sweep with their estimated time, and its data."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nfa.sweep.axis_points import AXES
from nfa.sweep.cells import Cell, Sweep
from nfa.sweep.estimate import duration, estimate, layer_sums

if TYPE_CHECKING:
    from rich.console import Console


DATA_SHOWN = 20  # most data entries in the table
COLUMNS_SHOWN = 10  # most columns of a file that are listed as left out


def print_expansion(sweep: Sweep, shown: int = 200) -> None:
    """Print the first cells, the data and the totals of a sweep."""
    from rich.console import Console
    from rich.table import Table

    from nfa.report.numbers import plural

    estimates = [estimate(sweep, cell) for cell in sweep.cells]
    training = _training_labels(sweep, sweep.cells[:shown])
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title, justify in (
        ("cell", "left"),
        ("steps", "right"),
        ("checkpoints", "right"),
        ("weights", "right"),
        ("time", "right"),
    ):
        table.add_column(title, justify=justify, overflow="fold")  # type: ignore[arg-type]
    if training:
        table.add_column("training", overflow="fold")
    for number, (cell, cost) in enumerate(zip(sweep.cells[:shown], estimates, strict=False)):
        n_train = cell.shape.n_train
        weights = layer_sums(cell.network).weights
        steps, checkpoints = cell.train.total_steps(n_train), cell.train.most_checkpoints(n_train)
        most = "" if cell.train.until is None else "≤ "
        row = cell.id, f"{most}{steps:,}", str(checkpoints), f"{weights:,}", duration(cost.seconds)
        table.add_row(*row, *training[number : number + 1])
    console = Console(highlight=False)
    if len(sweep.cells) and console.width < 100 and not console.is_terminal:
        console = Console(highlight=False, width=160)
    console.print(table)
    if len(sweep.cells) > shown:
        console.print(f"... and {len(sweep.cells) - shown:,} more; `nfa expand --tsv {sweep.source}` lists all")
    print_data(sweep, console)
    cores = os.cpu_count() or 1
    total, size = sum(cost.seconds for cost in estimates), sum(cost.bytes for cost in estimates)
    cells, seeds = len(sweep.cells), len(sweep.seeds)
    console.print(
        f"\n{sweep.name}: {plural(cells, 'cell')} x {plural(seeds, 'seed')} = {plural(cells * seeds, 'run')}. "
        f"About {duration(total / min(cores, cells * seeds))} on the {cores} cores here "
        f"({duration(total)} on one), {size / 1e6:,.0f} MB.",
        soft_wrap=True,
    )
    if sweep.sizes:
        console.print(f"Sizes that the file defines, to choose with --size: {', '.join(sweep.sizes)}.", soft_wrap=True)


def print_data(sweep: Sweep, console: "Console") -> None:
    """Print rows, inputs and targets of each data entry, and the columns of data files that are left out."""
    from rich.table import Table

    from nfa.report.statistics.labels import name_list

    entries: dict[str, tuple[str, Cell]] = {}
    for label, cell in _labels(sweep, "data").values():
        entries.setdefault(cell.data.model_dump_json(), (label, cell))
    described = list(entries.values())
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("data", "train", "test", "inputs", "targets"):
        table.add_column(title, justify="right" if title in ("train", "test") else "left", overflow="fold")
    lines: dict[str, None] = {}  # no line twice, although several entries may read one file
    for label, cell in described[:DATA_SHOWN]:
        shape = cell.shape
        inputs = " x ".join(f"{size:,}" for size in shape.input_shape)
        inputs += f" tokens from a vocabulary of {shape.vocabulary:,}" if shape.vocabulary else ""
        outputs = f"regression, {shape.outputs:,} output{'s' if shape.outputs > 1 else ''}"
        targets = outputs if shape.classes is None else f"{shape.classes:,} classes"
        table.add_row(label, f"{shape.n_train:,}", f"{shape.n_test:,}", inputs, targets)
        left_out = cell.data_entry.left_out(cell.data)
        names = name_list((f"{name} ({reason})" for name, reason in left_out.items()), COLUMNS_SHOWN)
        if left_out:
            lines[f"{getattr(cell.data, 'path', label)}: columns left out: {names}"] = None
    console.print()
    console.print(table)
    if len(described) > DATA_SHOWN:
        console.print(f"... and {len(described) - DATA_SHOWN:,} more data entries")
    for line in lines:
        console.print(line, soft_wrap=True, markup=False)


def _training_labels(sweep: Sweep, cells: Sequence[Cell]) -> list[str]:
    """Label how each cell is trained, which its id shows only as a hash; [] if all cells are trained alike."""
    if len({point.settings for point in {cell.train_point for cell in sweep.cells}}) == 1:
        return []
    labels = _labels(sweep, "train")
    if not any(label for label, _ in labels.values()):
        return []
    return [labels[_label_key(cell, "train")][0] for cell in cells]


def _labels(sweep: Sweep, axis: str) -> dict[tuple[Any, ...], tuple[str, Cell]]:
    """Name the points of an axis as the report does, from one cell for each label: a large sweep has few labels."""
    from nfa.report.statistics.labels import axis_labels

    cells: dict[tuple[Any, ...], Cell] = {}
    for cell in sweep.cells:
        cells.setdefault(_label_key(cell, axis), cell)
    labels = axis_labels(axis, [cell.parameters() for cell in cells.values()])
    return {key: (label, cell) for (key, cell), label in zip(cells.items(), labels, strict=True)}


def _label_key(cell: Cell, axis: str) -> tuple[Any, ...]:
    """Return what a label depends on: the cell's point of the axis, and the names of all its entries."""
    return cell.points[AXES.index(axis)], *(point.name for point in cell.points)
