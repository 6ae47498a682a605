"""Every figure of a sweep that is written to a file."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

from nfa.report.figures import (
    ansatz,
    curves,
    depth,
    depth_law,
    early,
    forest,
    heatmap,
    matrices,
    predicted,
    probing,
    raised,
    training,
)
from nfa.report.figures.panels import Panel, save
from nfa.report.figures.style import optimizer_colour
from nfa.report.speeds import Matched
from nfa.report.study import Study

Writer: TypeAlias = Callable[[Path], None]


def _panels(panels: Sequence[Panel], columns: int, legend: Sequence[tuple[str, str]]) -> Writer | None:
    """Write panels with their legend; None where there are none."""
    return (lambda path: save(panels, columns, path, legend)) if panels else None


def _optimizers(study: Study) -> list[tuple[str, str]]:
    """Label the colours of optimizers."""
    return [(label, optimizer_colour(index)) for label, index in study.optimizers.items()][:12]


def _curves(study: Study) -> Writer | None:
    return _panels(curves.panels(study), max(2, min(3, len(study.optimizers))), curves.legend(study))


def _early(study: Study) -> Writer | None:
    followed = [panel for group in early.panels(study).values() for panel in group]
    return _panels(followed, 3, curves.legend(study))


def _speed_limited(study: Study) -> Writer | None:
    matched = Matched(study.tables["speed_limited"])
    return _panels(raised.panels(study, matched), 2, raised.legend(study, matched))


def _matrices(study: Study) -> Writer | None:
    found = matrices.albums(study)
    return partial(matrices.save_albums, study, found) if found else None


# Name -> what writes name.svg and name.png, None where a sweep has no such figure; the page links them in this order.
FIGURES: dict[str, Callable[[Study], Writer | None]] = {
    "training": lambda study: _panels(training.panels(study), 3, _optimizers(study)),
    "ansatz": lambda study: _panels(ansatz.panels(study), 3, _optimizers(study)),
    "heatmap": lambda study: partial(heatmap.save_heatmap, study),
    "curves": _curves,
    "depth": lambda study: _panels(depth.panels(study), 3, _optimizers(study)),
    "probing": lambda study: _panels(probing.panels(study), 2, _optimizers(study)),
    "predicted": lambda study: _panels(predicted.panels(study), 2, _optimizers(study)),
    "depth_law": lambda study: _panels(depth_law.panels(study), 3, _optimizers(study)),
    "early": _early,
    "quality": lambda study: _panels(forest.panels(study), 3, forest.legend(study)),
    "speed_limited": _speed_limited,
    "matrices": _matrices,
}


def figures_of(study: Study) -> dict[str, Writer]:
    """Name every figure that a sweep has, and what writes it; known before any is written."""
    made = {name: make(study) for name, make in FIGURES.items()}
    return {name: write for name, write in made.items() if write is not None}


def save_figures(study: Study) -> None:
    """Write every figure that the sweep has, in the headline convention."""
    for name, write in figures_of(study).items():
        write(study.paths.figures / name)
