"""``nfa status`` and ``nfa report``: a sweep that is not done, read from its files. Imports no torch.

A stage of a cell is done when its table says so, running when its lock is held, failed when neither and its log ends
with what went wrong. Nothing is written, and no running job is disturbed.
"""

import fcntl
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from nfa.errors import UserError
from nfa.storage.checks import outputs
from nfa.storage.parts import Parts
from nfa.storage.paths import CellPaths, SweepPaths
from nfa.storage.tables import read_stamp
from nfa.sweep.cells import STAGES, Cell, Sweep
from nfa.sweep.estimate import duration, estimate
from nfa.sweep.grid import load

NOT_FAILED = ("told to stop", "interrupted;", "waiting for it")  # ends of a log that is only cut off


@dataclass
class Status:
    """Where a sweep stands.

    Attributes:
        sweep: The sweep.
        counts: Stage -> state (done, running, failed, to go) -> number of cells.
        failed: Stage, cell, reason and log of each failed job.
        diverged: Cell, seed and step of each run that diverged: a result, and no failure.
        seconds: Core-seconds to go, from what the finished work took; None where there is none to go by.
    """

    sweep: Sweep
    counts: dict[str, dict[str, int]]
    failed: list[tuple[str, str, str, Path]] = field(default_factory=list)
    diverged: list[tuple[str, str, int]] = field(default_factory=list)
    seconds: float | None = None

    def lines(self, most: int = 20) -> list[str]:
        """Say it to a person; of long lists the first ones."""
        sweep = self.sweep
        lines = [f"{sweep.name}: {len(sweep.cells):,} cells x {len(sweep.seeds)} seeds"]
        lines.append(f"{'stage':<10}" + "".join(f"{state:>10}" for state in self.counts["train"]))
        for stage, states in self.counts.items():
            lines.append(f"{stage:<10}" + "".join(f"{count:>10,}" for count in states.values()))
        lines += _some(
            [f"failed: {stage} {cell}: {reason} (log: {log})" for stage, cell, reason, log in self.failed], most
        )
        lines += _some([f"diverged: {cell} seed {seed} at step {step:,}" for cell, seed, step in self.diverged], most)
        missing = sum(states["to go"] + states["failed"] for states in self.counts.values())
        running = sum(states["running"] for states in self.counts.values())
        if self.seconds and running:
            jobs = "1 job" if running == 1 else f"{running} jobs"
            lines.append(f"about {duration(self.seconds / running)} to go with {jobs} at work")
        elif self.seconds:
            lines.append(f"about {duration(self.seconds)} of one core to go; nothing is running")
        elif self.seconds == 0 and missing:
            tables = "1 table is" if missing == 1 else f"{missing:,} tables are"
            lines.append(f"nothing is left to compute, but {tables} missing: the stage's own command joins it again")
        elif self.seconds == 0:
            lines.append("all cells are done")
        return lines


def _some(lines: list[str], most: int) -> list[str]:
    return lines if len(lines) <= most else [*lines[:most], f"... and {len(lines) - most:,} more"]


def planned_sweep(results: Path) -> tuple[Sweep, SweepPaths]:
    """Find the sweep of a results folder, as its jobs read it.

    Raises:
        UserError: The folder is no sweep's results.
    """
    paths = SweepPaths(results)
    if not paths.plan.exists():
        raise UserError(f"{results}: no sweep was started here ({paths.plan.name} is missing); give results/<sweep>")
    return load(paths.plan), paths


def status(results: Path) -> Status:
    """Look where a sweep stands.

    Raises:
        UserError: The folder is no sweep's results.
    """
    sweep, paths = planned_sweep(results)
    found = Status(sweep, {stage: dict.fromkeys(("done", "running", "failed", "to go"), 0) for stage in STAGES})
    took = finished = left = 0.0
    for cell in sweep.cells:
        here, hashes = paths.cell(cell.id), sweep.hashes(cell)
        expected = estimate(sweep, cell).seconds / (len(STAGES) * len(sweep.seeds))
        for stage, table in outputs(here).items():
            state = "to go"
            seconds = list(_seconds(Parts(here, stage, hashes[stage]), sweep.seeds))
            if _done(sweep, hashes[stage], table):
                state = "done"
            elif _held(here.state / f"{stage}.lock"):
                state = "running"
            else:
                log = paths.folder / "logs" / stage / f"{cell.id}.log"
                reason = _reason(log)
                if reason:
                    state = "failed"
                    found.failed.append((stage, cell.id, reason, log))
            found.counts[stage][state] += 1
            took, finished = took + sum(seconds), finished + expected * len(seconds)
            left += 0 if state == "done" else expected * (len(sweep.seeds) - len(seconds))
        found.diverged += _diverged(cell, here)
    if finished or not left:
        found.seconds = left * (took / finished if finished else 1)
    return found


def _done(sweep: Sweep, stage_hash: str, table: Path) -> bool:
    try:
        stamp = read_stamp(table)
    except (OSError, ValueError):  # pyarrow's errors are ValueErrors
        return False
    return stamp.get("hash") == stage_hash and set(sweep.seeds) <= set(stamp["seeds"])


def _held(lock: Path) -> bool:
    """Whether a process holds a lock; looking does not keep another from taking it."""
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _reason(log: Path) -> str | None:
    """Return the last line of the log of a job that failed; None where it is only cut off, or has not begun."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return None
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    wrong = last.startswith("nfa: ") or any(line.startswith("Traceback ") for line in lines)
    return last.removeprefix("nfa: ") if wrong and not any(words in last for words in NOT_FAILED) else None


def _seconds(parts: Parts, seeds: Iterable[int]) -> Iterable[float]:
    """What the finished seeds of a stage took."""
    for seed in seeds:
        try:
            yield float(json.loads(parts.file(seed, "json").read_text())["seconds"])
        except (OSError, ValueError, KeyError):
            continue


def _diverged(cell: Cell, paths: CellPaths) -> list[tuple[str, str, int]]:
    try:
        runs = json.loads(paths.cell.read_text(encoding="utf-8"))["runs"]
        return [(cell.id, seed, run["last_step"]) for seed, run in runs.items() if run["status"] == "diverged"]
    except (OSError, ValueError, KeyError):
        return []
