"""The sentences: they name their convention, and they do not claim what the numbers do not show."""

from pathlib import Path

import numpy as np
import pytest

from nfa.conventions import CONVENTIONS, HEADLINE, Convention
from nfa.report.page.sections.ansatz import holds
from nfa.report.page.sections.layers import which_layer
from nfa.report.page.sections.optimizers import for_whom
from nfa.report.page.sections.probes import probes_better
from nfa.report.page.sections.time import half_way, when
from nfa.report.statistics.study import Study
from nfa.report.statistics.summaries import make_tables
from nfa.stages.aggregate import collect
from nfa.storage.paths import SweepPaths
from nfa.sweep.cells import Sweep
from tests.fake_results import write
from tests.helpers import tiny_sweep


def study_of(sweep: Sweep, folder: Path) -> Study:
    paths: SweepPaths = write(sweep, folder)
    collected = collect(sweep, paths)
    return Study(collected, make_tables(collected), paths)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return study_of(tiny_sweep(seeds=3), tmp_path_factory.mktemp("results"))


@pytest.mark.parametrize("convention", CONVENTIONS, ids=str)
@pytest.mark.parametrize("answer", [holds, which_layer, when, for_whom])
def test_every_answer_states_its_convention(study: Study, answer, convention: Convention) -> None:  # type: ignore[no-untyped-def]
    text = answer(study, convention).sentence
    assert text.startswith(f"{convention.correlation.capitalize()}, power {convention.power} (exact, n = 1,000")
    assert "3 seeds" in text
    assert "nan" not in text


def test_controls_are_named_or_said_to_be_missing(study: Study) -> None:
    text = holds(study, HEADLINE).sentence
    assert "0.30 [0.30, 0.30] for the initial weights" in text
    assert "0.25 [0.25, 0.25] for K turned at random" in text
    assert "above both in 4 of 4 cells" in text
    assert "controls are not defined" in holds(study, Convention("pearson", "1/2")).sentence


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


def test_one_seed_claims_no_interval(tmp_path: Path) -> None:
    study = study_of(tiny_sweep(seeds=1), tmp_path)
    text = holds(study, HEADLINE).sentence
    assert "1 seed, so no intervals" in text
    assert "[" not in text
    assert "no interval with one seed" in probes_better(study).sentence


def test_halves_are_counted_from_the_first_checkpoint(study: Study) -> None:
    halves = half_way(study, HEADLINE)
    steps = study.collected.sweep.cells[0].train.checkpoint_steps(200)
    assert len(halves) == 12
    assert set(np.unique(halves)) <= set(steps[1:])
