"""Publish the runs of a sweep to a tracker, in one pass over its cells.

The pass skips every run that the ledger holds with the same content, so that publishing again costs little, and notes
each published run in the ledger at once, so that a killed pass continues where it stopped. Large sweeps are published
by two processes, each with a client of its own, because a client waits half of its time for its service or the server.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

from filelock import Timeout

from nfa.digests import digest, file_digest
from nfa.errors import UserError
from nfa.jobs.in_fork import running_in_fork
from nfa.jobs.progress import Bar, progress_bar
from nfa.jobs.temporary_folder import own_temporary_folder
from nfa.report.numbers import plural
from nfa.storage.checks import check_outputs
from nfa.storage.paths import SweepPaths
from nfa.storage.tables import read_written
from nfa.storage.tuned import found_values
from nfa.sweep.cells import Cell, Sweep
from nfa.tracking.destinations import Place
from nfa.tracking.journal import journal_of
from nfa.tracking.ledger import Ledger, LedgerEntry
from nfa.tracking.record.cell_files import CellResults, files_digest, read_results
from nfa.tracking.record.run import LAYOUT, RunRecord, build_record, run_key
from nfa.tracking.record.sweep_files import (
    checkpoint_bundles,
    configuration_bundles,
    read_sweep_record,
    sweep_files_digest,
    sweep_is_aggregated,
)
from nfa.tracking.record.sweep_run import SUMMARY_KEY
from nfa.tracking.record.tune_run import build_tune_record, tune_key
from nfa.tracking.tracker import Tracker, TrackerError, TrackerUnavailableError

FOLLOWER_SECONDS = 65.0  # the follower of a stage ends within this time after its stage (nfa.tracking.follower)

MAX_FAILURES = 3  # after so many failed runs in a row, the others are not tried

MANY_RUNS = 100  # sweeps of at least so many runs use two processes; a second client takes a second or two to start


def keys_of_runs(sweep: Sweep, cell: Cell) -> list[str]:
    """Return the keys of all runs that are published for a cell."""
    return [run_key(cell, seed) for seed in sweep.seeds] + ([tune_key(cell)] if cell.searches else [])


@dataclass
class PublishSummary:
    """The outcome of one publishing pass.

    Attributes:
        place: The place to which the runs were published.
        published: Keys of the runs published by this pass.
        unchanged: Keys of the runs that had been published before with the same content.
        unsent: Runs that could not be published: key -> reason.
        incomplete: Cells that are not finished: cell id -> missing file or seed.
        summary_left_out: True if the summary run is left out because the sweep is not aggregated.
        report: Address of the sweep's W&B report, if one was requested.
        no_report: The reason why a requested report was not made.
        not_linked: The reason why the server did not take the file bundles of published runs.
    """

    place: Place
    published: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    unsent: dict[str, str] = field(default_factory=dict)
    incomplete: dict[str, str] = field(default_factory=dict)
    summary_left_out: bool = False
    report: str | None = None
    no_report: str | None = None
    not_linked: str | None = None

    @property
    def complete(self) -> bool:
        """True if at least one run is published and no run or report failed, or if the sweep file disables publishing.

        Cells that are not finished count only if nothing else is published, because a sweep that still runs may be
        published in part.
        """
        failed = self.unsent or self.no_report or not (self.published or self.unchanged)
        return self.place.how == "disabled" or not failed

    def lines(self) -> list[str]:
        """Return lines for a person: the outcome, and the command that completes it."""
        name, how = self.place.name, self.place.how
        if how == "disabled":
            return [f"{name}: disabled in the sweep file; nothing published"]
        done = f"{name}: {plural(len(self.published), 'run')} published {how}, {len(self.unchanged)} unchanged"
        lines = [done + (f"; browse them with `wandb leet {self.place.folder}`" if how == "offline" else "")]
        if self.unsent:
            run, reason = next(iter(self.unsent.items()))
            unsent = plural(len(self.unsent), "run") + (" is" if len(self.unsent) == 1 else " are")
            lines += [f"{name}: warning: {unsent} not published, e.g. {run}: {reason}"]
            lines += [f"{name}: no result is lost; `nfa publish` catches up"]
        if self.incomplete:
            reason = next(iter(self.incomplete.values()))
            lines += [f"{name}: {plural(len(self.incomplete), 'cell')} not finished: {reason}"]
        if self.summary_left_out:
            lines += [f"{name}: no summary run: the sweep is not aggregated; run `nfa aggregate`, then `nfa publish`"]
        if self.report:
            lines += [f"{name}: report {self.report}"]
        if self.not_linked:
            lines += [f"{name}: warning: the runs have no links to artifacts: {self.not_linked}"]
            lines += [
                f"{name}: `nfa publish` tries again; `wandb: {{artifacts: false}}` in the sweep file turns them off"
            ]
        if self.no_report:
            lines += [f"{name}: warning: no report: {self.no_report}"]
        return lines


class Publication:
    """One publishing pass over a sweep's runs. The tracker is opened when the first run needs it."""

    def __init__(self, sweep: Sweep, paths: SweepPaths, ledger: Ledger, summary: PublishSummary) -> None:
        """Prepare to publish the runs of ``sweep`` that ``ledger`` does not hold, and to count them in ``summary``."""
        self.sweep, self.paths, self.ledger, self.summary = sweep, paths, ledger, summary
        self.place = summary.place
        self.tracker: Tracker | None = None
        self.given_up: str | None = None
        self.failures = 0

    def run(self, runs_only: bool) -> None:
        """Publish all runs that are not published yet, and the summary run unless ``runs_only``.

        Each process holds one cell in memory at a time. In a large sweep, a forked process publishes every second cell.
        """
        cells = self.sweep.cells
        try:
            with progress_bar("publish", len(cells)) as bar:
                few = len(cells) * len(self.sweep.seeds) < MANY_RUNS
                if few or self.place.how == "locally":  # MLflow's database has one writer
                    self._publish_cells(cells, bar)
                else:
                    before = {key: self.ledger.read(key) for key in self._keys(cells[1::2])}
                    with running_in_fork(partial(self._publish_in_fork, cells[1::2], os.getpid())):
                        self._publish_cells(cells[::2], bar, each=2)
                    self._publish_cells(cells[1::2])  # publishes what the fork could not, and counts the rest
                    self._count_as_published(before)
            if not runs_only:
                self._publish_sweep()
        finally:
            self._close()

    def _close(self) -> None:
        if self.tracker:
            self.tracker.close()

    def _keys(self, cells: Sequence[Cell]) -> list[str]:
        return [key for cell in cells for key in keys_of_runs(self.sweep, cell)]

    def _publish_cells(self, cells: Sequence[Cell], bar: Bar | None = None, each: int = 1) -> None:
        """Publish the runs of some cells; each cell moves the progress bar by ``each``."""
        for done, cell in enumerate(cells):
            try:
                check_outputs(self.sweep, cell, self.paths.cell(cell.id))
            except UserError as error:
                self.summary.incomplete[cell.id] = str(error)
            else:
                self._publish_cell(cell)
                if cell.searches:
                    self._publish_search(cell)
            if bar:
                bar.update(min((done + 1) * each, len(self.sweep.cells)))

    def _publish_in_fork(self, cells: Sequence[Cell], parent: int) -> None:
        """Publish some cells' runs in a forked process. Only its ledger records count; its failures are tried again."""
        if os.getpid() == parent:
            return  # the fork was killed, or this system has no forks: `run` publishes these cells afterwards
        other = Publication(self.sweep, self.paths, self.ledger, PublishSummary(self.place))
        with own_temporary_folder(), suppress(UserError):  # the parent meets the same error and reports it
            try:
                other._publish_cells(cells)
            finally:
                other._close()

    def _count_as_published(self, before: dict[str, LedgerEntry | None]) -> None:
        """Count runs whose ledger entry differs from the one ``before`` the fork as published by this pass."""

        def is_new(key: str) -> bool:
            entry, known = self.ledger.read(key), before[key]
            return entry is not None and (known is None or replace(known, inputs=entry.inputs) != entry)

        found = self.summary.unchanged
        new = [key for key in found if key in before and is_new(key)]
        counted = set(new)
        self.summary.published += new
        self.summary.unchanged = [key for key in found if key not in counted]

    def _publish_cell(self, cell: Cell) -> None:
        inputs = self._inputs(cell)
        pending = [seed for seed in self.sweep.seeds if not self._is_done(run_key(cell, seed), inputs)]
        if self.given_up:
            self.summary.unsent |= {run_key(cell, seed): self.given_up for seed in pending}
            return
        if not pending:
            return
        try:
            results = read_results(self.paths.cell(cell.id))
        except UserError as error:
            self.summary.incomplete[cell.id] = str(error)
            return
        for record in self._records(cell, pending, results):
            self._publish_if_changed(record, inputs)

    def _records(self, cell: Cell, seeds: list[int], results: CellResults) -> Iterator[RunRecord]:
        """Lay out a cell's runs; note the cell as incomplete if its files lack a seed."""
        for seed in seeds:
            if str(seed) in results.document["runs"]:
                makes = checkpoint_bundles(self.sweep, cell, seed, self.paths)
                yield build_record(self.sweep, cell, seed, results, configuration_bundles(self.sweep), makes)
            else:
                self.summary.incomplete[cell.id] = f"run of seed {seed}"

    def _publish_search(self, cell: Cell) -> None:
        """Publish the run of the search for a cell's tuned settings."""
        key, paths = tune_key(cell), self.paths.cell(cell.id)
        try:
            document, trials = found_values(self.sweep, cell, paths), read_written(paths.trials, by="tune")
        except UserError as error:
            self.summary.incomplete[cell.id] = str(error)
            return
        inputs = digest({"layout": LAYOUT, "files": [file_digest(file) for file in (paths.tuned, paths.trials)]})
        if self.given_up:
            self.summary.unsent[key] = self.given_up
        elif not self._is_done(key, inputs):
            self._publish_if_changed(build_tune_record(self.sweep, cell, document, trials), inputs)

    def _publish_sweep(self) -> None:
        """Publish the summary run, unless a cell is incomplete or the aggregated tables are of other runs."""
        if self.given_up or self.summary.incomplete:
            return
        if not sweep_is_aggregated(self.sweep, self.paths):
            self.summary.summary_left_out = True
            return
        inputs = digest({"layout": LAYOUT, "files": sweep_files_digest(self.paths)})
        if self._is_done(SUMMARY_KEY, inputs):
            return
        try:
            record = read_sweep_record(self.sweep, self.paths)
        except UserError as error:
            self.summary.unsent[SUMMARY_KEY] = str(error)
            return
        self._publish_if_changed(record, inputs)

    def _inputs(self, cell: Cell) -> str:
        """Hash the files and settings from which a cell's runs are made."""
        files = files_digest(self.paths.cell(cell.id))
        return digest({"layout": LAYOUT, "files": files, **self.sweep.hashes(cell)})

    def _is_done(self, key: str, inputs: str) -> bool:
        """Return True, and count the run as unchanged, if it was published from the same inputs."""
        entry = self.ledger.read(key)
        if entry is None or entry.inputs != inputs or not self._is_there(entry):
            return False
        if entry.sent:
            self.ledger.write(key, entry)  # `wandb clean` may remove the folder whose mark says that the run was sent
        self.summary.unchanged.append(key)
        return True

    def _is_there(self, entry: LedgerEntry) -> bool:
        """Return True if a published run is where the sweep wants it.

        Online it also needs the links to its file bundles, unless they are turned off or the server has just refused
        those of another run.
        """
        if self.place.how == "offline":
            there = entry.sent or self.ledger.has_folder(entry)
        else:
            there = entry.sent and (entry.linked or not self.sweep.wandb.artifacts or bool(self.summary.not_linked))
        return there and entry.destination == self.place.destination

    def _publish_if_changed(self, record: RunRecord, inputs: str) -> None:
        """Publish a run, unless it is published with the same content: then note only its new inputs."""
        known = self.ledger.read(record.key)
        if known and known.digest == record.digest and self._is_there(known):
            self.ledger.write(record.key, replace(known, inputs=inputs))
            self.summary.unchanged.append(record.key)
        else:
            self._publish_run(record, known, inputs)

    def _publish_run(self, record: RunRecord, known: LedgerEntry | None, inputs: str) -> None:
        """Publish one run and replace its ledger entry ``known``; a failure is noted, not raised."""
        record, superseded, tagged = self._continued(record, known)
        try:
            tracker = self._open()
            if known and not known.sent and self.place.how == "offline":
                # Remove the old folder first: after a kill between the two steps, `wandb sync` would upload both runs.
                self.ledger.remove(known.folder)
            with self.ledger.run_lock(record.key).acquire(timeout=FOLLOWER_SECONDS):
                sent = tracker.publish(record)
        except Timeout:
            self._note_failure(record.key, TrackerError("the process that updates its live curves still works on it"))
            return
        except TrackerError as error:
            self._note_failure(record.key, error)
            return
        self.failures = 0
        self.summary.not_linked = self.summary.not_linked or sent.not_linked
        if known and not known.sent and known.folder != sent.folder:
            self.ledger.remove(known.folder)  # the server has the run now
        entry = LedgerEntry(
            id=record.id,
            digest=record.digest,
            destination=self.place.destination,
            inputs=inputs,
            folder=sent.folder,
            sent=sent.sent,
            linked=sent.linked,
            superseded=superseded,
            tagged=superseded if sent.sent else tagged,
        )
        self.ledger.write(record.key, entry)
        self.summary.published.append(record.key)

    def _continued(
        self, record: RunRecord, known: LedgerEntry | None
    ) -> tuple[RunRecord, tuple[str, ...], tuple[str, ...]]:
        """Continue the run that was begun while it trained if its content still holds, and list the runs it replaces.

        Returns:
            The record, with ``begun_as`` and ``replaces`` set; the ids of runs on the server that hold earlier content;
            those of them that are already tagged as superseded.
        """
        if known is None:
            # A run may have been begun while it trained, and its ledger record lost: then nothing is known about it.
            lost = (record.live_id,) if record.live_id and self.place.how == "online" else ()
            return replace(record, replaces=lost), (), ()
        superseded = known.superseded
        begun_here = known.live and known.destination == self.place.destination and self.place.how == "online"
        if begun_here and journal_of(self.place.folder, known.id).fits(record):
            record = replace(record, begun_as=known.id)
        if known.id != record.id and (known.sent or known.live) and known.id not in superseded:
            superseded += (known.id,)
        record = replace(record, replaces=tuple(run_id for run_id in superseded if run_id not in known.tagged))
        return record, superseded, known.tagged

    def _open(self) -> Tracker:
        """Return the tracker; start it at the first call.

        Raises:
            TrackerUnavailableError: The tracker cannot be started, or was given up after failures.
        """
        if self.given_up:
            raise TrackerUnavailableError(self.given_up)
        if self.tracker is None:
            self.tracker = self.place.open()
        return self.tracker

    def _note_failure(self, key: str, error: TrackerError) -> None:
        self.summary.unsent[key] = str(error)
        self.failures += 1
        if isinstance(error, TrackerUnavailableError) or self.failures >= MAX_FAILURES:
            self.given_up = str(error)
