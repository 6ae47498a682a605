"""An estimate of the time and the disk space that a cell takes. Imports no torch.

The time is a model of the work, not a promise: multiplications counted from the layers, divided by a rate seen on one
core of a 2.6 GHz server processor, plus the fixed costs of a step, a measured layer and a job. It may be wrong by a
factor of two.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from nfa.sweep.axis_points import Network
from nfa.sweep.cells import STAGES, Cell, Sweep

MULTIPLICATIONS_PER_SECOND = 8e9  # float32, small matrices, one core
STEP_SECONDS = 4e-4  # an optimizer step of a small network, without its multiplications
LAYER_SECONDS = 0.03  # control quantities and eigenvectors of one layer at one checkpoint
LAYER_BYTES = 500  # rows of one layer at one checkpoint in the table of alignment
JOB_SECONDS = 0.1  # scheduling and starting one job with the import server (docs/scale.md); without it about 4
KERNEL_FITS = 24  # combinations of bandwidth and ridge that one kernel machine tries
EVALUATIONS = 18  # passes over the whole data during training


@dataclass(frozen=True)
class Estimate:
    """Time and disk space of a cell.

    Attributes:
        seconds: Core-seconds.
        bytes: Bytes on disk.
    """

    seconds: float
    bytes: float


class CostSums(NamedTuple):
    """Sums over a network's layers.

    Attributes:
        weights: Entries of the weight matrices.
        forward: Multiplications of one sample's forward pass.
        gram: Multiplications of one sample's Gram matrices of layer outputs, for one network output.
        features: Multiplications of one sample's probes, with feature maps cut to 256.
        pictures: Bytes of the matrices that are kept for figures, at one checkpoint.
        measured: Number of layers that are measured.
    """

    weights: int
    forward: int
    gram: int
    features: int
    pictures: int
    measured: int


@lru_cache(maxsize=1)  # consecutive cells of a sweep share their network
def layer_sums(network: Network, *, heads: bool = False) -> CostSums:
    """Sum up a network's layers; with ``heads``, each head of a projection is measured as a layer of its own."""
    layers = network.layers
    parts = [layer.heads if heads else 1 for layer in layers]
    return CostSums(
        weights=sum(layer.fan_out * layer.fan_in for layer in layers),
        forward=sum(layer.fan_out * layer.fan_in * layer.positions for layer in layers),
        gram=sum(layer.fan_out**2 * layer.positions // cut for layer, cut in zip(layers, parts, strict=True)),
        features=sum(min(256, layer.fan_out * layer.positions) ** 2 for layer in layers),
        pictures=sum(
            4 * cut * min(2 * layer.fan_in**2, 10 * layer.fan_in + 2 * 256**2)
            for layer, cut in zip(layers, parts, strict=True)
        ),
        measured=sum(parts),
    )


def estimate(sweep: Sweep, cell: Cell) -> Estimate:
    """Estimate all seeds and stages of one cell, from its settings and the sweep's settings of measure and probe.

    Heads of networks that must be built to be known (``LayerShape.heads``) are not counted.
    """
    shape, plan, layers = cell.shape, cell.train, layer_sums(cell.network, heads=sweep.measure.heads)
    forward = layers.forward
    steps = plan.total_steps(shape.n_train)
    checkpoints = len(plan.checkpoint_steps(shape.n_train))
    samples = min(sweep.measure.samples, shape.n_train)
    train = 3 * forward * plan.batch(shape.n_train) * steps + EVALUATIONS * forward * (shape.n_train + shape.n_test)
    measure = checkpoints * samples * (forward * (1 + shape.outputs) + layers.gram * shape.outputs)
    probe = checkpoints * (
        6 * min(sweep.probe.samples, shape.n_train) * layers.features + forward * (shape.n_train + shape.n_test)
    )
    few = 0 if sweep.probe.kernel == "none" else min(sweep.probe.kernel_samples, shape.n_train)
    learned = 2 * (len(cell.layers) if sweep.probe.kernel == "all" else 1)
    machines = 2 + sweep.probe.rfm + learned * (checkpoints if sweep.probe.kernel_at == "all" else 2)
    fits = machines * KERNEL_FITS * few**3 // 6
    multiplying = (train + measure + probe + fits) / MULTIPLICATIONS_PER_SECOND
    fixed = steps * STEP_SECONDS + checkpoints * layers.measured * LAYER_SECONDS
    seeds = len(sweep.seeds)
    tables = checkpoints * layers.measured * LAYER_BYTES
    disk = seeds * (checkpoints * 4 * layers.weights + 4 * layers.pictures + tables + 200_000)
    return Estimate(seeds * (multiplying + fixed) + len(STAGES) * JOB_SECONDS, disk)


def duration(seconds: float) -> str:
    """Write a time in seconds, minutes, hours or days."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
