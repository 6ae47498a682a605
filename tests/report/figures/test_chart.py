"""The figure of ``nfa figure``: what it names, how steps are spaced, and the command that draws it."""

from pathlib import Path

import pandas as pd
import pytest

from nfa.report.figures.chart import _evenly, save_chart
from nfa.report.statistics.chart_data import Roles, make_chart
from nfa.report.statistics.chart_points import Wanted, read_points
from nfa.sweep.grid import parse
from tests.helpers import nfa, tiny


@pytest.mark.parametrize(
    ("train", "linear"),
    [
        ({"steps": 1180, "checkpoints": 8, "spacing": "linear"}, True),
        ({"steps": 1180, "checkpoints": 8}, False),
        ({"steps": 5, "checkpoints": 8}, False),
        ({"steps": 5, "checkpoints": 2, "spacing": "linear"}, False),
    ],
)
def test_steps_of_a_linear_schedule_are_known_by_their_distances(train: dict[str, object], linear: bool) -> None:
    steps = parse(tiny(train=train), "x").cells[0].train.checkpoint_steps(200)
    assert _evenly(pd.Series(steps * 3)) is linear


def test_every_quantity_is_named_in_the_figure(results: Path, tmp_path: Path) -> None:
    for names in (["uc_nfc"], ["uc_nfc", "haar_nfc"]):
        points = read_points(results, [Wanted.parse(name) for name in names])
        for roles in (Roles("step", "label", "none"), Roles("step", "quantity", "label")):
            path = tmp_path / "figure.svg"
            save_chart(make_chart(points, roles), path)
            drawn = path.read_text()
            assert all(name in drawn for name in names), (names, roles)


def test_the_command_draws_and_prints(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "sub" / "figure.png"
    done = nfa("figure", results, "--x", "step", "--colour", "optimizer", "--panel", "model.width", "--out", out)
    assert done.returncode == 0, done.stderr
    assert out.read_bytes()[:4] == b"\x89PNG"
    assert done.stdout.startswith("| model.width | optimizer | step | uc_nfc |")
    assert [path.name for path in out.parent.iterdir()] == ["figure.png"]
    again = nfa("figure", results, "--x", "depth", "--out", tmp_path / "figure.pdf")
    assert again.returncode == 2
    assert again.stderr == f"nfa: --out {tmp_path / 'figure.pdf'}: must end in .png or .svg\n"
