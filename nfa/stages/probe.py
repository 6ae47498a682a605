"""Stage 3: score every layer's features at every checkpoint of a cell; writes probes.parquet."""

import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from nfa.errors import Preempted
from nfa.features import FeatureMachine
from nfa.features.quality import Row, input_rows, linear_rows, metric_rows, recovery_rows
from nfa.features.samples import SamplesWithTargets
from nfa.jobs.preemption import preemption
from nfa.jobs.progress import event, progress_bar
from nfa.storage.checkpoints import load_weights, run_identity
from nfa.storage.checks import finished_runs
from nfa.storage.columns import PROBES
from nfa.storage.partial_table import SAVE_SECONDS, GrowingTable
from nfa.storage.parts import Parts, write_timings
from nfa.storage.paths import SweepPaths
from nfa.storage.tables import read_table, write_table
from nfa.sweep.cells import Cell, Sweep
from nfa.sweep.sections import Probe
from nfa.training import Materials, build_model, load_all


def probe(sweep: Sweep, cell: Cell, results: Path, device: torch.device, save_seconds: float = SAVE_SECONDS) -> None:
    """Probe every seed of a cell that is not probed, then write the cell's table from all of them.

    Raises:
        UserError: The cell is not trained, or a checkpoint is missing, damaged or foreign.
    """
    paths = SweepPaths(results / sweep.name).cell(cell.id)
    hashes = sweep.hashes(cell)
    parts = Parts(paths, "probe", hashes["probe"])
    runs = finished_runs(paths, sweep.seeds)  # before the lock makes a folder
    with parts.locked():
        left = []
        tables: dict[int, pd.DataFrame] = {}
        for seed in runs:
            if parts.finished(seed) is None:
                left.append(seed)
            else:
                event(f"probe {cell.id} seed {seed}: finished before")
                tables[seed] = read_table(parts.file(seed, "parquet"))
        known: dict[int, Subject] = {}  # of the last data, which the next seed may share
        for seed, data in load_all(cell, left, device).items():
            started = time.perf_counter()
            table = GrowingTable(parts, seed, PROBES, save_seconds)
            if id(data) not in known:
                known = {id(data): Subject.of(data, sweep.probe)}
            _probe_seed(cell, seed, runs[seed]["checkpoints"], known[id(data)], sweep.probe, table, parts, device)
            tables[seed] = table.finish()
            parts.finish(seed, started, earlier=table.seconds)
            table.discard()
            took = time.perf_counter() - started
            event(f"probe {cell.id} seed {seed}: {len(runs[seed]['checkpoints'])} checkpoints in {took:.1f} s")
        whole = pd.concat([tables[seed] for seed in sweep.seeds], ignore_index=True)
        write_table(paths.probes, whole, PROBES, parts.stamp(sweep.seeds))
        write_timings(paths, hashes)


@dataclass(frozen=True)
class Subject:
    """What the networks of a data set are probed on, and what needs no network.

    Attributes:
        data: The data set.
        train: Samples to fit on.
        test: Samples to score only.
        few: Those of ``train`` that kernel machines are fitted on.
        baselines: Scores of the raw input.
        machine: The recursive feature machine, if there is one.
    """

    data: Materials
    train: SamplesWithTargets
    test: SamplesWithTargets
    few: SamplesWithTargets
    baselines: list[Row]
    machine: FeatureMachine | None

    @classmethod
    def of(cls, data: Materials, settings: Probe) -> "Subject":
        """Choose the samples and score the raw input."""
        chosen = data.order[: settings.samples]
        labels = None if data.labels_train is None else data.labels_train[chosen]
        train = SamplesWithTargets(data.x_train[chosen], data.y_train[chosen], labels)
        test = SamplesWithTargets(data.x_test, data.y_test, data.labels_test)
        few = 0 if settings.kernel == "none" else settings.kernel_samples
        baselines, machine = input_rows(train, test, kind=settings.kind, kernel_samples=few, rfm=settings.rfm)
        return cls(data, train, test, train.first(settings.kernel_samples), baselines, machine)


def _probe_seed(
    cell: Cell,
    seed: int,
    steps: list[int],
    subject: Subject,
    settings: Probe,
    table: GrowingTable,
    parts: Parts,
    device: torch.device,
) -> None:
    """Probe the checkpoints of one run that are not in its table.

    The raw input's scores stand with step 0, which is the untrained network.
    """
    model = build_model(cell, seed, device)
    with progress_bar(f"probe {cell.id} seed {seed}", len(steps)) as bar, preemption() as preempted:
        for done, step in enumerate(steps):
            if step in table.steps:
                continue
            if preempted():
                table.save()
                raise Preempted(f"probe {cell.id} seed {seed}: told to stop; {done} of {len(steps)} checkpoints kept")
            identity = run_identity(cell, seed) | {"step": str(step)}
            load_weights(model, parts.paths.checkpoint(seed, step), identity)
            rows = list(subject.baselines) if step == 0 else []
            rows += _checkpoint_rows(cell, seed, model, subject, settings, at_end=step in (steps[0], steps[-1]))
            table.add(step, pd.DataFrame([(seed, step, *row) for row in rows], columns=PROBES.names))
            bar.update(done + 1)


def _checkpoint_rows(
    cell: Cell, seed: int, model: nn.Module, subject: Subject, settings: Probe, *, at_end: bool
) -> list[Row]:
    """Score one network: every layer's features, learned metrics, and recovery where the truth is known."""
    layers = [layer.name for layer in cell.layers]
    train, test, few = subject.train, subject.test, subject.few
    rows = linear_rows(model, train, test, layers, kind=settings.kind, max_features=settings.max_features)
    learned = {"none": [], "first": layers[:1], "all": layers}[settings.kernel]
    if learned and (at_end or settings.kernel_at == "all"):
        rows += metric_rows(model, few, test, learned, seed=seed, machine=subject.machine)
    directions, agop = subject.data.directions, subject.data.target_agop
    if directions is not None:
        truth = directions.double().cpu().numpy(), None if agop is None else agop.cpu().numpy()
        rows += recovery_rows(model, few.inputs, layers[0], *truth, seed=seed)
    return rows
