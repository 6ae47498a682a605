"""An estimate of the time and the disk space that a cell takes. Imports no torch.

The time is in core-seconds: the processor time of the stages train, measure and probe for all seeds of the cell, each
with one thread, and the start of their jobs. It is a model of the work, not a promise: multiplications counted from the
layers, divided by a rate, plus the fixed costs of a step, a layer and a job. The constants were fitted to five sweeps
of different kinds (an MLP on 10,000 images, convolutional networks, a transformer, many small networks with kernel
machines everywhere, and the default sweep), each run with one thread on an idle core of a 2.6 GHz server processor.
The estimate of each was within a factor of 1.5 of the time taken, as were those of two sweeps that were not fitted. On
another processor all estimates are wrong by about the same factor. A run that diverges, or that stops early, takes
less.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import NamedTuple

from nfa.data.options import DrawnOptions
from nfa.sweep.axis_points import Network
from nfa.sweep.cells import STAGES, Cell, Sweep
from nfa.sweep.stage_settings import EVALUATIONS, GLANCE

MULTIPLICATIONS_PER_SECOND = 8e9  # in float32 with matrices of at most 16 rows or columns, and in float64
NARROW, GAIN = 16, 8  # a product is so many times as fast as the smaller side of its matrix is times NARROW, up to GAIN
LARGE = 2  # rate of products and decompositions in float64 of matrices with a thousand rows and columns and more
STEP_SECONDS = 3e-4  # an optimizer step of a small network, without its multiplications
LAYER_SECONDS = 0.016  # quantities of one layer at one checkpoint, without the multiplications of ``algebra``
PROBE_SECONDS = 0.005  # probe of one layer at one checkpoint, without its multiplications
SKETCHED = 2.8  # times that quantities are computed where K is sketched: of both sketches and of their mean, and errors
CHOSEN = 0.25  # share of the quantities' time if some are chosen without controls by rotation
LARGEST_DECOMPOSED = 256  # as in nfa/alignment/quantities/haar.py, which imports torch
LAYER_BYTES = 500  # rows of one layer at one checkpoint in the table of alignment
JOB_SECONDS = 0.1  # scheduling and starting one job with the import server (docs/scale.md); without it about 4
FULL_LOOKS = 5  # passes over the training set before a loss that is waited for is reached
KERNEL_FITS = 24  # combinations of bandwidth and ridge that one kernel machine tries
PENALTIES = 9  # Cholesky decompositions of a ridge probe


@dataclass(frozen=True)
class Estimate:
    """Time and disk space of a cell.

    Attributes:
        seconds: Core-seconds.
        tuning: Those of them that the search for tuned settings takes.
        bytes: Bytes on disk.
    """

    seconds: float
    bytes: float
    tuning: float = 0.0


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
    return k * d * NARROW // max(NARROW, min(k, d, GAIN * NARROW))


def algebra(k: int, d: int) -> int:
    """Count the multiplications of all quantities of a layer with k x d weights; the factors are measured."""
    smaller = min(k, d)
    return 8 * k**3 + (70 if smaller <= LARGEST_DECOMPOSED else 25) * smaller**3 + 12 * k * k * d


def estimate(sweep: Sweep, cell: Cell) -> Estimate:
    """Estimate all seeds and stages of one cell, from its settings and the sweep's settings of measure and probe.

    Heads of networks that must be built to be known (``LayerShape.heads``) are not counted.
    """
    layers = layer_sums(cell.network, heads=sweep.measure.heads)
    checkpoints = cell.train.most_checkpoints(cell.shape.n_train)
    seeds = len(sweep.seeds)
    data_sets = seeds if isinstance(cell.data, DrawnOptions) else 1  # others are the same for every seed
    each = _training(cell, layers, checkpoints) + _measuring(sweep, cell, layers, checkpoints)
    each += _probing(sweep, cell, layers, checkpoints)
    tables = checkpoints * layers.measured * LAYER_BYTES
    disk = seeds * (checkpoints * 4 * layers.weights + 4 * layers.pictures + tables + 200_000)
    tuning = _tuning(sweep, cell, layers)
    seconds = tuning + seeds * each + data_sets * _baselines(sweep, cell) + len(STAGES) * JOB_SECONDS
    return Estimate(seconds, disk, tuning)


def _training(cell: Cell, layers: CostSums, checkpoints: int) -> float:
    """Estimate the seconds of training one seed."""
    shape, plan = cell.shape, cell.train
    steps = plan.total_steps(shape.n_train)
    evaluated = (EVALUATIONS + checkpoints) * (shape.n_train + shape.n_test)
    evaluated += len(plan.look_steps(shape.n_train)) * min(GLANCE, shape.n_train)
    evaluated += FULL_LOOKS * plan.events * shape.n_train
    multiplied = layers.forward * (3 * plan.batch(shape.n_train) * steps + evaluated)
    return multiplied / MULTIPLICATIONS_PER_SECOND + steps * STEP_SECONDS


def _tuning(sweep: Sweep, cell: Cell, layers: CostSums) -> float:
    """Estimate the seconds of the search for the settings that are tuned."""
    if not cell.searches:
        return 0.0
    settings, refined = sweep.tune, sum(not search.values for search in cell.searches.values())
    points = prod(len(search.grid(settings.points)) for search in cell.searches.values())
    return settings.seeds * settings.trainings(points, refined) * _training(cell, layers, 0) + JOB_SECONDS


def _covariances(samples: int, passes: int, layers: CostSums) -> int:
    """Count the multiplications of K of all layers on some samples."""
    return samples * (layers.forward * (1 + passes) + layers.gram * passes)


def _measuring(sweep: Sweep, cell: Cell, layers: CostSums, checkpoints: int) -> float:
    """Estimate the seconds of measuring one seed."""
    settings, shape = sweep.measure, cell.shape
    sketched = settings.estimator == "sketched" or (settings.estimator == "auto" and shape.outputs > 64)
    passes = 2 * settings.probes if sketched else shape.outputs
    names = settings.quantities
    share = (SKETCHED if sketched else 1) * (CHOSEN if names and not any("haar" in name for name in names) else 1)
    multiplied = _covariances(min(settings.samples, shape.n_train), passes, layers) + share * layers.algebra
    return checkpoints * (multiplied / MULTIPLICATIONS_PER_SECOND + layers.measured * LAYER_SECONDS * share)


def _probing(sweep: Sweep, cell: Cell, layers: CostSums, checkpoints: int) -> float:
    """Estimate the seconds of probing one seed, without the scores of the raw input."""
    settings, shape = sweep.probe, cell.shape
    samples = min(settings.samples, shape.n_train)
    multiplied = checkpoints * (samples * layers.features + layers.forward * (samples + shape.n_test))
    if settings.kernel != "none":
        few = min(settings.kernel_samples, shape.n_train)
        learned = cell.network.layers[: None if settings.kernel == "all" else 1]
        entering = [layer.fan_in * layer.positions + 2 * layer.fan_out * layer.positions for layer in learned]
        metrics = 3 * len(learned) - 1  # I, NFM and AGOP, without I of the raw input
        fitted = metrics * _fits(few) + sum(entering) * few * (few // 2 + shape.n_test) // LARGE
        times = checkpoints if settings.kernel_at == "all" else 2
        multiplied += times * (fitted + _covariances(few, shape.outputs, layers))
    return multiplied / MULTIPLICATIONS_PER_SECOND + checkpoints * len(cell.network.layers) * PROBE_SECONDS


def _baselines(sweep: Sweep, cell: Cell) -> float:
    """Estimate the seconds of scoring the raw input of one data set."""
    settings, shape = sweep.probe, cell.shape
    d, samples = prod(shape.input_shape), min(settings.samples, shape.n_train)
    smaller = min(d, samples)
    multiplied = (samples * d * smaller + PENALTIES * smaller**3 // 6) // LARGE
    if settings.kernel != "none":
        few = min(settings.kernel_samples, shape.n_train)
        multiplied += (2 + settings.rfm) * (_fits(few) + few**2 * d // (2 * LARGE))
        multiplied += settings.rfm * shape.outputs * few**2 * min(few, d) // LARGE
    return multiplied / MULTIPLICATIONS_PER_SECOND


def _fits(samples: int) -> int:
    """Count the multiplications of choosing the bandwidth and ridge of a kernel machine; n^2 stands for its kernels."""
    return KERNEL_FITS * samples**2 * (samples // 25 + 50)


def duration(seconds: float) -> str:
    """Write a time in seconds, minutes, hours or days."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
