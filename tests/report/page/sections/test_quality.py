"""The one verdict on feature quality claims no more than the interval shows."""

import pytest

from nfa.report.page.sections.quality import better_features
from nfa.report.statistics.study import Study
from tests.helpers import tiny_sweep
from tests.report.studies import study_of


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return study_of(tiny_sweep(seeds=3), tmp_path_factory.mktemp("results"))


@pytest.mark.parametrize(
    ("low", "high", "short", "verdict"),
    [
        (-0.1, 0.5, "no evidence either way", "There is no evidence either way"),
        (0.2, 0.4, "yes", "Yes: layers whose directions are better aligned"),
        (-0.4, -0.2, "no, worse ones", "No: layers whose directions are better aligned"),
    ],
)
def test_an_interval_with_0_is_no_evidence(study: Study, low: float, high: float, short: str, verdict: str) -> None:
    ranks = study.tables["features_ranks"]
    chosen = (ranks["quantity"] == "directional_above_haar") & (ranks["score"] == "probe")
    changed = ranks.copy()
    changed.loc[chosen, ["rho", "ci_low", "ci_high"]] = [(low + high) / 2, low, high]
    answer = better_features(Study(study.collected, {**study.tables, "features_ranks": changed}, study.paths))
    assert answer.short.startswith(f"{short}: ")
    assert answer.verdict.startswith(verdict)
    assert "over 4 cells" in answer.verdict


def test_a_lower_scatter_counts_as_better(study: Study) -> None:
    ranks = study.tables["features_ranks"].copy()
    directions = ranks["quantity"] == "directional_above_haar"
    ranks.loc[directions, ["rho", "ci_low", "ci_high"]] = [0.0, -0.5, 0.5]
    ranks.loc[directions & (ranks["score"] == "scatter_ratio"), ["rho", "ci_low", "ci_high"]] = [-0.5, -0.8, -0.2]
    answer = better_features(Study(study.collected, {**study.tables, "features_ranks": ranks}, study.paths))
    assert "Of 8 other scores, 1 is better in such layers and 0 worse" in answer.verdict
