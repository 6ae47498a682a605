"""The real Snakemake on the Snakefile of the repository, in a temporary folder."""

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.helpers import ROOT, environment


class Workflow:
    """A working folder with a sweep file; results go below it."""

    def __init__(self, folder: Path, document: dict[str, Any]) -> None:
        """Write the sweep file."""
        self.folder, self.config = folder, folder / "sweep.yaml"
        self.write(document)

    def write(self, document: dict[str, Any]) -> None:
        """Replace the sweep file."""
        self.document = document
        self.config.write_text(yaml.safe_dump(document, sort_keys=False))

    @property
    def results(self) -> Path:
        """Folder of the results of this sweep."""
        return self.folder / "results" / str(self.document["sweep"])

    def command(self, *options: str, cores: int = 2) -> list[str]:
        """Return the command of a user, with the paths of Snakefile and profile, as the working folder is another."""
        profile = str(ROOT / "profiles" / "default")
        files = ["--snakefile", str(ROOT / "Snakefile"), "--directory", str(self.folder), "--workflow-profile", profile]
        return ["snakemake", "--cores", str(cores), *files, "--configfile", str(self.config), *options]

    def environment(self) -> dict[str, str]:
        """Return the environment of the process."""
        return environment()

    def start(self, *options: str, cores: int = 2) -> "subprocess.Popen[str]":
        """Start Snakemake in a process group of its own."""
        with (self.folder / "snakemake.log").open("a") as log:
            return subprocess.Popen(
                self.command(*options, cores=cores),
                cwd=self.folder,
                env=self.environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )

    def run(self, *options: str, cores: int = 2) -> "subprocess.CompletedProcess[str]":
        """Run Snakemake to its end."""
        return subprocess.run(
            self.command(*options, cores=cores),
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1500,
        )

    def planned(self, *options: str) -> dict[str, int]:
        """Return the number of jobs per rule that ``snakemake -n`` plans; empty if there is nothing to do."""
        done = self.run("-n", *options)
        assert done.returncode == 0, done.stdout
        return jobs_in(done.stdout)

    def finished(self) -> "subprocess.CompletedProcess[str]":
        """Run to the end and demand success."""
        done = self.run()
        assert done.returncode == 0, done.stdout
        return done


def jobs_in(output: str) -> dict[str, int]:
    """Read the number of jobs per rule from the output of Snakemake; empty if there is nothing to do."""
    rules = "tune|train|measure|probe|aggregate|publish_runs|publish|all|total"
    return {rule: int(count) for rule, count in re.findall(rf"^({rules}) +(\d+)$", output, re.MULTILINE)}


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str]", timeout: float = 120) -> None:
    """Wait until a condition holds while a Snakemake runs."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert process.poll() is None, "Snakemake ended before"
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.02)
