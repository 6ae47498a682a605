"""Stage 3: score every layer's features at every checkpoint of a cell; writes probes.parquet."""

from dataclasses import dataclass

import pandas as pd
import torch
from torch import nn

from nfa.features import FeatureMachine
from nfa.features.quality import Row, input_rows, linear_rows, metric_rows, recovery_rows
from nfa.features.samples import SamplesWithTargets
from nfa.stages.options import StageOptions
from nfa.stages.seed_work import SeedWork
from nfa.storage.checks import finished_runs
from nfa.storage.columns import PROBES
from nfa.storage.finished_seeds import Parts, write_timings
from nfa.storage.partial_table import GrowingTable
from nfa.storage.tables import write_table
from nfa.sweep.cells import Cell, Sweep
from nfa.sweep.stage_settings import Probe
from nfa.training import Materials, build_model, load_all


def probe(sweep: Sweep, cell: Cell, options: StageOptions) -> None:
    """Probe every seed of a cell that is not probed, then write the cell's table from all of them.

    Args:
        sweep: The sweep.
        cell: One of its cells, trained.
        options: How and where to work.

    Raises:
        UserError: The cell is not trained, or a checkpoint is missing, damaged or foreign.
    """
    paths = options.paths(sweep, cell)
    hashes = sweep.hashes(cell)
    parts = Parts(paths, "probe", hashes["probe"])
    runs = finished_runs(paths, sweep.seeds)  # raises before the lock makes a folder
    steps = {seed: run["checkpoints"] for seed, run in runs.items()}
    with parts.locked():
        work = SeedWork(cell, parts, steps, PROBES, options.save_seconds)
        data = load_all(cell, work.to_do, options.device)
        shared = {id(each): each for each in data.values()}
        subjects: dict[int, Subject] = {}  # of the last data set, which the next seed may share
        if len(shared) == 1:
            subjects = {name: Subject.of(each, sweep.probe) for name, each in shared.items()}

        def fill(seed: int, table: GrowingTable) -> None:
            nonlocal subjects
            if id(data[seed]) not in subjects:
                subjects = {id(data[seed]): Subject.of(data[seed], sweep.probe)}
            ends = steps[seed][0], steps[seed][-1]
            _probe_seed(work, seed, table, ends, subjects[id(data[seed])], sweep.probe, options.device)

        work.each(fill, options.processes)
        write_table(paths.probes, work.joined(sweep.seeds), PROBES, parts.stamp(sweep.seeds))
        write_timings(paths, hashes)


@dataclass(frozen=True)
class Subject:
    """The samples that the networks of a data set are probed on, and the scores that need no network.

    Attributes:
        data: The data set.
        train: Samples to fit on.
        test: Samples to score only.
        few: Samples of ``train`` that kernel machines are fitted on.
        baselines: Scores of the raw input.
        machine: The recursive feature machine; None if the settings ask for none.
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
    work: SeedWork,
    seed: int,
    table: GrowingTable,
    ends: tuple[int, int],
    subject: Subject,
    settings: Probe,
    device: torch.device,
) -> None:
    """Add the missing checkpoints of one run to its table.

    The scores of the raw input are stored with step 0, which is the untrained network.
    """
    cell = work.cell
    model = build_model(cell, seed, device)
    with work.checkpoints(seed, table, model) as steps:
        for step in steps:
            rows = list(subject.baselines) if step == 0 else []
            rows += _checkpoint_rows(cell, seed, model, subject, settings, at_end=step in ends)
            table.add(step, pd.DataFrame([(seed, step, *row) for row in rows], columns=PROBES.names))


def _checkpoint_rows(
    cell: Cell, seed: int, model: nn.Module, subject: Subject, settings: Probe, *, at_end: bool
) -> list[Row]:
    """Score one network: the features of every layer, learned metrics, and recovery of known directions."""
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
