"""Live curves: the follower, a process beside a stage that updates the cells' W&B runs while the stage works.

    with followed(sweep, cells, results):           # starts the follower if the sweep is online
        ...                                         # the stage, which knows nothing of the follower

The follower reads only the files that the stage writes anyway (saved training states and finished parts). Therefore
training never waits for the network, never imports the W&B client and survives its failures. ``nfa publish`` later
sends everything that the follower could not send. The follower's standard input is a pipe from the stage's process,
which closes however that process ends; then the follower ends too.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pandas as pd
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open

from nfa.conventions import LINEAR_PROBES
from nfa.digests import unsealed
from nfa.errors import UserError
from nfa.jobs.progress import event
from nfa.storage.columns import ALIGNMENT, HISTORY, PROBES
from nfa.storage.documents import cell_document
from nfa.storage.finished_seeds import Parts
from nfa.storage.paths import CellPaths, SweepPaths
from nfa.storage.tables import read_table
from nfa.sweep.cells import Cell, Sweep
from nfa.sweep.grid import parse
from nfa.tracking.destinations import open_wandb, wandb_place
from nfa.tracking.journal import journal_of, lines_of
from nfa.tracking.ledger import Ledger, LedgerEntry
from nfa.tracking.record.run import RunRecord, begun_record, run_key
from nfa.tracking.tracker import TrackerError, TrackerUnavailableError

if TYPE_CHECKING:
    from nfa.tracking.weights_and_biases.tracker import OpenRun, WandbTracker

LOOK_SECONDS = 2.0  # pause between two looks at the files
AGAIN_SECONDS = 60.0  # pause after a server did not answer
LINGER_SECONDS = 5.0  # a finished stage waits so long for its follower, which a batch system kills with the job
LIMIT_SECONDS = 60.0  # the follower exits at the latest so long after its stage has ended


@contextlib.contextmanager
def followed(sweep: Sweep, cells: Sequence[Cell], results: Path) -> Iterator[None]:
    """Run a stage, the body of the `with` statement, with a follower if the sweep is online."""
    if sweep.wandb.mode != "online":
        yield
        return
    command = [sys.executable, "-m", "nfa.tracking.follower"]
    task = {"document": sweep.document, "cells": [cell.id for cell in cells], "results": str(results.resolve())}
    pipe = subprocess.PIPE
    follower = subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, start_new_session=True, text=True
    )
    assert follower.stdin is not None
    # The follower does not inherit standard output: a reader of the stage's output would wait until the follower ends.
    threading.Thread(target=_relay, args=(follower.stdout,), daemon=True).start()
    try:
        with contextlib.suppress(BrokenPipeError):
            follower.stdin.write(json.dumps(task) + "\n")
            follower.stdin.flush()
        yield
    finally:
        with contextlib.suppress(BrokenPipeError):
            follower.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            follower.wait(LINGER_SECONDS)


def _relay(output: IO[str]) -> None:
    """Print the follower's messages as the stage's own."""
    for line in output:
        event(line.rstrip("\n"))


def main() -> None:
    """Follow a stage. The first line of standard input names its cells; the end of standard input ends the follower."""
    task = json.loads(sys.stdin.readline())
    sweep = parse(task["document"], "plan")
    cells = [sweep.cell(name) for name in task["cells"]]
    try:
        _Follower(sweep, cells, Path(task["results"])).run()
    except UserError as error:
        print(f"W&B: warning: no live curves: {error}", flush=True)
    except TrackerError as error:
        print(f"W&B: warning: no live curves: {error}; `nfa publish` catches up", flush=True)


class _Follower:
    """Look at the cells' files repeatedly until the stage has ended, and once more after that."""

    def __init__(self, sweep: Sweep, cells: Sequence[Cell], results: Path) -> None:
        self.sweep, self.cells = sweep, cells
        self.paths = SweepPaths(results / sweep.name)
        self.ledger = Ledger(self.paths.wandb)
        self.destination = wandb_place(sweep, self.paths).destination
        self.tracker: WandbTracker | None = None
        self.opened: dict[str, tuple[OpenRun, FileLock]] = {}
        self.warned = False  # a missing server is reported once
        self.left: set[str] = set()  # runs that are left to `nfa publish`
        self.seen: dict[str, list[tuple[int, int]]] = {}  # time and size of each run's files at the last look

    def run(self) -> None:
        """Follow until the stage has ended; lines that the server does not take soon are left to `nfa publish`."""
        ended = threading.Event()
        threading.Thread(target=_watch, args=(ended,), daemon=True).start()
        pause = LOOK_SECONDS
        try:
            while not ended.wait(pause):
                pause = LOOK_SECONDS
                try:
                    self._open()  # before there are results, so that a wrong key is reported at the start
                    self._look()
                except TrackerUnavailableError as error:
                    self._let_go(error)
                    pause = AGAIN_SECONDS
            while self._look():  # another follower may hold a run for a moment
                time.sleep(LOOK_SECONDS)
            for key in list(self.opened):
                self._end(key)
        finally:
            if self.tracker is not None:
                self.tracker.close()

    def _let_go(self, error: TrackerUnavailableError) -> None:
        """Report once that no server answers, and release all runs. The journals know which lines have arrived."""
        if not self.warned:
            print(f"W&B: warning: no live curves now: {error}", flush=True)
        self.warned = True
        for key in list(self.opened):
            self._release(key)
        self.seen.clear()
        if self.tracker is not None:
            self.tracker.close()
            self.tracker = None

    def _look(self) -> bool:
        """Add new results to the runs; return True if another follower holds one of the runs at the moment."""
        busy = False
        for cell in self.cells:
            for seed in self.sweep.seeds:
                key = run_key(cell, seed)
                if key in self.left:
                    continue
                paths = self.paths.cell(cell.id)
                state = _state(begun_files(self.sweep, cell, seed, paths))
                if state == self.seen.get(key):
                    continue  # unchanged files are not read again, because a sweep may have thousands of runs
                found = read_begun(self.sweep, cell, seed, paths)
                try:
                    held = found is not None and self._add(*found)
                    busy |= held
                    if not held:
                        self.seen[key] = state
                except TrackerUnavailableError:
                    raise
                except TrackerError:
                    self.left.add(key)
                    self._release(key)
        return busy

    def _add(self, record: RunRecord, trained: bool) -> bool:
        """Update one run and keep it open while it trains; return True if another follower holds it."""
        if record.key not in self.opened:
            lock = self.ledger.run_lock(record.key)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                return True
            try:
                if not self._claim(record):
                    return False
                opened = self._open().begin(record)
                self.opened[record.key] = (opened, lock)
                self._note_folder(record.key, opened.folder)
            finally:
                if record.key not in self.opened:
                    lock.release()
        self.opened[record.key][0].write(lines_of(record))
        if trained:
            self._end(record.key)
        return False

    def _claim(self, record: RunRecord) -> bool:
        """Note in the ledger that the run is begun; return False if nothing can or need be added to it."""
        run_id = record.id
        known = self.ledger.read(record.key) or LedgerEntry(run_id, "", self.destination, "", None, False)
        if known.destination == self.destination and known.sent:
            return False  # the run is complete; `nfa publish` compares its whole content
        superseded = known.superseded
        if known.live and known.id == run_id:
            there = journal_of(self.paths.wandb, run_id).named()
            lines = list(lines_of(record))
            if any(there.get(line.name, line.digest) != line.digest for line in lines):
                return False  # the content has changed: `nfa publish` makes another run
            if all(line.name in there for line in lines):
                return False
        elif known.live and known.id not in superseded:
            superseded += (known.id,)
        begun = replace(known, id=run_id, digest="", destination=self.destination, inputs="", sent=False)
        self.ledger.write(record.key, replace(begun, superseded=superseded, live=True))
        return True

    def _note_folder(self, key: str, folder: str) -> None:
        """Record the run's local folder and remove the earlier one."""
        known = self.ledger.read(key)
        assert known is not None
        if known.folder != folder:
            self.ledger.remove(known.folder)
        self.ledger.write(key, replace(known, folder=folder))

    def _open(self) -> "WandbTracker":
        """Return the tracker; start it at the first call."""
        if self.tracker is None:
            self.tracker = open_wandb(self.sweep, self.paths.wandb)
        return self.tracker

    def _end(self, key: str) -> None:
        """Close a run after its lines have arrived."""
        try:
            self.opened[key][0].end()
        finally:
            self._release(key)

    def _release(self, key: str) -> None:
        if key in self.opened:
            self.opened.pop(key)[1].release()


def _watch(ended: threading.Event) -> None:
    """Wait until the stage ends, which closes standard input; exit ``LIMIT_SECONDS`` later at the latest."""
    while sys.stdin.readline():
        pass
    ended.set()
    time.sleep(LIMIT_SECONDS)
    os._exit(1)


def begun_files(sweep: Sweep, cell: Cell, seed: int, paths: CellPaths) -> list[Path]:
    """Return the files that change when a run has new results: its saved state and the marks of finished stages."""
    parts = {stage: Parts(paths, stage, stage_hash) for stage, stage_hash in sweep.hashes(cell).items()}
    marks = [part.file(seed, "json") for part in parts.values()]
    return [parts["train"].file(seed, "resume.safetensors"), *marks]


def _state(files: Sequence[Path]) -> list[tuple[int, int]]:
    """Return modification time (ns) and size (bytes) of each file; zeros for a missing file."""
    found = []
    for file in files:
        try:
            status = file.stat()
            found.append((status.st_mtime_ns, status.st_size))
        except FileNotFoundError:
            found.append((0, 0))
    return found


def read_begun(sweep: Sweep, cell: Cell, seed: int, paths: CellPaths) -> tuple[RunRecord, bool] | None:
    """Lay out the results of a run that exist so far: training curves, alignment, probe scores.

    Returns:
        The run, and True if its training has ended; None if there are no results yet.
    """
    hashes = sweep.hashes(cell)
    frames = {}
    for stage, schema in (("train", HISTORY), ("measure", ALIGNMENT), ("probe", PROBES)):
        parts = Parts(paths, stage, hashes[stage])
        whole = parts.file(seed, "json").exists()
        frames[stage] = read_table(parts.file(seed, "parquet")) if whole else pd.DataFrame(columns=schema.names)
    trained = len(frames["train"]) > 0
    if not trained:
        saved = Parts(paths, "train", hashes["train"]).file(seed, "resume.safetensors")
        frames["train"] = _saved_history(saved, seed)
        if len(frames["train"]) == 0:
            return None
    document = cell_document(sweep, cell, {}, {})
    linear = frames["probe"][frames["probe"]["probe"].isin(LINEAR_PROBES)]
    return begun_record(sweep, cell, seed, document, frames["train"], frames["measure"], linear), trained


def _saved_history(file: Path, seed: int) -> pd.DataFrame:
    """Read the training curves in a saved state without its tensors; return an empty frame if there are none."""
    rows: list[list[Any]] = []
    with contextlib.suppress(FileNotFoundError, SafetensorError, OSError, KeyError, ValueError):
        with safe_open(file, framework="numpy") as opened:
            metadata = json.loads((opened.metadata() or {})["nfa"])
        rows = json.loads(unsealed(metadata)["state"])["history"]
    return pd.DataFrame([[seed, *row] for row in rows], columns=HISTORY.names)


if __name__ == "__main__":
    main()
