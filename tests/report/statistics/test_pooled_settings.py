"""A number that is made of several cells names the settings in which these differ, wherever it is shown."""

import re
from collections.abc import Callable
from html import unescape
from pathlib import Path

import pandas as pd
import pytest
import torch
from rich.console import Console
from wandb_workspaces.reports.v2 import interface as wr

from nfa.conventions import CONVENTIONS, HEADLINE, Convention
from nfa.report.figures import early, features_ranks, probing
from nfa.report.page.page import page
from nfa.report.page.sections import quality
from nfa.report.page.sections.alignment_rise import when
from nfa.report.page.sections.ansatz import holds
from nfa.report.page.sections.depth_law import which_power
from nfa.report.page.sections.layers import which_layer
from nfa.report.page.sections.optimizers import for_whom
from nfa.report.page.sections.pictures import pictured
from nfa.report.page.sections.predictions import was_predicted
from nfa.report.page.sections.section import Answer
from nfa.report.page.sections.training import trained
from nfa.report.statistics.collected import parameter_table
from nfa.report.statistics.matrix_albums import find_albums
from nfa.report.statistics.pooled_settings import Pooling
from nfa.report.statistics.study import Study
from nfa.report.statistics.summaries import make_tables
from nfa.report.terminal.predictions import prediction_report
from nfa.report.terminal.summary import summary
from nfa.stages.aggregate import collect
from nfa.stages.predict import predict
from nfa.storage.tables import write_frame
from nfa.sweep.cells import Sweep
from nfa.tracking.weights_and_biases.report import build_report
from tests.fake_results import write
from tests.helpers import tiny, tiny_sweep

SCALES = {"name": "mlp", "depth": 2, "width": 12, "init_scale": [0.1, 0.3, 1.0]}
RULES = {"steps": 30, "batch_size": 32, "checkpoints": 3, "rule": ["backpropagation", "hebb"]}
VARIED = "model.init_scale 0.1, 0.3, 1; train.rule backpropagation, hebb"
NAMES = "model.init_scale, train.rule"


def swept() -> Sweep:
    """A sweep that varies the scale of the initial weights and the learning rule."""
    return tiny_sweep(seeds=2, data=tiny()["data"][:1], model=[SCALES], optimizer=[{"name": "sgd"}], train=RULES)


def study_of(sweep: Sweep, folder: Path) -> Study:
    paths = write(sweep, folder)
    collected = collect(sweep, paths)
    return Study(collected, make_tables(collected), paths)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return study_of(swept(), tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A sweep of one cell."""
    sweep = tiny_sweep(seeds=2, data=tiny()["data"][:1], optimizer=[{"name": "sgd"}])
    return study_of(sweep, tmp_path_factory.mktemp("results"))


ANSWERS: dict[str, Callable[[Study, Convention], Answer]] = {
    "trained": lambda study, _: trained(study),
    "holds": holds,
    "which layer": which_layer,
    "when": when,
    "for whom": for_whom,
    "pictures": lambda study, _: pictured(study, find_albums(study)),
    "predicted": was_predicted,
    "depth law": which_power,
    "features": lambda study, _: quality.better_features(study),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_every_answer_names_what_it_pools(name: str, study: Study, plain: Study) -> None:
    for convention in CONVENTIONS:
        answer = ANSWERS[name](study, convention)
        assert VARIED in answer.sentence, answer.sentence
        alone = ANSWERS[name](plain, convention).sentence
        assert "differ in" not in alone
        assert "over model" not in alone


def test_means_of_one_optimizer_or_model_name_what_else_varies(study: Study) -> None:
    text = for_whom(study, HEADLINE).sentence
    by_model = text.partition("By model: ")[2]
    for scale in ("0.1", "0.3", "1"):
        assert re.search(rf"mlp init_scale {scale}: [^,(]*, [^(]*\(2 cells that differ in train.rule\)", by_model), text


def test_kernel_machines_name_what_is_averaged(study: Study) -> None:
    assert f"On fashion_mini (6 cells that differ in {NAMES})" in quality.metrics_carry(study)


@pytest.mark.parametrize("table", ["predictions", "features_ranks"])
def test_tables_have_a_column_for_it(table: str, study: Study, plain: Study) -> None:
    found = study.tables[table]
    made = found[found["n_points" if table == "features_ranks" else "n"] > 0]
    assert set(made["pooled_over"]) == {VARIED}
    assert set(plain.tables[table]["pooled_over"]) == {""}


def test_the_page_says_it_in_captions_and_at_a_glance(study: Study, plain: Study) -> None:
    text = unescape(re.sub(r"<[^>]+>", "", page(study, [], find_albums(study))))
    assert "and over 2 seeds" in text
    assert f"Estimator of K: {study.measured_with}. The cells taken together differ in {VARIED}." in text
    # Above the tables of verdicts, of layers, of strata and of predictions, and below the figure of ranks.
    shown = re.sub(r"\s+", " ", text)
    assert shown.count(f"Cells of a data set are taken together that differ in {NAMES}") >= 5
    alone = unescape(page(plain, [], find_albums(plain)))
    assert "taken together" not in alone.partition("How the numbers were obtained")[0]


def test_legends_of_figures_say_it(study: Study) -> None:
    assert [label for label, _ in features_ranks.legend(study)] == [f"fashion_mini (over {NAMES})"]


def test_a_line_for_the_raw_input_says_over_which_data_it_is_a_mean(tmp_path: Path) -> None:
    """The sizes of the training set differ by optimizer alone, so that the data set's name does not hold them."""
    data = [
        {"name": "fashion_mini", "n_train": n, "n_test": 100, "for": {"optimizer": name}}
        for n, name in ((100, "sgd"), (200, "adam"))
    ]
    study = study_of(tiny_sweep(seeds=1, data=data), tmp_path)
    assert set(study.cells["data"]) == {"fashion_mini"}
    assert probing.raw_input(study, "fashion_mini") == "raw input, mean over data.n_train"


def test_the_terminal_says_it(study: Study, tmp_path: Path) -> None:
    for name in ("cells_summary", "features_ranks"):
        write_frame(tmp_path / "tables" / name, study.tables[name])
    console = Console(width=400, record=True, file=(tmp_path / "shown").open("w"))
    console.print(summary(tmp_path, 400))
    assert f" cells, over {VARIED})" in console.export_text()


def test_the_report_on_a_server_says_it() -> None:
    sweep = tiny_sweep(
        data=tiny()["data"][:1], model=[SCALES], optimizer=[{"name": "sgd", "lr": [0.1, 0.2]}], train=RULES
    )
    cells = pd.DataFrame(columns=["label", "test_loss", "n_seeds", "n_learned", "n_diverged", "n_not_reached"])
    found: dict[str, tuple[str, str]] = {}
    heading = text = ""
    for block in build_report(sweep, cells, "lab", "project").blocks:
        if isinstance(block, wr.H1 | wr.H2):
            heading, text = str(block.text), ""
        elif isinstance(block, wr.P):
            text = str(block.text)
        elif isinstance(block, wr.PanelGrid):
            found[heading] = str(block.runsets[0].name), text
    for heading, others in (
        ("By model.init_scale", "optimizer.lr, train.rule"),
        ("By train.rule", "model.init_scale, optimizer.lr"),
        ("By optimizer.lr", "model.init_scale, train.rule"),
        ("Final values by optimizer.lr", "model.init_scale, train.rule"),
    ):
        legend, said = found[heading]
        assert legend == f"means over seeds, {others} of runs that learned"
        assert said.endswith(f"these differ in {others}.")
    assert found["Training"][0] == "means over seeds of runs that finished", "one line a cell"
    fitted = "A line is fitted to the runs of all cells: these differ in model.init_scale, optimizer.lr, train.rule."
    assert found["Alignment and features"] == ("each run that learned", fitted)


def test_what_follows_from_a_name_is_not_named() -> None:
    sweep = tiny_sweep()
    pooling = Pooling(parameter_table(sweep))
    ids = [cell.id for cell in sweep.cells]
    assert pooling.names(ids) == "data.name, optimizer.name", "their sizes and learning rates go with the names"
    one = [cell.id for cell in sweep.cells if cell.data.name == "fashion_mini"]  # type: ignore[attr-defined]
    assert pooling.listed(one) == "optimizer.name sgd, adam"
    assert pooling.listed(one[:1]) == ""


def test_values_that_look_alike_when_rounded_are_told_apart() -> None:
    pairs = [0.12345678, 0.123456789, None]
    optimizer = [{"name": "sgd", "clip": pairs}, {"name": "adam"}]
    sweep = tiny_sweep(data=tiny()["data"][:1], optimizer=optimizer)
    listed = Pooling(parameter_table(sweep)).listed(cell.id for cell in sweep.cells)
    assert listed == "optimizer.name sgd, adam; optimizer.clip 0.12345678, 0.123456789, none"


def test_early_dynamics_are_shown_for_every_loss(tmp_path: Path) -> None:
    train = {"steps": 30, "batch_size": 32, "checkpoints": 3, "loss": ["mse", "cross_entropy"]}
    optimizer = [{"name": "sgd", "lr": [0.1, 0.2]}]
    sweep = tiny_sweep(
        seeds=1, data=tiny()["data"][:1], optimizer=optimizer, train=train, measure={"samples": 50, "early": 20}
    )
    study = study_of(sweep, tmp_path)
    assert len(early.panels(study)) == 2
    sweep = tiny_sweep(
        seeds=1, data=tiny()["data"][:1], optimizer=[{"name": "sgd"}], train=train, measure={"early": 20}
    )
    study = study_of(sweep, tmp_path / "one")
    assert [title.rpartition("loss ")[2] for title in early.panels(study)] == ["mse", "cross_entropy"]


def test_a_prediction_is_shown_for_every_loss(tmp_path: Path) -> None:
    """With one optimizer the losses are compared: each has a flow of its own, and none stands for the others."""
    train = {"steps": 30, "batch_size": 32, "checkpoints": 3, "loss": ["mse", "cross_entropy"]}
    sweep = tiny_sweep(data=tiny()["data"][:1], optimizer=[{"name": "sgd"}], train=train)
    table = predict(sweep, sweep.cells, [0], torch.device("cpu"))
    console = Console(width=120, record=True, file=(tmp_path / "shown").open("w"))
    console.print(prediction_report(sweep, table, HEADLINE, 120))
    shown = console.export_text()
    assert shown.count("flow, sgd") == 4, shown  # a column for each loss, in two tables: C-NFC and its factor
