"""Stages as processes that tests can stop while they work."""

import contextlib
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from safetensors import safe_open

from nfa.storage.paths import CellPaths
from nfa.storage.tables import read_stamp
from tests.helpers import environment

STAGES = ("train", "measure", "probe")


class Stage:
    """One stage of the single cell of a sweep, run by the command that Snakemake runs."""

    def __init__(self, name: str, config: Path, results: Path, paths: CellPaths, cores: int = 1) -> None:
        """Store the stage, its sweep, and the number of seeds that are worked on side by side."""
        self.name, self.config, self.results, self.paths, self.cores = name, config, results, paths, cores

    def start(self, save_every: float = 0.0, cwd: Path | None = None) -> "subprocess.Popen[str]":
        """Start it; its messages are read by ``communicate``."""
        command = [sys.executable, "-m", "nfa", self.name, str(self.config), "--results", str(self.results)]
        command += ["--save-every", str(save_every), "--cores", str(self.cores)]
        return subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True, cwd=cwd)

    def started_work(self, save_every: float = 0.0, cwd: Path | None = None) -> "subprocess.Popen[str]":
        """Start it and wait until it takes its lock, which it does first when all is imported."""
        lock = self.paths.state / f"{self.name}.lock"
        lock.unlink(missing_ok=True)  # of an earlier process, which is dead
        process = self.start(save_every, cwd)
        while not lock.exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.001)
        return process

    def finish(self, cwd: Path | None = None) -> str:
        """Run it to its end, and demand success; return its messages."""
        process = self.start(cwd=cwd)
        _, messages = process.communicate(timeout=300)
        assert process.returncode == 0, messages
        return messages

    def wait_for_progress(self, process: "subprocess.Popen[str]", before: tuple[int, int]) -> None:
        """Wait until more is saved than before, or until the process has ended."""
        while process.poll() is None and self.progress() <= before:
            time.sleep(0.005)

    def progress(self) -> tuple[int, int]:
        """Return the progress in its files: finished seeds, and the saved steps or checkpoints of unfinished seeds."""
        folder = self.paths.state / self.name
        seeds = sum(1 for _ in folder.glob("*/seed-*.json"))
        done = 0
        with contextlib.suppress(FileNotFoundError):  # it works, and may have just finished a seed
            for file in folder.glob("*/seed-*.resume.safetensors"):
                with safe_open(file, framework="pt") as saved:
                    done += json.loads(json.loads(saved.metadata()["nfa"])["state"])["step"]
            for file in folder.glob("*/seed-*.resume.parquet"):
                done += len(read_stamp(file)["steps"])
        return seeds, done

    def forget(self) -> None:
        """Remove all files that it has written."""
        shutil.rmtree(self.paths.state / self.name)
        outputs = {"train": ["cell", "history"], "measure": ["alignment", "matrices"], "probe": ["probes"]}
        for output in outputs[self.name]:
            getattr(self.paths, output).unlink(missing_ok=True)
        if self.name == "train":
            shutil.rmtree(self.paths.folder / "checkpoints", ignore_errors=True)


OUTPUTS = ("history.parquet", "alignment.parquet", "probes.parquet", "matrices.npz")


def differing(whole: CellPaths, cut: CellPaths, outputs: tuple[str, ...] = OUTPUTS) -> list[str]:
    """List the files of a cell that differ between two folders, except timings and provenance."""
    checkpoints = {
        str(path.relative_to(paths.folder))
        for paths in (whole, cut)
        for path in (paths.folder / "checkpoints").rglob("*")
        if path.is_file()
    }
    return [
        name
        for name in [*outputs, *sorted(checkpoints)]
        if not all((paths.folder / name).exists() for paths in (whole, cut))
        or (whole.folder / name).read_bytes() != (cut.folder / name).read_bytes()
    ]
