"""``nfa expand``: the cells of a sweep, and about how long and how much disk they take. Imports no torch.

The time is a model of the work, not a promise: multiplications counted from the layers, divided by a rate seen on one
core of a 2.6 GHz server processor, plus the fixed costs of a step, a measured layer and a job. It may be wrong by a
factor of two.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nfa.sweep.cells import STAGES, Cell, Sweep

if TYPE_CHECKING:
    pass

MULTIPLICATIONS_PER_SECOND = 8e9  # float32, small matrices, one core
STEP_SECONDS = 4e-4  # optimizer step of a small network, beside its multiplications
LAYER_SECONDS = 0.03  # controls and eigenvectors of one layer at one checkpoint
JOB_SECONDS = 0.1  # scheduling and starting one job with the import server (docs/scale.md); without it about 4
KERNEL_FITS = 24  # bandwidths times ridges that one kernel machine tries
EVALUATIONS = 18  # passes over the whole data during training


@dataclass(frozen=True)
class Estimate:
    """What a cell takes.

    Attributes:
        seconds: Core-seconds.
        bytes: Bytes on disk.
    """

    seconds: float
    bytes: float


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
    disk = seeds * (checkpoints * weights + 4 * pictures + 200_000)
    return Estimate(seeds * (multiplying + fixed) + len(STAGES) * JOB_SECONDS, disk)


def duration(seconds: float) -> str:
    """Put a time into words of one or two units."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
