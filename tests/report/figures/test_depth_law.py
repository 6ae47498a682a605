"""The figure of the depth law."""

from itertools import pairwise
from pathlib import Path

from nfa.report.figures import depth_law
from tests.helpers import tiny, tiny_sweep
from tests.report.studies import drawn, study_of


def test_labels_of_the_depths_of_a_deep_network_are_apart(tmp_path: Path) -> None:
    deep = [{"name": "mlp", "depth": 30, "width": 4}]
    study = study_of(
        tiny_sweep(seeds=1, data=tiny()["data"][1:], model=deep, optimizer=[{"name": "sgd"}], train={"steps": 2}),
        tmp_path,
    )
    (axes,) = drawn(depth_law.panels(study)[0])
    boxes = sorted((label.get_window_extent() for label in axes.get_xticklabels()), key=lambda box: box.x0)
    assert len(boxes) > 5
    assert all(a.x1 + 2 < b.x0 for a, b in pairwise(boxes))  # two points apart
