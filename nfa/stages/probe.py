"""Stage 3: score every layer's features at every checkpoint of a cell; writes probes.parquet."""

import time
from pathlib import Path

import pandas as pd
import torch

from nfa.features.quality import Row, Samples, input_rows, linear_rows, metric_rows, recovery_rows
from nfa.paths import SweepPaths
from nfa.stages.checkpoints import load_weights
from nfa.stages.parts import Parts, write_timings
from nfa.stages.preemption import Preempted, preemption
from nfa.stages.progress import event, progress_bar
from nfa.stages.runs import finished_runs
from nfa.stages.train import run_identity
from nfa.sweep import Cell, Probe, Sweep
from nfa.tables import PROBES, read_table, write_table
from nfa.training import build_model, load_data


def probe(sweep: Sweep, cell: Cell, results: Path, device: torch.device) -> None:
    """Probe every seed of a cell that is not probed, then write the cell's table from all of them.

    Raises:
        UserError: The cell is not trained, or a checkpoint is missing, damaged or foreign.
    """
    paths = SweepPaths(results / sweep.name).cell(cell.id)
    hashes = sweep.hashes(cell)
    parts = Parts(paths, "probe", hashes["probe"])
    with parts.locked():
        for seed, run in finished_runs(paths, sweep.seeds).items():
            if parts.finished(seed) is not None:
                event(f"probe {cell.id} seed {seed}: finished before")
                continue
            started = time.perf_counter()
            table = _probe_seed(cell, seed, run["checkpoints"], sweep.probe, parts, device)
            write_table(parts.file(seed, "parquet"), table, PROBES)
            parts.finish(seed, started)
            took = time.perf_counter() - started
            event(f"probe {cell.id} seed {seed}: {len(run['checkpoints'])} checkpoints in {took:.1f} s")
        tables = [read_table(parts.file(seed, "parquet")) for seed in sweep.seeds]
        write_table(paths.probes, pd.concat(tables, ignore_index=True), PROBES, parts.stamp(sweep.seeds))
        write_timings(paths, hashes)


def _probe_seed(
    cell: Cell, seed: int, steps: list[int], settings: Probe, parts: Parts, device: torch.device
) -> pd.DataFrame:
    """Probe all checkpoints of one run. What needs no network stands at step 0, which is the untrained network."""
    data = load_data(cell, seed, device)
    chosen = data.order[: settings.samples]
    labels = None if data.labels_train is None else data.labels_train[chosen]
    train = Samples(data.x_train[chosen], data.y_train[chosen], labels)
    test = Samples(data.x_test, data.y_test, data.labels_test)
    few = train.first(settings.kernel_samples)
    layers = [layer.name for layer in cell.layers]
    learned = {"none": [], "first": layers[:1], "all": layers}[settings.kernel]
    kernel_samples = settings.kernel_samples if learned else 0
    found, machine = input_rows(
        train, test, kind=settings.kind, kernel_samples=kernel_samples, rfm=settings.rfm if learned else 0
    )
    rows: list[tuple[int, int, *tuple[object, ...]]] = [(seed, 0, *row) for row in found]
    model = build_model(cell, seed, device)
    with progress_bar(f"probe {cell.id} seed {seed}", len(steps)) as bar, preemption() as preempted:
        for done, step in enumerate(steps):
            if preempted():
                raise Preempted(f"probe {cell.id}: told to stop; finished seeds are kept")
            identity = run_identity(cell, seed) | {"step": str(step)}
            load_weights(model, parts.paths.checkpoint(seed, step), identity)
            found = linear_rows(model, train, test, layers, kind=settings.kind, max_features=settings.max_features)
            if learned and (settings.kernel_at == "all" or step in (steps[0], steps[-1])):
                found += metric_rows(model, few, test, learned, seed=seed, machine=machine)
            if data.directions is not None:
                found += _recovered(model, few, layers[0], data.directions, data.target_agop, seed)
            rows += [(seed, step, *row) for row in found]
            bar.update(done + 1)
    return pd.DataFrame(rows, columns=PROBES.names)


def _recovered(
    model: torch.nn.Module,
    samples: Samples,
    layer: str,
    directions: torch.Tensor,
    target_agop: torch.Tensor | None,
    seed: int,
) -> list[Row]:
    truth = directions.double().cpu().numpy(), None if target_agop is None else target_agop.cpu().numpy()
    return recovery_rows(model, samples.inputs, layer, *truth, seed=seed)
