"""The answer about the ansatz: directions, strengths and UC-NFC apart, each beside its control."""

import re

import pytest

from nfa.conventions import HEADLINE, Convention
from nfa.report.page.sections.ansatz import holds, overview, verdict_table
from nfa.report.page.sections.section import Material
from nfa.report.page.svg import Live
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
    assert re.search(r"Directions: yes in MLPs on fashion_mini \(0\.\d\d, by chance 0\.45\)", text)
    assert "controls are not defined" in holds(study, Convention("pearson", "1/2")).sentence


def test_the_overview_and_the_table_give_the_verdicts_of_both_data_sets(study: Study) -> None:
    shown = str(overview(Material(study)))
    assert shown.count("directions: <b>yes</b>") == 2
    assert shown.count("by chance 0.45") == 2
    rows = re.findall(r"<tr>.*?</tr>", str(verdict_table(study, Live())))[1:]
    assert len(rows) == 6  # two data sets, three quantities
    for row, words in zip(rows, ("yes", "more alike than by chance", "yes") * 2, strict=True):
        assert f">{words}<" in row
