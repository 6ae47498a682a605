"""Publishing many runs: seconds a run and memory, offline, in one process.

    python -m benchmarks.publish          # 1,000 runs: curves of 200 steps, 8 layers measured at 20 of them
    python -m benchmarks.publish --runs 60 --tracker mlflow

The results are made up (`tests/fake_results.py`), in the true format: every quantity, correlation and power of every
layer at every measured step. Memory is that of this process; the client's service process is looked at too.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil

from nfa.stages import publish as stage
from nfa.storage.arrays import write_arrays
from nfa.storage.atomic import write_text
from nfa.storage.columns import ALIGNMENT, HISTORY, PROBES
from nfa.storage.documents import cell_document
from nfa.storage.finished_seeds import Parts
from nfa.storage.paths import SweepPaths
from nfa.storage.tables import write_table
from nfa.sweep.cells import Cell, Sweep
from nfa.sweep.grid import parse
from nfa.tracking.destinations import mlflow_place, wandb_place
from nfa.tracking.publication import Publication
from tests import fake_results

SEEDS = 4


def make_results(sweep: Sweep, folder: Path) -> None:
    """Write every cell; all of them have the first one's numbers, whose making takes longest."""
    first, draw = sweep.cells[0], np.random.default_rng(0)
    makers = (curves_of, fake_results.alignment_of, fake_results.probes_of)
    history, alignment, probes = (pd.concat([make(first, seed, draw) for seed in sweep.seeds]) for make in makers)
    arrays = {key: array for seed in sweep.seeds for key, array in fake_results.matrices_of(first, seed, draw).items()}
    for cell in sweep.cells:
        here = SweepPaths(folder / sweep.name).cell(cell.id)
        stamps = {name: Parts(here, name, value).stamp(sweep.seeds) for name, value in sweep.hashes(cell).items()}
        write_table(here.history, history, HISTORY, stamps["train"])
        write_table(here.alignment, alignment, ALIGNMENT, stamps["measure"])
        write_table(here.probes, probes, PROBES, stamps["probe"])
        write_arrays(here.matrices, arrays)
        document = cell_document(sweep, cell, fake_results.runs_of(sweep, cell), fake_results.MADE_WITH)
        write_text(here.cell, json.dumps(document))


def curves_of(cell: Cell, seed: int, draw: np.random.Generator) -> pd.DataFrame:
    """Losses of both splits and the learning rate at every step."""
    rows: list[tuple[int, int, float, str, str, float]] = []
    for step in range(cell.train.checkpoint_steps(cell.shape.n_train)[-1]):
        for split in ("train", "test"):
            rows.append((seed, step, step / 8, split, "loss", float(draw.random())))
        rows.append((seed, step, step / 8, "train", "lr", 0.1))
    return pd.DataFrame(rows, columns=HISTORY.names)


def sweep_of(runs: int, steps: int, measured: int) -> Sweep:
    """A sweep of so many runs that differ in their learning rate."""
    rates = [round(0.001 * (1 + number), 6) for number in range(runs // SEEDS)]
    document: dict[str, Any] = {
        "sweep": "benchmark",
        "seeds": SEEDS,
        "data": [{"name": "chain_monomial", "dim": 64, "rank": 5, "n_train": 1024}],
        "model": [{"name": "mlp", "width": 64, "depth": 7}],
        "optimizer": [{"name": "sgd", "lr": rates}],
        "train": {"steps": steps, "checkpoints": measured},
    }
    return parse(document, "benchmark")


def main() -> None:
    """Publish, and say what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--measured", type=int, default=20, help="of these steps, log-spaced")
    parser.add_argument("--tracker", choices=["wandb", "mlflow"], default="wandb")
    options = parser.parse_args()
    sweep = sweep_of(options.runs, options.steps, options.measured)
    with tempfile.TemporaryDirectory() as name:
        make_results(sweep, Path(name))
        seconds: list[float] = []
        memory: list[tuple[float, float]] = []
        service_cpu: list[float] = []
        _observe(seconds, memory, service_cpu)
        begun, cpu = time.perf_counter(), time.process_time()
        place = mlflow_place if options.tracker == "mlflow" else wandb_place
        summary = stage.publish(sweep, Path(name), place)
        total, cpu = time.perf_counter() - begun, time.process_time() - cpu
        begun = time.perf_counter()
        stage.publish(sweep, Path(name), place)
        again = time.perf_counter() - begun
        size = sum(
            file.stat().st_size for file in summary.place.folder.rglob("*") if file.is_file() and not file.is_symlink()
        )
    done = len(summary.published)
    steps = len(sweep.cells[0].train.checkpoint_steps(1024))
    print(f"{done} runs, curves of {options.steps} steps, {steps} of them measured, {options.tracker}")
    print(f"{total / done:.3f} s a run in all; tracker alone: median {statistics.median(seconds):.3f} s, ", end="")
    print(f"95th percentile {np.quantile(seconds, 0.95):.3f} s; {size / done / 1e6:.2f} MB a run")
    print(f"processor time: {cpu / done:.3f} s a run here, {service_cpu[-1] / done:.3f} s in the client's service")
    for share in (0.1, 0.5, 1.0):
        own, service = memory[max(0, round(share * len(memory)) - 1)]
        print(f"memory after {share:.0%} of the runs: {own:.0f} MiB here, {service:.0f} MiB in the client's service")
    print(f"publishing again, nothing changed: {again / done * 1e3:.1f} ms a run")


def _observe(seconds: list[float], memory: list[tuple[float, float]], service_cpu: list[float]) -> None:
    """Note time and memory whenever a run is published."""
    publish_run = Publication._publish_run
    here = psutil.Process()

    def observed(publication: Any, record: Any, *rest: Any) -> None:
        begun = time.perf_counter()
        publish_run(publication, record, *rest)
        seconds.append(time.perf_counter() - begun)
        services = here.children(recursive=True)
        service_cpu.append(sum(sum(each.cpu_times()[:2]) for each in services))
        memory.append((here.memory_info().rss / 2**20, sum(each.memory_info().rss for each in services) / 2**20))

    Publication._publish_run = observed  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    main()
