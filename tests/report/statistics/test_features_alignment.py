"""Alignment joined to feature quality: every value is the one in its own table, and the page says what is in it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nfa.conventions import HEADLINE
from nfa.report.page.sections.quality import better_features, metrics_carry
from nfa.report.statistics.stratified_ranks import make_features_ranks
from nfa.report.statistics.study import Study
from nfa.report.statistics.summaries import make_tables
from nfa.stages.aggregate import collect
from tests.fake_results import write
from tests.helpers import tiny_sweep


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A sweep of made-up results, and its tables."""
    sweep = tiny_sweep(seeds=3, optimizer=[{"name": "sgd", "lr": [0.1, 0.2, 0.3]}, {"name": "adam", "lr": 0.01}])
    results: Path = tmp_path_factory.mktemp("results")
    paths = write(sweep, results)
    collected = collect(sweep, paths)
    return Study(collected, make_tables(collected), paths)


def test_a_row_per_layer_and_convention(study: Study) -> None:
    joined, alignment = study.tables["features_alignment"], study.tables["alignment"]
    keys = ["cell", "seed", "step", "layer", "correlation", "power"]
    assert not joined.duplicated(keys).any()
    uc = alignment[alignment["quantity"] == "uc_nfc"].set_index(keys)["value"]
    pd.testing.assert_series_equal(joined.set_index(keys)["uc_nfc"], uc, check_names=False, check_like=True)
    assert set(joined.loc[joined["last"], "step"]) == {30}


def test_scores_are_those_of_their_tables(study: Study) -> None:
    joined, probes, features = (study.tables[name] for name in ("features_alignment", "probes", "features"))
    headline = joined[(joined["correlation"] == HEADLINE.correlation) & (joined["power"] == HEADLINE.power)]
    keys = ["cell", "seed", "step", "layer"]
    test = probes[(probes["split"] == "test") & (probes["layer"] != "input")].set_index(keys)["value"]
    found = headline.set_index(keys)
    pd.testing.assert_series_equal(found["probe"], test, check_names=False, check_like=True)
    untrained = found["probe"].where(found.index.get_level_values("step") == 0)
    before = untrained.groupby(["cell", "seed", "layer"], observed=True).transform("max")
    np.testing.assert_allclose(found["probe_gain"], found["probe"] - before)
    for column, probe, metric in (
        ("linearity", "linearity", "r2"),
        ("scatter_ratio", "geometry", "scatter_ratio"),
        ("kernel_agop", "kernel_agop", None),
        ("agop_trace_share", "recovery", "agop_trace_share"),
    ):
        rows = features[
            (features["probe"] == probe) & (features["split"] == ("train" if probe == "recovery" else "test"))
        ]
        rows = rows if metric is None else rows[rows["metric"] == metric]
        pd.testing.assert_series_equal(
            found[column].dropna(), rows.set_index(keys)["value"], check_names=False, check_like=True
        )
    compared = found[found["kernel_nfm"].notna()]
    assert set(compared["kernel_identity"]) == {0.55}  # that of the raw input
    assert set(compared["rfm"]) == {0.75}
    assert found.loc[found["kernel_nfm"].isna(), "kernel_identity"].isna().all()


def test_the_factors_stand_beside_the_scores_of_the_same_layer(study: Study) -> None:
    joined, alignment = study.tables["features_alignment"], study.tables["alignment"]
    keys = ["cell", "seed", "step", "layer"]
    value, control = (
        alignment[alignment["quantity"] == name].set_index(keys)["value"]
        for name in ("directional", "directional_haar")
    )
    found = joined.set_index(keys)
    assert len(found) == 9 * len(value)  # nine conventions
    np.testing.assert_array_equal(found["directional"], value.reindex(found.index))
    np.testing.assert_array_equal(found["directional_above_haar"], (value - control).reindex(found.index))


def test_the_sentences_state_what_the_tables_hold(study: Study) -> None:
    answer = better_features(study)
    ranks = study.tables["features_ranks"]
    chosen = (ranks["quantity"] == "directional_above_haar") & (ranks["data"] == "all") & (ranks["score"] == "probe")
    row = ranks[chosen & (ranks["correlation"] == "cosine") & (ranks["power"] == "1")].iloc[0]
    assert f"ρ = {row['rho']:.2f}".replace("-", "−") in answer.sentence
    assert "over 8 cells" in answer.sentence
    assert "score" in answer.sentence
    carried = metrics_carry(study)
    assert "0.55 [0.55, 0.55] with the metric I" in carried
    assert "recursive feature machine, without backpropagation, reaches 0.75" in carried
    assert "The directions on which the target depends are known here" in carried


def test_without_intervals_the_answer_says_why(study: Study) -> None:
    """Alignment that is tied everywhere: enough cells finished, so their number is not the reason."""
    tables = dict(study.tables)
    tables["features_ranks"] = make_features_ranks(
        study.tables["features_alignment"].assign(directional_above_haar=0.5), study.collected.pooling
    )
    answer = better_features(Study(study.collected, tables, study.paths))
    assert "(all points are tied)" in answer.sentence
