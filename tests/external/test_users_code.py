"""Code of the user's: whatever it raises, exits with or prints is told in one line, and it changes no other cell."""

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from nfa.cli.main import run
from nfa.data import DATA, DataShape
from nfa.data.user_function import FunctionData
from nfa.entries import USERS_OWN
from nfa.errors import UserError
from nfa.models import MODELS
from nfa.models.user_function import FunctionModel
from tests.helpers import environment, nfa, tiny
from tests.workflow.snakemake import Workflow

ENDINGS = {
    "zero": "sys.exit(0)",
    "none": "sys.exit()",
    "at_once": "os._exit(0)",
    "text": "sys.exit('out of luck')",
    "interrupt": "raise KeyboardInterrupt",
    "base": "raise type('Odd', (BaseException,), {})('no message')",
    "unsayable": "raise type('Mute', (Exception,), {'__str__': lambda self: 1 / 0})",
    "value": "raise ValueError('two\\nlines')",
}
CODE = """
import os, random, sys
import numpy as np

def data():
    print("a word of the data's")
    os.system("echo a word of a program")
    x = np.arange(60.0).reshape(20, 3)
    return {"x": x, "y": x[:, 0]}

def drawn():
    x = np.random.rand(20, 3) + random.random()
    return {"x": x, "y": x[:, 0]}

def unnamed():
    x = np.random.default_rng().random((20, 3))
    return {"x": x, "y": x[:, 0]}

def lists():
    from nfa.data import Data
    return Data([[1.0]], [[1.0]], [[1.0]], [[1.0]])

def tensor():
    import torch
    return {"x": torch.zeros(20, 3, requires_grad=True), "y": np.zeros(20)}

def wandering():
    os.chdir("/")
    np.seterr(all="raise")
    os.environ["OMP_NUM_THREADS"] = "7"
    return data()
""" + "".join(f"\ndef {name}():\n    {ending}\n" for name, ending in ENDINGS.items())
NETWORKS = """
import sys
import torch
from torch import nn

class Ends(nn.Linear):
    calls = 0

    def forward(self, x):
        Ends.calls += len(x) > 1
        if Ends.calls > 5:
            {ending}
        return super().forward(x)

def make():
    print("a word of the network's")
    return Ends(3, 1)

def double():
    torch.set_default_dtype(torch.float64)
    return nn.Linear(3, 1).float()

def meddling():
    torch.set_num_threads(2)
    torch.set_grad_enabled(False)
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.benchmark = True
    torch.set_flush_denormal(True)
    return nn.Linear(3, 1)
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Write the user's modules into the current folder, with names that are new for each test."""
    name = f"mine_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(CODE)
    (tmp_path / f"{name}_net.py").write_text(NETWORKS.replace("{ending}", "sys.exit(0)"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield name
    for module in (name, f"{name}_net"):
        sys.modules.pop(module, None)


def sweep_file(folder: Path, data: str, model: str = "mlp") -> Path:
    """Write a sweep of one cell."""
    own = {"name": "mlp", "depth": 1, "width": 4} if model == "mlp" else {"name": model}
    document = tiny(data=[{"name": data}], model=[own], optimizer=[{"name": "sgd"}], train={"steps": 20})
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.mark.parametrize("ending", ENDINGS)
def test_whatever_a_data_function_ends_with_is_one_line_with_its_place(mine: str, ending: str) -> None:
    with pytest.raises(UserError) as caught:
        DATA[USERS_OWN].shape(FunctionData(name=f"{mine}:{ending}"))
    line = CODE.splitlines().index(f"def {ending}():") + 2
    assert f"{mine}:{ending}: calling it with {{}} raised " in str(caught.value)
    assert f"({mine}.py:{line})" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", ENDINGS)
def test_whatever_an_import_ends_with_is_one_line_with_its_place(mine: str, tmp_path: Path, ending: str) -> None:
    (tmp_path / f"{mine}_broken.py").write_text(f"import os, sys\n{ENDINGS[ending]}\n")
    entries: tuple[Any, ...] = (
        lambda name: DATA[USERS_OWN].shape(FunctionData(name=name)),
        lambda name: MODELS[USERS_OWN].layers(FunctionModel(name=name), DataShape((3,), 1, None, 9, 9)),
    )
    for entry in entries:
        with pytest.raises(UserError, match=rf"{mine}_broken: importing it raised .*\({mine}_broken.py:2\)"):
            entry(f"{mine}_broken:f")


def test_data_that_cannot_be_read_are_one_line(mine: str) -> None:
    for name, words in (("lists", "reading the Data it returns"), ("tensor", "reading the arrays it returns")):
        with pytest.raises(UserError, match=words):
            DATA[USERS_OWN].shape(FunctionData(name=f"{mine}:{name}"))


def test_expand_fails_where_the_data_function_exits(mine: str, tmp_path: Path) -> None:
    for ending in ("zero", "none", "at_once", "interrupt"):
        done = nfa("expand", sweep_file(tmp_path, f"{mine}:{ending}"), cwd=tmp_path)
        assert done.returncode == 2, done.stdout
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        assert f"{mine}:{ending}: calling it" in done.stderr


@pytest.mark.parametrize(("ending", "words"), [("zero", "0"), ("at_once", "os._exit(0) ends the process")])
def test_snakemake_fails_where_the_data_function_exits(mine: str, tmp_path: Path, ending: str, words: str) -> None:
    flow = Workflow(tmp_path, yaml.safe_load(sweep_file(tmp_path, f"{mine}:{ending}").read_text()))
    done = flow.run("-n")
    assert done.returncode == 2, done.stdout
    assert f"{mine}:{ending}: calling it with {{}} raised SystemExit: {words}" in done.stdout
    assert f"({mine}.py:" in done.stdout


def test_a_fork_of_the_code_may_still_exit_at_once(mine: str, tmp_path: Path) -> None:
    forking = """
import os
import numpy as np

def data():
    child = os.fork()
    if child == 0:
        os._exit(7)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {"x": np.arange(60.0).reshape(20, 3), "y": np.arange(20.0)} if status == 7 else status
"""
    (tmp_path / f"{mine}_forks.py").write_text(forking)
    assert DATA[USERS_OWN].shape(FunctionData(name=f"{mine}_forks:data")).input_shape == (3,)


def test_what_a_function_prints_goes_to_standard_error(mine: str, tmp_path: Path) -> None:
    done = nfa("expand", "--tsv", sweep_file(tmp_path, f"{mine}:data"), cwd=tmp_path)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 2
    assert done.stdout.startswith("cell\t")
    assert {"a word of the data's", "a word of a program"} <= set(done.stderr.splitlines())


@pytest.mark.parametrize(
    "ending", ["sys.exit(0)", "import os; os._exit(0)", "raise KeyboardInterrupt", "raise ValueError('so')"]
)
def test_training_fails_where_the_network_ends_it(
    mine: str, tmp_path: Path, ending: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / f"{mine}_net.py").write_text(NETWORKS.replace("{ending}", ending))
    assert run(["train", str(sweep_file(tmp_path, f"{mine}:data", f"{mine}_net:make"))]) == 2
    output, messages = capfd.readouterr()
    assert "Traceback" not in messages
    last = messages.splitlines()[-1]
    assert last.startswith("nfa: train ")
    assert f"({mine}_net.py:12)" in last
    assert "a word of the network's" in messages
    assert output == ""


def test_a_job_that_leaves_without_python_is_a_failure(mine: str, tmp_path: Path) -> None:
    (tmp_path / f"{mine}_net.py").write_text(
        "import ctypes\n" + NETWORKS.replace("{ending}", "ctypes.CDLL(None)._exit(0)")
    )
    path = sweep_file(tmp_path, f"{mine}:data", f"{mine}_net:make")
    flow = Workflow(tmp_path, yaml.safe_load(path.read_text()))
    done = flow.run()
    assert done.returncode == 1, done.stdout
    assert "missing" in done.stdout.lower()
    assert not (flow.results / "report.html").exists()


@pytest.mark.parametrize(("ending", "words"), [("sys.exit(0)", "0"), ("import os; os._exit(0)", "os._exit(0) ends")])
def test_predicting_measuring_and_checking_fail_where_the_network_ends_them(
    mine: str, tmp_path: Path, ending: str, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / f"{mine}_net.py").write_text(NETWORKS.replace("> 5", "> 1").replace("{ending}", ending))
    np.savez(tmp_path / "x.npz", x=np.ones((9, 3), np.float32))
    network = f"{mine}_net:make"
    for arguments in (
        ["predict", str(sweep_file(tmp_path, f"{mine}:data", network))],
        ["measure", network, "--data", "x.npz"],
        ["check", network, "--data", "x.npz"],
    ):
        sys.modules.pop(f"{mine}_net", None)  # it counts its calls
        assert run(arguments) == 2
        output, messages = capfd.readouterr()
        assert "Traceback" not in messages
        assert f"raised SystemExit: {words}" in messages.splitlines()[-1]
        assert f"({mine}_net.py:12)" in messages.splitlines()[-1]
        assert output == ""


def test_an_interrupt_from_the_keyboard_is_no_fault_of_the_code(mine: str, tmp_path: Path) -> None:
    slow = "import pathlib, time\ndef data():\n    pathlib.Path('begun').touch()\n    time.sleep(600)\n"
    (tmp_path / f"{mine}_slow.py").write_text(slow)
    command = [sys.executable, "-m", "nfa.cli.main", "expand", str(sweep_file(tmp_path, f"{mine}_slow:data"))]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (tmp_path / "begun").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=120)
    assert (process.returncode, messages.count("\n")) == (130, 1)
    assert messages.startswith("nfa: interrupted")


def test_settings_of_the_process_are_put_back(mine: str, tmp_path: Path) -> None:
    threads = os.environ.get("OMP_NUM_THREADS")
    before = np.geterr(), torch.get_num_threads(), signal.getsignal(signal.SIGINT)
    torch.set_num_threads(1)
    DATA[USERS_OWN].shape(FunctionData(name=f"{mine}:wandering"))
    MODELS[USERS_OWN].layers(FunctionModel(name=f"{mine}_net:meddling"), DataShape((3,), 1, None, 9, 9))
    assert Path.cwd() == tmp_path
    assert os.environ.get("OMP_NUM_THREADS") == threads
    assert torch.get_num_threads() == 1
    assert torch.is_grad_enabled()
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.backends.cudnn.benchmark
    assert float(torch.tensor(1e-40) * 1) > 0
    torch.set_num_threads(before[1])
    assert (np.geterr(), torch.get_num_threads(), signal.getsignal(signal.SIGINT)) == before


def test_a_default_number_type_that_other_cells_would_get_is_refused(mine: str) -> None:
    with pytest.raises(UserError, match=rf"{mine}_net:double: .* default number type to float64, which all cells"):
        MODELS[USERS_OWN].layers(FunctionModel(name=f"{mine}_net:double"), DataShape((3,), 1, None, 9, 9))
    assert torch.get_default_dtype() == torch.float32


def loaded(name: str, seed: int = 0) -> bytes:
    """The training inputs that a function gives, at a seed."""
    data = DATA[USERS_OWN].load(FunctionData(name=name), np.random.default_rng(seed))
    return bytes(np.sort(np.concatenate([data.x_train, data.x_test]), axis=0).tobytes())


def test_draws_from_the_generators_that_everyone_shares_are_the_same_in_every_stage(mine: str) -> None:
    np.random.seed(5)  # noqa: NPY002
    first = loaded(f"{mine}:drawn")
    np.random.seed(6)  # noqa: NPY002
    torch.manual_seed(6)
    before = np.random.get_state()  # noqa: NPY002
    assert loaded(f"{mine}:drawn") == first
    assert str(np.random.get_state()) == str(before)  # noqa: NPY002


def test_data_that_differ_at_each_call_are_refused(mine: str) -> None:
    with pytest.raises(UserError, match=r"unnamed: gives other data each time it is called; .* `generator`"):
        loaded(f"{mine}:unnamed")
