"""A running Slurm. Its tests are skipped if it is not installed, except on continuous integration, where they fail."""

import os
from collections.abc import Iterator

import pytest

from tests.cluster.slurm import Slurm, missing


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """Start a controller and two nodes, and stop them at the end with all processes that they started."""
    if absent := missing():
        reason = f"no {', '.join(absent)} on this machine: install slurm-wlm and munge to test on a real Slurm"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    slurm = Slurm(tmp_path_factory.mktemp("slurm"))
    try:
        slurm.start()
        yield slurm
    finally:
        slurm.stop()
        assert slurm.processes() == []
