"""The published experiments: each sweep file has a line in the script, a page, and a place in the gallery."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from nfa.cli.main import command_parser
from nfa.report.statistics.chart_data import NAME_ROLES, POINT_ROLES
from nfa.report.statistics.chart_points import Wanted
from nfa.stages.aggregate import aggregate
from nfa.storage.columns import HISTORY
from nfa.storage.tables import read_stamp, read_table, write_table
from tests.fake_results import write
from tests.helpers import ROOT, environment, tiny_sweep

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


# Pages of results that are older than the line on learning. A page leaves this list when its experiment is run again.
WITHOUT_LINE = frozenset(
    {
        "alignment_reversing",
        "ansatz_mlp",
        "ansatz_vgg",
        "architectures",
        "depth_law",
        "early_dynamics",
        "emergent_convolution",
        "fact_or_ansatz",
        "gradient_starvation",
        "initial_scale",
        "learning_rules",
        "modular_arithmetic",
        "slo_chain_monomial",
        "slo_images",
        "transformer",
    }
)
ABOUT_IT = "**Runs that did not learn.** "


def refusal(page: str, sweeps: list[str]) -> str | None:
    """Say why a page is refused: its sweeps do not all state that their runs learned, and it is not about that."""
    for sweep in sweeps:
        line = re.search(rf"(?m)^Learned in `{re.escape(sweep)}`: (\d+) of (\d+) runs.*$", page)
        if line is None:
            return f"no line on the runs of {sweep} that learned: run docs/experiments/run.sh"
        learned, runs = map(int, line.groups())
        if (learned < runs or not runs) and not re.search(rf"(?m)^{re.escape(ABOUT_IT)}\w", page):
            return f"{line[0]} Train them, or explain it in a paragraph that begins with {ABOUT_IT.strip()}"
    return None


@pytest.mark.parametrize("name", NAMES)
def test_its_networks_learned_or_it_is_about_those_that_did_not(name: str) -> None:
    sweeps = [line.replace(":", "-") for line in LINES if line.partition(":")[0] == name]
    reason = refusal((PAGES / f"{name}.md").read_text(), sweeps)
    if name in WITHOUT_LINE:
        assert reason is not None, f"{name} was run again: take it off WITHOUT_LINE"
        assert reason.startswith("no line on the runs"), reason
    else:
        assert reason is None, reason


def test_a_page_is_refused_by_its_line() -> None:
    line, findings = "Learned in `a`: {} of 30 runs{}.", "\n## What we find\n"
    assert refusal(line.format(30, "") + findings, ["a"]) is None
    weak = line.format(28, "; not in sgd (2 of 3)") + findings
    assert "Learned in `a`: 28 of 30 runs; not in sgd (2 of 3). Train them" in str(refusal(weak, ["a"]))
    assert refusal(f"{weak}\n{ABOUT_IT}They show starvation.", ["a"]) is None
    assert refusal(weak + ABOUT_IT, ["a"]) is not None  # no reason given
    assert "no line on the runs of b" in str(refusal(line.format(30, "") + findings, ["a", "b"]))
    assert "no line" in str(refusal(findings, ["a"]))


def test_the_line_is_that_of_the_results(tmp_path: Path) -> None:
    sweep = tiny_sweep(seeds=2, data=[{"name": "chain_monomial"}], optimizer=[{"name": "sgd"}, {"name": "adam"}])
    paths = write(sweep, tmp_path)
    history = read_table(paths.cell(sweep.cells[1].id).history)
    history.loc[(history["metric"] == "loss") & (history["seed"] == 1), "value"] = 0.09
    write_table(
        paths.cell(sweep.cells[1].id).history, history, HISTORY, read_stamp(paths.cell(sweep.cells[1].id).history)
    )
    aggregate(sweep, tmp_path)
    page = tmp_path / "page.md"
    page.write_text("# A\n\n## What we find\n\nIt.\n")
    for _ in range(2):  # the second time, the line is replaced
        command = [sys.executable, str(PAGES / "learned.py"), str(paths.folder), str(page)]
        subprocess.run(command, check=True, env=environment(PYTHONPATH=str(ROOT)), timeout=120)
    line = "Learned in `tiny`: 3 of 4 runs; not in chain_monomial · mlp · adam (1 of 2)."
    assert page.read_text() == f"# A\n\n{line}\n\n## What we find\n\nIt.\n"


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
