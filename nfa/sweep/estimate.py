"""An estimate of the time and the disk space that a cell takes. Imports no torch.

The time is a model of the work, not a promise: multiplications counted from the layers, divided by a rate seen on one
core of a 2.6 GHz server processor, plus the fixed costs of a step, a measured layer and a job. It may be wrong by a
factor of two.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import NamedTuple

from nfa.sweep.axis_points import Network
from nfa.sweep.cells import STAGES, Cell, Sweep

MULTIPLICATIONS_PER_SECOND = 8e9  # float32, small matrices, one core
LARGE, GAIN = 128, 3  # products whose sides are all at least so large are so many times as fast
STEP_SECONDS = 4e-4  # an optimizer step of a small network, without its multiplications
LAYER_SECONDS = 0.016  # quantities of one layer at one checkpoint, without the multiplications of ``algebra``
SKETCHED = 2.8  # times that quantities are computed where K is sketched: of both sketches and of their mean, and errors
CHOSEN = 0.25  # share of the quantities' time if some are chosen without controls by rotation
LARGEST_DECOMPOSED = 256  # controls at powers other than 1 are given up to this min(k, d)
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
        algebra: Multiplications of the quantities, given K.
        features: Multiplications of one sample's probes, with feature maps cut to 256.
        pictures: Bytes of the matrices that are kept for figures, at one checkpoint.
        measured: Number of layers that are measured.
    """

    weights: int
    forward: int
    gram: int
    algebra: int
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
        forward=sum(_discounted(layer.fan_out, layer.fan_in) * layer.positions for layer in layers),
        gram=sum(
            cut * _discounted(layer.fan_out // cut, layer.fan_out // cut) * layer.positions
            for layer, cut in zip(layers, parts, strict=True)
        ),
        algebra=sum(
            cut * algebra(layer.fan_out // cut, layer.fan_in) for layer, cut in zip(layers, parts, strict=True)
        ),
        features=sum(min(256, layer.fan_out * layer.positions) ** 2 for layer in layers),
        pictures=sum(
            4 * cut * min(2 * layer.fan_in**2, 10 * layer.fan_in + 2 * 256**2)
            for layer, cut in zip(layers, parts, strict=True)
        ),
        measured=sum(parts),
    )


def _discounted(k: int, d: int) -> int:
    """Count the multiplications of a sample with a k x d matrix, fewer where large products are faster."""
    return k * d // (GAIN if min(k, d) >= LARGE else 1)


def algebra(k: int, d: int) -> int:
    """Count the multiplications of all quantities of a layer with k x d weights; the factors are measured."""
    smaller = min(k, d)
    return 8 * k**3 + (70 if smaller <= LARGEST_DECOMPOSED else 25) * smaller**3 + 12 * k * k * d


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
    sketched = sweep.measure.estimator == "sketched" or (sweep.measure.estimator == "auto" and shape.outputs > 64)
    passes = 2 * sweep.measure.probes if sketched else shape.outputs
    names = sweep.measure.quantities
    share = (SKETCHED if sketched else 1) * (CHOSEN if names and not any("haar" in name for name in names) else 1)
    covariances = samples * (forward * (1 + passes) + layers.gram * passes)
    measure = checkpoints * (covariances + share * layers.algebra)
    probed, d = min(sweep.probe.samples, shape.n_train), prod(shape.input_shape)
    probe = checkpoints * (6 * probed * layers.features + forward * (shape.n_train + shape.n_test))
    # Gram matrices of the raw inputs and Cholesky decompositions: large, so at more than twice the rate.
    raw = 5 * probed * d * min(probed, d) + min(probed, d) ** 3
    few = 0 if sweep.probe.kernel == "none" else min(sweep.probe.kernel_samples, shape.n_train)
    learned = 2 * (len(cell.layers) if sweep.probe.kernel == "all" else 1)
    machines = 2 + sweep.probe.rfm + learned * (checkpoints if sweep.probe.kernel_at == "all" else 2)
    fits = machines * (KERNEL_FITS * few**3 // 6 + 2 * few**2 * d)
    multiplying = (train + measure + probe + raw + fits) / MULTIPLICATIONS_PER_SECOND
    fixed = steps * STEP_SECONDS + checkpoints * layers.measured * LAYER_SECONDS * share
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
