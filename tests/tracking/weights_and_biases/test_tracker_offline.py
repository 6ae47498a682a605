"""Offline runs read back with W&B's own reader: every metric and value against the tables they came from."""

import contextlib
import json
import math
import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nfa.conventions import LOG_STEP, LOGGED
from nfa.report.statistics.runs import in_headline
from nfa.storage.tables import read_table
from nfa.sweep.cells import Cell
from nfa.tracking.record.cell_files import read_results
from nfa.tracking.record.run import build_record
from nfa.tracking.record.tables import column_name
from nfa.tracking.weights_and_biases import client as wandb_client
from nfa.tracking.weights_and_biases.tracker import WandbTracker
from tests.tracking.conftest import Published
from tests.tracking.reading import Logged, run_folders, same

RUNS = [(cell, seed) for cell in (0, 1) for seed in (0, 3)]


@pytest.fixture(scope="module")
def logged(published: Published) -> dict[tuple[str, int], Logged]:
    """All runs, read back."""
    runs = [Logged(folder) for folder in run_folders(published.paths.wandb)]
    return {(run.config["cell"], run.config["seed"]): run for run in runs}


@pytest.fixture(params=RUNS, ids=[f"cell{cell}-seed{seed}" for cell, seed in RUNS])
def place(request: pytest.FixtureRequest, published: Published) -> tuple[Cell, int]:
    """Each cell and seed in turn."""
    cell, seed = request.param
    return published.sweep.cells[cell], seed


Runs = dict[tuple[str, int], Logged]


def test_one_run_per_cell_and_seed(published: Published, logged: Runs) -> None:
    """Each cell and seed has exactly one complete folder."""
    assert len(published.summary.published) == 4
    assert not published.summary.unsent
    assert set(logged) == {(cell.id, seed) for cell in published.sweep.cells for seed in published.sweep.seeds}
    assert len(run_folders(published.paths.wandb)) == 4


def test_published_json_names_every_run(published: Published) -> None:
    """published.json names the folder of each run, and each id ends in the digest of its content."""
    document = json.loads(published.paths.published.read_text())
    assert set(document["runs"]) == set(published.summary.published)
    for entry in document["runs"].values():
        assert (published.paths.wandb / entry["folder"] / f"run-{entry['id']}.wandb").exists()
        assert entry["sent"] is False
        assert entry["id"].endswith(entry["digest"][:8])


def test_run_is_named_and_grouped(place: tuple[Cell, int], logged: Runs) -> None:
    """A run has its name, group and tags, but not the name of the publishing machine."""
    cell, seed = place
    run = logged[cell.id, seed].run
    assert run["display_name"] == f"{cell.id[:-9]} seed {seed} {cell.id[-8:]}"
    assert run["run_group"] == cell.id
    assert run["job_type"] == "train"
    assert run["project"] == "nfa-test"
    assert run["run_id"].startswith(cell.id[-8:] + f"-s{seed}-")
    names = cell.parameters()
    assert run["tags"] == ["small", *(names[axis]["name"] for axis in ("data", "model", "optimizer"))]
    assert "host" not in run
    (ended,) = logged[cell.id, seed].of("exit")
    assert ended["exit_code"] == 0


def names_of(cell: Cell) -> dict[str, str]:
    """Names of a cell's layers in metrics; the last one has a name of its own."""
    return {layer.name: str(i) for i, layer in enumerate(cell.layers[:-1])} | {cell.layers[-1].name: "readout"}


def test_config_is_nested_by_axis(place: tuple[Cell, int], published: Published, logged: Runs) -> None:
    """Every setting is one column of W&B's table of runs, e.g. ``model.depth``."""
    cell, seed = place
    config = logged[cell.id, seed].config
    for axis, settings in cell.parameters().items():
        for key, value in settings.items():
            assert config[axis].get(key) == value, f"{axis}.{key}"
    assert config["seed"] == seed
    assert config["sweep"] == "small"
    assert config["measure"] == published.sweep.measure.model_dump()
    assert config["probe"] == published.sweep.probe.model_dump()
    assert config["data"]["outputs"] == cell.shape.outputs
    assert {layer["name"]: key for key, layer in config["layers"].items()} == names_of(cell)
    assert not any("." in key for key in config)  # W&B could not filter by them


def test_training_curves(place: tuple[Cell, int], published: Published, logged: Runs) -> None:
    """The training series hold exactly the values of history.parquet."""
    cell, seed = place
    history = read_table(published.paths.cell(cell.id).history).query("seed == @seed")
    rows = logged[cell.id, seed].series("train/step")
    for step, split, metric, value in history[["step", "split", "metric", "value"]].itertuples(index=False):
        assert same(rows[step].pop(f"{split}/{metric}"), value)
    assert set().union(*rows.values()) == {"train/step", "train/epoch", "_runtime", "_step", "_timestamp"}


def test_alignment_series_are_the_headline_convention(
    place: tuple[Cell, int], published: Published, logged: Runs
) -> None:
    """The alignment series hold quantities and controls, cosine at power 1, per layer, and means over hidden layers."""
    cell, seed = place
    table = read_table(published.paths.cell(cell.id).alignment)
    headline = table[(table["seed"] == seed) & in_headline(table)]
    rows = logged[cell.id, seed].series("alignment/step")
    assert set(rows) == set(headline["step"])
    assert {"uc_nfc", "haar_nfc", "spectral", "c_directional_haar", "w0_nfc", "relative_change"} <= set(LOGGED)
    for quantity in LOGGED:
        chosen = headline[headline["quantity"] == quantity]
        for step, layer, value in chosen[["step", "layer", "value"]].itertuples(index=False):
            assert same(rows[step].pop(f"alignment/{quantity}/{names_of(cell)[layer]}"), value)
        for step, hidden in chosen[chosen["depth_from_output"] > 0].groupby("step")["value"]:
            assert rows[int(str(step))].pop(f"alignment/{quantity}/mean") == pytest.approx(hidden.mean(), abs=1e-15)
    assert {step: row.pop(f"alignment/{LOG_STEP}") for step, row in rows.items()} == {
        step: pytest.approx(math.log10(step + 1)) for step in rows
    }
    assert set().union(*rows.values()) == {"alignment/step", "_runtime", "_step", "_timestamp"}


def test_probe_series(place: tuple[Cell, int], published: Published, logged: Runs) -> None:
    """Every score of a linear probe in probes.parquet, and nothing else."""
    cell, seed = place
    index = names_of(cell) | {"input": "input"}
    table = read_table(published.paths.cell(cell.id).probes).query("seed == @seed and probe == 'ridge'")
    rows = logged[cell.id, seed].series("probe/step")
    for step, layer, split, metric, value in table[["step", "layer", "split", "metric", "value"]].itertuples(
        index=False
    ):
        assert same(rows[step].pop(f"probe/{split}_{metric}/{index[layer]}"), value)
    assert set().union(*rows.values()) == {"probe/step", "_runtime", "_step", "_timestamp"}


def test_every_group_has_its_own_step(place: tuple[Cell, int], logged: Runs) -> None:
    """Each series has its own step metric, not the client's step counter."""
    run = logged[place[0].id, place[1]]
    globs = {m["glob_name"]: m["step_metric"] for m in run.of("metric") if "glob_name" in m}
    assert globs == {
        "train/*": "train/step",
        "test/*": "train/step",
        "alignment/*": "alignment/step",
        "probe/*": "probe/step",
        "pictures/*": "pictures/step",
    }
    for item in run.history:
        steps = {globs[f"{key.partition('/')[0]}/*"] for key in item if f"{key.partition('/')[0]}/*" in globs}
        assert len(steps) <= 1
        assert steps <= set(item)


def test_alignment_table_has_every_value(place: tuple[Cell, int], published: Published, logged: Runs) -> None:
    """The alignment table holds exactly the quantities, correlations and powers of alignment.parquet."""
    cell, seed = place
    table = read_table(published.paths.cell(cell.id).alignment).query("seed == @seed")
    rows = {(row["step"], row["layer_index"]): row for row in logged[cell.id, seed].table("alignment")}
    cells = 0
    columns = ["step", "layer", "layer_index", "quantity", "correlation", "power", "value", "note"]
    for step, layer, index, quantity, correlation, power, value, note in table[columns].itertuples(index=False):
        row = rows[step, index]
        assert row["layer"] == layer
        name = column_name(quantity, correlation, power)
        assert row[name] == (None if math.isnan(value) else value)
        assert not note or f"{name}" in row["notes"]
        assert note in row["notes"]
        cells += row[name] is not None
    fixed = {"step", "layer", "layer_index", "depth_from_output", "estimator", "n", "notes"}
    assert cells == sum(value is not None for row in rows.values() for key, value in row.items() if key not in fixed)


def test_probe_table_has_every_value(place: tuple[Cell, int], published: Published, logged: Runs) -> None:
    """Every score of a linear probe in probes.parquet, and nothing else."""
    cell, seed = place
    table = read_table(published.paths.cell(cell.id).probes).query("seed == @seed and probe == 'ridge'")
    rows = {(row["step"], row["layer"]): row for row in logged[cell.id, seed].table("probes")}
    for step, layer, split, metric, value in table[["step", "layer", "split", "metric", "value"]].itertuples(
        index=False
    ):
        assert rows[step, layer].pop(f"{split} {metric}") == value
    fixed = {"step", "layer", "layer_index", "probe", "features"}
    assert set().union(*rows.values()) == fixed


def test_spectra_and_pictures(place: tuple[Cell, int], published: Published, logged: Runs) -> None:
    """Spectra equal matrices.npz; pictures on disk equal those drawn from it."""
    cell, seed = place
    results = read_results(published.paths.cell(cell.id))
    run = logged[cell.id, seed]
    for row in run.table("spectra"):
        for name in ("nfm", "agop", "k"):
            spectrum = results.matrices[f"{seed}/{row['step']}/{row['layer']}/{name}_spectrum"]
            assert row[name] == (float(spectrum[row["index"]]) if row["index"] < len(spectrum) else None)
    pictures = build_record(published.sweep, cell, seed, results).pictures
    rows = [item for item in run.history if "pictures/step" in item]
    places = [(picture.name, picture.step) for picture in pictures]
    (middle,) = {step for _, step in places} - {0, 20}
    ends, basis = ["nfm_agop_0", "spectra"], ["left_k", "kappa"]
    shown = {0: [*ends, *basis], middle: basis, 20: [*ends, *basis]}
    assert places == [(name, step) for step, names in shown.items() for name in names]
    for picture, row in zip(pictures, rows, strict=True):
        assert row["pictures/step"] == picture.step
        path = run.folder / "files" / row[f"pictures/{picture.name}.path"]
        assert np.array_equal(np.asarray(Image.open(path)), picture.pixels)


def test_summary(place: tuple[Cell, int], published: Published, logged: Runs) -> None:
    """The summary holds final values, the best probe with its baselines, status and cost, and no series again."""
    cell, seed = place
    paths, summary = published.paths.cell(cell.id), logged[cell.id, seed].summary
    history = read_table(paths.history).query("seed == @seed and step == 20 and metric in ('loss', 'accuracy')")
    for split, metric, value in history[["split", "metric", "value"]].itertuples(index=False):
        assert summary[f"final/{split}_{metric}"] == value
    assert ("final/test_accuracy" in summary) == (cell.shape.classes is not None)
    curves = read_table(paths.history).query("seed == @seed")
    for split, metric, extreme in (("train", "loss", "lowest"), ("test", "accuracy", "highest")):
        values = curves.query("split == @split and metric == @metric")["value"]
        best = values.min() if extreme == "lowest" else values.max()
        assert summary.get(f"{extreme}/{split}_{metric}") == (None if values.empty else best)
    scores = read_table(paths.probes).query("seed == @seed")
    probes = scores.query("split == 'test' and layer != 'input' and probe == 'ridge'")
    best = probes.query("step == 20").sort_values("value").iloc[-1]
    index = [layer.name for layer in cell.layers].index(str(best["layer"]))
    assert (summary["best_probe/layer"], summary["best_probe/score"]) == (str(index), best["value"])
    untrained = probes[(probes["step"] == 0) & (probes["layer"] == best["layer"])]["value"]
    assert [summary["best_probe/untrained"]] == untrained.tolist()
    assert summary["best_probe/input"] == 0.5
    for kernel in ("kernel_identity", "kernel_nfm", "kernel_agop", "rfm"):
        last = scores.query("split == 'test' and probe == @kernel").sort_values("step").iloc[-1]
        assert summary[f"features/{kernel}"] == last["value"]
    known = scores.query("metric == 'agop_trace_share' and step == 20")["value"].tolist()
    assert [summary[key] for key in ["features/agop_trace_share"] if key in summary] == known
    assert summary["final/uc_nfc/0"] == logged[cell.id, seed].series("alignment/step")[20]["alignment/uc_nfc/0"]
    hidden = read_table(paths.alignment).query("seed == @seed and step == 20 and depth_from_output > 0")
    ends = hidden[in_headline(hidden)].pivot(index="layer", columns="quantity", values="value")
    for quantity, control, spread in (
        ("uc_nfc", "haar_nfc", "haar_nfc_sd"),
        ("c_nfc", "c_haar_nfc", "c_haar_nfc_sd"),
        ("directional", "directional_haar", "directional_haar_sd"),
    ):
        above = ends[quantity] - ends[control]
        assert summary[f"final/{quantity}/above_control"] == pytest.approx(above.mean())
        assert summary[f"final/{quantity}/above_control_in_sd"] == pytest.approx(
            above.mean() / (ends[spread] ** 2).mean() ** 0.5
        )
    assert summary["diverged"] is False
    assert summary["learned"] is True
    assert summary["seconds/total"] == 3.0
    doubled = [key for key in summary if key.partition("/")[0] in ("train", "test", "alignment", "probe")]
    assert not doubled


def services() -> list[int]:
    """Process ids of the service processes that this process has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the process has ended meanwhile
            process, name, _, parent, *_ = path.read_text().split()
            if name == "(wandb-core)" and int(parent) == os.getpid():
                found.append(int(process))
    return found


def test_a_service_that_does_not_end_is_left_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(wandb_client, "CLOSE_SECONDS", 1.0)
    tracker = WandbTracker(tmp_path / "wandb", "offline", "project", None)
    (service,) = services()
    os.kill(service, signal.SIGSTOP)
    rescue = threading.Timer(20, os.kill, (service, signal.SIGKILL))  # a wait without limit ends, and gives no warning
    rescue.start()
    try:
        tracker.close()
    finally:
        rescue.cancel()
        os.kill(service, signal.SIGKILL)
    (line,) = capsys.readouterr().err.splitlines()
    assert "W&B: warning: the client did not end within 1 s and is left behind; its runs are in " in line
    assert line.endswith(f"{tmp_path / 'wandb'}, and `wandb sync` sends them")
