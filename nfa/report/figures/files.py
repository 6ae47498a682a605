"""Every figure of a sweep that is written to a file."""

from collections.abc import Callable
from pathlib import Path

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
from nfa.report.figures.panels import save
from nfa.report.figures.style import optimizer_colour
from nfa.report.speeds import Matched
from nfa.report.study import Study


def _optimizers(study: Study) -> list[tuple[str, str]]:
    """Label the colours of optimizers."""
    return [(label, optimizer_colour(index)) for label, index in study.optimizers.items()][:12]


def _curves(study: Study, path: Path) -> None:
    save(curves.panels(study), max(2, min(3, len(study.optimizers))), path, curves.legend(study))


def _early(study: Study, path: Path) -> None:
    followed = [panel for group in early.panels(study).values() for panel in group]
    save(followed, 3, path, curves.legend(study))


def _speed_limited(study: Study, path: Path) -> None:
    matched = Matched(study.tables["speed_limited"])
    save(raised.panels(study, matched), 2, path, raised.legend(study, matched))


# Name -> what writes name.svg and name.png, if the sweep has such a figure; the page links them in this order.
FIGURES: dict[str, Callable[[Study, Path], None]] = {
    "training": lambda study, path: save(training.panels(study), 3, path, _optimizers(study)),
    "ansatz": lambda study, path: save(ansatz.panels(study), 3, path, _optimizers(study)),
    "heatmap": heatmap.save_heatmap,
    "curves": _curves,
    "depth": lambda study, path: save(depth.panels(study), 3, path, _optimizers(study)),
    "probing": lambda study, path: save(probing.panels(study), 2, path, _optimizers(study)),
    "predicted": lambda study, path: save(predicted.panels(study), 2, path, _optimizers(study)),
    "depth_law": lambda study, path: save(depth_law.panels(study), 3, path, _optimizers(study)),
    "early": _early,
    "quality": lambda study, path: save(forest.panels(study), 3, path, forest.legend(study)),
    "speed_limited": _speed_limited,
    "matrices": matrices.save_albums,
}


def save_figures(study: Study) -> None:
    """Write every figure that the sweep has, in the headline convention."""
    for name, write in FIGURES.items():
        write(study, study.paths.figures / name)
