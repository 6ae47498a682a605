"""Sentences name their convention, and they do not claim what the numbers do not show."""

from pathlib import Path

import pytest

from nfa.conventions import CONVENTIONS, HEADLINE, Convention
from nfa.report.page.sections.alignment_rise import when
from nfa.report.page.sections.ansatz import holds
from nfa.report.page.sections.layers import which_layer
from nfa.report.page.sections.optimizers import for_whom
from nfa.report.page.sections.quality import better_features
from nfa.report.statistics.study import Study
from tests.helpers import tiny_sweep
from tests.report.studies import study_of


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return study_of(tiny_sweep(seeds=3), tmp_path_factory.mktemp("results"))


@pytest.mark.parametrize("convention", CONVENTIONS, ids=str)
@pytest.mark.parametrize("answer", [holds, which_layer, when, for_whom])
def test_every_answer_states_its_convention(study: Study, answer, convention: Convention) -> None:  # type: ignore[no-untyped-def]
    text = answer(study, convention).sentence
    assert f" Convention: {convention} (exact, n = 1,000" in text
    assert "3 seeds" in text
    assert "nan" not in text


def test_one_seed_claims_no_interval(tmp_path: Path) -> None:
    study = study_of(tiny_sweep(seeds=1), tmp_path)
    text = holds(study, HEADLINE).sentence
    assert "1 seed, so no intervals" in text
    assert "[" not in text
    assert "There is no interval" in better_features(study).verdict  # over cells, of which there are four
