"""Live curves: a process beside a stage that brings a cell's W&B runs up to date while the stage works.

    with followed(sweep, cells, results):           # in the stage's process: starts the follower, online only
        ...                                         # the stage, which knows nothing of it

The follower reads what the stage leaves on disk anyway, saved states and finished parts, so that no training waits for
a network, imports the client, or dies with it. What it does not get to, `nfa publish` does. It ends with the stage:
its standard input is a pipe from there, which closes however the stage ends.
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
from nfa.storage.parts import Parts
from nfa.storage.paths import CellPaths, SweepPaths
from nfa.storage.tables import read_table
from nfa.sweep.cells import Cell, Sweep
from nfa.sweep.grid import parse
from nfa.tracking.destinations import open_wandb, wandb_place
from nfa.tracking.journal import journal_of, lines_of
from nfa.tracking.ledger import Entry, Ledger
from nfa.tracking.record.run import RunRecord, begun_record, run_key
from nfa.tracking.tracker import TrackerError, TrackerUnavailableError

if TYPE_CHECKING:
    from nfa.tracking.weights_and_biases.tracker import OpenRun, WandbTracker

LOOK_SECONDS = 2.0  # between two looks at the disk
AGAIN_SECONDS = 60.0  # after which a server that was not there is asked again
LINGER_SECONDS = 5.0  # a stage that is done waits so long for its follower: a batch system kills what outlives its job
LIMIT_SECONDS = 60.0  # a follower gives up so long after its stage has ended


@contextlib.contextmanager
def followed(sweep: Sweep, cells: Sequence[Cell], results: Path) -> Iterator[None]:
    """Run a stage with a follower beside it, where the sweep is online."""
    if sweep.wandb.mode != "online":
        yield
        return
    command = [sys.executable, "-m", "nfa.tracking.live"]
    order = {"document": sweep.document, "cells": [cell.id for cell in cells], "results": str(results.resolve())}
    pipe = subprocess.PIPE
    follower = subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, start_new_session=True, text=True
    )
    assert follower.stdin is not None
    # Not the stage's own output: who reads that would wait for the follower's end.
    threading.Thread(target=_relay, args=(follower.stdout,), daemon=True).start()
    try:
        with contextlib.suppress(BrokenPipeError):
            follower.stdin.write(json.dumps(order) + "\n")
            follower.stdin.flush()
        yield
    finally:
        with contextlib.suppress(BrokenPipeError):
            follower.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            follower.wait(LINGER_SECONDS)


def _relay(output: IO[str]) -> None:
    """Say what the follower has to say."""
    for line in output:
        event(line.rstrip("\n"))


def main() -> None:
    """Follow a stage: what to follow is the first line of standard input, whose end is the stage's end."""
    order = json.loads(sys.stdin.readline())
    sweep = parse(order["document"], "plan")
    cells = [sweep.cell(name) for name in order["cells"]]
    try:
        _Follower(sweep, cells, Path(order["results"])).run()
    except UserError as error:
        print(f"W&B: warning: no live curves: {error}", flush=True)
    except TrackerError as error:
        print(f"W&B: warning: no live curves: {error}; `nfa publish` catches up", flush=True)


class _Follower:
    """Looks at the cells' files again and again until the stage has ended, and once more."""

    def __init__(self, sweep: Sweep, cells: Sequence[Cell], results: Path) -> None:
        self.sweep, self.cells = sweep, cells
        self.paths = SweepPaths(results / sweep.name)
        self.ledger = Ledger(self.paths.wandb)
        self.destination = wandb_place(sweep, self.paths).destination
        self.tracker: WandbTracker | None = None
        self.opened: dict[str, tuple[OpenRun, FileLock]] = {}
        self.said = False
        self.left: set[str] = set()  # runs that are left to `nfa publish`
        self.seen: dict[str, list[tuple[int, int]]] = {}  # each run's files as they were when it was last looked at

    def run(self) -> None:
        """Follow until the end; what a server does not take soon after it is left to `nfa publish`."""
        ended = threading.Event()
        threading.Thread(target=_watch, args=(ended,), daemon=True).start()
        pause = LOOK_SECONDS
        try:
            while not ended.wait(pause):
                pause = LOOK_SECONDS
                try:
                    self._open()  # before there is anything: a wrong key is said at the start
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
        """Say once that there is no server, and leave all runs as they are: what is there is known from the journal."""
        if not self.said:
            print(f"W&B: warning: no live curves now: {error}", flush=True)
        self.said = True
        for key in list(self.opened):
            self._release(key)
        self.seen.clear()
        if self.tracker is not None:
            self.tracker.close()
            self.tracker = None

    def _look(self) -> bool:
        """Add to the runs what is new on disk; tell whether one of them is another follower's at the moment."""
        busy = False
        for cell in self.cells:
            for seed in self.sweep.seeds:
                key = run_key(cell, seed)
                if key in self.left:
                    continue
                paths = self.paths.cell(cell.id)
                state = _state(begun_files(self.sweep, cell, seed, paths))
                if state == self.seen.get(key):
                    continue  # thousands of runs are not read again and again beside the training
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
        """Bring one run up to date, and keep it open while it trains; True where another follower holds it."""
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
        """Note in the ledger that the run is begun; False where there is nothing to add, or nothing may be added."""
        run_id = record.id
        known = self.ledger.read(record.key) or Entry(run_id, "", self.destination, "", None, False)
        if known.destination == self.destination and known.sent:
            return False  # it is complete; whether its content has changed, `nfa publish` finds out from all of it
        superseded = known.superseded
        if known.live and known.id == run_id:
            there = journal_of(self.paths.wandb, run_id).named()
            lines = list(lines_of(record))
            if any(there.get(line.name, line.digest) != line.digest for line in lines):
                return False  # other content: another run
            if all(line.name in there for line in lines):
                return False
        elif known.live and known.id not in superseded:
            superseded += (known.id,)
        begun = replace(known, id=run_id, digest="", destination=self.destination, inputs="", sent=False)
        self.ledger.write(record.key, replace(begun, superseded=superseded, live=True))
        return True

    def _note_folder(self, key: str, folder: str) -> None:
        """Record the run's local folder, in place of the one before."""
        known = self.ledger.read(key)
        assert known is not None
        if known.folder != folder:
            self.ledger.remove(known.folder)
        self.ledger.write(key, replace(known, folder=folder))

    def _open(self) -> "WandbTracker":
        """Return the tracker, started when it is first needed."""
        if self.tracker is None:
            self.tracker = open_wandb(self.sweep, self.paths.wandb)
        return self.tracker

    def _end(self, key: str) -> None:
        """Close a run; its lines have arrived."""
        try:
            self.opened[key][0].end()
        finally:
            self._release(key)

    def _release(self, key: str) -> None:
        if key in self.opened:
            self.opened.pop(key)[1].release()


def _watch(ended: threading.Event) -> None:
    """Wait for the stage's end, which closes standard input; then see to it that this process ends too."""
    while sys.stdin.readline():
        pass
    ended.set()
    time.sleep(LIMIT_SECONDS)
    os._exit(1)


def begun_files(sweep: Sweep, cell: Cell, seed: int, paths: CellPaths) -> list[Path]:
    """Files of a run that change when there is more of it: its saved state, and the marks of its finished stages."""
    parts = {stage: Parts(paths, stage, stage_hash) for stage, stage_hash in sweep.hashes(cell).items()}
    marks = [part.file(seed, "json") for part in parts.values()]
    return [parts["train"].file(seed, "resume.safetensors"), *marks]


def _state(files: Sequence[Path]) -> list[tuple[int, int]]:
    """Time and size of each file; zeros where there is none."""
    found = []
    for file in files:
        try:
            status = file.stat()
            found.append((status.st_mtime_ns, status.st_size))
        except FileNotFoundError:
            found.append((0, 0))
    return found


def read_begun(sweep: Sweep, cell: Cell, seed: int, paths: CellPaths) -> tuple[RunRecord, bool] | None:
    """Lay out what there is of a run on disk: its curve so far, alignment, probes; None where there is nothing.

    Returns:
        The run, and whether its training has ended.
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
    """Training curve in a saved state, without reading its tensors; empty where there is none."""
    rows: list[list[Any]] = []
    with contextlib.suppress(FileNotFoundError, SafetensorError, OSError, KeyError, ValueError):
        with safe_open(file, framework="numpy") as opened:
            metadata = json.loads((opened.metadata() or {})["nfa"])
        rows = json.loads(unsealed(metadata)["state"])["history"]
    return pd.DataFrame([[seed, *row] for row in rows], columns=HISTORY.names)


if __name__ == "__main__":
    main()
