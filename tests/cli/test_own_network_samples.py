"""``nfa measure`` reads weights and samples in the forms that people have them in, and asks where there are two."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import nfa
from nfa.cli.main import run
from nfa.data.one_hot import centred_one_hot
from tests.helpers import ROOT

MODULE = """
from torch import nn

def mlp(): return nn.Sequential(nn.Flatten(), nn.Linear(192, 16, bias=False), nn.ReLU(), nn.Linear(16, 5, bias=False))
def conv(): return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
def grey(): return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
def norm(): return nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 5))
def tokens(): return nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(20, 3))
def vectors(): return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
"""
DRAW = np.random.default_rng(0)
IMAGES = DRAW.integers(256, size=(30, 3, 8, 8)).astype(np.uint8)
VECTORS = DRAW.normal(size=(30, 5)).astype(np.float32)
LABELS = np.arange(30) % 3
TEXT = np.array(["b", "a", "c"])[LABELS]
NUMBERED = np.array([1, 0, 2])[LABELS]  # in the order of the text


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a module; the current one."""
    (tmp_path / "nets_of_samples.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("nets_of_samples", None)


def made(name: str, seed: int = 0) -> nn.Module:
    """The network as the command makes it."""
    import nets_of_samples  # type: ignore[import-not-found]

    torch.manual_seed(seed)
    return getattr(nets_of_samples, name)()  # type: ignore[no-any-return]


def measured(name: str, *options: str) -> pd.DataFrame:
    """What the command writes."""
    assert run(["measure", f"nets_of_samples:{name}", *options, "--output", "table.parquet"]) == 0
    return pd.read_parquet("table.parquet")


def refused(capsys: pytest.CaptureFixture[str], name: str, *options: str) -> str:
    """What the command says of a mistake."""
    assert run(["measure", f"nets_of_samples:{name}", *options]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1, told
    return told


def same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    np.testing.assert_array_equal(found.value, expected.value)
    assert found.layer.tolist() == expected.layer.tolist()


@pytest.mark.parametrize("name", ["mlp", "conv"])
def test_images_of_bytes_are_read_as_a_sweep_reads_them(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Channels first or last: the same float32 numbers from 0 to 255, channels first."""
    expected = nfa.measure(made(name), torch.from_numpy(IMAGES).float())
    np.savez("first.npz", x=IMAGES, y=LABELS)
    np.savez("last.npz", x=np.moveaxis(IMAGES, 1, -1), y=LABELS)
    save_file({"x": torch.from_numpy(IMAGES).movedim(1, -1).contiguous()}, "last.safetensors")
    same(measured(name, "--data", "first.npz"), expected)
    assert "channels moved" not in capsys.readouterr().err
    for path in ("last.npz", "last.safetensors"):
        same(measured(name, "--data", path), expected)
        shown = capsys.readouterr().err
        assert "x: channels moved to the front, 3 x 8 x 8; --channels first keeps them" in shown
        assert "x: whole numbers from 0 to 255, taken as they are; --standardise scales them" in shown


def test_channels_stay_where_they_are_on_request() -> None:
    last = np.moveaxis(IMAGES, 1, -1)
    np.savez("last.npz", x=last)
    expected = nfa.measure(made("mlp"), torch.from_numpy(last.copy()).float())
    same(measured("mlp", "--data", "last.npz", "--channels", "first"), expected)


def test_samples_are_standardised_as_in_a_sweep() -> None:
    np.savez("images.npz", x=IMAGES)
    x = torch.from_numpy(IMAGES).double()
    mean, deviation = x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True, correction=0)
    expected = nfa.measure(made("conv"), ((x - mean) / deviation).float())
    found = measured("conv", "--data", "images.npz", "--standardise", "per_channel")
    np.testing.assert_allclose(found.value, expected.value, rtol=1e-5, atol=1e-6)


def test_grey_images_get_the_axis_that_the_network_needs() -> None:
    grey = IMAGES[:, 0]
    np.savez("grey.npz", x=grey)
    same(measured("grey", "--data", "grey.npz"), nfa.measure(made("grey"), torch.from_numpy(grey)[:, None].float()))


def test_whole_numbers_are_tokens_or_numbers_as_the_network_takes_them() -> None:
    whole = DRAW.integers(9, size=(30, 5)).astype(np.uint8)
    np.savez("whole.npz", x=whole)
    same(measured("tokens", "--data", "whole.npz"), nfa.measure(made("tokens"), torch.from_numpy(whole).long()))
    same(measured("vectors", "--data", "whole.npz"), nfa.measure(made("vectors"), torch.from_numpy(whole).float()))


def test_text_without_a_loss_is_not_looked_at() -> None:
    np.savez("text.npz", x=VECTORS, y=TEXT)
    same(measured("vectors", "--data", "text.npz"), nfa.measure(made("vectors"), torch.from_numpy(VECTORS)))


ONE_HOT = np.eye(3, dtype=np.float32)[NUMBERED]
CODED = centred_one_hot(NUMBERED, 3)


@pytest.mark.parametrize(
    ("y", "loss", "labels", "targets"),
    [
        (TEXT, "cross_entropy", None, NUMBERED),
        (TEXT, "mse", None, CODED),
        (NUMBERED.astype(np.float32), "cross_entropy", "classes", NUMBERED),
        (NUMBERED, "mse", "classes", CODED),
        (NUMBERED + 1, "cross_entropy", "classes", NUMBERED),
        (ONE_HOT, "cross_entropy", None, NUMBERED),
        (ONE_HOT, "cross_entropy", "onehot", NUMBERED),
        (ONE_HOT, "mse", "onehot", CODED),
        (ONE_HOT, "mse", "values", ONE_HOT),
        (ONE_HOT.astype(np.int64), "mse", "onehot", CODED),
    ],
)
def test_labels_become_targets(y: Any, loss: str, labels: str | None, targets: Any) -> None:
    np.savez("labels.npz", x=VECTORS, y=y)
    start = {name: value * 0.9 for name, value in made("vectors").state_dict().items()}
    save_file(start, "start.safetensors")
    options = ["--data", "labels.npz", "--loss", loss, "--initial", "start.safetensors"]
    found = measured("vectors", *options, *(["--labels", labels] if labels else []))
    inputs, wanted = torch.from_numpy(VECTORS), torch.from_numpy(targets)
    expected = nfa.measure(made("vectors"), inputs, targets=wanted, loss=loss, initial=start)
    same(found, expected)


@pytest.mark.parametrize(
    ("y", "loss", "labels", "words"),
    [
        (NUMBERED.astype(np.float64), "cross_entropy", None, "could be classes; give --labels classes"),
        (ONE_HOT, "mse", None, "one-hot rows could be classes or values; give --labels onehot"),
        (ONE_HOT.astype(np.int64), "mse", None, "one-hot rows could be classes or values; give --labels onehot"),
        (NUMBERED, "mse", None, "--labels classes codes classes as a sweep does"),
        (NUMBERED.astype(np.float64), "mse", None, "--labels classes codes classes as a sweep does"),
        (TEXT[:30:3].repeat(3), "cross_entropy", None, "1 different labels, but the network has 3 outputs"),
        (NUMBERED * 2, "cross_entropy", "onehot", "needs rows with a single 1"),
        (TEXT, "mse", "values", "holds text"),
        (NUMBERED + 0.5, "mse", "classes", "needs whole numbers or text"),
        (ONE_HOT[:, :2], "cross_entropy", "onehot", "needs rows with a single 1"),
    ],
)
def test_labels_that_could_be_several_things_are_asked_about(
    y: Any, loss: str, labels: str | None, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez("labels.npz", x=VECTORS, y=y)
    more = ["--labels", labels] if labels else []
    assert words in refused(capsys, "vectors", "--data", "labels.npz", "--loss", loss, *more)


def test_arrays_of_other_names_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("named.npz", images=VECTORS, labels=LABELS)
    told = refused(capsys, "vectors", "--data", "named.npz")
    assert "no array 'x' among images, labels" in told
    assert "--x NAME and --y NAME" in told
    assert "--x image: no such array; did you mean 'images'?" in refused(
        capsys, "vectors", "--data", "named.npz", "--x", "image"
    )
    inputs, targets = torch.from_numpy(VECTORS), torch.from_numpy(LABELS)
    expected = nfa.measure(made("vectors"), inputs, targets=targets, loss="cross_entropy")
    same(
        measured("vectors", "--data", "named.npz", "--x", "images", "--y", "labels", "--loss", "cross_entropy"),
        expected,
    )


def test_swapped_names_are_asked_about(capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("named.npz", images=VECTORS, labels=LABELS)
    told = refused(capsys, "vectors", "--data", "named.npz", "--x", "labels", "--y", "images")
    shapes = f"labels has shape {LABELS.shape} and images {VECTORS.shape}"
    assert told.startswith(f"nfa: named.npz: {shapes}: are --x and --y swapped? (")


def test_a_table_is_refused_with_what_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    Path("x.csv").write_text("a,b\n1,2\n")
    told = refused(capsys, "vectors", "--data", "x.csv")
    assert "x.csv: --data reads .npz or .safetensors files; save the samples with numpy.savez(" in told


def test_a_sweep_s_file_is_read_with_its_names() -> None:
    np.savez("sweep.npz", x_train=VECTORS, y_train=TEXT, x_test=VECTORS[:3], y_test=TEXT[:3])
    targets = torch.from_numpy(NUMBERED)
    expected = nfa.measure(made("vectors"), torch.from_numpy(VECTORS), targets=targets, loss="cross_entropy")
    same(measured("vectors", "--data", "sweep.npz", "--loss", "cross_entropy"), expected)


def trained() -> dict[str, Tensor]:
    return made("mlp", seed=7).state_dict()


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "model._orig_mod.", "module.model."])
def test_names_of_wrapped_networks_are_taken_off(prefix: str) -> None:
    """In files, and in Python, by one function."""
    np.savez("images.npz", x=IMAGES)
    save_file({prefix + name: value for name, value in trained().items()}, "wrapped.safetensors")
    save_file(trained(), "plain.safetensors")
    plain, wrapped = (
        measured("mlp", "--data", "images.npz", "--weights", name, "--initial", name)
        for name in ("plain.safetensors", "wrapped.safetensors")
    )
    same(wrapped, plain)
    inputs = torch.from_numpy(IMAGES).float()
    model = made("mlp", seed=7)
    same(nfa.measure(model, inputs, initial=load_file("wrapped.safetensors")), plain)


def test_a_missing_counter_of_batches_is_no_error() -> None:
    np.savez("images.npz", x=IMAGES)
    state = made("norm", seed=3).state_dict()
    save_file(state, "whole.safetensors")
    short = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    save_file(short, "short.safetensors")
    whole, less = (
        measured("norm", "--data", "images.npz", "--weights", name, "--initial", name)
        for name in ("whole.safetensors", "short.safetensors")
    )
    same(less, whole)
    nfa.measure(made("norm"), torch.from_numpy(IMAGES).float(), initial=short)


@pytest.mark.parametrize(
    ("name", "around"),
    [
        ("weights.pt", lambda state: state),
        ("epoch=3 it's.ckpt", lambda state: {"state_dict": state, "epoch": 3}),
        ("weights.pth", lambda state: {"model": state}),
        ("weights.safetensors", lambda state: state),
    ],
)
@pytest.mark.parametrize("old", [False, True], ids=["zip", "legacy"])
def test_what_torch_saved_is_refused_and_the_command_of_the_page_converts_it(
    name: str, around: Any, old: bool, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez("images.npz", x=IMAGES)
    torch.save(around(trained()), name, _use_new_zipfile_serialization=not old)
    told = refused(capsys, "mlp", "--data", "images.npz", "--weights", name)
    assert told.startswith(
        f"nfa: {name}: torch.save writes pickles, which nfa does not read; save the state dict with "
    )
    assert "docs/measure-your-own.md has a command" in told
    assert len(told) < 220
    page = (ROOT / "docs" / "measure-your-own.md").read_text()
    (command,) = (
        shlex.split(block) for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if "torch.load" in block
    )
    assert "weights_only=True" in command[2]
    assert command[3:] == ["weights.pt", "weights.safetensors"]
    converted = "converted.safetensors"
    subprocess.run([sys.executable, *command[1:3], name, converted], cwd=folder, check=True, timeout=120)
    save_file(trained(), "plain.safetensors")
    found, expected = (
        measured("mlp", "--data", "images.npz", "--weights", path) for path in (converted, "plain.safetensors")
    )
    same(found, expected)


def test_what_the_network_does_not_take_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("wide.npz", x=np.ones((9, 7), np.float32))
    told = refused(capsys, "vectors", "--data", "wide.npz")
    assert "samples of shape (7,) do not fit: layer '0' takes 5 inputs and was given 7" in told
    np.savez("float.npz", x=np.ones((9, 5), np.float32))
    assert "they are float32, and the network takes int64" in refused(capsys, "tokens", "--data", "float.npz")
