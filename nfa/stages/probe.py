"""Stage 3: probe every layer's features at every checkpoint of a cell; writes probes.parquet."""

import time
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from nfa.features import layer_features, linear_probe
from nfa.features.probe import Split
from nfa.paths import SweepPaths
from nfa.stages.checkpoints import load_weights
from nfa.stages.growing import SAVE_SECONDS, GrowingTable
from nfa.stages.parts import Parts, write_timings
from nfa.stages.preemption import Preempted, preemption
from nfa.stages.progress import event, progress_bar
from nfa.stages.runs import finished_runs
from nfa.stages.train import run_identity
from nfa.sweep import Cell, Probe, Sweep
from nfa.tables import PROBES, read_table, write_table
from nfa.training import build_model, load_data

INPUT = "input"  # stands in the layer column for the raw-input baseline


def probe(sweep: Sweep, cell: Cell, results: Path, device: torch.device, save_seconds: float = SAVE_SECONDS) -> None:
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
            table = GrowingTable(parts, seed, PROBES, save_seconds)
            _probe_seed(cell, seed, run["checkpoints"], sweep.probe, table, parts, device)
            table.finish()
            parts.finish(seed, started, earlier=table.seconds)
            table.discard()
            took = time.perf_counter() - started
            event(f"probe {cell.id} seed {seed}: {len(run['checkpoints'])} checkpoints in {took:.1f} s")
        tables = [read_table(parts.file(seed, "parquet")) for seed in sweep.seeds]
        write_table(paths.probes, pd.concat(tables, ignore_index=True), PROBES, parts.stamp(sweep.seeds))
        write_timings(paths, hashes)


def _probe_seed(
    cell: Cell, seed: int, steps: list[int], settings: Probe, table: GrowingTable, parts: Parts, device: torch.device
) -> None:
    """Probe the checkpoints of one run that are not in its table.

    The raw input is probed once, with step 0, which is the untrained network.
    """
    data = load_data(cell, seed, device)
    chosen = data.order[: settings.samples]
    inputs = {"train": data.x_train[chosen], "test": data.x_test}
    targets = {"train": data.y_train[chosen], "test": data.y_test}
    labels = {"train": None if data.labels_train is None else data.labels_train[chosen], "test": data.labels_test}
    metric = "r2" if data.labels_train is None else "accuracy"
    rows: list[tuple[int, int, str, str, str, str, str, float]] = []  # of one checkpoint

    def add(step: int, layer: str, about: str, features: dict[str, Tensor]) -> None:
        splits = {name: _split(values, targets[name], labels[name]) for name, values in features.items()}
        for split, value in linear_probe(splits["train"], splits["test"], settings.kind).items():
            rows.append((seed, step, layer, settings.kind, about, split, metric, value))

    model = build_model(cell, seed, device)
    layers = [layer.name for layer in cell.layers]
    with progress_bar(f"probe {cell.id} seed {seed}", len(steps)) as bar, preemption() as preempted:
        for done, step in enumerate(steps):
            if step in table.steps:
                continue
            if preempted():
                table.save()
                raise Preempted(f"probe {cell.id} seed {seed}: told to stop; {done} of {len(steps)} checkpoints kept")
            rows.clear()
            if step == 0:
                add(0, INPUT, "raw input, flattened", {name: values.flatten(1) for name, values in inputs.items()})
            identity = run_identity(cell, seed) | {"step": str(step)}
            load_weights(model, parts.paths.checkpoint(seed, step), identity)
            features = {name: layer_features(model, values, layers) for name, values in inputs.items()}
            for layer in (name for name in layers if name in features["train"]):
                about = features["train"][layer].about
                add(step, layer, about, {name: caught[layer].values for name, caught in features.items()})
            table.add(step, pd.DataFrame(rows, columns=PROBES.names))
            bar.update(done + 1)


def _split(features: Tensor, targets: Tensor, labels: Tensor | None) -> Split:
    """Move one split to where scikit-learn works: float64 arrays."""
    return Split(
        features.double().cpu().numpy(),
        targets.double().cpu().numpy(),
        None if labels is None else labels.cpu().numpy(),
    )
