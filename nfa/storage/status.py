"""The state of a sweep that is not finished, read from its files, for ``nfa status``. Imports no torch.

A stage of a cell is

- done, when its files are whole and say that they were made with the sweep's settings and all of its seeds. Tables and
  cell.json are read and their checksums compared; of matrices.npz only the list of arrays is read, which is fast;
- running, when another process holds the stage's lock;
- failed, when neither holds and its log ends with an error;
- to go otherwise.

Nothing is written, and no running job is disturbed.

The ids of cells contain digests of the user's data files. Where such a file is missing, the cells of the sweep cannot
be listed. The state is then that of the cells whose folders are there, and settings are not compared.
"""

import fcntl
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from nfa.conventions import NOT_REACHED
from nfa.digests import read_sealed
from nfa.errors import UserError
from nfa.storage.checks import outputs
from nfa.storage.finished_seeds import Parts
from nfa.storage.paths import CellPaths, SweepPaths, search_folder
from nfa.storage.tables import UNREADABLE, array_names, read_arrow, stamp_of
from nfa.storage.tuned import read_tuned, with_tuned
from nfa.sweep.cells import STAGES, Cell, Sweep
from nfa.sweep.estimate import duration, estimate
from nfa.sweep.grid import load, load_cells

STATES = ("done", "running", "failed", "to go")
NOT_FAILED = ("told to stop", "interrupted;", "waiting for it")  # logs of jobs that were cut off end with these words


@dataclass
class Status:
    """The state of a sweep.

    Attributes:
        name: Name of the sweep.
        cells: Number of cells.
        seeds: Number of seeds.
        unlisted: Reason why the cells of the sweep could not be listed, so that ``cells`` counts those that have begun;
            empty where all of them are known.
        counts: Stage -> state (done, running, failed, to go) -> number of cells.
        failed: Stage, cell, reason and log of each failed job.
        damaged: One line for each damaged file, with the command that writes it again.
        diverged: Cell, seed and step of each run that diverged, which is a result and not a failure.
        unreached: Cell, seed and step of each run that did not reach the training loss or accuracy of ``train.until``.
        seconds: Estimated core-seconds to go, scaled by what the finished work took; None where nothing is finished.
    """

    name: str
    cells: int
    seeds: int
    unlisted: str = ""
    counts: dict[str, dict[str, int]] = field(
        default_factory=lambda: {stage: dict.fromkeys(STATES, 0) for stage in STAGES}
    )
    failed: list[tuple[str, str, str, Path]] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    diverged: list[tuple[str, str, int]] = field(default_factory=list)
    unreached: list[tuple[str, str, int]] = field(default_factory=list)
    seconds: float | None = None

    def lines(self, most: int = 20) -> list[str]:
        """Describe the state for a person, with at most ``most`` lines of each list."""
        begun = f" that {'has' if self.cells == 1 else 'have'} begun" if self.unlisted else ""
        cells, seeds = ("" if count == 1 else "s" for count in (self.cells, self.seeds))
        lines = [f"{self.name}: {self.cells:,} cell{cells}{begun} x {self.seeds} seed{seeds}"]
        if self.unlisted:
            lines.append(f"other cells are not known, and settings were not compared: {self.unlisted}")
        lines.append(f"{'stage':<10}" + "".join(f"{state:>10}" for state in STATES))
        for stage, states in self.counts.items():
            lines.append(f"{stage:<10}" + "".join(f"{count:>10,}" for count in states.values()))
        lines += _first(
            [f"failed: {stage} {cell}: {reason} (log: {log})" for stage, cell, reason, log in self.failed], most
        )
        lines += _first([f"damaged: {line}" for line in self.damaged], most)
        for outcome, runs in (("diverged", self.diverged), (NOT_REACHED, self.unreached)):
            lines += _first([f"{outcome}: {cell} seed {seed} at step {step:,}" for cell, seed, step in runs], most)
        missing = sum(states["to go"] + states["failed"] for states in self.counts.values())
        running = sum(states["running"] for states in self.counts.values())
        if self.seconds and running:
            jobs = "1 job" if running == 1 else f"{running} jobs"
            lines.append(f"about {duration(self.seconds / running)} to go with {jobs} at work")
        elif self.seconds:
            lines.append(f"about {duration(self.seconds)} of one core to go; nothing is running")
        elif self.seconds == 0 and missing:
            tables = "1 table is" if missing == 1 else f"{missing:,} tables are"
            what = "missing or damaged" if self.damaged else "missing"
            lines.append(f"nothing is left to compute, but {tables} {what}: the stage's own command joins it again")
        elif self.seconds == 0:
            lines.append("all cells are done")
        return lines


def _first(lines: list[str], most: int) -> list[str]:
    return lines if len(lines) <= most else [*lines[:most], f"... and {len(lines) - most:,} more"]


def planned_sweep(results: Path) -> tuple[Sweep, SweepPaths]:
    """Read the sweep of a results folder from its plan, as the sweep's jobs do.

    Raises:
        UserError: The folder holds no sweep's results, or a file that the sweep needs is missing.
    """
    paths = _started(results)
    return with_tuned(load(paths.plan), paths), paths


def _started(results: Path) -> SweepPaths:
    paths = SweepPaths(results)
    if not paths.plan.exists():
        raise UserError(f"{results}: no sweep was started here ({paths.plan.name} is missing); give results/<sweep>")
    return paths


def status(results: Path) -> Status:
    """Determine the state of a sweep.

    Args:
        results: Folder of the sweep's results, results/<sweep>.

    Raises:
        UserError: The folder holds no sweep's results.
    """
    paths = _started(results)
    try:
        sweep = load(paths.plan)
    except UserError as error:
        sweep = load_cells(paths.plan, ())  # checks the settings again, but reads no data
        return _status_of_folders(sweep, paths, str(error))
    found = Status(sweep.name, len(sweep.cells), len(sweep.seeds))
    took = finished = left = 0.0
    for cell in sweep.cells:
        here, hashes = paths.cell(cell.id), sweep.hashes(cell)
        estimated = estimate(sweep, cell)
        expected = (estimated.seconds - estimated.tuning) / (len(STAGES) * len(sweep.seeds))
        if cell.searches:
            left += 0 if _add_search(found, sweep, cell, here) else estimated.tuning
        for stage in STAGES:
            seconds = list(_seconds(Parts(here, stage, hashes[stage]), sweep.seeds))
            state = _add_stage(found, sweep, here, stage, hashes[stage])
            took, finished = took + sum(seconds), finished + expected * len(seconds)
            left += 0 if state == "done" else expected * (len(sweep.seeds) - len(seconds))
        _add_outcomes(found, here)
    if finished or not left:
        found.seconds = left * (took / finished if finished else 1)
    return found


def _add_search(found: Status, sweep: Sweep, cell: Cell, here: CellPaths) -> bool:
    """Count the state of the search for a cell's tuned settings in ``found``; return True if it is done."""
    state, log = "to go", here.folder.parent / "logs" / "tune" / f"{cell.id}.log"
    if read_tuned(sweep, cell, here) is not None:
        state = "done"
    elif _held(search_folder(here.folder.parent.parent, sweep.tune_hash(cell)) / "lock"):
        state = "running"
    elif reason := _reason(log):
        state = "failed"
        found.failed.append(("tune", cell.id, reason, log))
    if "tune" not in found.counts:
        found.counts = {"tune": dict.fromkeys(STATES, 0), **found.counts}
    found.counts["tune"][state] += 1
    return state == "done"


def _status_of_folders(sweep: Sweep, paths: SweepPaths, reason: str) -> Status:
    """Determine the state of the cells whose folders are there, without comparing their settings."""
    folders = sorted(path.parent for pattern in ("*/.state", "*/cell.json") for path in paths.folder.glob(pattern))
    cells = [CellPaths(folder) for folder in dict.fromkeys(folders)]
    found = Status(sweep.name, len(cells), len(sweep.seeds), reason)
    for here in cells:
        for stage in STAGES:
            _add_stage(found, sweep, here, stage, None)
        _add_outcomes(found, here)
    return found


def _add_stage(found: Status, sweep: Sweep, here: CellPaths, stage: str, stage_hash: str | None) -> str:
    """Determine the state of one stage of a cell, and count it in ``found``."""
    cell, state = here.folder.name, "to go"
    log = here.folder.parent / "logs" / stage / f"{cell}.log"
    done, damaged = _is_done(here, stage, stage_hash, sweep.seeds)
    if damaged:
        found.damaged.append(f"{damaged}; run `nfa {stage} {sweep.source} --cells {cell}`")
    if done:
        state = "done"
    elif _held(here.state / f"{stage}.lock"):
        state = "running"
    elif reason_of_failure := _reason(log):
        state = "failed"
        found.failed.append((stage, cell, reason_of_failure, log))
    found.counts[stage][state] += 1
    return state


def _is_done(paths: CellPaths, stage: str, stage_hash: str | None, seeds: Iterable[int]) -> tuple[bool, Path | None]:
    """Read the files of a stage and compare what they were made from; without a hash compare only the seeds.

    Returns:
        True if the stage is done; and the file that is damaged, None where none is.
    """
    seeds, file = set(seeds), outputs(paths)[stage]
    try:
        stamp = stamp_of(read_arrow(file))
        fits = stage_hash in (None, stamp.get("hash")) and seeds <= set(stamp["seeds"])
        if fits and stage == "train":
            file = paths.cell
            fits = {str(seed) for seed in seeds} <= read_sealed(file)["runs"].keys()
        elif fits and stage == "measure":
            file = paths.matrices
            array_names(file)
    except FileNotFoundError:
        return False, None
    except (*UNREADABLE, KeyError, TypeError, AttributeError):
        return False, file
    return fits, None


def _held(lock: Path) -> bool:
    """Tell whether a process holds a lock, without keeping another process from taking it."""
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _reason(log: Path) -> str | None:
    """Return the last line of the log of a job that failed; None where the job was cut off or has not begun."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return None
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    wrong = last.startswith("nfa: ") or any(line.startswith("Traceback ") for line in lines)
    return last.removeprefix("nfa: ") if wrong and not any(words in last for words in NOT_FAILED) else None


def _seconds(parts: Parts, seeds: Iterable[int]) -> Iterable[float]:
    """Yield the seconds that each finished seed of a stage took."""
    for seed in seeds:
        try:
            yield float(json.loads(parts.file(seed, "json").read_text())["seconds"])
        except (OSError, ValueError, KeyError):
            continue


def _add_outcomes(found: Status, paths: CellPaths) -> None:
    """Add the runs of a cell that diverged, and those that did not reach ``train.until``."""
    try:
        runs = json.loads(paths.cell.read_text(encoding="utf-8"))["runs"]
        for seed, run in runs.items():
            if run["status"] == "diverged":
                found.diverged.append((paths.folder.name, seed, run["last_step"]))
            elif run.get("reached") is False:
                found.unreached.append((paths.folder.name, seed, run["last_step"]))
    except (OSError, ValueError, KeyError):
        pass
