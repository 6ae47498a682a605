"""All scores of the features of one network at one checkpoint, as rows of one tidy table.

    train = SamplesWithTargets(x, y, labels)                         # tensors (n, ...), (n, C), (n,) or None
    linear_rows(model, train, test, ["0", "2", "4"])                 # probes, linearity, kernel alignment, scatter
    metric_rows(model, train, test, ["0"])                           # kernel machines with metric I, NFM, AGOP
    input_rows(train, test)                                          # baselines of the raw input, without a network
    recovery_rows(model, train.inputs, "0", directions)              # if the relevant directions are known

A row has the columns layer, probe, features, split, metric, value, the chosen penalty and bandwidth, and a note, which
gives the reason if the value is NaN. ``nfa.features.scores`` describes every score, ``docs/features.md`` the formulas.
"""

from collections.abc import Iterator, Sequence
from math import isnan
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from nfa.alignment import LayerCovariance, measure_covariances
from nfa.alignment.network.reasons import reason
from nfa.alignment.quantities.feature_matrix import blocked
from nfa.features.capture import FORWARD_BATCH, MAX_FEATURES, LayerPass, layer_features, layer_passes, named_layers
from nfa.features.geometry import alignment_of_moments, scatter_ratio
from nfa.features.kernel import KernelScores, distances, kernel_machine, machine_of_distances, root
from nfa.features.probe import ProbeScores, RidgeProbe, linear_probe
from nfa.features.recovery import metric_correlation, recovery
from nfa.features.rfm import FeatureMachine, recursive_feature_machine
from nfa.features.samples import SamplesWithTargets, check_pair
from nfa.features.split import Split

INPUT = "input"  # name of the raw input in the column of layers
RAW = "raw input, flattened"
OVERFLOW = reason("the features are not finite, or the target does not vary")
NO_METRIC = reason("the metric is zero, not finite, no more than rounding, or of lower rank than the directions")
NO_KERNEL = reason("the features or the targets vanish, or are not finite")
NO_SCATTER = reason("there is one class, or all class means are equal, or the features are not finite")
ITERATION = reason("metric of iteration {iteration}")
NAN = float("nan")


class Row(NamedTuple):
    """One score."""

    layer: str
    probe: str
    features: str
    split: str
    metric: str
    value: float
    penalty: float = NAN  # ridge: per training sample; logistic: 1/C; kernel machines: added to the diagonal
    bandwidth: float = NAN
    note: str = ""


def linear_rows(
    model: nn.Module,
    train: SamplesWithTargets,
    test: SamplesWithTargets,
    layers: Sequence[str],
    *,
    kind: str = "ridge",
    max_features: int = MAX_FEATURES,
) -> list[Row]:
    """Probe the features of every layer.

    Args:
        model: Network, left as it was.
        train: Samples to fit on.
        test: Samples to score only.
        layers: Names of some or all layers, as ``nfa.measure`` names them.
        kind: ``ridge`` or ``logistic`` (for classes).
        max_features: Larger feature maps are averaged over positions.

    Returns:
        Rows by layer, in forward order. The features of a layer are the inputs of the network's next layer, whether or
        not that is in ``layers``; ``layer_features`` says which layers are left out.

    Raises:
        ValueError: A name is not that of a layer, the kind is unknown, or test samples do not match.
    """
    check_pair(train, test)
    caught = [layer_features(model, part.inputs, layers, max_features) for part in (train, test)]
    rows: list[Row] = []
    for layer in caught[0]:
        pair = train.split(caught[0][layer].values), test.split(caught[1][layer].values)
        rows += _of_features(layer, caught[0][layer].about, *pair, kind, train.metric)
    return rows


def input_rows(
    train: SamplesWithTargets, test: SamplesWithTargets, *, kind: str = "ridge", kernel_samples: int = 0, rfm: int = 0
) -> tuple[list[Row], FeatureMachine | None]:
    """Score the raw input: a linear probe, a kernel machine with metric I, and a recursive feature machine.

    Args:
        train: Samples to fit on.
        test: Samples to score only.
        kind: ``ridge`` or ``logistic``.
        kernel_samples: Training samples of the kernel machine and of the feature machine; 0 for neither.
        rfm: Iterations of the recursive feature machine; 0 for none.

    Returns:
        The rows, and the fitted feature machine or None.

    Raises:
        ValueError: The kind is unknown, or test samples do not match.
    """
    check_pair(train, test)
    pair = train.split(train.inputs), test.split(test.inputs)
    rows = list(_of_features(INPUT, RAW, *pair, kind, train.metric))
    machine = None
    if kernel_samples:
        few = pair[0].rows(slice(kernel_samples))
        rows += _machine_rows(INPUT, "kernel_identity", RAW, train.metric, kernel_machine(few, pair[1]))
        if rfm:
            machine = recursive_feature_machine(few, pair[1], iterations=rfm)
            scores = KernelScores(machine.train, machine.test, machine.bandwidth, machine.ridge)
            for row in _machine_rows(INPUT, "rfm", RAW, train.metric, scores):
                rows.append(row if row.note else row._replace(note=ITERATION.format(iteration=machine.iteration)))
    return rows, machine


def metric_rows(
    model: nn.Module,
    train: SamplesWithTargets,
    test: SamplesWithTargets,
    layers: Sequence[str],
    *,
    seed: int = 0,
    machine: FeatureMachine | None = None,
) -> list[Row]:
    """Fit kernel machines on the inputs of layers, with the metrics that the layers have learned.

    For a layer that multiplies several positions (a convolution multiplies patches) the squared distance of two samples
    is summed over positions. The metric I applies to the whole input of the layer; if this is the raw input, the metric
    I is left to ``input_rows``. K is averaged over the training samples.

    Args:
        model: Network, left as it was.
        train: Samples to fit on, all of them.
        test: Samples to score only.
        layers: Names of layers; those that are neither linear nor convolutional modules, or that only some samples go
            through, are left out.
        seed: Seed of the random probes if K is sketched.
        machine: A feature machine that a layer is compared with if the layer reads the raw input.

    Raises:
        ValueError: A name is not that of a layer, test samples do not match, or ``measure_covariances`` refuses.
    """
    check_pair(train, test)
    named_layers(model, train.inputs, layers)
    shapes = layer_passes(model, train.inputs[:1], layers)
    usable = [name for name in layers if name in shapes]
    if not usable:
        return []
    found = measure_covariances(model, train.inputs, layers=usable, seed=seed).layers
    rows: list[Row] = []
    for layer in usable:  # one at a time, because early convolutions have many positions
        metrics = layer_metrics(found[layer])
        raw = torch.equal(shapes[layer].inputs, train.inputs[:1].flatten(1))
        names = [*metrics] if raw else ["identity", *metrics]
        found_pass = layer_passes(model, train.inputs, [layer])
        if layer not in found_pass:  # an expert: only some samples go through it
            continue
        centres = _entering(found_pass[layer], names, metrics)
        across = _distances_to(model, layer, test.inputs, centres, metrics)
        if across is None:
            continue
        pair = [part.split(part.inputs[:, :0]) for part in (train, test)]  # no features, only targets
        for name in names:
            within = distances(centres[name], centres[name])
            scores = machine_of_distances(within, across[name], pair[0], pair[1])
            rows += _machine_rows(layer, f"kernel_{name}", "input of the layer", train.metric, scores)
        weight = found[layer].weight
        if machine is not None and raw and weight.shape == (len(weight), train.inputs[0].numel()):
            for name, metric in metrics.items():
                value = metric_correlation(metric[0] @ weight.numpy(), machine.factor)
                quantity = f"{name}_rfm_correlation"
                rows.append(_noted(layer, "recovery", "weights", "train", quantity, value, NO_METRIC))
    return rows


def _distances_to(
    model: nn.Module, layer: str, inputs: Tensor, centres: dict[str, np.ndarray], metrics: dict[str, np.ndarray]
) -> dict[str, np.ndarray] | None:
    """Measure samples against centres in every metric: name -> (n, centres); None if not all go through the layer."""
    across: dict[str, list[np.ndarray]] = {name: [] for name in centres}
    for batch in inputs.split(FORWARD_BATCH):
        seen = layer_passes(model, batch, [layer])
        if layer not in seen:
            return None
        for name, values in _entering(seen[layer], list(centres), metrics).items():
            across[name].append(distances(values, centres[name]))
    return {name: np.concatenate(parts) for name, parts in across.items()}


def _entering(seen: LayerPass, names: Sequence[str], metrics: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Map the inputs of a layer by a factor of each metric: name -> (n, number of values) float32."""
    return {
        name: (mapped(seen.outputs, metrics[name]) if name in metrics else seen.inputs).cpu().numpy() for name in names
    }


def recovery_rows(
    model: nn.Module,
    inputs: Tensor,
    layer: str,
    directions: np.ndarray,
    target_agop: np.ndarray | None = None,
    *,
    seed: int = 0,
) -> list[Row]:
    """Compare the NFM and the AGOP of a layer that reads the raw input with the relevant directions.

    Args:
        model: Network, left as it was.
        inputs: (n, d), the samples that K is averaged over.
        layer: Module name.
        directions: (d, r) with orthonormal columns.
        target_agop: (r, r), the target's AGOP in the basis of the directions.
        seed: Seed of the random probes if K is sketched.
    """
    found = measure_covariances(model, inputs, layers=[layer], seed=seed).layers[layer]
    if found.weight.shape[1:] != directions.shape[:1]:
        return []
    rows = []
    for name, metric in layer_metrics(found).items():
        for quantity, value in recovery(metric[0] @ found.weight.numpy(), directions, target_agop).items():
            rows.append(_noted(layer, "recovery", "weights", "train", f"{name}_{quantity}", value, NO_METRIC))
    return rows


def layer_metrics(layer: LayerCovariance) -> dict[str, np.ndarray]:
    """Compute factors M^1/2 of a layer's metrics A = W^T M W with tr A = d: M = I (``nfm``) and M = K (``agop``).

    Returns:
        Name -> (g, k, k) float64 for g groups. The distance |x - z|_A is that of the vectors M^1/2 h, h = W x. NaN if K
        is not finite or only rounding, or if A is zero.
    """
    weight, covariance = (blocked(matrix).numpy() for matrix in (layer.weight, layer.covariance))
    identity = np.broadcast_to(np.eye(weight.shape[1]), covariance.shape)
    finite = bool(np.isfinite(covariance).all()) and not layer.is_rounding
    roots = {
        "nfm": identity,
        "agop": np.stack([root(block) for block in covariance]) if finite else np.full_like(covariance, NAN),
    }
    found = {}
    for name, each in roots.items():
        trace = np.square(each @ weight).sum()
        found[name] = each * np.sqrt(weight.shape[0] * weight.shape[2] / trace if trace > 0 else NAN)
    return found


def mapped(outputs: Tensor, metric: np.ndarray) -> Tensor:
    """Map a layer's outputs h (n, positions, g * k) by M^1/2 (g, k, k): (n, positions * g * k)."""
    n, positions, _ = outputs.shape
    groups = outputs.reshape(n, positions, *metric.shape[:2])
    return torch.einsum("npgk,gkl->npgl", groups, torch.from_numpy(metric).to(outputs)).flatten(1)


def _of_features(layer: str, about: str, train: Split, test: Split, kind: str, metric: str) -> Iterator[Row]:
    """Score one layer's features: probe, linearity, kernel alignment and scatter."""
    ridge = RidgeProbe(train, test)
    probe = ridge.scores() if kind == "ridge" else linear_probe(train, test, kind)
    yield from _probe_rows(layer, kind, about, metric, probe)
    yield from _probe_rows(layer, "linearity", about, "r2", ridge.linearity())
    for name, split in (("train", train), ("test", test)):
        both = alignment_of_moments(split.moments) if split.finite else (NAN, NAN)
        for quantity, value in zip(("kernel_alignment", "kernel_alignment_centred"), both, strict=True):
            yield _noted(layer, "geometry", about, name, quantity, value, NO_KERNEL)
        if split.labels is not None:
            value = scatter_ratio(split.features, split.labels)
            yield _noted(layer, "geometry", about, name, "scatter_ratio", value, NO_SCATTER)


def _probe_rows(layer: str, probe: str, about: str, metric: str, scores: ProbeScores) -> Iterator[Row]:
    for split, value in (("train", scores["train"]), ("test", scores["test"])):
        row = _noted(layer, probe, about, split, metric, value, OVERFLOW)
        yield row._replace(penalty=scores["penalty"])


def _machine_rows(layer: str, probe: str, about: str, metric: str, scores: KernelScores) -> Iterator[Row]:
    for split, value in (("train", scores.train), ("test", scores.test)):
        row = _noted(layer, probe, about, split, metric, value, OVERFLOW)
        yield row._replace(penalty=scores.ridge, bandwidth=scores.bandwidth)


def _noted(layer: str, probe: str, about: str, split: str, metric: str, value: float, why: str) -> Row:
    """Make a row; its note is the reason ``why`` if the value is NaN."""
    return Row(layer, probe, about, split, metric, value, note=why if isnan(value) else "")
