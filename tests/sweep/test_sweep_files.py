"""The sweep files of the project: each parses and expands, and says what is missing where data are not there."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from nfa.errors import UserError
from nfa.sweep.estimate import estimate
from nfa.sweep.grid import load, load_all_sizes
from tests.helpers import ROOT, nfa

FILES = sorted((ROOT / "config/sweeps").glob("*.yaml"))
OWN_DATA = [path for path in FILES if "name: file" in path.read_text()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sweep files, and black images where their data would be."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "config", folder / "config")
    (folder / "data").mkdir()
    labels = np.arange(10_000) % 10
    images = np.zeros((10_000, 32, 32, 3), np.uint8)
    np.savez_compressed(folder / "data/cifar10.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    return folder


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_parses_and_expands(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    sweep, *others = load_all_sizes(path)
    assert sweep.name == path.stem
    assert sweep.cells
    for cell in sweep.cells:
        assert estimate(sweep, cell).seconds < 86_400  # a sweep of this folder is a matter of minutes or hours
    assert [other.name for other in others] == [f"{path.stem}-{size}" for size in sweep.sizes]
    assert all(other.cells for other in others)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_says_what_it_asks(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# ")
    assert not any(Path(entry.get("path", "")).is_absolute() for entry in yaml.safe_load(text)["data"])


@pytest.mark.parametrize("path", OWN_DATA, ids=lambda path: path.stem)
def test_missing_data_are_one_line(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"data/cifar10\.npz: no such file \(in ") as caught:
        load(path, "two_sets" if path.stem == "ansatz_datasets" else None)  # whose other size downloads its data
    assert "\n" not in str(caught.value)


def test_the_plan_of_learning_rules_tells_them_apart() -> None:
    told = nfa("expand", ROOT / "config/sweeps/learning_rules.yaml")
    rules = ("backpropagation", "feedback_alignment rho 0.5", "direct_feedback_alignment", "hebb")
    assert all(f"rule {rule}" in told.stdout for rule in rules)
    assert "training" not in nfa("expand", ROOT / "config/config.yaml").stdout


def test_the_command_says_it_too(tmp_path: Path) -> None:
    told = nfa("expand", ROOT / "config/sweeps/ansatz_mlp.yaml", cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert told.returncode == 2
    assert told.stdout == ""
    assert told.stderr.count("\n") == 1
    assert "data/cifar10.npz: no such file" in told.stderr
