"""The answer about probes claims no more than the intervals show."""

import pytest

from nfa.report.page.sections.probes import probes_better
from nfa.report.statistics.study import Study
from tests.helpers import tiny_sweep
from tests.report.studies import study_of


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return study_of(tiny_sweep(seeds=3), tmp_path_factory.mktemp("results"))


def test_an_interval_with_0_is_no_evidence(study: Study) -> None:
    table = study.tables["rank_correlation"]
    pooled = table["layers"].str.startswith("hidden")
    for low, high, said in (
        (-0.1, 0.5, "no evidence either way"),
        (0.2, 0.4, "score higher"),
        (-0.4, -0.2, "score lower"),
    ):
        changed = table.assign(mean=(low + high) / 2, ci_low=low, ci_high=high)[pooled]
        text = probes_better(Study(study.collected, {**study.tables, "rank_correlation": changed}, study.paths))
        assert said in text.sentence
        assert ("no evidence" in text.sentence) == (said == "no evidence either way")
