"""The sweep file: the cells it means, and what is refused."""

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nfa.errors import SweepError
from nfa.storage.documents import write_plan
from nfa.storage.paths import SweepPaths
from nfa.sweep.grid import load, parse
from nfa.sweep.read_yaml import read_yaml
from tests.helpers import ROOT, tiny

DEFAULT = read_yaml(ROOT / "config" / "config.yaml")


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """Return the default sweep with one change."""
    document: dict[str, Any] = copy.deepcopy(DEFAULT)
    change(document)
    return document


def test_default_sweep_has_the_promised_axes() -> None:
    sweep = load(ROOT / "config" / "config.yaml")
    assert len(sweep.cells) == 15
    assert len(sweep.seeds) == 3
    data, models, optimizers = ({getattr(c, axis).name for c in sweep.cells} for axis in ("data", "model", "optimizer"))
    assert data == {"fashion_mini", "chain_monomial"}
    assert models == {"mlp", "conv"}
    assert optimizers == {"sgd", "adam", "slo"}
    assert {c.model.depth for c in sweep.cells if c.model.name == "mlp"} == {2, 4}  # type: ignore[attr-defined]


def test_planning_imports_no_torch() -> None:
    code = (
        "import sys, nfa.sweep.grid, nfa.stages.plan; nfa.sweep.grid.load('config/config.yaml'); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_grids_nest_and_for_keeps_entries_apart() -> None:
    document = tiny(
        optimizer=[
            {"name": ["sgd", "adam"], "lr": [0.1, "1e-2"]},
            {"name": "slo", "speeds": {"first": [1, 2], "others": 0.1}, "for": {"data": "fashion_mini"}},
        ]
    )
    sweep = parse(document, "x")
    assert len(sweep.cells) == 2 * 4 + 2
    named = [(c.content["data"]["name"], c.content["optimizer"]["name"], c.optimizer.lr) for c in sweep.cells]
    assert {lr for _, optimizer, lr in named if optimizer == "adam"} == {0.1, 0.01}
    assert {data for data, optimizer, _ in named if optimizer == "slo"} == {"fashion_mini"}


def test_the_plan_of_a_sweep_parses_to_the_same_sweep(tmp_path: Path) -> None:
    document = changed(lambda d: d["optimizer"][5].update(speeds={0: 1, "others": 0.5}))
    sweep = parse({**document, "wandb": {"project": "octopus \U0001f419"}}, "x")
    paths = SweepPaths(tmp_path / sweep.name)
    write_plan(sweep, paths)
    again = load(paths.plan)
    assert [cell.id for cell in again.cells] == [cell.id for cell in sweep.cells]
    for part in ("name", "seeds", "measure", "probe", "wandb"):
        assert getattr(again, part) == getattr(sweep, part)


# What a tired person types, and the words that must be in the one line that answers.
WRONG: list[tuple[Callable[[dict[str, Any]], object], list[str]]] = [
    (lambda d: d.update(modle=[]), ["modle", "did you mean 'model'"]),
    (lambda d: d["data"][0].update(name="fashion"), ["data[0].name", "'fashion'", "did you mean 'fashion_mini'"]),
    (lambda d: d["model"][0].update(name="mpl"), ["model[0].name", "'mpl'", "did you mean 'mlp'"]),
    (lambda d: d["optimizer"][0].update(name="adamm"), ["optimizer[0].name", "did you mean 'adam'"]),
    (lambda d: d["model"][0].update(name="MLP"), ["model[0].name", "'MLP'", "did you mean 'mlp'"]),
    (lambda d: d["data"][1].update({"n_train": 1, 24: None}), ["data[1]", "a comma splits a number before 24"]),
    (lambda d: d["model"][0].update(widht=3), ["model[0]", "widht", "did you mean 'width'"]),
    (lambda d: d["model"][0].update(width="wide"), ["model[0].width", "'wide'", "whole number"]),
    (lambda d: d["model"][0].update(width=1.5), ["model[0].width", "1.5", "whole number"]),
    (lambda d: d["model"][0].update(width=[64, -3]), ["model[0].width", "-3", "at least 1"]),
    (lambda d: d["model"][0].update(width=0), ["model[0].width", "0", "at least 1"]),
    (lambda d: d["model"][0].update(activation="rleu"), ["model[0].activation", "did you mean 'relu'"]),
    (lambda d: d["optimizer"][0].update(lr=-0.1), ["optimizer[0].lr", "-0.1", "more than 0"]),
    (lambda d: d["optimizer"][0].update(lr=0), ["optimizer[0].lr", "0", "more than 0"]),
    (lambda d: d["optimizer"][0].update(lr=True), ["optimizer[0].lr", "True", "number"]),
    (lambda d: d["optimizer"][0].update(lr=float("nan")), ["optimizer[0].lr", "nan", "finite"]),
    (lambda d: d["optimizer"][0].update(lr=[]), ["optimizer[0].lr", "empty grid"]),
    (lambda d: d["optimizer"][0].pop("name"), ["optimizer[0]", "name", "missing"]),
    (lambda d: d["optimizer"].append(dict(d["optimizer"][0])), ["same cell", "optimizer[7]"]),
    (lambda d: d.update(train=[{}, {"steps": 1000}]), ["same cell", "train[1]"]),
    (lambda d: d.update(train=[{"batch_size": 5000}, {"batch_size": "full"}]), ["same cell", "train[1]"]),
    (lambda d: d["model"][0].update({"wi\ndth": 3}), ["wi\\ndth", "no such setting"]),
    (lambda d: d["optimizer"][5]["speeds"].update(hidden7=1), ["speeds.hidden7", "no such layer", "hidden1"]),
    (lambda d: d["optimizer"][5]["speeds"].update(first=-1), ["speeds.first", "negative"]),
    (lambda d: d["optimizer"][5].update(speeds=3), ["speeds", "3", "mapping"]),
    (lambda d: d["model"][1].pop("for"), ["model[1]", "conv needs images", "chain_monomial", "vectors of 32"]),
    (lambda d: d["model"][1].update({"for": {"data": "cifar"}}), ["model[1].for.data", "'cifar'"]),
    (lambda d: d["model"][1].update({"for": {"model": "mlp"}}), ["model[1].for", "'model'"]),
    (lambda d: d["data"][1].update(rank=50), ["data[1]", "rank", "50", "dim 32"]),
    (lambda d: d.update(data=[]), ["data", "empty"]),
    (lambda d: d.pop("optimizer"), ["optimizer", "missing"]),
    (lambda d: d.update(model="mlp"), ["model", "'mlp'", "mapping"]),
    (lambda d: d.update(seeds=0), ["seeds", "0"]),
    (lambda d: d.update(seeds=-3), ["seeds", "-3"]),
    (lambda d: d.update(seeds=[1, 1]), ["seeds", "different"]),
    (lambda d: d.update(sweep="../escape"), ["sweep", "../escape", "folder"]),
    (lambda d: d["train"][1].update(steps=-5), ["train[1].steps", "-5", "at least 1"]),
    (lambda d: d["train"][1].update(epochs=3), ["train", "steps and epochs"]),
    (lambda d: d["train"][1].update(batch_size=0), ["batch_size", "0", "full"]),
    (lambda d: d["train"][1].update(loss="msee"), ["train[1].loss", "did you mean 'mse'"]),
    (lambda d: d["train"][1].update(loss="cross_entropy"), ["train[1].loss", "chain_monomial", "mse"]),
    (
        lambda d: d.update(data={"name": "digits", "centre": False}, model={"name": "mlp"}, train={"loss": "logistic"}),
        ["train.loss: logistic takes the sign of a target", "centre: false", "digits", "use centre: true"],
    ),
    (lambda d: d["measure"].update(samples=0), ["measure.samples", "0", "at least 1"]),
    (lambda d: d["measure"].update(estimator="exat"), ["measure.estimator", "did you mean 'exact'"]),
    (lambda d: d["probe"].update(kind="logistic"), ["probe.kind", "chain_monomial", "ridge"]),
    (lambda d: d["wandb"].update(mode="on"), ["wandb.mode", "valid"]),
    (lambda d: d["wandb"].update(project=""), ["wandb.project", "''", "empty"]),
    (lambda d: d["wandb"].update(project="  "), ["wandb: project", "' '", "no name"]),
    (lambda d: d["wandb"].update(project="a/b"), ["wandb: project", "'a/b'", "none of /"]),
    (lambda d: d["wandb"].update(project="a\nb"), ["wandb: project", "'a\\nb'", "no name"]),
    (lambda d: d["wandb"].update(project="x" * 129), ["wandb.project", "too long", "at most 128 characters"]),
    (lambda d: d["wandb"].update(entity="me/mine"), ["wandb: entity", "'me/mine'", "none of /"]),
    (lambda d: d["probe"].update(kernel_at="last"), ["probe.kernel_at", "'last'", "all, ends"]),
    (lambda d: d["measure"].update(early=-1), ["measure.early", "-1", "at least 0"]),
    (
        lambda d: d.update(optimizer=[{"name": "adam"}], measure={"early": 5}),
        ["measure.early: 5", "no cell follows gradient flow", "sgd"],
    ),
    (
        lambda d: d["measure"].update(heads=True),
        ["measure.heads: true", "no network has attention of several heads", "transformer"],
    ),
    (lambda d: d["measure"].update(heads="yes"), ["measure.heads", "'yes'"]),
    (lambda d: d["measure"].update(quantities=["uc_ncf"]), ["measure: quantities: 'uc_ncf'", "did you mean 'uc_nfc'"]),
    (lambda d: d["measure"].update(quantities="uc_nfc"), ["measure.quantities", "'uc_nfc' is not a list"]),
    (lambda d: d["measure"].update(quantities=[]), ["measure: quantities", "empty", "at least one quantity"]),
    (lambda d: d["model"][0].update(width=list(range(1, 999)), depth=list(range(999))), ["model[0]", "split"]),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_a_wrong_sweep_is_refused_in_one_line(number: int) -> None:
    change, words = WRONG[number]
    with pytest.raises(SweepError) as caught:
        parse(changed(change), "config/my.yaml")
    message = str(caught.value)
    assert message.startswith("config/my.yaml: ")
    assert "\n" not in message
    missing = [word for word in words if word not in message]
    assert not missing, f"{missing} not in: {message}"


@pytest.mark.parametrize("rule", ["hebb", "direct_feedback_alignment"])
def test_a_rule_by_layer_needs_a_chain_of_layers(rule: str) -> None:
    document = {
        "data": [{"name": "fashion_mini"}],
        "model": [{"name": "transformer"}],
        "optimizer": [{"name": "sgd", "lr": 0.1}],
        "train": {"rule": rule},
    }
    with pytest.raises(SweepError, match=f"{rule} gives each layer its own error, but transformer is no chain.* mlp,"):
        parse(document, "x.yaml")
    parse({**document, "model": [{"name": "vgg11"}]}, "x.yaml")


def test_cross_entropy_of_data_with_one_class_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its loss is 0 whatever the network gives; only data that a function gives finished can be so."""
    lines = [
        "import numpy as np",
        "from nfa.data import Data",
        "def make():",
        "    x, y, labels = np.ones((9, 2), 'f'), np.ones((9, 1), 'f'), np.zeros(9, int)",
        "    return Data(x, y, x, y, labels, labels)",
    ]
    (tmp_path / "one_class.py").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    document = {"data": {"name": "one_class:make"}, "model": {"name": "mlp"}, "optimizer": {"name": "sgd"}}
    assert parse({**document, "train": {"loss": "mse"}}, "my.yaml").cells
    with pytest.raises(SweepError, match="cross_entropy needs an output for each of several classes, but one_class"):
        parse({**document, "train": {"loss": "cross_entropy"}}, "my.yaml")
