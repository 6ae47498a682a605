"""The sweep file: which cells it means, what their ids depend on, and what is refused."""

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from nfa.errors import SweepError
from nfa.storage.documents import write_plan
from nfa.storage.paths import SweepPaths
from nfa.sweep.grid import SEGMENT, load, parse
from nfa.sweep.read_yaml import read_yaml
from tests.helpers import ROOT, tiny

DEFAULT = read_yaml(ROOT / "config" / "config.yaml")


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """Return the default sweep with one change."""
    document: dict[str, Any] = copy.deepcopy(DEFAULT)
    change(document)
    return document


def ids(document: dict[str, Any]) -> list[str]:
    """Return the ids of a document's cells."""
    return [cell.id for cell in parse(document, "x.yaml").cells]


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


def test_ids_are_one_readable_path_segment() -> None:
    for name in ids(DEFAULT):
        assert "/" not in name
        assert len(name) < 200
        assert SEGMENT.fullmatch(name.rpartition(".")[2])
    assert ids(DEFAULT)[0].startswith("fashion_mini.mlp-d2-w128-s0.3.sgd-")


def test_ids_do_not_change_from_version_to_version() -> None:
    """A changed id would orphan every finished cell of every user: raise REVISIONS instead, on purpose."""
    document = {
        "data": [{"name": "fashion_mini"}],
        "model": [{"name": "mlp", "width": 128, "depth": 2, "init_scale": 0.3}],
        "optimizer": [{"name": "sgd", "lr": 0.5}, {"name": "slo", "lr": 0.2, "speeds": {"first": 1, "others": 0.01}}],
        "train": {"steps": 1000, "batch_size": 128},
    }
    assert ids(document) == [
        "fashion_mini.mlp-d2-w128-s0.3.sgd-lr0.5.1b2c804f",
        "fashion_mini.mlp-d2-w128-s0.3.slo-lr0.2-first1-others0.01.c599b6ba",
    ]


def test_whole_numbers_may_be_written_as_floats() -> None:
    document = tiny(train={"steps": 4, "batch_size": 8})
    floats = copy.deepcopy(document) | {"train": {"steps": "4e0", "batch_size": 8.0}}
    assert ids(floats) == ids(document)


def test_renaming_reordering_and_spelling_out_defaults_change_no_id() -> None:
    reordered = {key: DEFAULT[key] for key in reversed(DEFAULT)}
    reordered["sweep"] = "other-name"
    reordered["model"] = [dict(reversed(entry.items())) for entry in DEFAULT["model"]]
    reordered["model"][0]["activation"] = "relu"  # the default, spelled out
    reordered["optimizer"] = copy.deepcopy(DEFAULT["optimizer"])
    reordered["optimizer"][5]["speeds"] = {"others": 0.01, "first": 1}
    assert ids(reordered) == ids(DEFAULT)


def test_adding_a_value_keeps_every_cell_and_seeds_are_in_no_id() -> None:
    wider = changed(lambda d: d["model"][0].update(depth=[2, 3, 4]))
    assert set(ids(DEFAULT)) < set(ids(wider))
    assert ids(changed(lambda d: d.update(seeds=[5, 7]))) == ids(DEFAULT)


def test_a_stage_hash_holds_what_the_stage_depends_on() -> None:
    base = parse(DEFAULT, "x")
    probing = parse(changed(lambda d: d["probe"].update(samples=100)), "x")
    measuring = parse(changed(lambda d: d["measure"].update(samples=100)), "x")
    for cell in base.cells:
        hashes = base.hashes(cell)
        assert probing.hashes(cell) == {**hashes, "probe": probing.hashes(cell)["probe"]}
        assert probing.hashes(cell)["probe"] != hashes["probe"]
        assert measuring.hashes(cell) == {**hashes, "measure": measuring.hashes(cell)["measure"]}
        assert measuring.hashes(cell)["measure"] != hashes["measure"]


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


def test_two_ways_to_write_the_same_speeds_are_one_cell() -> None:
    ways: list[dict[Any, Any]] = [{"first": 1, "others": 0.01}, {0: 1, "others": 0.01}, {"hidden0": 1, "others": 0.01}]
    document = tiny(data=[{"name": "chain_monomial"}])
    hashes = {ids({**document, "optimizer": [{"name": "slo", "speeds": speeds}]})[0][-8:] for speeds in ways}
    assert len(hashes) == 1


def test_the_plan_of_a_sweep_parses_to_the_same_sweep(tmp_path: Path) -> None:
    document = changed(lambda d: d["optimizer"][5].update(speeds={0: 1, "others": 0.5}))
    sweep = parse({**document, "wandb": {"project": "octopus \U0001f419"}}, "x")
    paths = SweepPaths(tmp_path / sweep.name)
    write_plan(sweep, paths)
    again = load(paths.plan)
    assert [cell.id for cell in again.cells] == [cell.id for cell in sweep.cells]
    for part in ("name", "seeds", "measure", "probe", "wandb"):
        assert getattr(again, part) == getattr(sweep, part)


@pytest.mark.parametrize("checkpoints", [1, 2, 5, 8, 40])
@pytest.mark.parametrize("steps", [1, 2, 10, 1000])
def test_checkpoints_start_at_zero_end_at_the_last_step_and_are_spaced_as_said(steps: int, checkpoints: int) -> None:
    document = tiny(train={"steps": steps, "checkpoints": checkpoints})
    kept = parse(document, "x").cells[0].train.checkpoint_steps(200)
    assert kept[0] == 0
    assert kept[-1] == steps
    assert kept == sorted(set(kept))
    assert len(kept) <= checkpoints + 1
    if (steps, checkpoints) == (1000, 8):
        assert kept == [0, 1, 3, 7, 19, 52, 139, 373, 1000]
    document["train"]["spacing"] = "linear"
    kept = parse(document, "x").cells[0].train.checkpoint_steps(200)
    assert (kept[0], kept[-1], len(kept)) == (0, steps, min(steps, checkpoints) + 1)
    assert max(np.diff(kept)) - min(np.diff(kept)) <= 1


def test_epochs_count_a_smaller_last_batch() -> None:
    train = parse(tiny(train={"epochs": 3, "batch_size": 64}), "x").cells[0].train
    assert train.total_steps(200) == 3 * 4
    assert parse(tiny(train={"batch_size": "full"}), "x").cells[0].train.batch(200) == 200


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


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sweep: a\nsweep: b\n", ["line 2", "given twice"]),
        ("later:\n  0.5: {last: 1}\n  0.50: {first: 1}\n", ["line 3", "0.50", "given twice"]),
        ("model: [{name: mlp}\n", ["not YAML: line 2, column 1: while parsing a flow sequence did not find expected"]),
        ("model:\n\t- {name: mlp}\n", ["not YAML: line 2, column 1: a tab; indent with spaces"]),
        ("- a\n- b\n", ["not a sweep"]),
        ("", ["not a sweep"]),
        ("a: &x [*x]\n", ["nested without end"]),
        ("? [1, 2]\n: 3\n", ["not YAML"]),
        ("sweep: 2026-99-99\n", ["not YAML", "month"]),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(text)
    with pytest.raises(SweepError) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_the_key_on_is_a_key_whoever_reads_the_file(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    written = "data: [{name: fashion_mini}]\nmodel: [{name: mlp}]\noptimizer: [{name: slo, on: adam}]\n"
    path.write_text(written)
    assert yaml.safe_load(written)["optimizer"][0] == {"name": "slo", True: "adam"}  # so Snakemake reads it
    for sweep in (load(path), parse(yaml.safe_load(written), "my.yaml")):
        assert sweep.cells[0].content["optimizer"]["on"] == "adam"
    path.write_text(written.replace("on: adam", "on: adam, 'on': sgd"))
    with pytest.raises(SweepError, match="line 3: on: given twice"):
        load(path)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=r"no such file.*nfa init"):
        load(tmp_path / "absent.yaml")


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
