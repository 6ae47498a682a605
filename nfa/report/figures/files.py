"""The figures of a sweep that are written to files."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from nfa.report.figures import (
    ansatz,
    curves,
    depth,
    depth_law,
    early,
    features_ranks,
    heatmap,
    left_bases,
    matrices,
    predictions,
    probing,
    speed_limited,
    training,
    tuning,
)
from nfa.report.figures.panels import Panel
from nfa.report.figures.saving import save
from nfa.report.figures.style import optimizer_colour
from nfa.report.statistics.matrix_albums import Album
from nfa.report.statistics.speed_limited import Matched
from nfa.report.statistics.study import Study

Drawing = Callable[[Path], None]  # takes a path without ending, writes path.svg and path.png


def _drawing(panels: Sequence[Panel], columns: int, legend: Sequence[tuple[str, str]]) -> Drawing | None:
    """Return a function that writes panels in rows below a legend; None if there are no panels."""
    return (lambda path: save(panels, columns, path, legend)) if panels else None


def _optimizers(study: Study) -> list[tuple[str, str]]:
    """Label the colours of the first twelve optimizers."""
    return [(label, optimizer_colour(index)) for label, index in study.optimizers.items()][:12]


def _curves(study: Study) -> Drawing | None:
    return _drawing(curves.panels(study), max(2, min(3, len(study.optimizers))), curves.legend(study))


def _early(study: Study) -> Drawing | None:
    followed = [panel for group in early.panels(study).values() for panel in group]
    return _drawing(followed, 3, curves.legend(study))


def _speed_limited(study: Study) -> Drawing | None:
    matched = Matched(study.tables["speed_limited"])
    return _drawing(speed_limited.panels(study, matched), 2, speed_limited.legend(study, matched))


# Name -> the function that draws the figure, None if the sweep has no such figure; the page links them in this order.
FIGURES: dict[str, Callable[[Study], Drawing | None]] = {
    "training": lambda study: _drawing(training.panels(study), 3, _optimizers(study)),
    "tuning": lambda study: _drawing(tuning.panels(study), 3, _optimizers(study)),
    "ansatz": lambda study: _drawing(ansatz.panels(study), 2, _optimizers(study)),
    "heatmap": lambda study: partial(heatmap.save_heatmap, study),
    "curves": _curves,
    "depth": lambda study: _drawing(depth.panels(study), 3, _optimizers(study)),
    "probing": lambda study: _drawing(probing.panels(study), 2, _optimizers(study)),
    "predictions": lambda study: _drawing(predictions.panels(study), 2, _optimizers(study)),
    "depth_law": lambda study: _drawing(depth_law.panels(study), 3, _optimizers(study)),
    "early": _early,
    "quality": lambda study: _drawing(features_ranks.panels(study), 3, features_ranks.legend(study)),
    "speed_limited": _speed_limited,
}


def drawings(study: Study, albums: Sequence[Album]) -> dict[str, Drawing]:
    """Return the figures that a sweep has, in the headline convention: name -> the function that writes it.

    Args:
        study: The sweep's numbers.
        albums: Pictures of the matrices of its cells, from ``find_albums(study)``, which the page shows, too.
    """
    found = {name: drawing_of(study) for name, drawing_of in FIGURES.items()}
    found["matrices"] = partial(matrices.save_albums, study, albums) if albums else None
    in_basis = any(album.left_bases for album in albums)
    found["left_bases"] = partial(left_bases.save_left_bases, study, albums) if in_basis else None
    return {name: drawing for name, drawing in found.items() if drawing is not None}


def save_figures(study: Study, figures: Mapping[str, Drawing]) -> None:
    """Write figures into the sweep's folder of figures."""
    for name, draw in figures.items():
        draw(study.paths.figures / name)
