"""The section on Speed Limited Optimization: its table agrees with plain loops, and its sentence with the table."""

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nfa.conventions import HEADLINE, Convention
from nfa.report.figures import speed_limited as figure
from nfa.report.page.sections import speed_limited
from nfa.report.page.sections.section import Material
from nfa.report.statistics.labels import cell_labels
from nfa.report.statistics.speed_limited import Matched, has_own_speeds, raised_layer
from nfa.report.statistics.study import Study
from nfa.report.statistics.summaries import make_tables
from nfa.sweep.cells import Sweep
from tests.helpers import tiny_sweep
from tests.report.studies import drawn, study_of

OPTIMIZERS: list[dict[str, Any]] = [
    {"name": "sgd", "lr": 0.1},
    {"name": "slo", "lr": 0.1},
    {"name": "slo", "lr": 0.1, "speeds": {"first": 1, "others": 0.1}},
    {"name": "slo", "lr": 0.1, "speeds": {"hidden1": 1, "others": 0.1}},
    {"name": "slo", "lr": 0.1, "speeds": {"last": 1, "others": 0.1}},
    {"name": "slo", "lr": 0.1, "adapt": 5},
    {"name": "slo", "lr": 0.1, "later": {0.5: {"first": 1, "others": 0.1}}},
]


def sweep_of(**changes: Any) -> Sweep:
    data = [{"name": "chain_monomial", "dim": 8, "rank": 3, "n_train": 128, "n_test": 64}]
    train = {"steps": 200, "checkpoints": 6}
    return tiny_sweep(**{"optimizer": OPTIMIZERS, "data": data, "train": train, "seeds": 3, **changes})


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return study_of(sweep_of(), tmp_path_factory.mktemp("results"))


def test_what_a_cell_raises_is_read_off_its_speeds() -> None:
    cells = sweep_of().cells
    assert [raised_layer(cell) for cell in cells] == [None, None, "hidden0", "hidden1", None, None, None]
    assert [has_own_speeds(cell) for cell in cells] == [False, False, True, True, True, True, True]


def test_labels_leave_out_what_is_not_given() -> None:
    labels = cell_labels(sweep_of())["optimizer"].tolist()
    assert labels[1] == "slo speeds (others 1)"
    assert labels[5] == "slo speeds (others 1) adapt 5"
    assert not any("None" in label or "()" in label for label in labels)
    assert len(set(labels)) == len(labels)


def plain(study: Study, cell: str, seed: int, level: float, quantity: str, layer: str) -> float:
    """Interpolate one value by looking at the tables, row by row."""
    history, alignment = study.collected.history, study.collected.alignment
    before: tuple[int, float] | None = None
    for step in sorted(set((alignment if layer else history)["step"])):
        rows = history[(history["cell"] == cell) & (history["seed"] == seed) & (history["step"] == step)]
        loss = rows.loc[(rows["split"] == "train") & (rows["metric"] == "loss"), "value"].item()
        if loss <= level:
            share = 1.0 if before is None else math.log(before[1] / level) / math.log(before[1] / loss)
            ends = []
            for at in (step if before is None else before[0], step):
                if layer:
                    found = alignment[(alignment["cell"] == cell) & (alignment["seed"] == seed)]
                    found = found[(found["step"] == at) & (found["layer"] == layer)]
                    found = found[(found["quantity"] == quantity) & (found["correlation"] == "cosine")]
                    ends.append(found.loc[found["power"] == "1", "value"].item())
                else:
                    found = history[(history["cell"] == cell) & (history["seed"] == seed) & (history["step"] == at)]
                    ends.append(found.loc[(found["split"] == "test") & (found["metric"] == "loss"), "value"].item())
            return float((1 - share) * ends[0] + share * ends[1])
        before = step, loss
    raise AssertionError("the level is not reached")


@pytest.mark.parametrize(("quantity", "layer"), [("uc_nfc", "hidden1"), ("haar_nfc", "hidden1"), ("test loss", "")])
def test_the_table_agrees_with_plain_loops(study: Study, quantity: str, layer: str) -> None:
    cells = [cell.id for cell in study.collected.sweep.cells]
    own, others = cells[3], cells[:2]
    history = study.collected.history
    losses = history[(history["split"] == "train") & (history["metric"] == "loss")]
    losses = losses[losses["cell"].isin([own, *others])]
    level = losses.groupby(["cell", "seed"], observed=True)["value"].min().max()
    matched = Matched(study.tables["speed_limited"])
    assert matched.raised[own] == "hidden1"
    assert matched.others(own) == others
    assert matched.levels[own] == level
    mine = [plain(study, own, seed, level, quantity, layer) for seed in range(3)]
    for other in others:
        row = matched.row(own, other, layer, quantity, HEADLINE if layer else None)
        assert row is not None
        theirs = [plain(study, other, seed, level, quantity, layer) for seed in range(3)]
        gain = np.subtract(mine, theirs)
        half = stats.t.ppf(0.975, 2) * gain.std(ddof=1) / math.sqrt(3)
        assert row["mean"] == pytest.approx(np.mean(mine))
        assert row["other_mean"] == pytest.approx(np.mean(theirs))
        assert [row["gain"], row["gain_low"]] == pytest.approx([gain.mean(), gain.mean() - half], abs=1e-12)


def test_features_are_compared_by_whatever_the_probe_table_holds(study: Study) -> None:
    cell = study.collected.sweep.cells[2].id
    assert "ridge r2" in Matched(study.tables["speed_limited"]).scores(cell, "hidden0")
    scores, probes = study.collected.scores, study.collected.probes
    more = [part.astype({"probe": str}) for part in (scores, probes.assign(probe="kernel_mine"))]
    table = make_tables(replace(study.collected, scores=pd.concat(more)))["speed_limited"]
    assert "kernel_mine r2" in Matched(table).scores(cell, "hidden0")


def test_losses_are_matched_at_all_recorded_steps_and_layers_at_checkpoints(study: Study) -> None:
    history = study.collected.history
    between = history[history["metric"].isin(["loss", "accuracy"]) & (history["step"] > 0)].copy()
    between["step"] -= 1  # a recorded step just before each checkpoint, with losses of its own
    between["value"] *= 1.0 + 0.3 * np.random.default_rng(0).random(len(between))
    dense = replace(study.collected, history=pd.concat([history, between[~between["step"].isin(history["step"])]]))
    denser = Study(dense, make_tables(dense), study.paths)
    before, after = (Matched(each.tables["speed_limited"]) for each in (study, denser))
    cells = [cell.id for cell in study.collected.sweep.cells]
    own, level = cells[3], before.levels[cells[3]]
    assert after.levels == before.levels
    for other in cells[:2]:
        assert after.row(own, other, "hidden1", "uc_nfc", HEADLINE) == before.row(
            own, other, "hidden1", "uc_nfc", HEADLINE
        )
        row = after.row(own, other, "", "test loss")
        assert row is not None
        values = [plain(denser, own, seed, level, "test loss", "") for seed in range(3)]
        assert row["mean"] == pytest.approx(np.mean(values))
        assert values != [plain(study, own, seed, level, "test loss", "") for seed in range(3)]


def with_machines(study: Study) -> Study:
    """Fit kernel machines at every checkpoint, on every hidden layer's inputs."""
    scores = study.collected.scores.astype({"probe": str})
    ridge = scores[(scores["probe"] == "ridge") & (scores["layer"] != "input")]
    parts = [scores[~(scores["probe"].str.startswith("kernel_") & (scores["layer"] != "input"))]]
    for name, more in (("kernel_identity", 0.0), ("kernel_nfm", 0.05), ("kernel_agop", 0.1)):
        part = ridge.assign(probe=name, value=ridge["value"] + more)
        parts.append(part[part["layer"] != "hidden0"] if name == "kernel_identity" else part)
    collected = replace(study.collected, scores=pd.concat(parts))
    return Study(collected, make_tables(collected), study.paths)


def test_kernel_machines_fitted_at_every_checkpoint_are_compared_with_their_metric_i(study: Study) -> None:
    machines = with_machines(study)
    matched = Matched(machines.tables["speed_limited"])
    cells = [cell.id for cell in study.collected.sweep.cells]
    for cell, layer in ((cells[2], "hidden0"), (cells[3], "hidden1")):
        rows = {name: matched.row(cell, cells[0], layer, f"kernel_{name} r2") for name in ("identity", "nfm", "agop")}
        ridge = matched.row(cell, cells[0], layer, "ridge r2")
        assert ridge is not None
        for name, row in rows.items():
            assert row is not None
            assert row["n_seeds"] == 3
            if name == "identity" and layer == "hidden0":  # the raw input's own machine, whatever was learned
                assert [row["mean"], row["other_mean"], row["gain"]] == pytest.approx([0.55, 0.55, 0.0])
            else:
                more = {"identity": 0.0, "nfm": 0.05, "agop": 0.1}[name]
                assert [row["mean"], row["gain"]] == pytest.approx([ridge["mean"] + more, ridge["gain"]])
    said = speed_limited.answer(machines, matched, HEADLINE).sentence
    assert "the kernel machine with its AGOP is better than every other's in" in said
    html = speed_limited.SECTION.render(Material(machines)).html
    assert "kernel_identity r2 of hidden0" in html


def test_kernel_machines_at_the_ends_alone_are_not_compared(study: Study) -> None:
    matched = Matched(study.tables["speed_limited"])
    cell = study.collected.sweep.cells[2].id
    assert not [name for name in matched.scores(cell, "hidden0") if name.startswith("kernel_")]
    assert "kernel machine" not in speed_limited.answer(study, matched, HEADLINE).sentence


def with_gains(study: Study, **gains: tuple[float, float, float]) -> Study:
    """Put a gain and its interval in the place of those of a quantity."""
    table = study.tables["speed_limited"].copy()
    for quantity, (gain, low, high) in gains.items():
        rows = table["quantity"] == quantity.replace("_loss", " loss")
        table.loc[rows, ["gain", "gain_low", "gain_high"]] = gain, low, high
        table.loc[rows, ["mean", "ci_low", "ci_high"]] = gain, low, high
    return Study(study.collected, {**study.tables, "speed_limited": table}, study.paths)


@pytest.mark.parametrize(
    ("gain", "said"),
    [
        ((0.1, 0.05, 0.15), "larger than under every other optimizer in 2,"),
        ((0.1, -0.05, 0.25), "larger than under every other optimizer in 0,"),
        ((-0.1, -0.2, -0.05), "larger than under every other optimizer in 0,"),
    ],
)
def test_the_sentence_claims_what_the_intervals_show(study: Study, gain: tuple[float, float, float], said: str) -> None:
    changed = with_gains(study, uc_nfc=gain, test_loss=(-0.1, -0.2, -0.05))
    found = speed_limited.answer(changed, Matched(changed.tables["speed_limited"]), HEADLINE)
    assert said in found.sentence
    assert "the test loss is better than every other's in 2, worse than some other's in 0" in found.sentence
    assert ("Its UC-NFC is not larger for: hidden0 on" in found.sentence) == (gain[1] < 0)
    assert "3 seeds" in found.sentence


def test_directions_are_compared_above_their_control(study: Study) -> None:
    """At every seed the factor less its control; in the answer, in both tables and in the figure."""
    table = study.tables["speed_limited"]
    matched = Matched(table)
    own, other = (study.collected.sweep.cells[number].id for number in (3, 0))
    names = ("directional", "directional_haar", "above_directional_haar")
    value, control, above = (matched.row(own, other, "hidden1", name) for name in names)
    assert value is not None
    assert control is not None
    assert above is not None
    assert above["mean"] == pytest.approx(value["mean"] - control["mean"])
    assert above["gain"] == pytest.approx(above["mean"] - above["other_mean"])
    assert not set(names) & set(matched.scores(own, "hidden1"))
    for shift, count in ((0.0, 2), (-1.0, 0)):
        rows = table["quantity"] == "above_directional_haar"
        moved = table.copy()
        moved.loc[rows, ["mean", "ci_low", "ci_high"]] += shift
        verdict = speed_limited.answer(study, Matched(moved), HEADLINE).verdict
        assert f"lies above its control (K turned at random) in {count} of 2 cells" in verdict
    for gain, count in ((0.1, 2), (-0.1, 0)):
        verdict = speed_limited.answer(study, Matched(table.assign(gain_low=gain, gain_high=0.2)), HEADLINE).verdict
        assert f"farther above it than under every other optimizer compared in {count} (" in verdict
    html = speed_limited.SECTION.render(Material(study)).html
    assert f"{value['mean']:.2f} ({control['mean']:.2f})" in html
    axes = drawn(figure.panels(study, matched)[0])
    assert [each.get_title("left") for each in axes] == ["directional factor", "UC-NFC", ""]


def test_a_projection_that_is_measured_by_head_is_compared_as_a_whole(study: Study) -> None:
    """Its values are the means over its heads; the page and its figure name the layer whose speed is raised."""
    table = study.collected.alignment.astype({"layer": str})
    table["layer"] = table["layer"].replace({"hidden1": "hidden1.0"})
    second = table[table["layer"] == "hidden1.0"].assign(layer="hidden1.1", value=lambda rows: rows["value"] + 0.25)
    collected = replace(study.collected, alignment=pd.concat([table, second], ignore_index=True))
    cut = Study(collected, make_tables(collected), study.paths)
    own, other = (study.collected.sweep.cells[number].id for number in (3, 0))
    whole, mean = (
        Matched(each.tables["speed_limited"]).row(own, other, "hidden1", "uc_nfc", HEADLINE) for each in (study, cut)
    )
    assert whole is not None
    assert mean is not None
    assert mean["mean"] == pytest.approx(whole["mean"] + 0.125)
    assert "hidden1" in speed_limited.SECTION.render(Material(cut)).html


def test_controls_that_are_not_defined_are_not_passed(study: Study) -> None:
    matched = Matched(study.tables["speed_limited"])
    assert "above both its controls in 2" in speed_limited.answer(study, matched, HEADLINE).sentence
    assert "above both its controls in 0" in speed_limited.answer(study, matched, Convention("pearson", "1/2")).sentence


def test_the_section_is_there_with_such_cells_alone(study: Study, tmp_path: Path) -> None:
    material = Material(study)
    assert speed_limited.SECTION.asked(material)
    made = speed_limited.SECTION.render(material)
    assert made.section.anchor == "speeds"
    assert "hidden0" in made.short or "of 2 cells" in made.short
    assert "adapt 5" in made.html
    assert made.html.count('<p class="legend">') == 1
    assert "nan" not in made.html
    for optimizers, folder in ((OPTIMIZERS[:2], "a"), (OPTIMIZERS[2:3], "b")):
        assert not speed_limited.SECTION.asked(Material(study_of(sweep_of(optimizer=optimizers), tmp_path / folder)))


def test_one_seed_claims_no_interval(tmp_path: Path) -> None:
    study = study_of(sweep_of(seeds=1), tmp_path)
    found = speed_limited.answer(study, Matched(study.tables["speed_limited"]), HEADLINE)
    assert "one seed, no interval" in found.sentence
    assert "[" not in found.sentence


def test_cells_that_are_not_compared_are_named(study: Study) -> None:
    """A raised cell with a run that diverged is in no count; with all of them gone, that is the reason given."""
    collected = study.collected
    assert "Not compared" not in speed_limited.answer(study, Matched(study.tables["speed_limited"]), HEADLINE).sentence

    def answer(*numbers: int) -> str:
        documents = copy.deepcopy(collected.documents)
        for number in numbers:
            documents[collected.sweep.cells[number].id]["runs"]["1"]["status"] = "diverged"
        changed = replace(collected, documents=documents)
        failed = Study(changed, make_tables(changed), study.paths)
        return speed_limited.answer(failed, Matched(failed.tables["speed_limited"]), HEADLINE).sentence

    assert "of 1 cell" in answer(2)
    assert "to compare with did): hidden0 on" in answer(2)
    assert answer(2, 3).startswith("Not compared (one of their runs did not learn")
    assert answer(2, 3).endswith("So there is no answer; see the table of layers below.")


def test_the_legend_names_what_is_drawn_and_nothing_else(study: Study) -> None:
    labels = [label for label, _ in figure.legend(study, Matched(study.tables["speed_limited"]))]
    cells = [cell.id for cell in study.collected.sweep.cells]
    assert labels == [study.row(cell)["optimizer"] for cell in cells[:4]]
