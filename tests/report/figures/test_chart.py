"""``nfa figure``: points, what they are gathered by, the numbers beside the picture, and mistakes."""

import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nfa.errors import UserError
from nfa.report.statistics.chart_data import Roles, make_chart, markdown, named
from nfa.report.statistics.intervals import over_seeds
from nfa.report.statistics.points import Wanted, read_points
from nfa.stages.aggregate import aggregate
from nfa.storage.tables import read_table, write_frame
from nfa.sweep.grid import parse
from tests.fake_results import write
from tests.helpers import nfa, tiny

MODELS = [{"name": "mlp", "depth": 2, "width": [12, 16]}]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An aggregated sweep of two widths and two optimizers on one data set."""
    folder = tmp_path_factory.mktemp("results")
    sweep = parse(tiny(seeds=3, data=tiny()["data"][:1], model=MODELS), "tiny.yaml")
    write(sweep, folder)
    aggregate(sweep, folder)
    return folder / sweep.name


def points_of(results: Path, *names: str, **more: float) -> pd.DataFrame:
    return read_points(results, [Wanted.parse(name) for name in names], **more)


def test_points_are_the_rows_of_the_table_in_their_convention(results: Path) -> None:
    table = read_table(results / "tables/alignment.parquet")
    chosen = table["correlation"].eq("pearson") & table["power"].eq("1/2") & table["depth_from_output"].gt(0)
    expected = table[chosen & table["quantity"].eq("uc_nfc")]
    points = points_of(results, "uc_nfc:pearson:1/2", "relative_change")
    ours = points[points["quantity"] == "uc_nfc:pearson:1/2"]
    assert ours["value"].tolist() == expected["value"].tolist()
    assert len(points) == 2 * len(ours)  # a scalar has one row in every convention
    assert set(points["layer"]) == {"hidden0", "hidden1"}  # no readout


def test_a_chart_is_the_mean_of_layers_then_the_interval_over_seeds(results: Path) -> None:
    chart = make_chart(points_of(results, "uc_nfc"), Roles("model.width", "quantity", "optimizer"))
    assert len(chart.table) == 4
    table = read_table(results / "tables/alignment.parquet")
    rows = table["quantity"].eq("uc_nfc") & table["correlation"].eq("cosine") & table["power"].eq("1")
    rows &= table["depth_from_output"].gt(0) & table["step"].eq(table["step"].max())
    rows &= table["optimizer.name"].eq("adam") & table["model.width"].eq(16)
    by_seed = table[rows].groupby("seed")["value"].mean().rename("value").reset_index().assign(here=0)
    expected = over_seeds(by_seed, ["here"]).iloc[0]
    found = chart.table[chart.table["optimizer"].eq("adam") & chart.table["model.width"].eq(16)].iloc[0]
    assert found["mean"] == pytest.approx(expected["mean"])
    assert found["ci_high"] == pytest.approx(expected["ci_high"])
    assert found["n_seeds"] == 3


def test_a_number_is_shown_with_its_setting() -> None:
    assert named("optimizer.weight_decay", 0.003) == "weight decay 0.003"
    assert named("optimizer.name", "sgd") == "sgd"
    assert named("quantity", "uc_nfc") == "uc_nfc"


def test_joined_roles_and_scores(results: Path) -> None:
    chart = make_chart(points_of(results, "test_accuracy"), Roles("step", "optimizer.name+model.width", "none"))
    assert chart.values("optimizer.name+model.width") == ["sgd 12", "adam 12", "sgd 16", "adam 16"]
    assert chart.table["mean"].between(0, 1).all()


def test_a_run_is_read_where_its_training_loss_first_is_so_low(results: Path) -> None:
    every = points_of(results, "uc_nfc", "train_loss")
    loss = 0.05
    matched = points_of(results, "uc_nfc", "train_loss", at_train_loss=loss)
    assert len(matched) == len(every) / every["step"].nunique()
    run = (every["cell"] == every["cell"].iloc[0]) & (every["seed"] == 1) & (every["layer"] == "hidden0")
    series = every[run].pivot(index="step", columns="quantity", values="value")
    first = int(np.argmax(series["train_loss"].to_numpy() <= loss))
    logs = np.log(series["train_loss"].to_numpy())
    part = (logs[first - 1] - math.log(loss)) / (logs[first - 1] - logs[first])
    uc = series["uc_nfc"].to_numpy()
    keys = (matched["cell"] == every["cell"].iloc[0]) & (matched["seed"] == 1) & (matched["layer"] == "hidden0")
    found = matched[keys].set_index("quantity")
    assert found.loc["uc_nfc", "value"] == pytest.approx((1 - part) * uc[first - 1] + part * uc[first])
    assert found.loc["uc_nfc", "step"] == pytest.approx(
        (1 - part) * series.index[first - 1] + part * series.index[first]
    )


def test_the_table_has_a_row_per_place_and_a_column_per_quantity(results: Path) -> None:
    chart = make_chart(points_of(results, "uc_nfc", "haar_nfc"), Roles("layer", "quantity", "label"))
    lines = markdown(chart).splitlines()
    assert lines[0] == "| label | layer | uc_nfc | haar_nfc |"
    assert len(lines) == 2 + 4 * 2
    assert lines[2].endswith("| 0.25 ± 0.00 |")


@pytest.mark.parametrize(
    ("names", "roles", "message"),
    [
        (["uc_nfx"], ("layer", "quantity", "label"), "uc_nfx: no such quantity; did you mean 'uc_nfc'"),
        (["uc_nfc:cosinus"], ("layer", "quantity", "label"), "'cosinus'"),
        (["uc_nfc"], ("layr", "quantity", "label"), "layr: nothing to compare by"),
        (["uc_nfc"], ("layer", "quantity", "none"), "4 cells would be averaged"),
    ],
)
def test_mistakes_are_named(results: Path, names: list[str], roles: tuple[str, str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_chart(points_of(results, *names), Roles(*roles))


def test_a_loss_that_no_run_reaches(results: Path) -> None:
    with pytest.raises(UserError, match=r"--at-train-loss 1e-09: .* went from"):
        points_of(results, "uc_nfc", at_train_loss=1e-9)


def test_the_command_draws_and_prints(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "sub" / "figure.png"
    done = nfa("figure", results, "--x", "step", "--colour", "optimizer", "--panel", "model.width", "--out", out)
    assert done.returncode == 0, done.stderr
    assert out.read_bytes()[:4] == b"\x89PNG"
    assert done.stdout.startswith("| model.width | optimizer | step | uc_nfc |")
    assert [path.name for path in out.parent.iterdir()] == ["figure.png"]
    again = nfa("figure", results, "--x", "depth", "--out", tmp_path / "figure.pdf")
    assert again.returncode == 2
    assert again.stderr == f"nfa: --out {tmp_path / 'figure.pdf'}: must end in .png or .svg\n"


def test_runs_that_diverged_are_left_out_and_counted(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(results, tmp_path / "tiny")
    runs = read_table(copy / "tables/runs.parquet")
    runs.loc[runs["seed"] == 0, "status"] = "diverged"
    write_frame(copy / "tables/runs", runs)
    assert set(points_of(copy, "uc_nfc")["seed"]) == {1, 2}
    assert capsys.readouterr().err == "nfa: 4 of 12 runs diverged and are left out\n"
    runs["status"] = "diverged"
    write_frame(copy / "tables/runs", runs)
    with pytest.raises(UserError, match="all 12 runs diverged; lower the learning rate"):
        points_of(copy, "uc_nfc")
