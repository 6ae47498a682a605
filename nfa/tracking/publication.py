"""One pass that publishes the runs of a sweep to a tracker."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial

from filelock import Timeout

from nfa.digests import digest
from nfa.errors import UserError
from nfa.jobs.in_fork import running_in_fork
from nfa.jobs.progress import Bar, progress_bar
from nfa.jobs.temporary_folder import own_temporary_folder
from nfa.storage.checks import check_outputs
from nfa.storage.paths import SweepPaths
from nfa.sweep.cells import Cell, Sweep
from nfa.tracking.bundles import (
    checkpoint_bundles,
    configuration_bundle,
    read_sweep_record,
    sweep_files_digest,
    sweep_is_aggregated,
)
from nfa.tracking.destinations import Place
from nfa.tracking.journal import journal_of
from nfa.tracking.ledger import Entry, Ledger
from nfa.tracking.record.cell import CellResults, files_digest, read_results
from nfa.tracking.record.run import LAYOUT, RunRecord, build_record, run_key
from nfa.tracking.record.sweep import KEY
from nfa.tracking.tracker import Tracker, TrackerError, TrackerUnavailableError

FOLLOWER_SECONDS = 65.0  # a stage's follower ends within this (nfa.tracking.live)

MAX_FAILURES = 3  # after this many runs in a row that fail, the rest would too

MANY_RUNS = 100  # from here on two processes publish: a second client's start is worth its second or two


@dataclass
class PublishSummary:
    """What a publish did.

    Attributes:
        place: Where to.
        published: Runs published now.
        unchanged: Runs that were published before.
        unsent: Runs that could not be published, with the reason.
        incomplete: Cells that are not finished, with the file that is missing.
        summary_left_out: Whether the sweep's summary run is left out, because the sweep is not aggregated.
        report: Address of the sweep's report, where one was asked for.
        no_report: Why there is none.
    """

    place: Place
    published: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    unsent: dict[str, str] = field(default_factory=dict)
    incomplete: dict[str, str] = field(default_factory=dict)
    summary_left_out: bool = False
    report: str | None = None
    no_report: str | None = None

    def lines(self) -> list[str]:
        """Say it to a person: what happened, and how to catch up."""
        name, how = self.place.name, self.place.how
        if how == "disabled":
            return [f"{name}: disabled in the sweep file; nothing published"]
        done = f"{name}: {len(self.published)} runs published {how}, {len(self.unchanged)} unchanged"
        lines = [done + (f"; browse them with `wandb leet {self.place.folder}`" if how == "offline" else "")]
        if self.unsent:
            run, reason = next(iter(self.unsent.items()))
            lines += [f"{name}: warning: {len(self.unsent)} runs are not published, e.g. {run}: {reason}"]
            lines += [f"{name}: no result is lost; `nfa publish` catches up"]
        if self.incomplete:
            reason = next(iter(self.incomplete.values()))
            lines += [f"{name}: {len(self.incomplete)} cells are not finished: {reason}"]
        if self.summary_left_out:
            lines += [f"{name}: no summary run: the sweep is not aggregated; run `nfa aggregate`, then `nfa publish`"]
        if self.report:
            lines += [f"{name}: report {self.report}"]
        if self.no_report:
            lines += [f"{name}: warning: no report: {self.no_report}"]
        return lines


class Publication:
    """One pass over a sweep's runs; the tracker is opened when the first run needs it."""

    def __init__(self, sweep: Sweep, paths: SweepPaths, ledger: Ledger, summary: PublishSummary) -> None:
        """Prepare to publish the runs of ``sweep`` that ``ledger`` does not hold; count them in ``summary``."""
        self.sweep, self.paths, self.ledger, self.summary = sweep, paths, ledger, summary
        self.place = summary.place
        self.tracker: Tracker | None = None
        self.given_up: str | None = None
        self.failures = 0

    def run(self, runs_only: bool) -> None:
        """Publish what needs it, cell by cell, so that memory holds one cell of each process.

        Of many runs every second cell's go out from a fork: half of a client's time is waiting for its service or for
        a server.
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
                    self._publish_cells(cells[1::2])  # what the fork could not; the rest is there, and counted
                    self._count_as_published(before)
            if not runs_only:
                self._publish_sweep()
        finally:
            self._close()

    def _close(self) -> None:
        if self.tracker:
            self.tracker.close()

    def _keys(self, cells: Sequence[Cell]) -> list[str]:
        return [run_key(cell, seed) for cell in cells for seed in self.sweep.seeds]

    def _publish_cells(self, cells: Sequence[Cell], bar: Bar | None = None, each: int = 1) -> None:
        """Publish some cells' runs; every one moves the bar by ``each``."""
        for done, cell in enumerate(cells):
            try:
                check_outputs(self.sweep, cell, self.paths.cell(cell.id))
            except UserError as error:
                self.summary.incomplete[cell.id] = str(error)
            else:
                self._publish_cell(cell)
            if bar:
                bar.update(min((done + 1) * each, len(self.sweep.cells)))

    def _publish_in_fork(self, cells: Sequence[Cell], parent: int) -> None:
        """Publish some cells' runs with a client of its own; records are all it leaves, and failures cost only time."""
        if os.getpid() == parent:
            return  # the fork was killed, or there are none here: what is missing is published after
        other = Publication(self.sweep, self.paths, self.ledger, PublishSummary(self.place))
        with own_temporary_folder(), suppress(UserError):  # met again there, and said
            try:
                other._publish_cells(cells)
            finally:
                other._close()

    def _count_as_published(self, before: dict[str, Entry | None]) -> None:
        """Count the runs that are there and were not ``before``, in other content or elsewhere, as published now."""

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
            known = self.ledger.read(record.key)
            if known and known.digest == record.digest and self._is_there(known):
                self.ledger.write(record.key, Entry(**{**asdict(known), "inputs": inputs}))
                self.summary.unchanged.append(record.key)
            else:
                self._publish_run(record, known, inputs)

    def _records(self, cell: Cell, seeds: list[int], results: CellResults) -> Iterator[RunRecord]:
        """Lay out a cell's runs; a seed that is not in its files yet is incomplete."""
        for seed in seeds:
            if str(seed) in results.document["runs"]:
                makes = checkpoint_bundles(self.sweep, cell, seed, self.paths)
                yield build_record(self.sweep, cell, seed, results, (configuration_bundle(self.sweep),), makes)
            else:
                self.summary.incomplete[cell.id] = f"run of seed {seed}"

    def _publish_sweep(self) -> None:
        """Publish the run that stands for the sweep, once it is aggregated; a stale aggregation is not its fault."""
        if self.given_up or self.summary.incomplete:
            return
        if not sweep_is_aggregated(self.sweep, self.paths):
            self.summary.summary_left_out = True
            return
        inputs = digest({"layout": LAYOUT, "files": sweep_files_digest(self.paths)})
        if self._is_done(KEY, inputs):
            return
        try:
            record = read_sweep_record(self.sweep, self.paths)
        except UserError as error:
            self.summary.unsent[KEY] = str(error)
            return
        known = self.ledger.read(KEY)
        if known and known.digest == record.digest and self._is_there(known):
            self.ledger.write(KEY, replace(known, inputs=inputs))
            self.summary.unchanged.append(KEY)
        else:
            self._publish_run(record, known, inputs)

    def _inputs(self, cell: Cell) -> str:
        """Hash everything a cell's runs are made from."""
        files = files_digest(self.paths.cell(cell.id))
        return digest({"layout": LAYOUT, "files": files, **self.sweep.hashes(cell)})

    def _is_done(self, key: str, inputs: str) -> bool:
        """Tell whether a run is published from the same files, without reading them."""
        entry = self.ledger.read(key)
        if entry is None or entry.inputs != inputs or not self._is_there(entry):
            return False
        if entry.sent:
            self.ledger.write(key, entry)  # lasts when `wandb clean` removes the folder with its mark
        self.summary.unchanged.append(key)
        return True

    def _is_there(self, entry: Entry) -> bool:
        """Tell whether a published run is where this sweep wants it; online with its place among bundles of files."""
        if self.place.how == "offline":
            there = entry.sent or self.ledger.has_folder(entry)
        else:
            there = entry.sent and entry.linked
        return there and entry.destination == self.place.destination

    def _publish_run(self, record: RunRecord, known: Entry | None, inputs: str) -> None:
        """Publish one run in place of what is known of it; a failure is noted, not raised."""
        record, superseded, tagged = self._continued(record, known)
        try:
            tracker = self._open()
            if known and not known.sent and self.place.how == "offline":
                # First, because a kill between the two would leave both, and `wandb sync` would upload both.
                self.ledger.remove(known.folder)
            with self.ledger.run_lock(record.key).acquire(timeout=FOLLOWER_SECONDS):
                sent = tracker.publish(record)
        except Timeout:
            self._note_failure(record.key, TrackerError("the follower of its stage still works on it"))
            return
        except TrackerError as error:
            self._note_failure(record.key, error)
            return
        self.failures = 0
        if known and not known.sent and known.folder != sent.folder:
            self.ledger.remove(known.folder)  # online has it now
        entry = Entry(
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

    def _continued(self, record: RunRecord, known: Entry | None) -> tuple[RunRecord, tuple[str, ...], tuple[str, ...]]:
        """Take up the run that was begun while it trained, where all in it is still true; name what it replaces.

        Returns:
            The record; ids of runs of earlier content that a server has; which of these are tagged so.
        """
        if known is None:
            # A run may have been begun live, and its record lost: what came of it is not known.
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
        """Return the tracker, started when it is first needed.

        Raises:
            TrackerUnavailableError: It cannot be had, or was given up.
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
