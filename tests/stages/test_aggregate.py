"""The stage aggregate on results in the true format: numbers are recomputed in another way, and bad runs are named."""

import io
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from rich.console import Console, RenderableType
from scipy import stats

from nfa.errors import UserError
from nfa.report.figures.files import FIGURES
from nfa.report.statistics.chart_points import read_cells
from nfa.report.statistics.collected import column_dtype
from nfa.report.statistics.intervals import over_seeds
from nfa.report.statistics.labels import cell_labels
from nfa.report.statistics.rank_correlation import spearman
from nfa.report.statistics.summaries import make_tables
from nfa.report.terminal.summary import summary, summary_table, unlearned_line
from nfa.stages.aggregate import AggregateSummary, aggregate, collect
from nfa.storage.arrays import read_arrays, write_arrays
from nfa.storage.columns import ALIGNMENT, HISTORY, PROBES
from nfa.storage.documents import write_plan
from nfa.storage.paths import SweepPaths
from nfa.storage.status import status
from nfa.storage.tables import read_stamp, read_table, write_table
from nfa.sweep.cells import Sweep
from tests.fake_results import rewrite_cell, write
from tests.helpers import tiny_sweep

TABLES = {
    "runs",
    "cells_summary",
    "loss_checkpoints",
    "history_summary",
    "alignment",
    "alignment_summary",
    "probes",
    "probes_summary",
    "predictions",
    "tuning",
    "tuning_trials",
    "early_dynamics",
    "early_departure",
    "features",
    "features_summary",
    "features_alignment",
    "features_ranks",
    "speed_limited",
}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sweep, SweepPaths, AggregateSummary]:
    """Aggregate a small sweep."""
    sweep = tiny_sweep(seeds=3)
    results = tmp_path_factory.mktemp("results")
    paths = write(sweep, results)
    return sweep, paths, aggregate(sweep, results)


def table(paths: SweepPaths, name: str) -> pd.DataFrame:
    return read_table(paths.tables / f"{name}.parquet")


def test_writes_everything_and_no_cell_is_missing(done: tuple[Sweep, SweepPaths, AggregateSummary]) -> None:
    sweep, paths, found = done
    assert {path.stem for path in paths.tables.glob("*.parquet")} == TABLES
    assert {path.stem for path in paths.tables.glob("*.csv")} == TABLES
    figures = {path.name for path in paths.figures.iterdir()}
    names = (FIGURES.keys() | {"matrices", "left_bases"}) - {
        "early",
        "speed_limited",
        "tuning",
    }  # this sweep has no figures of these three
    assert figures == {f"{name}.{kind}" for name in names for kind in ("svg", "png")}
    cells = [cell.id for cell in sweep.cells]
    without = {
        "loss_checkpoints",
        "predictions",
        "early_dynamics",
        "early_departure",
        "features_ranks",
        "speed_limited",
        "tuning",
        "tuning_trials",
    }
    for name in TABLES - without:
        assert list(table(paths, name)["cell"].unique()) == cells, name
    assert list(found.cells["cell"]) == cells
    page = found.report.read_text()
    assert all(f'href="figures/{name}"' in page for name in figures)
    assert 'href="figures/early' not in page
    assert not found.not_learned
    assert not found.diverged


def test_joined_tables_hold_every_row(done: tuple[Sweep, SweepPaths, AggregateSummary]) -> None:
    sweep, paths, _ = done
    joined = table(paths, "alignment")
    assert set(ALIGNMENT.names) | {"cell", "data.name", "model.depth", "optimizer.lr"} <= set(joined.columns)
    parts = {cell.id: read_table(paths.cell(cell.id).alignment) for cell in sweep.cells}
    assert len(joined) == sum(map(len, parts.values()))
    for cell, part in parts.items():
        here = joined[joined["cell"] == cell]
        assert math.isclose(here["value"].sum(), part["value"].sum(), rel_tol=1e-12)
        assert here["value"].isna().sum() == part["value"].isna().sum()


def test_runs_have_every_parameter_with_its_dtype(done: tuple[Sweep, SweepPaths, AggregateSummary]) -> None:
    sweep, paths, _ = done
    runs = table(paths, "runs")
    assert len(runs) == len(sweep.cells) * len(sweep.seeds)
    for cell in sweep.cells:
        assert {key for key, value in cell.flat_values().items() if value is not None} <= set(runs.columns)
    assert runs["model.depth"].dtype.kind == "i"
    assert runs["train.batch_size"].tolist() == ["32"] * len(runs)  # a number or `full`: text, whatever this sweep says
    assert runs["learned"].all()
    first = sweep.cells[0]
    history = read_table(paths.cell(first.id).history)
    last = history[(history["seed"] == 0) & (history["split"] == "test") & (history["metric"] == "loss")].iloc[-1]
    assert runs.iloc[0]["test_loss"] == last["value"]


def test_interval_is_students_t(done: tuple[Sweep, SweepPaths, AggregateSummary]) -> None:
    _, paths, _ = done
    summary_rows = table(paths, "alignment_summary")
    row = summary_rows[(summary_rows["quantity"] == "uc_nfc") & (summary_rows["step"] > 0)].iloc[7]
    joined = table(paths, "alignment")
    keys = ["cell", "step", "layer", "quantity", "correlation", "power"]
    values = joined[(joined[keys] == row[keys]).all(axis=1)]["value"]
    low, high = stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values))
    assert row["n_seeds"] == 3
    np.testing.assert_allclose([row["mean"], row["sd"]], [values.mean(), values.std(ddof=1)])
    np.testing.assert_allclose([row["ci_low"], row["ci_high"]], [low, high])


def test_undefined_values_stay_undefined_and_keep_their_note(done: tuple[Sweep, SweepPaths, AggregateSummary]) -> None:
    found = table(done[1], "alignment_summary")
    undefined = found[(found["quantity"] == "dc_nfc") & (found["step"] == 0)]
    assert undefined["mean"].isna().all()
    assert (undefined["n_seeds"] == 0).all()
    assert set(undefined["note"]) == {"0/0: W is W0"}


def test_mean_over_layers_leaves_the_readout_out(done: tuple[Sweep, SweepPaths, AggregateSummary]) -> None:
    sweep, paths, _ = done
    rows = table(paths, "alignment")
    headline = (rows["correlation"] == "cosine") & (rows["power"] == "1") & (rows["quantity"] == "uc_nfc")
    rows = rows[headline & (rows["depth_from_output"] > 0) & (rows["cell"] == sweep.cells[0].id) & (rows["seed"] == 1)]
    runs = table(paths, "runs")
    run = runs[(runs["cell"] == sweep.cells[0].id) & (runs["seed"] == 1)].iloc[0]
    assert math.isclose(run["uc_nfc"], rows[rows["step"] == rows["step"].max()]["value"].mean())


def test_rank_correlation_agrees_with_scipy(done: tuple[Sweep, SweepPaths, AggregateSummary]) -> None:
    _, paths, _ = done
    ranks = table(paths, "predictions")
    chosen = {"data": "chain_monomial", "correlation": "cosine", "power": "1", "predictor": "flow", "at": "last"}
    chosen["measure"] = "rho"
    row = ranks[(ranks[list(chosen)] == pd.Series(chosen)).all(axis=1) & ranks["layers"].str.startswith("hidden")].iloc[
        0
    ]
    alignment = table(paths, "alignment")
    keep = {"quantity": "c_nfc", "correlation": "cosine", "power": "1", "data.name": "chain_monomial"}
    alignment = alignment[(alignment[list(keep)] == pd.Series(keep)).all(axis=1) & (alignment["depth_from_output"] > 0)]
    start, end = (alignment[alignment["step"] == step] for step in (0, alignment["step"].max()))
    both = start.merge(end, on=["cell", "seed", "layer"], suffixes=("", "_last"))
    per_seed = [stats.spearmanr(part["value"], part["value_last"]).statistic for _, part in both.groupby("seed")]
    assert row["n"] == len(both) / 3
    assert math.isclose(row["mean"], float(np.mean(per_seed)))
    low, high = stats.t.interval(0.95, 2, loc=np.mean(per_seed), scale=stats.sem(per_seed))
    np.testing.assert_allclose([row["ci_low"], row["ci_high"]], [low, high])


def test_spearman_has_ties_and_constants() -> None:
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({"g": np.repeat([0, 1, 2], 20), "a": draw.integers(0, 5, 60), "b": draw.random(60)})
    frame.loc[frame["g"] == 1, "a"] = 3
    found = spearman(frame, ["g"], "a", "b").set_index("g")["rho"]
    for group in (0, 2):
        part = frame[frame["g"] == group]
        assert math.isclose(found[group], stats.spearmanr(part["a"], part["b"]).statistic)
    assert math.isnan(found[1])


def test_one_seed_has_a_mean_and_no_interval(tmp_path: Path) -> None:
    sweep = tiny_sweep(seeds=[7])
    cells = make_tables(collect(sweep, write(sweep, tmp_path)))["cells_summary"]
    assert cells["uc_nfc"].notna().all()
    assert cells[["uc_nfc_sd", "uc_nfc_ci_low", "uc_nfc_ci_high"]].isna().all(axis=None)
    assert over_seeds(pd.DataFrame({"k": [1], "value": [2.0]}), ["k"])[["mean", "n_seeds"]].values.tolist() == [
        [2.0, 1]
    ]


def test_same_input_same_bytes(done: tuple[Sweep, SweepPaths, AggregateSummary]) -> None:
    sweep, paths, _ = done
    files = [path for folder in (paths.tables, paths.figures) for path in sorted(folder.iterdir())] + [paths.report]
    before = {path: path.read_bytes() for path in files}
    aggregate(sweep, paths.folder.parent)
    assert [path.name for path in files if path.read_bytes() != before[path]] == []


def spoil(paths: SweepPaths, cell: str, seed: int, step: int, loss: float) -> None:
    """Make a run diverge after ``step``: remove later rows, and set the final loss."""
    here = paths.cell(cell)
    document: dict[str, Any] = json.loads(here.cell.read_text())
    run = document["runs"][str(seed)]
    kept = [checkpoint for checkpoint in run["checkpoints"] if checkpoint <= step]
    document["runs"][str(seed)] = {**run, "status": "diverged", "last_step": step, "checkpoints": kept}
    rewrite_cell(here, document)
    for path, schema in ((here.history, HISTORY), (here.alignment, ALIGNMENT), (here.probes, PROBES)):
        frame = read_table(path)
        frame = frame[(frame["seed"] != seed) | (frame["step"] <= step)]
        if schema is HISTORY:
            rows = (frame["seed"] == seed) & (frame["step"] == step) & (frame["metric"] == "loss")
            frame.loc[rows, "value"] = loss
        write_table(path, frame, schema, read_stamp(path))


def flatten(paths: SweepPaths, cell: str) -> None:
    """Make a cell learn nothing: set its losses to those of the constant predictor."""
    history = read_table(paths.cell(cell).history)
    history.loc[history["metric"] == "loss", "value"] = 0.09
    write_table(paths.cell(cell).history, history, HISTORY, read_stamp(paths.cell(cell).history))


def test_diverged_and_unlearned_cells_are_named(tmp_path: Path) -> None:
    model = [{"name": "mlp", "depth": 1, "width": [6, 8, 10]}]
    sweep = tiny_sweep(seeds=3, data=[{"name": "chain_monomial"}], model=model, optimizer=[{"name": "sgd"}])
    paths = write(sweep, tmp_path)
    diverged, gone, flat = (cell.id for cell in sweep.cells)
    spoil(paths, diverged, 1, 5, math.nan)
    for seed in sweep.seeds:
        spoil(paths, gone, seed, 0, math.inf)
    flatten(paths, flat)
    found = aggregate(sweep, tmp_path)
    assert found.diverged == (diverged, gone)
    assert found.not_learned == (diverged, gone, flat)
    runs = {(row["cell"], row["seed"]): row for row in table(paths, "runs").to_dict("records")}
    assert runs[diverged, 1]["status"] == "diverged"
    assert not runs[diverged, 1]["learned"]
    cells = {row["cell"]: row for row in table(paths, "cells_summary").to_dict("records")}
    assert [cells[diverged][name] for name in ("n_finished", "n_diverged", "n_learned")] == [2, 1, 2]
    kept = [runs[diverged, seed]["uc_nfc"] for seed in (0, 2)]
    assert math.isclose(cells[diverged]["uc_nfc"], sum(kept) / 2)
    assert math.isnan(cells[gone]["uc_nfc"])  # no run finished: undefined, not 0
    labels = cell_labels(sweep).set_index("cell")["label"]
    page = paths.report.read_text()
    assert f"Cells with runs that diverged: {labels[diverged]} (1 of 3 runs), {labels[gone]} (3 of 3 runs)" in page
    assert f"Cells with runs that did not learn: {labels[flat]} (3 of 3 runs)" in page
    line = unlearned_line(read_cells(paths.folder))
    assert all(labels[cell] in line for cell in (diverged, gone, flat))


def test_runs_that_did_not_reach_their_loss_are_named(tmp_path: Path) -> None:
    train = {"steps": 30, "until": {"train_loss": 0.01}}
    sweep = tiny_sweep(seeds=3, data=[{"name": "chain_monomial"}], optimizer=[{"name": "sgd"}], train=train)
    paths = write(sweep, tmp_path)
    here = paths.cell(sweep.cells[0].id)
    document = json.loads(here.cell.read_text())
    for seed, reached in (("0", True), ("1", False), ("2", False)):
        document["runs"][seed]["reached"] = reached
    rewrite_cell(here, document)
    aggregate(sweep, tmp_path)
    assert table(paths, "runs")["reached"].tolist() == [True, False, False]
    row = read_cells(paths.folder).iloc[0]
    assert (row["n_not_reached"], row["n_finished"]) == (2, 3)
    page = paths.report.read_text()
    assert "did not reach the training loss or accuracy of train.until: chain_monomial" in page
    assert "2 did not reach" in page
    assert page.count("<td>did not reach</td>") == 2
    assert "3 2 did not reach" in render(summary(paths.folder, 200), 200)
    write_plan(sweep, paths)
    assert f"did not reach: {sweep.cells[0].id} seed 1 at step 30" in status(paths.folder).lines()


def render(content: RenderableType, width: int) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(content)
    return console.export_text()


def test_terminal_table_fits(done: tuple[Sweep, SweepPaths, AggregateSummary]) -> None:
    from rich.console import Console

    _, paths, _ = done
    for width in (100, 80):
        console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
        console.print(summary(paths.folder, width))
        text = console.export_text()
        assert max(map(len, text.splitlines())) <= width
        assert "fashion_mini" in text
        assert "All 4 cells learned" in text
        assert "report.html" in text.replace("\n", "")
    assert summary_table(read_cells(paths.folder), 100).row_count == 4


@pytest.mark.parametrize(
    "name", ["cell.json", "history.parquet", "alignment.parquet", "probes.parquet", "matrices.npz"]
)
@pytest.mark.parametrize("damage", ["missing", "damaged", "damaged: empty", "damaged: half"])
def test_missing_and_damaged_files_are_one_line(tmp_path: Path, name: str, damage: str) -> None:
    sweep = tiny_sweep(seeds=1, data=[{"name": "chain_monomial"}])
    paths = write(sweep, tmp_path)
    file = paths.cell(sweep.cells[1].id).folder / name
    if damage == "missing":
        file.unlink()
    elif damage == "damaged":
        file.write_bytes(b"{no file of ours")
    else:
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2] if damage.endswith("half") else b"")
    with pytest.raises(UserError, match=f"{name}.*{damage.partition(':')[0]}.*nfa (train|measure|probe)") as caught:
        collect(sweep, paths)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [b"", b"PAR1 no table"])
def test_a_damaged_table_of_a_sweep_is_one_line(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "results" / "tables" / "cells_summary.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(damage)
    with pytest.raises(UserError, match=r"cells_summary.parquet: damaged .*`nfa aggregate` writes it again") as caught:
        summary(path.parents[1])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["history.parquet", "alignment.parquet", "probes.parquet"])
def test_bytes_that_changed_on_a_disk_are_found_and_not_read_as_other_numbers(tmp_path: Path, name: str) -> None:
    sweep = tiny_sweep(seeds=1, data=[{"name": "chain_monomial"}])
    paths = write(sweep, tmp_path)
    file = paths.cell(sweep.cells[1].id).folder / name
    content = bytearray(file.read_bytes())
    middle = pq.ParquetFile(file).metadata.row_group(0).column(5 if name != "alignment.parquet" else 9)
    start = middle.data_page_offset + middle.total_compressed_size // 2
    content[start : start + 4] = bytes(byte ^ 0xFF for byte in content[start : start + 4])
    file.write_bytes(content)
    with pytest.raises(UserError, match=f"{name}: damaged.*nfa (train|measure|probe)"):
        collect(sweep, paths)


def test_arrays_that_changed_on_a_disk_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "matrices.npz"
    write_arrays(path, {"0/0/a/nfm": np.arange(4000.0), "0/0/b/nfm": np.ones(3)})
    content = bytearray(path.read_bytes())
    content[2000:2100] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"matrices.npz: damaged .*nfa measure"):
        read_arrays(path)
    assert read_arrays(path, lambda name: "/b/" in name)["0/0/b/nfm"].tolist() == [1, 1, 1]


def test_a_missing_seed_is_one_line_and_a_spare_seed_is_left_out(tmp_path: Path) -> None:
    paths = write(tiny_sweep(seeds=2), tmp_path)
    with pytest.raises(UserError, match="seed 2 is not trained"):
        collect(tiny_sweep(seeds=3), paths)
    tables = make_tables(collect(tiny_sweep(seeds=1), paths))
    assert set(tables["runs"]["seed"]) == {0}
    assert set(tables["alignment"]["seed"]) == {0}


def test_labels_name_what_varies_and_differ() -> None:
    sweep = tiny_sweep(
        model=[{"name": "mlp", "depth": [1, 2], "width": 12}],
        optimizer=[{"name": "sgd", "lr": [0.1, 0.2]}, {"name": "adam", "lr": 0.01}],
    )
    labels = cell_labels(sweep)
    assert labels["label"].is_unique
    assert set(labels["optimizer"]) == {"sgd lr 0.1", "sgd lr 0.2", "adam"}
    assert set(labels["model"]) == {"mlp depth 1", "mlp depth 2"}
    assert set(labels["train"]) == {""}


@pytest.mark.parametrize(
    ("annotation", "dtype"),
    [
        (int, "Int64"),
        (int | None, "Int64"),
        (float, "float64"),
        (int | float, "float64"),
        (bool, "boolean"),
        (str | None, "string"),
        (int | str, "string"),
        (dict[str, float], "string"),
    ],
)
def test_column_dtypes_are_those_of_the_declaration(annotation: Any, dtype: str) -> None:
    assert column_dtype(annotation) == dtype


def test_importing_the_stage_imports_no_torch() -> None:
    code = "import sys, nfa.stages.aggregate; sys.exit('torch' in sys.modules or 'wandb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
