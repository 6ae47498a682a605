"""What is predicted before training is what the sweep measures at step 0, and real training steps come to it."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from rich.console import Console

from nfa.alignment import measure
from nfa.alignment.quantities import LIMIT_QUANTITIES, QUANTITIES
from nfa.conventions import CONTROLS, HEADLINE, Convention
from nfa.optim import OPTIMIZERS
from nfa.report.terminal.predictions import prediction_report
from nfa.stages.measure import measure as measure_stage
from nfa.stages.options import StageOptions
from nfa.stages.predict import predict
from nfa.stages.train import train
from nfa.storage.paths import SweepPaths
from nfa.storage.tables import read_table
from nfa.sweep.cells import Sweep
from nfa.training import TrainingRun, load_data
from tests.helpers import nfa, tiny, tiny_sweep

CPU = torch.device("cpu")
ROWS = sum(len(QUANTITIES[name].rows) for name in LIMIT_QUANTITIES)  # of a layer
CHAIN = {"data": [{"name": "chain_monomial", "dim": 8, "rank": 3, "n_train": 128, "n_test": 64}]}
SETTINGS: list[dict[str, Any]] = [
    {},
    {**CHAIN, "measure": {"samples": 50, "estimator": "sketched"}},
    {
        **CHAIN,
        "train": {
            "steps": 3,
            "batch_size": "full",
            "rule": "feedback_alignment",
            "loss": "logistic",
            "decoupling": 0.1,
        },
    },
    {
        **CHAIN,
        "optimizer": [
            {"name": "adamw", "clip": 0.001, "weight_decay": 0.5},
            {"name": "muon", "clip": 0.001, "weight_decay": 0.5, "warmup": 0.5},
            {"name": "slo", "speeds": {"first": 0.0, "others": 1.0}},
        ],
    },
]


def measured(sweep: Sweep, results: Path) -> pd.DataFrame:
    """Train and measure every cell; their rows at step 0 that are limits."""
    tables = []
    for cell in sweep.cells:
        train(sweep, cell, StageOptions(results, CPU))
        measure_stage(sweep, cell, StageOptions(results, CPU))
        table = read_table(SweepPaths(results / sweep.name).cell(cell.id).alignment)
        tables.append(table.assign(cell=cell.id))
    table = pd.concat(tables, ignore_index=True)
    return table[(table["step"] == 0) & table["quantity"].isin(LIMIT_QUANTITIES)]


@pytest.mark.parametrize("settings", SETTINGS, ids=["plain", "sketched", "learning rule", "clipped and decayed"])
def test_equals_the_sweep_at_step_0(settings: dict[str, Any], tmp_path: Path) -> None:
    document = {"train": {"steps": 3, "batch_size": 32, "checkpoints": 1}, **settings}
    sweep = tiny_sweep(**document)
    predicted = predict(sweep, sweep.cells, sweep.seeds, CPU)
    found = measured(sweep, tmp_path)
    assert len(found) == len(predicted) == len(sweep.cells) * 2 * 3 * ROWS
    pd.testing.assert_frame_equal(
        predicted.reset_index(drop=True), found[predicted.columns].reset_index(drop=True), check_dtype=False, rtol=0
    )
    notes = set(predicted.loc[predicted["quantity"] == "c_nfc", "note"])
    by_rule = "rule" in document["train"]
    assert notes == {f"limit t -> 0+, {'flow of the learning rule' if by_rule else 'gradient flow'}"}


def test_order_and_choice_of_cells_change_nothing() -> None:
    sweep = tiny_sweep(seeds=1)
    everything = predict(sweep, sweep.cells, [0, 5], CPU)
    assert list(everything["cell"].unique()) == [cell.id for cell in sweep.cells]
    chosen = predict(sweep, [sweep.cells[3], sweep.cells[0]], [5], CPU)
    assert list(chosen["cell"].unique()) == [sweep.cells[3].id, sweep.cells[0].id]
    for index in (0, 3):
        of_cell = everything[(everything["cell"] == sweep.cells[index].id) & (everything["seed"] == 5)]
        alone = chosen[chosen["cell"] == sweep.cells[index].id]
        pd.testing.assert_frame_equal(of_cell.reset_index(drop=True), alone.reset_index(drop=True))


ALL = [{"name": name, **({"clip": 0.01} if name != "muon" else {})} for name in OPTIMIZERS]


def test_a_full_batch_step_of_training_comes_to_the_prediction() -> None:
    """The training loop itself, in float64, with every optimizer of the registry at a small learning rate."""
    sweep = tiny_sweep(
        seeds=1,
        **CHAIN,
        model=[{"name": "mlp", "depth": 2, "width": 12, "activation": "tanh"}],
        optimizer=[{**entry, "lr": 1e-5} for entry in ALL],
        train={"steps": 4, "batch_size": "full"},
        measure={"samples": 128},
    )
    predicted = predict(sweep, sweep.cells, [0], CPU)
    for cell in sweep.cells:
        run = TrainingRun(cell, 0, load_data(cell, 0, CPU))
        materials = run.materials
        run.model.double()
        run.optimizer = run.make_optimizer(run.model)
        run.materials = type(materials)(
            **{k: v.double() if torch.is_tensor(v) and v.is_floating_point() else v for k, v in vars(materials).items()}
        )
        run.advance()
        initial = {name: value.double() for name, value in run.initial.items()}
        table = measure(run.model, run.materials.x_train, initial=initial)
        now = table[table["quantity"] == "c_nfc"].set_index(["layer", "correlation", "power"])["value"]
        limit = predicted[(predicted["cell"] == cell.id) & (predicted["quantity"] == "c_nfc_update")]
        before = limit.set_index(["layer", "correlation", "power"])["value"]
        assert (now - before).abs().max() < 2e-3, cell.id


def shown(sweep: Sweep, width: int, convention: Convention = HEADLINE, seeds: int = 2) -> list[str]:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    table = predict(sweep, sweep.cells, range(seeds), CPU)
    console.print(prediction_report(sweep, table, convention, width))
    return console.export_text().splitlines()


def test_the_terminal_s_table_fits_and_says_what_is_undefined() -> None:
    sweep = tiny_sweep(
        optimizer=[
            {"name": "sgd", "lr": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]},
            {"name": "slo", "speeds": {"first": 0, "others": 1}},
        ]
    )
    for width in (40, 80, 120):
        lines = shown(sweep, width)
        assert max(map(len, lines)) <= width
        text = " ".join(" ".join(lines).split())
        assert "fashion_mini" in text
        assert "cosine, power 1" in text
        assert "n/a at hidden0: the NFM is zero" in text
        assert text.count("sgd") == 24  # of each data set, for C-NFC and for its directional factor
        assert text.count("directional: the factor") == 1
    assert "1 seed" in " ".join(shown(sweep, 80, Convention("pearson", "1/2"), seeds=1))


def test_every_prediction_stands_beside_the_control_along_its_direction() -> None:
    sweep = tiny_sweep(**CHAIN, optimizer=[{"name": "adam"}])
    table = predict(sweep, sweep.cells, range(2), CPU)
    rows = table[table["correlation"].isna() | ((table["correlation"] == "cosine") & (table["power"] == "1"))]
    means = rows.groupby(["layer", "quantity"])["value"].mean()
    lines = [line.split() for line in shown(sweep, 80)]
    tables = {line[0]: lines[number + 1 : number + 4] for number, line in enumerate(lines) if "gradient" in line}
    for heading, quantity, control in (
        ("C-NFC(0+)", "c_nfc", "c_haar_nfc"),
        ("directional", "c_directional", "c_directional_haar"),
    ):
        for layer, *numbers in tables[heading]:
            update, chance = f"{quantity}_update", CONTROLS[f"{quantity}_update"].mean
            expected = [(means[layer, name], means[layer, by]) for name, by in ((quantity, control), (update, chance))]
            found = list(zip(numbers[::4], numbers[3::4], strict=True))  # "0.95 ± 0.01 (0.90)"
            assert found == [(f"{value:.2f}", f"({by:.2f})") for value, by in expected]


def test_a_control_that_is_not_defined_has_its_reason() -> None:
    """Layers of one unit: no rotation changes a K of one number."""
    narrow = tiny_sweep(**CHAIN, model=[{"name": "mlp", "depth": 1, "width": 1}])
    text = " ".join(" ".join(shown(narrow, 120)).split())
    assert "(n/a)" in text
    assert "no control at hidden0: no rotation of K changes this correlation" in text
    assert "n/a at" not in text
    text = " ".join(" ".join(shown(tiny_sweep(**CHAIN), 120, Convention("cosine", "1/2"))).split())
    assert "no control of C-NFC: it is computed at power 1 only" in text


@pytest.fixture
def config(tmp_path: Path) -> Path:
    import yaml

    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny(seeds=1)))
    return path


def test_the_command(config: Path, tmp_path: Path) -> None:
    done = nfa("predict", config, "--seeds", 0, 3, "--output", "new.parquet", "--power", "depth", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "cosine, power depth; mean over 2 seeds" in done.stdout
    assert f"new.parquet: written, {4 * 2 * 3 * ROWS:,} rows" in done.stdout
    table = read_table(tmp_path / "new.parquet")
    assert list(table["seed"].unique()) == [0, 3]
    assert not (tmp_path / "results").exists()
    assert math.isfinite(table["value"].sum())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--cells", "fashion_mini.mlp"], "no cell 'fashion_mini.mlp'; did you mean"),
        (["--output", "x.txt"], "--output x.txt: must end in .csv or .parquet"),
        (["--output", "no/file/.csv/"], "must end in"),
        (["--seeds", "-1"], "'-1' is not a seed"),
        (["--power", "2"], "invalid choice"),
    ],
)
def test_a_mistake_is_one_line(config: Path, arguments: list[str], words: str) -> None:
    done = nfa("predict", config, *arguments, cwd=config.parent)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
