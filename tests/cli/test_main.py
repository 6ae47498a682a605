"""The command as its users meet it: a subprocess, its output, its exit code."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from nfa.sweep.grid import load
from nfa.tracking.ledger import Ledger, LedgerEntry
from tests.helpers import ROOT, environment, nfa, tiny

VERBS = [
    "init",
    "expand",
    "train",
    "measure",
    "probe",
    "aggregate",
    "publish",
    "show",
    "figure",
    "clean",
    "schema",
]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Write the small sweep file."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny()))
    return path


def test_help_names_every_verb_and_the_way_from_nothing_to_a_report() -> None:
    done = nfa("--help")
    assert done.returncode == 0
    assert all(verb in done.stdout for verb in [*VERBS, "snakemake --cores"])


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str) -> None:
    done = nfa(verb, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: nfa {verb}")


def test_init_writes_a_file_that_expands_and_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "study-1.yaml"
    assert nfa("init", path).returncode == 0
    assert load(path).name == "study-1"
    text = path.read_text()
    again = nfa("init", path)
    assert again.returncode == 2
    assert again.stderr.count("\n") == 1
    assert "exists already" in again.stderr
    assert path.read_text() == text


def test_expand_shows_cells_time_and_disk(config: Path) -> None:
    done = nfa("expand", config)
    assert done.returncode == 0
    for cell in load(config).cells:
        assert cell.id in done.stdout.replace("\n", "")
    assert "4 cells x 2 seeds = 8 runs" in done.stdout
    assert "MB" in done.stdout


def test_expand_tsv_has_every_parameter(config: Path) -> None:
    lines = nfa("expand", "--tsv", config).stdout.splitlines()
    assert len(lines) == 5
    assert {"cell", "data.name", "model.width", "optimizer.lr", "train.steps"} <= set(lines[0].split("\t"))


def test_the_command_is_there_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "nfa", "--help"], capture_output=True, text=True, env=environment())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == nfa("--help").stdout
    assert done.stdout.startswith("usage: nfa ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["expand", "absent.yaml"], ["absent.yaml", "no such file"]),
        (["train", "tiny.yaml", "--cells", "nonsense"], ["no cell 'nonsense'; `nfa expand tiny.yaml` lists the 4"]),
        (["measure", "tiny.yaml"], ["cell.json", "nfa train"]),
        (["show", "nowhere"], ["nowhere"]),
        (["show", "tiny.yaml"], ["nfa show: argument results: tiny.yaml is a file; give", "results/<sweep>"]),
        (["status", "tiny.yaml"], ["tiny.yaml is a file; give", "results/<sweep>"]),
        (["report", "tiny.yaml"], ["tiny.yaml is a file; give", "results/<sweep>"]),
        (["figure", "tiny.yaml", "--out", "x.png"], ["tiny.yaml is a file; give", "results/<sweep>"]),
        (["publish", "tiny.yaml", "--results", "nowhere"], ["nowhere/tiny", "no such folder", "--results"]),
        (["aggregate", "tiny.yaml", "--results", "nowhere"], ["nowhere/tiny", "no such folder", "--results"]),
        (["probe", "tiny.yaml", "--results", "nowhere"], ["cell.json", "nfa train"]),
        (["predict", "tiny.yaml", "--power", "2"], ["nfa predict:", "--power", "'2'", "1/2"]),
        (["predict", "tiny.yaml", "--seeds", "9" * 5000], ["--seeds", "...", "is not a seed"]),
        (["theory", "quadratic", "--draws", "0"], ["nfa theory:", "--draws", "'0'", "1 to 10000"]),
        (["theory", "quadratic", "--seed", "9" * 5000], ["--seed", "...", "2**62"]),
        (["theory", "quadratic", "--output", "tiny.yaml/x.csv"], ["--output tiny.yaml/x.csv", "cannot be written"]),
        (["tran", "tiny.yaml"], ["nfa:", "'tran'", "--help"]),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_two(config: Path, arguments: list[str], words: list[str]) -> None:
    done = nfa(*arguments, cwd=config.parent)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().count("\n") == 0
    assert all(word in done.stderr for word in words), done.stderr
    assert not (config.parent / "nowhere").exists()


def test_a_results_folder_that_is_a_file_is_one_line(config: Path) -> None:
    (config.parent / "results").write_text("")
    for verb in ("train", "aggregate", "publish"):
        done = nfa(verb, config, cwd=config.parent)
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        assert "results" in done.stderr


def test_threads_must_be_a_number(config: Path) -> None:
    done = nfa("train", config, "--threads", "0")
    assert done.returncode == 2
    assert "--threads" in done.stderr


def test_clean_lists_and_on_request_removes_what_no_sweep_names(config: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    named = load(config).cells[0].id
    for cell in (named, "old.cell.12345678"):
        (results / "tiny" / cell).mkdir(parents=True)
        (results / "tiny" / cell / "cell.json").write_text("{}")
    (results / "tiny" / "tables").mkdir()
    ledger = Ledger(results / "tiny" / "wandb")
    folder = "offline-run-20260101_000000-12345678-s0-12345678"
    (ledger.folder / folder).mkdir(parents=True)
    ledger.write("old.cell.12345678/seed-0", LedgerEntry("12345678-s0-12345678", "d", "p", "i", folder, sent=False))
    (results / "other" / "cell.of.another.sweep").mkdir(parents=True)
    listed = nfa("clean", config, "--results", results)
    assert "old.cell.12345678" in listed.stdout
    assert named not in listed.stdout
    assert (results / "tiny" / "old.cell.12345678").exists()
    assert "removed 1 cell," in nfa("clean", config, "--results", results, "--remove").stdout
    assert sorted(path.name for path in (results / "tiny").iterdir()) == sorted([named, "tables", "wandb"])
    assert not (ledger.folder / folder).exists()
    assert (results / "other" / "cell.of.another.sweep").exists()


def test_the_committed_schema_is_up_to_date() -> None:
    assert nfa("schema").stdout == (ROOT / "workflow" / "schemas" / "sweep.schema.json").read_text()


@pytest.mark.parametrize("arguments", [None, {"n": 30}])
def test_expand_of_a_data_function(arguments: dict[str, int] | None, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n"
        "def make(n=20):\n"
        "    x = np.random.default_rng(0).normal(size=(n, 3))\n"
        "    return {'x_train': x, 'y_train': x[:, :1], 'x_test': x, 'y_test': x[:, :1]}\n"
    )
    entry: dict[str, object] = {"name": "mine:make"} | ({"arguments": arguments} if arguments else {})
    config = tmp_path / "mine.yaml"
    config.write_text(yaml.safe_dump({**tiny(), "data": [entry]}))
    done = nfa("expand", config, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "regression, 1 output" in done.stdout
