"""Half of the change in alignment is counted from the first checkpoint."""

import numpy as np
import pytest

from nfa.conventions import HEADLINE
from nfa.report.page.sections.alignment_rise import half_way
from nfa.report.statistics.study import Study
from tests.helpers import tiny_sweep
from tests.report.studies import study_of


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return study_of(tiny_sweep(seeds=3), tmp_path_factory.mktemp("results"))


def test_halves_are_counted_from_the_first_checkpoint(study: Study) -> None:
    halves = half_way(study, HEADLINE)
    steps = study.collected.sweep.cells[0].train.checkpoint_steps(200)
    assert len(halves) == 12
    assert set(np.unique(halves)) <= set(steps[1:])
