"""``nfa check`` and ``nfa measure`` on a network of one's own, as a user meets them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from nfa.alignment import measure
from nfa.cli.main import run
from nfa.conventions import CONTROLS, HEADLINES
from nfa.report.statistics.runs import in_headline
from tests.helpers import nfa

MODULE = '''
import sys
import torch
from torch import nn

def make():
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.readout = nn.Embedding(4, 3), nn.Linear(3, 2)
        self.scale = nn.Parameter(torch.ones(2, 2))

    def forward(self, x):
        return self.readout(self.table(x).mean(1)) @ torch.ones(2, 2, dtype=self.scale.dtype)

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.b(torch.tanh(self.a(x)))

class Mixing(nn.Linear):
    """Its outputs depend on the other samples."""

    def __init__(self):
        super().__init__(6, 3)

    def forward(self, x):
        h = super().forward(x)
        return h * h.mean(0)

class Drawing(nn.Linear):
    """It draws random numbers, so that no two passes are alike."""

    def __init__(self):
        super().__init__(6, 3)

    def forward(self, x):
        h = super().forward(x)
        return h * torch.randn_like(h)

class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.readout = nn.Embedding(4, 3), nn.Linear(3, 2)

    def forward(self, x):
        return self.readout(self.table(x).mean(1))

class Numpy(nn.Linear):
    """Leaves autograd where it is on."""

    def __init__(self):
        super().__init__(6, 3)

    def forward(self, x):
        h = super().forward(x)
        return h * float(h.numpy().mean())

class Overwriting(nn.Linear):
    """Changes in place what its backward needs."""

    def __init__(self):
        super().__init__(6, 6)

    def forward(self, x):
        return super().forward(torch.tanh(super().forward(x)).add_(1))

class Exiting(nn.Linear):
    def __init__(self):
        super().__init__(6, 3)

    def forward(self, x):
        if len(x) > 2:
            sys.exit(3)
        return super().forward(x)

class Wording(nn.Linear):
    """Refuses in a sentence of its own."""

    def __init__(self):
        super().__init__(6, 3)

    def forward(self, x):
        if len(x) > 2:
            raise ValueError("at most\\n  two samples")
        return super().forward(x)

class Extra(nn.Linear):
    def __init__(self):
        super().__init__(6, 3)

    def get_extra_state(self):
        return {"steps": 3}

    def set_extra_state(self, state):
        raise RuntimeError("not called")

def scripted(): return torch.jit.script(make())
def spectral(): return nn.Linear(6, 3, dtype=torch.cfloat)
def lazy(): return nn.LazyLinear(3)
def exiting(): sys.exit("bye")
instance = make()
number = 3
def raising(): raise RuntimeError("no\\nGPU here")
def needing(width): return None
def nothing(): return None
def pair(): return Pair()
class Pair(nn.Linear):
    def __init__(self): super().__init__(6, 3)
    def forward(self, x): return super().forward(x), x
'''


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module, weights and samples; the current one."""
    name = f"own_{abs(hash(tmp_path))}"  # a module's name is remembered for the whole process
    (tmp_path / f"{name}.py").write_text(MODULE)
    (tmp_path / "broken.py").write_text("import no_such_package\n")
    network = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    generator = torch.Generator().manual_seed(0)
    state = {key: torch.randn(value.shape, generator=generator) for key, value in network.state_dict().items()}
    save_file(state, tmp_path / "trained.safetensors")
    save_file({key: value / 2 for key, value in state.items()}, tmp_path / "initial.safetensors")
    save_file({key: value for key, value in state.items() if key != "2.bias"}, tmp_path / "short.safetensors")
    save_file(state | {"2.bais": torch.zeros(3)}, tmp_path / "long.safetensors")
    save_file(state | {"0.weight": torch.zeros(5, 7)}, tmp_path / "wide.safetensors")
    draw = np.random.default_rng(0)
    x = draw.normal(size=(40, 6))
    np.savez(tmp_path / "xy.npz", x=x, y=draw.integers(3, size=40))
    np.savez(tmp_path / "regression.npz", x=x, y=draw.normal(size=(40, 3)))
    np.savez(tmp_path / "flat.npz", x=x, y=draw.normal(size=40))
    np.savez(tmp_path / "images.npz", images=x.astype(np.float32))
    np.savez(tmp_path / "unclear.npz", a=x, b=x)
    np.savez(tmp_path / "uneven.npz", x=x, y=draw.normal(size=(39, 3)))
    np.savez(tmp_path / "pickled.npz", x=np.array([{}], dtype=object))
    np.savez(tmp_path / "words.npz", x=np.array(["a"]))
    np.savez(tmp_path / "tokens.npz", draw.integers(4, size=(9, 5)).astype(np.uint8))
    np.savez(tmp_path / "unknown.npz", np.insert(draw.integers(4, size=(19, 5)), 11, 7, axis=0))
    save_file({"weight": torch.zeros(3, 6), "bias": torch.zeros(3)}, tmp_path / "extra.safetensors")
    save_file({"x": torch.from_numpy(x)}, tmp_path / "x.safetensors")
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "text.safetensors").write_text("hello")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("COLUMNS", "120")
    return tmp_path


def own(folder: Path, name: str) -> str:
    """module:name of the module in the folder."""
    return f"{next(folder.glob('own_*.py')).stem}:{name}"


def test_check_as_a_command(folder: Path) -> None:
    done = nfa("check", own(folder, "make"), "--input-shape", "6", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "2 layers passed." in done.stdout
    assert "Not measured" not in done.stdout
    assert done.stderr == ""


def test_check_names_what_is_left_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", own(folder, "Net"), "--data", "tokens.npz", "--samples", "2"]) == 0
    shown = capsys.readouterr().out
    assert "table: embedding: its weight is indexed, not multiplied" in shown
    assert "scale: not used in the forward pass" in shown


def test_a_layer_that_fails_gives_exit_code_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", own(folder, "Drawing"), "--input-shape", "6"]) == 1
    shown = capsys.readouterr().out
    assert "FAILED" in shown
    assert "1 of 1 layer failed." in shown


@pytest.mark.parametrize("verb", [["check", "--input-shape", "6"], ["measure", "--data", "regression.npz"]])
def test_a_network_that_mixes_samples_is_refused(
    verb: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([verb[0], own(folder, "Mixing"), *verb[1:]]) == 2
    said = capsys.readouterr().err
    assert said.startswith("nfa: the network's output for a sample depends on the samples beside it")
    assert said.count("\n") == 1


@pytest.mark.parametrize("name", ["make", "instance"])
def test_measure_shows_a_row_per_layer_and_writes_everything(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--weights", "trained.safetensors", "--initial", "initial.safetensors", "--data", "regression.npz"]
    for output in ("out/table.csv", "out/table.parquet"):
        assert run(["measure", own(folder, name), *given, "--loss", "mse", "--output", output]) == 0
    shown = capsys.readouterr().out
    table = pd.read_parquet("out/table.parquet")
    assert set(table.layer) == {"0", "2"}
    assert {"uc_nfc", "c_nfc", "haar_nfc", "fact"} <= set(table.quantity)
    pd.testing.assert_frame_equal(pd.read_csv("out/table.csv")[["value"]], table[["value"]])
    first = table[(table.layer == "0") & in_headline(table)].set_index("quantity").value
    for quantity in HEADLINES:
        control, spread = (first[name] for name in CONTROLS[quantity])
        assert f"{first[quantity]:.3f} {control:.2f} ± {spread:.2f}" in " ".join(shown.split())
    assert sorted(path.name for path in Path("out").iterdir()) == ["table.csv", "table.parquet"], "nothing temporary"


def test_measure_gives_the_library_s_numbers(folder: Path) -> None:
    network = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    from safetensors.torch import load_file

    network.load_state_dict(load_file("trained.safetensors"))
    with np.load("xy.npz") as archive:
        inputs = torch.from_numpy(archive["x"]).float()
    expected = measure(network, inputs, estimator="sketched", samples=30, probes=2, seed=3, layers=["0"])
    options = ["--estimator", "sketched", "--samples", "30", "--probes", "2", "--seed", "3", "--layers", "0"]
    weights = ["--weights", "trained.safetensors", "--data", "xy.npz", "--device", "cpu"]
    assert run(["measure", own(folder, "make"), *weights, *options, "--output", "t.parquet"]) == 0
    found = pd.read_parquet("t.parquet")
    np.testing.assert_array_equal(found.value, expected.value)
    np.testing.assert_array_equal(found.stderr, expected.stderr)


@pytest.mark.parametrize("data", ["xy.npz", "images.npz", "x.safetensors"])
def test_the_table_says_its_convention_and_error_bars(
    data: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--estimator", "sketched", "--correlation", "pearson", "--power", "1/2"]
    assert run(["measure", own(folder, "make"), "--data", data, *options]) == 0
    shown = capsys.readouterr().out
    assert "pearson, power 1/2; sketched, n = 40" in shown
    assert " ± " in shown
    assert "C-NFC" not in shown.replace("UC-NFC", "")


def test_class_labels_become_targets_for_cross_entropy(folder: Path) -> None:
    options = ["--loss", "cross_entropy", "--initial", "trained.safetensors", "--weights", "trained.safetensors"]
    assert run(["measure", own(folder, "make"), "--data", "xy.npz", *options, "--output", "t.csv"]) == 0
    table = pd.read_csv("t.csv")
    assert table[table.quantity == "c_nfc"].value.notna().all(), "the limit at W = W0"


def test_a_weight_saved_under_one_of_its_names_is_found(folder: Path) -> None:
    tied = {"a.weight": torch.randn(6, 6), "a.bias": torch.zeros(6), "b.bias": torch.zeros(6)}
    save_file(tied, folder / "tied.safetensors")
    assert run(["check", own(folder, "Tied"), "--weights", "tied.safetensors", "--input-shape", "6"]) == 0


MISTAKES: list[tuple[list[str], list[str]]] = [
    (["check", "OWN:mak", "--input-shape", "6"], ["no 'mak'", "did you mean 'make'"]),
    (["check", "nowhere:make", "--input-shape", "6"], ["nowhere", "no such module"]),
    (["check", "broken:make", "--input-shape", "6"], ["broken", "ModuleNotFoundError", "no_such_package"]),
    (["check", "make", "--input-shape", "6"], ["make", "module:function"]),
    (["check", "OWN:", "--input-shape", "6"], ["module:function"]),
    (["check", "OWN:raising", "--input-shape", "6"], ["raising", "RuntimeError: no GPU here"]),
    (["check", "OWN:needing", "--input-shape", "6"], ["needing", "TypeError", "width"]),
    (["check", "OWN:nothing", "--input-shape", "6"], ["returns NoneType"]),
    (["check", "OWN:number", "--input-shape", "6"], ["is a int"]),
    (["check", "OWN:pair", "--input-shape", "6"], ["returns tuple, not a tensor"]),
    (["check", "OWN:make", "--input-shape", "7"], ["RuntimeError", "(7,)"]),
    (["check", "OWN:make", "--input-shape", "6", "--layers", "3"], ["'3' is not measured"]),
    (["measure", "OWN:make"], ["--data"]),
    (["measure", "OWN:make", "--data", "absent.npz"], ["absent.npz", "no such file"]),
    (["measure", "OWN:make", "--data", "x.txt"], ["x.txt", ".npz or .safetensors"]),
    (["measure", "OWN:make", "--data", "text.npz"], ["text.npz", "cannot be read"]),
    (["measure", "OWN:make", "--data", "text.safetensors"], ["text.safetensors", "not a .safetensors file"]),
    (["measure", "OWN:make", "--data", "pickled.npz"], ["pickled.npz", "plain arrays"]),
    (["measure", "OWN:make", "--data", "words.npz"], ["words.npz", "not numbers"]),
    (["measure", "OWN:make", "--data", "unclear.npz"], ["unclear.npz", "a, b", "call the samples x"]),
    (["measure", "OWN:make", "--data", "uneven.npz"], ["40 samples", "39 targets"]),
    (["measure", "OWN:make", "--data", "xy.npz", "--weights", "absent.safetensors"], ["absent.safetensors"]),
    (["measure", "OWN:make", "--data", "xy.npz", "--weights", "short.safetensors"], ["'2.bias' is missing"]),
    (["measure", "OWN:make", "--data", "xy.npz", "--weights", "long.safetensors"], ["'2.bais'", "mean '2.bias'"]),
    (["measure", "OWN:make", "--data", "xy.npz", "--initial", "wide.safetensors"], ["'0.weight'", "(5, 7)", "(5, 6)"]),
    (["measure", "OWN:make", "--data", "xy.npz", "--loss", "mse"], ["target", "()", "(3,)"]),
    (["measure", "OWN:make", "--data", "flat.npz", "--loss", "mse"], ["target", "()", "(3,)"]),
    (["measure", "OWN:make", "--data", "images.npz", "--loss", "mse"], ["--loss mse", "array y"]),
    (["measure", "OWN:make", "--data", "xy.npz", "--output", "t.xlsx"], ["t.xlsx", ".csv or .parquet"]),
    (["measure", "OWN:make", "--data", "xy.npz", "--cells", "a"], ["--cells", "sweep file"]),
    (["check", "OWN:exiting", "--input-shape", "6"], ["exiting", "SystemExit: bye"]),
    (["check", "OWN:scripted", "--input-shape", "6"], ["ScriptModule"]),
    (["check", "OWN:spectral", "--input-shape", "6"], ["'weight' is complex64"]),
    (["check", "OWN:Tokens", "--data", "unknown.npz", "--samples", "20"], ["IndexError: index out of range"]),
    (["check", "OWN:Numpy", "--input-shape", "6"], ["RuntimeError", "numpy()"]),
    (["check", "OWN:Overwriting", "--input-shape", "6"], ["changes in place a tensor that its own gradient needs"]),
    (["check", "OWN:Exiting", "--input-shape", "6"], ["check: the network raised SystemExit: 3"]),
    (["check", "OWN:make", "--input-shape", "6", "--samples", "9" * 20], ["--samples", "do not fit into memory"]),
    (["check", "OWN:make", "--input-shape", "9" * 14], ["--input-shape", "do not fit into memory"]),
    (["measure", "OWN:scripted", "--data", "xy.npz"], ["ScriptModule"]),
    (["measure", "OWN:Tokens", "--data", "unknown.npz"], ["token 7 is out of range: layer 'table' takes 0 to 3"]),
    (["measure", "OWN:Numpy", "--data", "xy.npz"], ["measure: the network raised RuntimeError", "numpy()"]),
    (["measure", "OWN:Overwriting", "--data", "xy.npz"], ["changes in place a tensor that its own gradient needs"]),
    (["measure", "OWN:Wording", "--data", "xy.npz"], ["at most two samples"]),
    (["measure", "OWN:lazy", "--data", "xy.npz", "--weights", "extra.safetensors"], ["'weight' has no shape yet"]),
    (["measure", "OWN:make", "--data", "xy.npz", "--output", "xy.npz/t.csv"], ["--output xy.npz/t.csv: cannot be"]),
    (["measure", "sweep.yaml", "--data", "xy.npz"], ["--data", "module:function"]),
]


@pytest.mark.parametrize(("arguments", "words"), MISTAKES, ids=lambda value: " ".join(value))
def test_a_mistake_is_one_line_and_exit_code_two(
    arguments: list[str], words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = own(folder, "").rstrip(":")
    assert run([argument.replace("OWN", module) for argument in arguments]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1, told
    assert all(word in told for word in words), told


def test_state_that_is_no_tensor_is_not_looked_for_in_a_file(folder: Path) -> None:
    given = ["--data", "xy.npz", "--weights", "extra.safetensors", "--initial", "extra.safetensors"]
    assert run(["measure", own(folder, "Extra"), *given]) == 0


@pytest.mark.parametrize("output", ["xy.npz/t.csv", "/proc/none/t.csv", "taken.csv", f"new/{'t' * 300}.csv"])
def test_an_output_that_cannot_be_written_is_refused_before_the_network_is_made(
    output: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "taken.csv").mkdir()
    before = sorted(folder.rglob("*"))
    assert run(["measure", own(folder, "raising"), "--data", "xy.npz", "--output", output]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"nfa: --output {output}: cannot be written: ")
    assert told.count("\n") == 1
    assert sorted(folder.rglob("*")) == before


def test_an_output_that_can_be_written_leaves_nothing_where_the_measurement_fails(folder: Path) -> None:
    before = sorted(folder.iterdir())
    assert run(["measure", "nowhere:make", "--data", "xy.npz", "--output", "new/t.csv"]) == 2
    assert sorted(folder.iterdir()) == before


def test_seeds_up_to_the_largest_are_taken(folder: Path) -> None:
    largest = str(2**63 - 1)
    assert run(["check", own(folder, "make"), "--input-shape", "6", "--seed", largest]) == 0
    assert run(["measure", own(folder, "make"), "--data", "xy.npz", "--seed", largest, "--output", "t.parquet"]) == 0
    assert set(pd.read_parquet("t.parquet").seed) == {2**63 - 1}


@pytest.mark.parametrize("width", ["80", "140"])
@pytest.mark.parametrize("verb", ["check", "measure"])
def test_help_fits_the_terminal(
    verb: str, width: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    with pytest.raises(SystemExit):
        run([verb, "--help"])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= int(width)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--input-shape", "3,x"],
        ["--input-shape", "6", "--samples", "0"],
        ["--input-shape", "6", "--seed", "-1"],
        ["--input-shape", "6", "--seed", str(2**63)],
        [],
    ],
)
def test_options_that_cannot_be_read_are_refused(arguments: list[Any]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(["check", "a:b", *arguments])
    assert caught.value.code == 2


def test_a_file_whose_name_has_a_colon_is_a_sweep_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "a:b").write_text("sweep: 3\n")
    assert run(["measure", "a:b"]) == 2
    assert "a:b" in capsys.readouterr().err
    assert run(["measure", "a:b", "--data", "x"]) == 2
    assert "is a sweep file" in capsys.readouterr().err


def test_what_torchvision_needs_is_made_up_for_when_a_module_imports_it() -> None:
    done = nfa("check", "torchvision.models:squeezenet1_1", "--input-shape", "3,33,33", "--layers", "features.0")
    assert done.returncode == 0, done.stderr
    assert "16 of 1,000 outputs" in done.stdout
