"""The stage tune: it finds what trying every value finds, on samples and seeds that the sweep does not report."""

import json
import math
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from nfa.digests import read_sealed
from nfa.errors import UserError
from nfa.stages import tune as stage
from nfa.stages.options import StageOptions
from nfa.stages.train import train
from nfa.storage.paths import CellPaths, SweepPaths
from nfa.storage.tables import read_table
from nfa.storage.tuned import read_tuned, with_tuned
from nfa.sweep.cells import Sweep
from nfa.sweep.grid import parse
from nfa.training import TrainingRun
from nfa.training.evaluate import evaluate
from nfa.training.materials import load_all
from tests.helpers import environment, nfa, tiny

CPU = torch.device("cpu")
RANGE = {"tune": [0.01, 10]}
CHAIN = {"name": "chain_monomial", "dim": 8, "rank": 3, "n_train": 128, "n_test": 64}


def tuned_sweep(lr: Any = RANGE, **changes: Any) -> Sweep:
    given = {"data": [CHAIN], "optimizer": [{"name": "sgd", "lr": lr}], "tune": {"points": 5}}
    return parse(tiny(**given | changes), "tiny.yaml")


def run(sweep: Sweep, results: Path, **options: Any) -> tuple[dict[str, Any], pd.DataFrame, CellPaths]:
    """Tune the only cell; return its document and its trials."""
    cell = sweep.cells[0]
    paths = SweepPaths(results / sweep.name).cell(cell.id)
    stage.tune(sweep, cell, StageOptions(results, CPU, **options))
    document = read_tuned(sweep, cell, paths)
    assert document is not None
    return document, read_table(paths.trials), paths


@pytest.mark.parametrize(
    "network", [{"name": "mlp", "depth": 2, "width": 12}, {"name": "resnet", "depth": 3, "width": 2}]
)
def test_it_finds_what_trying_every_value_finds(tmp_path: Path, network: dict[str, Any]) -> None:
    """Without halving, the trials end at the losses that runs of their own have, and the lowest is chosen."""
    data = [CHAIN] if network["name"] == "mlp" else [{"name": "fashion_mini", "n_train": 100, "n_test": 20}]
    sweep = tuned_sweep(tune={"points": 4, "start": 1, "seeds": 2}, model=[network], data=data, train={"steps": 12})
    document, trials, _ = run(sweep, tmp_path)
    cell, losses = sweep.cells[0], {}
    loaded = load_all(cell, [stage.FIRST_SEED, stage.FIRST_SEED + 1], CPU)
    for values in dict.fromkeys(trials["values"]):
        each = []
        for seed, data_of_seed in loaded.items():
            alone = TrainingRun(cell.with_found(json.loads(values)), seed, stage.hold_out(data_of_seed, 0.2))
            while alone.step < 12 and not alone.diverged:
                alone.advance()
            each.append(
                math.inf if alone.diverged else evaluate(alone.model, alone.materials, "test", alone.loss)["loss"]
            )
        losses[values] = sum(each) / 2
    best = min(losses, key=losses.__getitem__)
    assert document["found"] == json.loads(best)
    assert document["validation_loss"] == pytest.approx(losses[best], rel=1e-6)
    ends = trials[(trials["step"] == 12) & (trials["split"] == "validation") & (trials["metric"] == "loss")]
    for values, loss in ends.groupby("values")["value"].mean().items():
        assert loss == pytest.approx(losses[str(values)], rel=1e-6)
    assert document["trials"] == len(losses) == 4 + (2 if document["trial"] not in (0, 3) else document["trials"] - 4)


def test_the_better_half_goes_on(tmp_path: Path) -> None:
    document, trials, _ = run(tuned_sweep(tune={"points": 8}), tmp_path)
    reached = trials.groupby("trial")["step"].max()
    losses = trials[(trials["split"] == "validation") & (trials["metric"] == "loss")]
    at = {step: part.groupby("trial")["value"].mean() for step, part in losses.groupby("step")}
    first = reached[reached.index < 8]
    assert (first >= 15).sum() == 4
    assert (first == 30).sum() == 2
    assert set(first[first >= 15].index) == set(at[8].loc[:7].nsmallest(4).index)
    assert set(first[first == 30].index) == set(at[15].loc[:7].nsmallest(2).index)
    # Values halfway to the neighbours of the best are trained to the end.
    assert (reached[reached.index >= 8] == 30).all()
    assert document["steps"] == trials.groupby(["trial", "seed"])["step"].max().sum()


def test_no_sample_or_seed_of_the_report_is_used(tmp_path: Path) -> None:
    sweep = tuned_sweep()
    cell = sweep.cells[0]
    data = load_all(cell, [7], CPU)[7]
    held = stage.hold_out(data, 0.25)
    assert (len(held.x_train), len(held.x_test)) == (96, 32)
    together = torch.cat([held.x_train, held.x_test])
    assert torch.equal(together.sort(0).values, data.x_train.sort(0).values)
    assert not (held.x_test[:, None] == data.x_test[None]).all(-1).any()
    place = (held.x_test[:, None] == data.x_train[None]).all(-1).float().argmax(1)
    assert torch.equal(held.y_test, data.y_train[place])
    _, trials, _ = run(sweep, tmp_path)
    assert trials["seed"].min() >= 2**31  # a sweep's seeds are smaller
    assert set(trials["split"]) == {"train", "validation"}


def test_a_value_that_diverges_has_lost(tmp_path: Path) -> None:
    document, trials, _ = run(tuned_sweep({"values": [0.05, 1e6]}), tmp_path)
    assert document["found"] == {"lr": 0.05}
    assert (document["trials"], document["diverged"]) == (2, 1)
    assert document["at_edge"] == {"lr": "low"}
    assert set(trials.loc[trials["metric"] == "diverged", "trial"]) == {1}
    with pytest.raises(UserError, match=r"every trial diverged \(lr 100000 to 1e\+06\)"):
        run(tuned_sweep({"values": [1e5, 1e6]}), tmp_path)


def test_an_early_loser_goes_on_if_all_winners_diverge(tmp_path: Path) -> None:
    """The larger value is ahead at the first comparison and diverges later: the other one is trained to its end."""
    data = [{"name": "fashion_mini", "n_train": 200, "n_test": 20}]
    values, settings = [1e-4, 0.3], {"start": 0.02, "seeds": 1}
    sweep = tuned_sweep({"values": values}, data=data, tune=settings, train={"steps": 200, "batch_size": "full"})
    document, trials, _ = run(sweep, tmp_path)
    losses = trials[(trials["split"] == "validation") & (trials["metric"] == "loss")].set_index(["trial", "step"])
    if document["diverged"]:  # else the larger value learned, and nothing had to be tried again
        assert losses["value"][1, 4] < losses["value"][0, 4]
        assert document["found"] == {"lr": 1e-4}
        assert losses["value"][0, 200] == document["validation_loss"]


def test_two_settings_and_the_order_of_trials(tmp_path: Path) -> None:
    optimizer = [{"name": "sgd", "lr": {"values": [0.01, 0.1]}, "momentum": {"tune": [0, 0.8], "scale": "linear"}}]
    sweep = tuned_sweep(optimizer=optimizer, tune={"points": 3, "seeds": 1})
    document, trials, _ = run(sweep, tmp_path)
    first = [json.loads(values) for values in dict.fromkeys(trials["values"])][:6]
    assert first == [{"lr": lr, "momentum": m} for lr in (0.01, 0.1) for m in (0.0, 0.4, 0.8)]
    assert set(document["found"]) == {"lr", "momentum"}


def test_sweeps_share_a_search(tmp_path: Path) -> None:
    _, trials, paths = run(tuned_sweep(), tmp_path)
    tuned = paths.tuned.read_bytes()
    for folder in (tmp_path / ".tuned").iterdir():
        assert sorted(file.name for file in folder.iterdir()) == ["lock", "search.json"]  # no state is left
        moment = (folder / "search.json").stat().st_mtime_ns
    other = tuned_sweep(sweep="other", seeds=5, train={**tiny()["train"], "checkpoints": 2})
    _, again, other_paths = run(other, tmp_path)
    pd.testing.assert_frame_equal(again, trials)
    assert other_paths.tuned.read_bytes() == tuned
    assert (folder / "search.json").stat().st_mtime_ns == moment


def test_trials_side_by_side_give_the_same(tmp_path: Path) -> None:
    results = [run(tuned_sweep(), tmp_path / str(n), processes=n) for n in (1, 2)]
    pd.testing.assert_frame_equal(results[0][1], results[1][1])


@pytest.mark.parametrize("signal", ["SIGKILL", "SIGTERM"])
def test_a_stopped_search_goes_on(tmp_path: Path, signal: str) -> None:
    """However often it is stopped, it ends with the table of a search that never was, and repeats no finished part."""
    document = tiny(data=[CHAIN], optimizer=[{"name": "sgd", "lr": RANGE}], train={"steps": 400, "batch_size": 32})
    config = tmp_path / "tiny.yaml"
    config.write_text(json.dumps(document))
    sweep = parse(document, "tiny.yaml")
    _, expected, _ = run(sweep, tmp_path / "whole")
    command = [
        sys.executable,
        "-m",
        "nfa",
        "tune",
        str(config),
        "--results",
        str(tmp_path / "cut"),
        "--save-every",
        "0",
    ]
    stops = 0
    for _ in range(4):
        process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
        before = _saved(tmp_path / "cut")
        while process.poll() is None and _saved(tmp_path / "cut") <= before:
            time.sleep(0.005)
        process.send_signal(getattr(__import__("signal"), signal))
        process.communicate()
        stops += process.returncode != 0
        assert _saved(tmp_path / "cut") > before
    assert stops == 4
    finished = nfa("tune", config, "--results", tmp_path / "cut")
    assert finished.returncode == 0, finished.stderr
    paths = SweepPaths(tmp_path / "cut" / "tiny").cell(sweep.cells[0].id)
    pd.testing.assert_frame_equal(read_table(paths.trials), expected)


def _saved(results: Path) -> tuple[int, int]:
    """Count the parts of trials that are finished, and the changes of saved states."""
    parts = steps = 0
    for file in results.glob(".tuned/*/trial-*"):
        try:
            if file.suffix == ".json":
                parts += len(read_sealed(file)["losses"])
            else:
                steps = max(steps, file.stat().st_mtime_ns)
        except OSError:
            continue
    return parts, steps


def test_a_damaged_part_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, expected, _ = run(tuned_sweep(), tmp_path / "whole")
    monkeypatch.setattr(stage._Searching, "clear", lambda self: None)
    _, _, paths = run(tuned_sweep(), tmp_path / "cut")
    (folder,) = (tmp_path / "cut" / ".tuned").iterdir()
    (folder / "search.json").write_text("{}")
    (folder / "trial-1.json").write_text("damaged")
    (folder / "trial-1.safetensors").write_bytes(b"damaged")
    paths.tuned.unlink()
    _, again, _ = run(tuned_sweep(), tmp_path / "cut")
    pd.testing.assert_frame_equal(again, expected)


def test_training_takes_the_value_that_was_found(tmp_path: Path) -> None:
    sweep = tuned_sweep()
    cell = sweep.cells[0]
    with pytest.raises(UserError, match=r"lr: not tuned yet; run `nfa tune tiny.yaml --cells"):
        train(sweep, cell, StageOptions(tmp_path, CPU))
    document, _, paths = run(sweep, tmp_path)
    lr = document["found"]["lr"]
    (resolved,) = with_tuned(sweep, SweepPaths(tmp_path / sweep.name)).cells
    train(sweep, resolved, StageOptions(tmp_path, CPU))
    written = read_sealed(paths.cell)
    assert written["parameters"]["optimizer"]["lr"] == lr
    history = read_table(paths.history)
    assert set(history.loc[history["metric"] == "lr", "value"]) == {lr}
    plain = parse(tiny(data=[CHAIN], optimizer=[{"name": "sgd", "lr": lr}], sweep="plain"), "plain.yaml")
    train(plain, plain.cells[0], StageOptions(tmp_path, CPU))
    pd.testing.assert_frame_equal(read_table(SweepPaths(tmp_path / "plain").cell(plain.cells[0].id).history), history)
    # Values of another search do not count.
    shutil.copytree(tmp_path / "tiny", tmp_path / "copy" / "tiny")
    changed = tuned_sweep(tune={"points": 4})
    assert not with_tuned(changed, SweepPaths(tmp_path / "copy" / "tiny")).cells[0].found


def test_a_trial_stops_where_its_run_would(tmp_path: Path) -> None:
    """With ``until`` a trial ends at the training loss, each seed at its own step, and its loss is that of its end."""
    train_settings = {"steps": 300, "batch_size": 32, "until": {"train_loss": 0.5}}
    document, trials, _ = run(tuned_sweep({"values": [0.1, 0.2]}, tune={"start": 1}, train=train_settings), tmp_path)
    losses = trials[trials["metric"] == "loss"]
    ends = losses.loc[losses.groupby(["trial", "seed", "split"])["step"].idxmax()].set_index(["trial", "split"])
    chosen = ends.loc[document["trial"]]
    assert chosen["step"].nunique() == 2
    assert (chosen.loc["train", "value"] <= 0.5).all()
    assert (chosen["step"] < 300).all()
    assert document["validation_loss"] == pytest.approx(chosen.loc["validation", "value"].mean(), rel=1e-12)
