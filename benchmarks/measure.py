"""Time of one exact measurement against the plain way: all Jacobians by jacrev, then d x d matrices.

    OMP_NUM_THREADS=2 .venv/bin/python benchmarks/measure.py [--repeats 5] [--threads 2]

Both give the same single number per layer (UC-NFC, pearson, power 1) of bias-free ReLU MLPs; they alternate in one
process, and the table shows medians and the range of the ratio. ``all`` is the whole table: every quantity, correlation
and power.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from nfa.alignment import correlations, covariances, frame, weights_of

CASES = [(784, 128, 4, 10), (3072, 256, 5, 10)]  # d, width, depth, C
SAMPLES = 1000


def network(d: int, width: int, depth: int, outputs: int) -> nn.Sequential:
    """Build a bias-free ReLU MLP."""
    torch.manual_seed(0)
    sizes = [d] + [width] * depth
    hidden = [module for a, b in pairwise(sizes) for module in (nn.Linear(a, b, bias=False), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(width, outputs, bias=False))


def ours(model: nn.Sequential, inputs: Tensor) -> list[float]:
    """UC-NFC (pearson, power 1) of every layer, in k-space."""
    layers = covariances(model, inputs).values()
    return [correlations(layer.weight, layer.covariance)["pearson"].value for layer in layers]


def everything(model: nn.Sequential, inputs: Tensor) -> None:
    """Measure every quantity, correlation and power of every layer."""
    measured = covariances(model, inputs)
    initial = {name: 0.9 * weight for name, weight in weights_of(model).items()}
    start = {name: 0.9 * layer.covariance for name, layer in measured.items()}
    frame(measured, initial_weights=initial, initial_covariances=start)


def plain(model: nn.Sequential, inputs: Tensor, batch: int = 250) -> list[float]:
    """The same numbers by jacrev with respect to perturbations of the pre-activations, then d x d matrices."""
    linear = [module for module in model if isinstance(module, nn.Linear)]

    def perturbed(shifts: list[Tensor], x: Tensor) -> Tensor:
        for module in linear:
            x = functional_call(module, {"weight": module.weight.detach()}, (x,)) + shifts[linear.index(module)]
            x = x.relu() if module is not linear[-1] else x
        return x

    zeros = [torch.zeros(module.out_features) for module in linear]
    totals = [torch.zeros(module.out_features, module.out_features) for module in linear]
    for part in inputs.split(batch):
        jacobians = vmap(jacrev(perturbed), in_dims=(None, 0))(zeros, part)
        for total, jacobian in zip(totals, jacobians, strict=True):
            total += torch.einsum("nck,ncl->kl", jacobian, jacobian)
    values = []
    for module, total in zip(linear, totals, strict=True):
        weight = module.weight.detach()
        nfm, agop = weight.T @ weight, weight.T @ (total / len(inputs)) @ weight
        values.append(torch.corrcoef(torch.stack([nfm.flatten(), agop.flatten()]))[0, 1].item())
    return values


def seconds(function: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Time of one exact measurement against the plain way.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"n = {SAMPLES}, {options.threads} threads, medians of {options.repeats}, torch {torch.__version__}\n")
    print("| network (d, width x depth, C) | nfa, one number | plain, one number | ratio (range) | nfa, all |")
    print("| --- | --- | --- | --- | --- |")
    for d, width, depth, outputs in CASES:
        model, inputs = network(d, width, depth, outputs), torch.randn(SAMPLES, d)
        difference = max(abs(a - b) for a, b in zip(ours(model, inputs), plain(model, inputs), strict=True))
        assert difference < 2e-3, f"the two ways disagree by {difference}"
        times = [
            (seconds(lambda: ours(model, inputs)), seconds(lambda: plain(model, inputs)))  # noqa: B023
            for _ in range(options.repeats)
        ]
        whole = statistics.median(seconds(lambda: everything(model, inputs)) for _ in range(options.repeats))  # noqa: B023
        fast, slow = (statistics.median(column) for column in zip(*times, strict=True))
        ratios = [b / a for a, b in times]
        print(
            f"| {d}, {width} x {depth}, {outputs} | {1000 * fast:.0f} ms | {1000 * slow:.0f} ms "
            f"| {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f}) | {1000 * whole:.0f} ms |"
        )


if __name__ == "__main__":
    main()
