"""A sweep on the Slurm for tests, with the profile of the repository; it records which work was finished when."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.cluster.slurm import Slurm, wait_until
from tests.helpers import ROOT, environment
from tests.workflow.snakemake import Workflow, wait_for

WAIT = 1500.0  # seconds at most, for a sweep that takes one minute on an idle machine
PROFILE = ROOT / "profiles" / "slurm"


class ClusterSweep(Workflow):
    """A working folder whose jobs run on Slurm."""

    def __init__(self, folder: Path, document: dict[str, Any], slurm: Slurm) -> None:
        """Write the sweep file."""
        folder.mkdir(exist_ok=True)
        super().__init__(folder, document)
        self.slurm, self.profile = slurm, PROFILE
        self._finished: dict[Path, int] = {}

    def command(self, *options: str, cores: int = 1) -> list[str]:
        """Return the command of a user, with a shorter wait for files, since all nodes are on one machine."""
        files = ["--snakefile", str(ROOT / "Snakefile"), "--directory", str(self.folder)]
        profile = ["--workflow-profile", str(self.profile), "--latency-wait", "10"]
        impatient = [sys.executable, str(ROOT / "tests" / "cluster" / "impatient.py")]
        return [*impatient, *files, *profile, "--configfile", str(self.config), *options]

    def environment(self) -> dict[str, str]:
        """Return the environment for the Slurm for tests."""
        ours = self.slurm.variables
        return environment(**ours, PYTHONPATH=str(ROOT)) | {"PATH": f"{ours['PATH']}:{environment()['PATH']}"}

    def log(self) -> str:
        """Return the output of Snakemake."""
        return (self.folder / "snakemake.log").read_text()

    def submitted(self) -> bool:
        """Return True if Snakemake has submitted all jobs that it chose last."""
        number, _, after = self.log().rpartition("Execute ")[2].partition(" jobs...")
        return after.count("has been submitted") == int(number)

    def wait(self, condition: Callable[[], bool], process: Any) -> None:
        """Wait for a condition while Snakemake runs, and record finished parts meanwhile."""
        wait_for(lambda: self.note() or condition(), process, WAIT)

    def end(self, process: Any) -> None:
        """Wait for the end of Snakemake, and check that it succeeded."""
        wait_until(lambda: self.note() or process.poll() is not None, "Snakemake does not end", WAIT)
        assert process.returncode == 0, self.log()

    def note(self) -> bool:
        """Record when each finished part (a seed of a stage of a cell) was written; return False."""
        for part in self.results.glob("*/.state/*/*/seed-*.json"):
            self._finished.setdefault(part, part.stat().st_mtime_ns)
        return False

    def computed_twice(self) -> list[Path]:
        """List the finished parts that were written again later."""
        return [part for part, time in self._finished.items() if part.stat().st_mtime_ns != time]

    def trains(self, cell: str) -> bool:
        """Return True from when a seed of a cell has begun to train."""
        return len(list((self.results / cell).glob("checkpoints/*/step-*"))) > 1
