"""The page has one section for each question, and names every figure and table that is saved beside it."""

import re
from pathlib import Path

import pytest

from nfa.report.page import sections
from nfa.report.page.contents import SECTIONS
from nfa.stages.aggregate import aggregate
from nfa.storage.paths import SweepPaths
from tests.fake_results import write
from tests.helpers import tiny_sweep


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> SweepPaths:
    """A report with every figure that there is, those of raised layers and of early dynamics included."""
    folder = tmp_path_factory.mktemp("results")
    optimizers = [
        {"name": "sgd", "lr": 0.1},
        {"name": "slo", "lr": 0.1, "speeds": {"first": 1, "others": 0.1}},
    ]
    sweep = tiny_sweep(seeds=2, optimizer=optimizers, measure={"samples": 50, "early": 20})
    paths = write(sweep, folder)
    aggregate(sweep, folder)
    return paths


def test_every_saved_figure_and_table_is_linked(saved: SweepPaths) -> None:
    linked = set(re.findall(r'href="((?:figures|tables)/[^"]+)"', saved.report.read_text()))
    files = {path for folder in (saved.figures, saved.tables) for path in folder.iterdir()}
    assert linked == {path.relative_to(saved.folder).as_posix() for path in files}
    assert {"figures/matrices.svg", "figures/early.png", "figures/speed_limited.svg"} <= linked


def test_every_question_has_a_section_and_a_link(saved: SweepPaths) -> None:
    page = saved.report.read_text()
    for section in SECTIONS:
        there = int(section.anchor != "tuning")  # this sweep tunes nothing
        assert page.count(f'<section id="{section.anchor}"><h2>{section.question}</h2>') == there
        assert page.count(f'<a href="#{section.anchor}">{section.name}</a>') == there


def test_every_file_of_a_section_is_listed() -> None:
    names = {path.stem for path in Path(str(sections.__file__)).parent.glob("*.py")} - {"__init__", "section"}
    listed = {section.body.__module__.rpartition(".")[2] for one in SECTIONS for section in (one, *one.below)}
    assert listed == names
