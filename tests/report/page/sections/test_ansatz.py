"""The answer about the ansatz names both controls."""

import pytest

from nfa.conventions import HEADLINE, Convention
from nfa.report.page.sections.ansatz import holds
from nfa.report.statistics.study import Study
from tests.helpers import tiny_sweep
from tests.report.studies import study_of


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return study_of(tiny_sweep(seeds=3), tmp_path_factory.mktemp("results"))


def test_controls_are_named_or_said_to_be_missing(study: Study) -> None:
    text = holds(study, HEADLINE).sentence
    assert "0.30 [0.30, 0.30] for the initial weights" in text
    assert "0.25 [0.25, 0.25] for K turned at random" in text
    assert "above both controls in 4 of 4 cells" in text
    assert "controls are not defined" in holds(study, Convention("pearson", "1/2")).sentence
