"""``nfa expand``: the cells of a sweep, and about how long and how much disk they take. Imports no torch.

The time is a model of the work, not a promise: multiplications counted from the layers, divided by a rate seen on one
core of a 2.6 GHz server processor, plus the fixed costs of a step, a measured layer and a job. Expect a factor of two.
"""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nfa.sweep import STAGES, Cell, Sweep, data_entry

if TYPE_CHECKING:
    from rich.console import Console

MULTIPLICATIONS_PER_SECOND = 8e9  # float32, small matrices, one core
STEP_SECONDS = 4e-4  # optimizer step of a small network, beside its multiplications
LAYER_SECONDS = 0.03  # controls and eigenvectors of one layer at one checkpoint
JOB_SECONDS = 4.0  # interpreter, imports and scheduling of one job
# Work of a small cell at most, whose stages are one job: two jobs more, of 0.1 s each on one machine, are 4% of it.
SMALL_SECONDS = 5.0
KERNEL_FITS = 24  # bandwidths times ridges that one kernel machine tries
DATA_SHOWN = 20  # data entries that are described
COLUMNS_SHOWN = 10  # columns left out that are named
EVALUATIONS = 18  # passes over the whole data during training


@dataclass(frozen=True)
class Estimate:
    """What a cell takes.

    Attributes:
        seconds: Core-seconds.
        bytes: Bytes on disk.
        small: Whether its stages are one job: so little work that a job for each would be much beside it.
    """

    seconds: float
    bytes: float
    small: bool


def estimate(sweep: Sweep, cell: Cell) -> Estimate:
    """Estimate one cell, all its seeds and stages, by its settings and the sweep's; other cells change nothing."""
    shape, plan = cell.shape, cell.train
    forward = sum(layer.fan_out * layer.fan_in * layer.positions for layer in cell.layers)
    steps = plan.total_steps(shape.n_train)
    checkpoints = len(plan.checkpoint_steps(shape.n_train))
    samples = min(sweep.measure.samples, shape.n_train)
    gram = sum(layer.fan_out**2 * layer.positions for layer in cell.layers) * shape.outputs
    train = 3 * forward * plan.batch(shape.n_train) * steps + EVALUATIONS * forward * (shape.n_train + shape.n_test)
    measure = checkpoints * samples * (forward * (1 + shape.outputs) + gram)
    features = sum(min(256, layer.fan_out * layer.positions) ** 2 for layer in cell.layers)
    probe = checkpoints * (
        6 * min(sweep.probe.samples, shape.n_train) * features + forward * (shape.n_train + shape.n_test)
    )
    few = 0 if sweep.probe.kernel == "none" else min(sweep.probe.kernel_samples, shape.n_train)
    learned = 2 * (len(cell.layers) if sweep.probe.kernel == "all" else 1)
    machines = 2 + sweep.probe.rfm + learned * (checkpoints if sweep.probe.kernel_at == "all" else 2)
    fits = machines * KERNEL_FITS * few**3 // 6
    multiplying = (train + measure + probe + fits) / MULTIPLICATIONS_PER_SECOND
    fixed = steps * STEP_SECONDS + checkpoints * len(cell.layers) * LAYER_SECONDS
    weights = sum(layer.fan_out * layer.fan_in for layer in cell.layers) * 4
    pictures = sum(4 * min(2 * layer.fan_in**2, 10 * layer.fan_in + 2 * 256**2) for layer in cell.layers)
    seeds = len(sweep.seeds)
    work = seeds * (multiplying + fixed)
    small = work <= SMALL_SECONDS
    disk = seeds * (checkpoints * weights + 4 * pictures + 200_000)
    return Estimate(work + (1 if small else len(STAGES)) * JOB_SECONDS, disk, small)


def print_expansion(sweep: Sweep, shown: int = 200) -> None:
    """Print the cells, and the totals."""
    from rich.console import Console
    from rich.table import Table

    estimates = [estimate(sweep, cell) for cell in sweep.cells]
    training = _training_labels(sweep)
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
        weights = sum(layer.fan_out * layer.fan_in for layer in cell.layers)
        steps, checkpoints = cell.train.total_steps(n_train), len(cell.train.checkpoint_steps(n_train))
        row = cell.id, f"{steps:,}", str(checkpoints), f"{weights:,}", duration(cost.seconds)
        table.add_row(*row, *training[number : number + 1])
    console = Console(highlight=False)
    if len(sweep.cells) and console.width < 100 and not console.is_terminal:
        console = Console(highlight=False, width=160)
    console.print(table)
    if len(sweep.cells) > shown:
        console.print(f"... and {len(sweep.cells) - shown:,} more; all of them: nfa expand --tsv {sweep.source}")
    print_data(sweep, console)
    cores = os.cpu_count() or 1
    total, size = sum(cost.seconds for cost in estimates), sum(cost.bytes for cost in estimates)
    cells, seeds = len(sweep.cells), len(sweep.seeds)
    console.print(
        f"\n{sweep.name}: {cells:,} cells x {seeds} seeds = {cells * seeds:,} runs. "
        f"About {duration(total / cores)} on the {cores} cores here ({duration(total)} on one), {size / 1e6:,.0f} MB.",
        soft_wrap=True,
    )
    if sweep.sizes:
        console.print(f"Sizes of this file, by --size: {', '.join(sweep.sizes)}.", soft_wrap=True)


def print_data(sweep: Sweep, console: "Console") -> None:
    """Print what each data entry is: its rows, inputs and targets, and the columns of a file that are not used."""
    from rich.table import Table

    from nfa.report.labels import axis_labels, name_list

    labels = axis_labels("data", [cell.parameters() for cell in sweep.cells])
    cells = list(zip(labels, sweep.cells, strict=True))
    entries = {cell.data.model_dump_json(): (label, cell) for label, cell in reversed(cells)}
    described = list(reversed(entries.values()))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("data", "train", "test", "inputs", "targets"):
        table.add_column(title, justify="right" if title in ("train", "test") else "left", overflow="fold")
    lines: dict[str, None] = {}  # each once, though the settings of a file may be a grid
    for label, cell in described[:DATA_SHOWN]:
        shape = cell.shape
        inputs = " x ".join(f"{size:,}" for size in shape.input_shape)
        inputs += f" tokens below {shape.vocabulary:,}" if shape.vocabulary else ""
        outputs = f"regression, {shape.outputs:,} output{'s' if shape.outputs > 1 else ''}"
        targets = outputs if shape.classes is None else f"{shape.classes:,} classes"
        table.add_row(label, f"{shape.n_train:,}", f"{shape.n_test:,}", inputs, targets)
        left_out = data_entry(cell.data).left_out(cell.data)
        names = name_list((f"{name} ({why})" for name, why in left_out.items()), COLUMNS_SHOWN)
        if left_out:
            lines[f"{getattr(cell.data, 'path', label)}: columns left out: {names}"] = None
    console.print()
    console.print(table)
    if len(described) > DATA_SHOWN:
        console.print(f"... and {len(described) - DATA_SHOWN:,} more data entries")
    for line in lines:
        console.print(line, soft_wrap=True, markup=False)


def _training_labels(sweep: Sweep) -> list[str]:
    """Tell cells apart that differ in how they are trained, which an id says in its hash alone; [] where none do."""
    if len({cell.train for cell in sweep.cells}) == 1:
        return []
    from nfa.report.labels import axis_labels

    labels = axis_labels("train", [cell.parameters() for cell in sweep.cells])
    return labels if any(labels) else []


def duration(seconds: float) -> str:
    """Put a time into words of one or two units."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
