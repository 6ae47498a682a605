"""Time, memory and error of measurements against the plain ways, as markdown tables.

    OMP_NUM_THREADS=2 .venv/bin/python benchmarks/measure.py [--repeats 5] [--threads 2] [--quick]

Variants alternate in one process; tables show medians, and of a ratio its range. All give the same single number for
each layer (UC-NFC, pearson, power 1) unless said otherwise. ``--quick`` runs every section once, in about a minute.
"""

import argparse
import statistics
from functools import partial

import baselines
import library
import torch
from memory import peak
from networks import CASES, NARROW, WIDE, Case
from timing import Times, interleaved, milliseconds, seconds

from nfa.alignment import measure_covariances
from nfa.alignment.covariance.products import add_products_

ROWS = 500  # added at a time in the accumulation
AGREEMENT = 2e-3  # float32 sums over d x d matrices are off by up to 5e-4
SIZES = (250, 500, 1000, 2000, 4000)
OUTPUTS = (10, 100, 1000)
MEGABYTE = 2**20


def table(title: str, *rows: tuple[str, ...]) -> None:
    """Print a markdown table; the first row is its head."""
    head, *body = rows
    print(f"\n{title}\n")
    for row in (head, ("---",) * len(head), *body):
        print(f"| {' | '.join(row)} |", flush=True)


def single_number(repeats: int) -> None:
    """Exact and sketched against both plain ways."""
    head = ("network (d, depth x width, C)", "layerwise", "joint", "exact", "layerwise / exact", "joint / exact")
    rows = [(*head, "sketched", "joint / sketched", "with its error", "joint / that")]
    for case in CASES.values():
        model, inputs = case.build()
        found = [f(model, inputs) for f in (library.exact, baselines.one_at_a_time, baselines.all_at_once)]
        difference = max(abs(a - b) for other in found[1:] for a, b in zip(found[0], other, strict=True))
        assert difference < AGREEMENT, f"{case}: the ways disagree by {difference}"
        times = interleaved(
            {
                "layerwise": partial(baselines.one_at_a_time, model, inputs),
                "joint": partial(baselines.all_at_once, model, inputs),
                "exact": partial(library.exact, model, inputs),
                "sketched": partial(library.sketched, model, inputs),
                "errors": partial(library.sketched_with_errors, model, inputs),
            },
            repeats,
        )
        row = [milliseconds(times.median(name)) for name in ("layerwise", "joint", "exact")]
        row += [times.ratio("layerwise", "exact"), times.ratio("joint", "exact")]
        for name in ("sketched", "errors"):
            row += [milliseconds(times.median(name)), times.ratio("joint", name)]
        rows.append((str(case), *row))
    table("### One number per layer", *rows)


def sketch_error(seeds: int) -> None:
    """The sketch's error against the exact number."""
    rows = [("network (d, depth x width, C)", "largest error over layers, mean over seeds", "worst seed")]
    for case in CASES.values():
        model, inputs = case.build()
        truth = library.exact(model, inputs)
        errors = [
            max(abs(a - b) for a, b in zip(truth, library.sketched(model, inputs, seed), strict=True))
            for seed in range(seeds)
        ]
        rows.append((str(case), f"{statistics.mean(errors):.4f}", f"{max(errors):.4f}"))
    table(f"### Error of the sketched number, {seeds} seeds", *rows)


def all_powers(repeats: int) -> None:
    """Three correlations by three powers of every layer, against eigenvectors of the d x d AGOP."""
    rows = [("network (d, depth x width, C)", "nfa", "d x d", "ratio (range)", "given K", "largest difference")]
    for case in CASES.values():
        model, inputs = case.build()
        layers = list(measure_covariances(model, inputs, estimator="exact").layers.values())
        shapes = [tuple(layer.weight.shape) for layer in layers]
        ours, dense, given = [], [], {"nfa": list[float](), "dense": list[float]()}
        for _ in range(repeats):
            ours.append(seconds(partial(library.all_powers, model, inputs)))
            given["nfa"].append(seconds(lambda layers=layers: [library.layer_powers(layer) for layer in layers]))
            once = {}
            for shape, layer in zip(shapes, layers, strict=True):
                if shape not in once:  # one layer of each shape, counted as often as there are such layers
                    power = 1 / (layer.depth_from_output + 1)
                    once[shape] = seconds(partial(baselines.dense_correlations, layer.weight, layer.covariance, power))
            covariances = seconds(partial(baselines.covariances, model, inputs))
            given["dense"].append(sum(once[shape] for shape in shapes))
            dense.append(covariances + given["dense"][-1])
        difference = _largest_difference(layers[-2])
        times = Times({"nfa": ours, "dense": dense})
        rows.append(
            (
                str(case),
                milliseconds(times.median("nfa")),
                milliseconds(times.median("dense")),
                times.ratio("dense", "nfa"),
                Times(given).ratio("dense", "nfa"),
                f"{difference:.0e}",
            )
        )
    table("### All correlations and powers (d x d: one layer of each shape timed, and scaled up)", *rows)


def _largest_difference(layer: library.LayerCovariance) -> float:
    """Between both ways, for one layer."""
    dense = baselines.dense_correlations(layer.weight, layer.covariance, 1 / (layer.depth_from_output + 1))
    ours = library.layer_powers(layer)
    return max(abs(dense[key] - ours[key]) for key in dense)


def memory(threads: int) -> None:
    """Peak memory, each variant in a process of its own."""
    names = ("layerwise", "joint", "exact", "sketched")
    rows = [("network (d, depth x width, C)", *names, "exact / joint", "sketched / joint")]
    for key, case in CASES.items():
        peaks = {name: peak(key, name, threads) for name in names}
        shares = [f"{peaks[name] / peaks['joint']:.2f}" for name in ("exact", "sketched")]
        rows.append((str(case), *(f"{value / MEGABYTE:.0f} MiB" for value in peaks.values()), *shares))
    table("### Peak memory beyond the network and the samples", *rows)


def growth(repeats: int) -> None:
    """Cost against n, and the sketch's against C."""
    times = _of_cases({str(n): NARROW.of(n=n) for n in SIZES}, library.exact, repeats)
    sketch = _of_cases({str(n): NARROW.of(n=n) for n in SIZES}, library.sketched, repeats)
    table(
        f"### Cost against n ({NARROW})",
        ("n", "exact", "per sample", "sketched", "per sample"),
        *((str(n), *(text for t in (times, sketch) for text in _with_share(t.median(str(n)), n))) for n in SIZES),
    )
    times = _of_cases({str(c): NARROW.of(outputs=c) for c in OUTPUTS}, library.sketched, repeats)
    first = times.median(str(OUTPUTS[0]))
    table(
        f"### Cost of the sketch against C ({NARROW.d}, {NARROW.depth} x {NARROW.width})",
        ("C", "sketched", "relative"),
        *((str(c), milliseconds(times.median(str(c))), f"{times.median(str(c)) / first:.2f}") for c in OUTPUTS),
    )


def _with_share(duration: float, n: int) -> tuple[str, str]:
    return milliseconds(duration), f"{1e6 * duration / n:.0f} us"


def _of_cases(cases: dict[str, Case], function: library.Measurement, repeats: int) -> Times:
    return interleaved({name: partial(function, *case.build()) for name, case in cases.items()}, repeats)


def accumulation(repeats: int) -> None:
    """Rate of the exact accumulation as a share of the machine's matrix multiplication."""
    rows = [("k", "matrix product 2048^3", "accumulation, 2 m k^2", "share (range)", "useful, m k^2", "share")]
    for case in (NARROW, WIDE):
        k, calls, size = case.width, case.outputs, 2048
        left = torch.randn(size, size)
        total, part = torch.zeros(1, k, k), torch.randn(calls, 1, ROWS, k)

        def accumulate(total: torch.Tensor = total, part: torch.Tensor = part) -> None:
            for one in part:
                add_products_(total, one)

        times = interleaved({"product": partial(torch.mm, left, left), "sum": accumulate}, max(repeats, 15))
        product = 2 * size**3 / times.median("product")
        rate = 2 * calls * ROWS * k**2 / times.median("sum")
        shares = [
            (2 * calls * ROWS * k**2 / b) / (2 * size**3 / a)
            for a, b in zip(times.rounds["product"], times.rounds["sum"], strict=True)
        ]
        rows.append(
            (
                str(k),
                f"{product / 1e9:.0f} Gflop/s",
                f"{rate / 1e9:.0f} Gflop/s",
                f"{statistics.median(shares):.0%} ({min(shares):.0%} to {max(shares):.0%})",
                f"{rate / 2e9:.0f} Gflop/s",
                f"{statistics.median(shares) / 2:.0%}",
            )
        )
    table(f"### Rate of the exact accumulation, m = {ROWS} rows at a time", *rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Time, memory and error of measurements against the plain ways.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="every section once")
    options = parser.parse_args()
    repeats = 1 if options.quick else options.repeats
    torch.set_num_threads(options.threads)
    print(f"n = 1000, {options.threads} threads, medians of {repeats}, torch {torch.__version__}")
    single_number(repeats)
    sketch_error(2 if options.quick else 10)
    memory(options.threads)
    accumulation(repeats)
    growth(repeats)
    all_powers(1 if options.quick else min(repeats, 3))


if __name__ == "__main__":
    main()
