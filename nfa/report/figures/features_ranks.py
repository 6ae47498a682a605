"""Do better-aligned layers hold better features? A forest plot of rank correlations, per data set and over all."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure, SubFigure

from nfa.conventions import Convention
from nfa.features.scores import SCORES
from nfa.report.figures.panels import Mark, MarkValues, Panel, add_axes, draw_mark
from nfa.report.figures.style import INK, LAYER_COLOURS, MUTED
from nfa.report.statistics.stratified_ranks import EVERYWHERE, RANKED
from nfa.report.statistics.study import Study

NAMES = {"probe": "linear probe", "probe_gain": "probe's gain over untrained"} | {
    name: SCORES[name].label for name in RANKED if name in SCORES
}
# Measures of alignment, one panel each, in words for a sentence and an axis.
QUANTITIES = {
    "directional_above_haar": "directional factor − control",
    "above_haar": "UC-NFC − haar_nfc",
    "uc_nfc": "UC-NFC",
    "c_nfc": "C-NFC",
}
ROW, MARGINS = 25.0, (150.0, 34.0, 14.0, 8.0)  # points; left, bottom, right, top
WIDTH = 400.0


def scopes(study: Study) -> list[str]:
    """Return the data sets, and ``EVERYWHERE`` if there are several."""
    ranks = study.tables["features_ranks"]
    found = set(ranks.loc[ranks["depth_from_output"].isna(), "data"])
    return [name for name in (*dict.fromkeys(study.cells["data"]), EVERYWHERE) if name in found]


def colour(scope: str, scopes: Sequence[str]) -> str:
    """Return the colour of a data set; ink for all of them together."""
    return INK if scope == EVERYWHERE else LAYER_COLOURS[1 + scopes.index(scope) % (len(LAYER_COLOURS) - 1)]


def legend(study: Study) -> list[tuple[str, str]]:
    """Label the colours of data sets, with the settings that vary among their cells."""
    names = scopes(study)

    def label(name: str) -> str:
        over = study.pooled_names(None if name == EVERYWHERE else name)
        shown = "all, pooled over strata" if name == EVERYWHERE else name
        return f"{shown} (over {over})" if over else shown

    return [(label(name), colour(name, names)) for name in names]


def panels(study: Study) -> list[Panel]:
    """Make one panel per alignment quantity: a row per score, a mark per data set; none if all are undefined."""
    if study.tables["features_ranks"]["rho"].isna().all():
        return []
    return [_panel(study, quantity, name) for quantity, name in QUANTITIES.items()]


def rank_values(study: Study, quantity: str, scope: str, scores: Sequence[str]) -> MarkValues:
    """Return rho and its interval of every score, pooled over the strata of one data set or of all."""
    ranks = study.tables["features_ranks"]
    part = ranks[(ranks["quantity"] == quantity) & (ranks["data"] == scope) & ranks["depth_from_output"].isna()]
    table = part.set_index(["correlation", "power", "score"])[["rho", "ci_low", "ci_high"]]

    def values(convention: Convention) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        index = [(*convention, score) for score in scores]
        rho, low, high = table.reindex(index).to_numpy(float).T
        return rho, low, high

    return values


def _scores(study: Study) -> list[str]:
    """Return the scores whose correlation is defined somewhere."""
    ranks = study.tables["features_ranks"]
    known = set(ranks.loc[ranks["rho"].notna() & ranks["depth_from_output"].isna(), "score"])
    return [score for score in NAMES if score in known]


def _panel(study: Study, quantity: str, name: str) -> Panel:
    names, scores = scopes(study), _scores(study)
    size = (WIDTH, MARGINS[1] + MARGINS[3] + ROW * len(scores))
    apart = 0.62 / max(len(names) - 1, 1)

    def draw(figure: Figure | SubFigure) -> list[Mark]:
        axes = add_axes(figure, size, MARGINS)
        axes.set_xlim(-1.04, 1.04)
        axes.set_ylim(len(scores) - 0.5, -0.5)
        axes.axvline(0, color=MUTED, linewidth=1)
        axes.set_yticks(range(len(scores)), [NAMES[score] for score in scores])
        axes.grid(False, axis="y")
        axes.set_xlabel(f"rank correlation with {name}")
        marks = []
        for number, scope in enumerate(names):
            shift = apart * (number - (len(names) - 1) / 2)
            at = [row + shift for row in range(len(scores))]
            values, shade = rank_values(study, quantity, scope, scores), colour(scope, names)
            marks.append(
                draw_mark(
                    axes, f"{quantity}-{number}-whiskers", "whiskers", "x", at, values, color=shade, linewidth=1.3
                )
            )
            style = {"color": shade, "marker": "D" if scope == EVERYWHERE else "o", "markersize": 4.5}
            marks.append(draw_mark(axes, f"{quantity}-{number}-dots", "dots", "x", at, values, **style))
        return marks

    alt = f"Rank correlation of {name} with each score of feature quality, per data set and pooled, with 95% intervals."
    return Panel(name, name, alt, *size, draw)
