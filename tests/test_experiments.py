"""The published experiments: each sweep file has a line in the script, a page, and a place in the gallery."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from nfa.cli.main import command_parser
from nfa.report.statistics.chart_data import NAME_ROLES, POINT_ROLES
from nfa.report.statistics.chart_points import Wanted
from tests.helpers import ROOT, environment

PAGES = ROOT / "docs/experiments"
SCRIPT = PAGES / "run.sh"
LINES = dict(re.findall(r"(?m)^experiment ([\w:]+) ?(.*)$", SCRIPT.read_text()))  # NAME or NAME:SIZE
NAMES = sorted({name.partition(":")[0] for name in LINES})

SECTIONS = ("**Question.**", "## What we find", "## What the source says", "## What differs here")


def test_every_sweep_file_is_an_experiment() -> None:
    assert set(NAMES) == {path.stem for path in (ROOT / "config/sweeps").glob("*.yaml")}


@pytest.mark.parametrize("name", LINES)
def test_its_size_is_one_of_its_file_and_its_figure_is_shown(name: str) -> None:
    of, _, size = name.partition(":")
    sweep = yaml.safe_load((ROOT / f"config/sweeps/{of}.yaml").read_text())
    assert sweep["sweep"] == of
    assert size in ("", *sweep["sizes"])
    assert f"({name.replace(':', '-')}.png)" in (PAGES / f"{of}.md").read_text()


@pytest.mark.parametrize("name", LINES)
def test_its_figure_compares_what_there_is(name: str) -> None:
    options = command_parser().parse_args(["figure", "results/x", "--out", "x.png", *LINES[name].split()])
    for role in "+".join((options.x, options.colour, options.panel)).split("+"):
        assert role in (*POINT_ROLES, *NAME_ROLES) or re.fullmatch(r"(data|model|optimizer|train)\.\w+", role)
    assert [Wanted.parse(text).name for text in options.show] == options.show


@pytest.mark.parametrize("name", [*NAMES, "pretrained"])
def test_it_has_a_page_in_the_gallery(name: str) -> None:
    text = (PAGES / f"{name}.md").read_text()
    assert all(section in text for section in SECTIONS)
    assert f"({name}.md)" in (PAGES / "index.md").read_text()


def test_a_name_that_is_no_experiment_is_one_line() -> None:
    done = subprocess.run([SCRIPT, "initial_scael"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "docs/experiments/run.sh: initial_scael: no such experiment; docs/experiments/index.md lists them"
    ]


def test_the_script_leaves_out_what_needs_a_file_that_is_not_there(tmp_path: Path) -> None:
    """And runs nothing but what is named."""
    (tmp_path / "docs/experiments").mkdir(parents=True)
    (tmp_path / "config/sweeps").mkdir(parents=True)
    (tmp_path / "docs/experiments/run.sh").write_text(SCRIPT.read_text())
    (tmp_path / "config/sweeps/ansatz_mlp.yaml").write_text("data: [{name: file, path: data/cifar10.npz}]")
    command = ["bash", str(tmp_path / "docs/experiments/run.sh"), "ansatz_mlp"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ansatz_mlp: left out, data/cifar10.npz is not there")
    assert done.stdout.count("\n") == 1
