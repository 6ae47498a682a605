"""A researcher's own job, written plainly, against the same job with this package, as markdown tables.

    .venv/bin/python benchmarks/researcher.py [--repeats 5] [--threads 1] [--n 10000] [--whole --cores 2]

The job: train an MLP of five layers of 256 ReLU units without biases on n images of 3 x 32 x 32 in 10 classes by SGD
for 10 epochs, and measure alignment on all of them at 11 epochs. The plain way trains in a loop and computes one
number for each layer, UC-NFC (pearson, power 1), by ``torch.func``. This package computes the whole table: every
quantity with its controls. The images are random, because no time depends on them.

Variants alternate in one process; tables show medians of core-seconds, and of a ratio its range. ``--whole`` runs three
seeds through all stages by Snakemake, and times three seeds of the plain way.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from itertools import count
from pathlib import Path

import baselines
import numpy as np
import torch
import yaml
from networks import NARROW
from timing import interleaved
from torch import Tensor, nn

import nfa
from nfa.alignment import measure_covariances

ROOT = Path(__file__).resolve().parents[1]
EPOCHS, BATCH, RATE = 10, 128, 0.1
CHOSEN = ["uc_nfc", "c_nfc"]


def images(n: int) -> tuple[Tensor, Tensor]:
    """Draw n images, (n, 3072), and their classes, (n,)."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, NARROW.d, generator=generator), torch.randint(10, (n,), generator=generator)


def train(model: nn.Module, x: Tensor, y: Tensor, epochs: int = EPOCHS) -> None:
    """Train by SGD, in a plain loop."""
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()


def plain_job(x: Tensor, y: Tensor) -> None:
    """Train one seed the plain way and measure it before training and after each epoch."""
    model, _ = NARROW.of(n=1).build()
    baselines.all_at_once(model, x)
    for _ in range(EPOCHS):
        train(model, x, y, epochs=1)
        baselines.all_at_once(model, x)


def one_measurement(n: int, repeats: int) -> None:
    """Print what one measurement costs, against K alone and against the plain way's single number."""
    (x, y), (model, _) = images(n), NARROW.of(n=1).build()
    monitors = [
        nfa.Monitor(model, x, samples=n, **options)
        for options in ({}, {"quantities": CHOSEN}, {"estimator": "sketched"})
    ]
    for monitor in monitors:
        monitor(0)  # computes what later calls share: K of the initial network
    train(model, x[:1000], y[:1000], epochs=3)
    steps = count(1)
    exact, chosen, sketched = (lambda monitor=monitor: monitor(next(steps)) for monitor in monitors)
    variants = {
        "plain way, one number": partial(baselines.all_at_once, model, x),
        "K alone": partial(measure_covariances, model, x, estimator="exact"),
        "UC-NFC and C-NFC": chosen,
        "whole table, exact": exact,
        "whole table, sketched": sketched,
    }
    times = interleaved(variants, repeats)
    print(f"\n### One measurement, n = {n:,}\n")
    print("| what | seconds | times K alone | plain way / this |\n| --- | --- | --- | --- |")
    for name in variants:
        against = times.ratio(name, "K alone"), times.ratio("plain way, one number", name)
        print(f"| {name} | {times.median(name):.2f} | {against[0]} | {against[1]} |", flush=True)


def whole_job(n: int, cores: int, estimator: str) -> float:
    """Run three seeds of the job through all stages by Snakemake in a folder of its own; return the wall time."""
    x, y = images(n)
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "images.npz", x_train=x, y_train=y, x_test=x[:1000], y_test=y[:1000])
        sweep = {
            "sweep": "researcher",
            "seeds": 3,
            "data": [{"name": "file", "path": str(Path(folder) / "images.npz")}],
            "model": [{"name": "mlp", "depth": 5, "width": 256, "bias": False}],
            "optimizer": [{"name": "sgd", "lr": RATE}],
            "train": {"epochs": EPOCHS, "batch_size": BATCH, "checkpoints": EPOCHS + 1},
            "measure": {"samples": n, "estimator": estimator},
        }
        config = Path(folder) / "researcher.yaml"
        config.write_text(yaml.safe_dump(sweep))
        command = ["snakemake", "--cores", cores, "--snakefile", ROOT / "Snakefile", "--directory", folder]
        command += ["--workflow-profile", ROOT / "profiles" / "default", "--configfile", config]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        started = time.perf_counter()
        subprocess.run(list(map(str, command)), check=True, env={**os.environ, "PATH": path}, stdout=sys.stderr)
        return time.perf_counter() - started


def whole(n: int, cores: int) -> None:
    """Print the wall time of three seeds: the plain way, then all stages with K exact and sketched."""
    x, y = images(n)
    started = time.perf_counter()
    for _ in range(3):
        plain_job(x, y)
    plain = time.perf_counter() - started
    print(f"\n### Three seeds, n = {n:,}, {cores} cores\n\n| what | seconds | of the plain way |\n| --- | --- | --- |")
    print(f"| plain way: training and one number at 11 epochs | {plain:.0f} | 1 |", flush=True)
    for estimator in ("exact", "sketched"):
        seconds = whole_job(n, cores, estimator)
        print(f"| all stages, {estimator} | {seconds:.0f} | {seconds / plain:.2f} |", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="A researcher's job, written plainly, against this package.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--n", type=int, default=10_000, help="number of images")
    parser.add_argument("--whole", action="store_true", help="three seeds through all stages, once")
    parser.add_argument("--cores", type=int, default=2, help="cores of the whole job")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{options.threads} threads, medians of {options.repeats}, torch {torch.__version__}")
    if options.whole:
        whole(options.n, options.cores)
    else:
        one_measurement(options.n, options.repeats)


if __name__ == "__main__":
    main()
