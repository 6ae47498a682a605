"""A running Slurm: skipped where it is not installed, but not on continuous integration."""

import os
from collections.abc import Iterator

import pytest

from tests.cluster.slurm import Slurm, missing


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """Controller and two nodes, stopped at the end with all that they started."""
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
