"""An aggregated sweep that several tests of ``nfa figure`` read."""

from pathlib import Path

import pytest

from nfa.stages.aggregate import aggregate
from nfa.sweep.grid import parse
from tests.fake_results import write
from tests.helpers import tiny


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the results of two widths and two optimizers on one data set; tests do not change them."""
    folder = tmp_path_factory.mktemp("results")
    models = [{"name": "mlp", "depth": 2, "width": [12, 16]}]
    sweep = parse(tiny(seeds=3, data=tiny()["data"][:1], model=models), "tiny.yaml")
    write(sweep, folder)
    aggregate(sweep, folder)
    return folder / sweep.name
