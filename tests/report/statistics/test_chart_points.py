"""The points of ``nfa figure``: values of the table, runs that diverged, runs read at one training loss."""

import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nfa.errors import UserError
from nfa.report.statistics.chart_points import Wanted, read_cells, read_points
from nfa.storage.tables import read_table, write_frame


def points_of(results: Path, *names: str, **more: float) -> pd.DataFrame:
    return read_points(results, [Wanted.parse(name) for name in names], **more)


def test_points_are_the_rows_of_the_table_in_their_convention(results: Path) -> None:
    table = read_table(results / "tables/alignment.parquet")
    chosen = table["correlation"].eq("pearson") & table["power"].eq("1/2") & table["depth_from_output"].gt(0)
    expected = table[chosen & table["quantity"].eq("uc_nfc")]
    points = points_of(results, "uc_nfc:pearson:1/2", "relative_change")
    found = points[points["quantity"] == "uc_nfc:pearson:1/2"]
    assert found["value"].tolist() == expected["value"].tolist()
    assert len(points) == 2 * len(found)  # a quantity without a convention is not repeated for every convention
    assert set(points["layer"]) == {"hidden0", "hidden1"}  # no readout


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


def test_a_checkpoint_that_was_kept_at_the_loss_is_shown_as_it_is(results: Path, tmp_path: Path) -> None:
    folder = tmp_path / results.name
    shutil.copytree(results, folder)
    every, interpolated = points_of(folder, "uc_nfc"), points_of(folder, "uc_nfc", at_train_loss=0.05)
    cell, step = every["cell"].iloc[0], sorted(every["step"].unique())[-2]
    kept = pd.DataFrame({"cell": [cell, cell], "seed": [0, 1], "train_loss": 0.05, "step": [step, None]})
    dtypes = {"cell": "string", "seed": "int64", "train_loss": "float64", "step": "Int64"}
    write_frame(folder / "tables/loss_checkpoints", kept.astype(dtypes))
    found = points_of(folder, "uc_nfc", at_train_loss=0.05)
    here = [frame[(frame["cell"] == cell) & (frame["seed"] == 0)] for frame in (found, every)]
    assert set(here[0]["step"]) == {step}
    assert here[0]["value"].tolist() == here[1].loc[here[1]["step"] == step, "value"].tolist()
    rest = [frame[(frame["cell"] != cell) | (frame["seed"] != 0)] for frame in (found, interpolated)]
    pd.testing.assert_frame_equal(*(part.sort_values(list(part.columns[:4])).reset_index(drop=True) for part in rest))
    assert len(found) == len(interpolated)


def test_a_quantity_that_is_named_twice_counts_once(results: Path) -> None:
    once, twice = (points_of(results, *names, at_train_loss=0.05) for names in (["uc_nfc"], ["uc_nfc", "uc_nfc"]))
    pd.testing.assert_frame_equal(once, twice)


def test_a_loss_that_no_run_reaches(results: Path) -> None:
    with pytest.raises(UserError, match=r"--at-train-loss 1e-09: the training loss of .*, seed 0, went from"):
        points_of(results, "uc_nfc", at_train_loss=1e-9)


@pytest.mark.parametrize(
    ("name", "message"),
    [("uc_nfx", "uc_nfx: no such quantity; did you mean 'uc_nfc'"), ("uc_nfc:cosinus", "'cosinus'")],
)
def test_mistakes_are_named(results: Path, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        points_of(results, name)


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


def test_tables_of_an_earlier_version_are_refused_in_one_line(results: Path, tmp_path: Path) -> None:
    earlier = tmp_path / "earlier"
    (earlier / "tables").mkdir(parents=True)
    write_frame(earlier / "tables/cells_summary", read_cells(results).drop(columns="n_not_reached"))
    with pytest.raises(UserError, match=r"earlier: aggregated by an earlier version; run `nfa aggregate` for it again"):
        read_cells(earlier)
