"""Speed Limited Optimization: does a layer whose speed is raised align, and do its features follow?

Cells that raise the speed of one layer are compared with the cells of other optimizers at the same data, model and
training loss, because a network that has learned more is aligned more. The comparison itself is
``nfa.report.statistics.speed_limited``.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from nfa.conventions import LINEAR_PROBES, READOUT, Convention
from nfa.report.figures import speed_limited
from nfa.report.figures.style import CSS_VARIABLES
from nfa.report.numbers import UNDEFINED, interval, number, plural, significant
from nfa.report.page.html import Safe, el
from nfa.report.page.live import live_text
from nfa.report.page.sections.section import Answer, Material, Section, colour_legend, panel_row
from nfa.report.page.sentences import pooled, stated
from nfa.report.page.svg import Live
from nfa.report.page.tables import row_head, table, text_cell, text_head
from nfa.report.statistics.labels import name_list
from nfa.report.statistics.speed_limited import CONTROLS, DIRECTIONS, WHOLE, Matched, raised_layer
from nfa.report.statistics.study import Study

Row = dict[Any, Any]
ABOVE_CONTROLS = tuple(f"above_{name}" for name in CONTROLS)
SCORE_DIGITS = 4  # losses at one training loss differ by little
# Scores that the answer counts, with their names in it; kernel machines are among them if fitted at every checkpoint.
SCORES = {
    "test loss": "test loss",
    "probe": "probe of the raised layer",
    "kernel_agop": "kernel machine with its AGOP",
    "kernel_nfm": "kernel machine with its NFM",
}
LOWER_IS_BETTER = ("loss", "mse", "scatter_ratio", "error")  # ends of the names of scores


def answer(study: Study, matched: Matched, convention: Convention) -> Answer:
    """Count the cells whose raised layer is above all others and above its controls, and whose scores are better."""
    cells = list(matched.raised)
    left_out = _left_out(study, matched)
    if not cells:
        reason = left_out.strip() or "No cell raises one layer alone."
        return Answer(UNDEFINED, f"{reason} So there is no answer; see the table of layers below.")
    sure = study.n_seeds > 1
    rows = {cell: _against(matched, cell, matched.raised[cell], "uc_nfc", convention) for cell in cells}
    above = [cell for cell in cells if rows[cell] and all(_sign(row, sure) > 0 for row in rows[cell])]
    failed = [cell for cell in cells if cell not in above]
    controlled = [cell for cell in cells if _above(matched, cell, ABOVE_CONTROLS, convention, sure)]
    directed = [cell for cell in cells if _above(matched, cell, DIRECTIONS[2:], None, sure)]
    apart = {cell: _against(matched, cell, matched.raised[cell], DIRECTIONS[2], None) for cell in cells}
    farther = [cell for cell in cells if apart[cell] and all(_sign(row, sure) > 0 for row in apart[cell])]
    gains = [row["gain"] for found in rows.values() for row in found]
    reason = (
        "cells count where the 95% interval of each difference, taken seed by seed, lies above 0"
        if sure
        else "one seed, no interval"
    )
    total = plural(len(cells), "cell")
    verdict = (
        "At the same training loss, the directional factor of the layer whose speed is raised lies above its control "
        f"(K turned at random) in {len(directed)} of {total}, and farther above it than under every other optimizer "
        f"compared in {len(farther)} ({reason}). Its UC-NFC is larger than under every other optimizer in "
        f"{len(above)}, and above both its controls in {len(controlled)}."
    )
    if failed:
        names = name_list([_named(study, cell, matched.raised[cell]) for cell in failed], 6)
        verdict += f" Its UC-NFC is not larger for: {names}."
    counts = []
    for quantity, name in SCORES.items():
        if not any(_score(matched, cell, quantity) for cell in cells):
            continue
        better, worse = _better(matched, cells, quantity, sure)
        counts.append(f"the {name} is better than every other's in {better}, worse than some other's in {worse}")
    numbers = (
        f"UC-NFC of the raised layer differs from that under the other optimizers by {_span(gains)}. Among the same "
        f"{total}: {'; '.join(counts)}."
    )
    better, worse = _better(matched, cells, "test loss", sure)
    short = (
        f"directions of the raised layer above chance in {len(directed)} of {total}, UC-NFC above all others in "
        f"{len(above)}; test loss better in {better}, worse in {worse}"
    )
    return Answer(short, verdict + left_out, numbers, f"{stated(study, convention)}{pooled(study, cells)}")


def _against(matched: Matched, cell: str, layer: str, quantity: str, convention: Convention | None) -> list[Row]:
    """Find a cell's comparisons with all others."""
    found = (matched.row(cell, other, layer, quantity, convention) for other in matched.others(cell))
    return [row for row in found if row is not None]


def _sign(row: Row, sure: bool, sign: int = 1) -> int:
    """Return 1 if a cell is above the other and -1 if below; 0 if the interval of their difference contains 0.

    Without intervals (``sure`` false) the sign is that of the difference itself. ``sign`` -1 turns it round, for scores
    of which lower is better.
    """
    low, high = (row["gain_low"], row["gain_high"]) if sure else (row["gain"], row["gain"])
    return sign * (int(low > 0) - int(high < 0))


def _above(matched: Matched, cell: str, differences: Sequence[str], convention: Convention | None, sure: bool) -> bool:
    """Return True if all differences to controls at the raised layer are clearly above 0; False where undefined."""
    other, low = matched.others(cell)[0], "ci_low" if sure else "mean"
    rows = [matched.row(cell, other, matched.raised[cell], name, convention) for name in differences]
    return all(row is not None and row[low] > 0 for row in rows)


def _better(matched: Matched, cells: Sequence[str], quantity: str, sure: bool) -> tuple[int, int]:
    """Count the cells that are better than all others, and those worse than some, by a score."""
    better = worse = 0
    for cell in cells:
        layer = WHOLE if quantity == "test loss" else matched.raised[cell]
        name = _score(matched, cell, quantity)
        rows = _against(matched, cell, layer, name, None)
        signs = [_sign(row, sure, -1 if _lower_is_better(name) else 1) for row in rows]
        better += bool(signs) and min(signs) > 0
        worse += bool(signs) and min(signs) < 0
    return better, worse


def _score(matched: Matched, cell: str, quantity: str) -> str:
    """Find the name that the table has for one of ``SCORES``; empty where the score is not known at matched loss."""
    probes = {"probe": LINEAR_PROBES}.get(quantity, (quantity,))
    names = matched.scores(cell, WHOLE if quantity == "test loss" else matched.raised[cell])
    return next((name for name in names if name in probes or name.split(" ")[0] in probes), "")


def _lower_is_better(quantity: str) -> bool:
    """Return True for losses, errors and ratios of scatter."""
    return quantity.endswith(LOWER_IS_BETTER)


def _span(values: Sequence[float]) -> str:
    """Write the range of some values."""
    finite = [value for value in values if np.isfinite(value)]
    return f"{number(min(finite))} to {number(max(finite))}" if finite else UNDEFINED


def _named(study: Study, cell: str, layer: str) -> str:
    """Name a raised layer with its data and model."""
    return f"{layer} on {study.row(cell)['group']}"


def _left_out(study: Study, matched: Matched) -> str:
    """Name the shown cells that raise a layer but are not compared, so that no count hides them."""
    rest = set(study.shown) - set(matched.raised)
    raised = {cell.id: raised_layer(cell) for cell in study.collected.sweep.cells if cell.id in rest}
    named = [_named(study, cell, layer) for cell, layer in raised.items() if layer]
    if not named:
        return ""
    reason = "one of their runs did not learn, or no cell to compare with did"
    return f" Not compared ({reason}): {name_list(named, 6)}."


def _shown(row: Row | None, side: str = "", digits: int = 2) -> str:
    """Write a mean with its interval: of the cell, of the ``other``, or of their difference (``gain``)."""
    if row is None:
        return UNDEFINED
    names = {"": ("mean", "ci_low", "ci_high"), "other": ("other_mean", "other_low", "other_high")}
    names["gain"] = ("gain", "gain_low", "gain_high")
    mean, low, high = (row[name] for name in names[side])
    return interval(mean, low, high, digits)


RAISED = {  # row of the table of raised layers -> its quantity, and the controls that stand beside it
    "UC-NFC": ("uc_nfc", ("haar_nfc", "w0_nfc")),
    "directional": (DIRECTIONS[0], (DIRECTIONS[1], None)),
    "above chance": (DIRECTIONS[2], (None, None)),
}


def _raised_table(study: Study, matched: Matched, live: Live) -> Safe | None:
    """Tabulate UC-NFC and directional factor of every raised layer beside their controls and the other optimizers."""
    cells = [cell for cell in study.shown if cell in matched.raised]
    if not cells:
        return None
    columns = _labels(study, matched, cells)
    rows: list[Safe] = []
    for cell in cells:
        others = _by_label(study, matched, cell)

        def text(convention: Convention, quantity: str, other: str, side: str, cell: str = cell) -> str:
            place = None if quantity in DIRECTIONS else convention
            row = matched.row(cell, other, matched.raised[cell], quantity, place)
            return number(None if row is None else row["mean"]) if side == "control" else _shown(row, side)

        for line, (name, (quantity, controls)) in enumerate(RAISED.items()):
            first = matched.others(cell)[0]
            shown = [(quantity, first, ""), *((control, first, "control") for control in controls)]
            shown += [(quantity, others.get(label, ""), "gain") for label in columns]
            values = [
                el("td") if q is None else live_text(live, "td", lambda c, q=q, o=o, s=s, t=text: t(c, q, o, s))  # type: ignore[misc]
                for q, o, s in shown
            ]
            place = el("th", scope="row"), el("td")
            if line == 0:
                place = row_head(study, cell), text_cell(matched.raised[cell])
            rows.append(el("tr", *place, text_cell(name), values))
    names = ["cell", text_head("raised layer"), text_head("quantity"), "value", "by chance"]
    names += ["initial weights", *(f"− {label}" for label in columns)]
    caption = (
        "The layer whose speed is raised: UC-NFC and directional factor, by chance (K turned at random) and with the "
        "initial weights in place of W, and their differences from the same layer under each other optimizer, at the "
        "same training loss (in the last table); above chance: the directional factor less its control; 95% intervals "
        "over seeds, differences taken seed by seed"
    )
    return table(names, rows, caption, cls="numbers")


def _scores_table(study: Study, matched: Matched) -> Safe | None:
    """Tabulate test scores of the network and of the raised layer, and their differences from other optimizers."""
    cells = [cell for cell in study.shown if cell in matched.raised]
    columns = _labels(study, matched, cells)
    rows = []
    for cell in cells:
        layer, sure = matched.raised[cell], study.n_seeds > 1
        scores = [(WHOLE, name) for name in matched.scores(cell, WHOLE)]
        scores += [(layer, name) for name in matched.scores(cell, layer)]
        for place, (where, name) in enumerate(scores):
            others = _by_label(study, matched, cell)
            found = [matched.row(cell, others.get(label, ""), where, name) for label in columns]
            own = next(row for row in found if row is not None)
            sign = -1 if _lower_is_better(name) else 1
            compared = [
                el("td", _shown(row, "gain", SCORE_DIGITS), cls="sure" if row and _sign(row, sure, sign) > 0 else None)
                for row in found
            ]
            score = name if where == WHOLE else f"{name} of {layer}"
            head = row_head(study, cell) if place == 0 else el("th", scope="row")
            rows.append(el("tr", head, text_cell(score), el("td", _shown(own, "", SCORE_DIGITS)), compared))
    if not rows:
        return None
    names = ["cell", text_head("score"), "value", *(f"− {label}" for label in columns)]
    caption = (
        "Test scores of the network and of the raised layer's features at the same training loss, and their "
        "differences from those of each other optimizer. Bold: better, and the 95% interval of the difference does "
        "not contain 0"
    )
    return table(names, rows, caption, cls="numbers")


def _layers_table(study: Study, matched: Matched, live: Live) -> Safe:
    """Tabulate all hidden layers and the test loss of every cell whose layers have different speeds.

    A cell has a row for UC-NFC and one for the directional factor, each with its control in brackets.
    """
    depths = range(study.deepest, READOUT, -1)
    cells = [cell for cell in study.shown if cell in matched.levels]
    columns = _labels(study, matched, cells)
    rows = []
    for cell in cells:
        own = {layer.name for layer in study.collected.sweep.by_id[cell].layers}  # others are heads of these
        layers = {d: name if name in own else name.rpartition(".")[0] for name, _, d in study.layers(cell)}
        other = matched.others(cell)[0]

        def text(convention: Convention, quantity: str, layer: str, cell: str = cell, other: str = other) -> str:
            place = None if quantity in DIRECTIONS else convention
            names = (quantity, DIRECTIONS[1] if quantity in DIRECTIONS else "haar_nfc")
            found = (matched.row(cell, other, layer, name, place) for name in names)
            value, control = (UNDEFINED if row is None else number(row["mean"]) for row in found)
            return value if value == UNDEFINED else f"{value} ({control})"

        aligned, directed = (
            [
                live_text(live, "td", lambda c, q=quantity, layer=layers[depth], t=text: t(c, q, layer))  # type: ignore[misc]
                if depth in layers
                else el("td")
                for depth in depths
            ]
            for quantity in ("uc_nfc", DIRECTIONS[0])
        )
        others = _by_label(study, matched, cell)
        losses = [_shown(matched.row(cell, other, WHOLE, "test loss"), "", SCORE_DIGITS)]
        losses += [
            _shown(matched.row(cell, others.get(label, ""), WHOLE, "test loss"), "gain", SCORE_DIGITS)
            for label in columns
        ]
        level = el("td", significant(matched.levels[cell]))
        scores = [el("td", loss) for loss in losses]
        rows.append(el("tr", row_head(study, cell), level, text_cell("UC-NFC"), aligned, scores))
        blank = el("th", scope="row"), el("td")
        rows.append(el("tr", *blank, text_cell("directional"), directed, [el("td") for _ in losses]))
    names = [
        "cell",
        "training loss",
        text_head("quantity"),
        *(study.place_name(depth) for depth in depths),
        "test loss",
    ]
    names += [f"− {label}" for label in columns]
    caption = (
        "UC-NFC and directional factor of every hidden layer, in brackets with K turned at random; and test loss with "
        "its differences from the other optimizers (taken seed by seed), at the same training loss"
    )
    return table(names, rows, caption, cls="numbers")


def _by_label(study: Study, matched: Matched, cell: str) -> dict[str, str]:
    """Map the labels of optimizers to the cells that a cell is compared with."""
    return {_label(study, other): other for other in matched.others(cell)}


def _labels(study: Study, matched: Matched, cells: Sequence[str]) -> list[str]:
    """List the labels of all optimizers that any of the cells is compared with."""
    return list(dict.fromkeys(label for cell in cells for label in _by_label(study, matched, cell)))


def _label(study: Study, cell: str) -> str:
    """Return the label of a cell's optimizer."""
    return str(study.row(cell)["optimizer"])


def body(material: Material) -> list[object]:
    """Make the figure of raised layers, and the tables of these, of scores and of all layers."""
    study, matched, live = material.study, material.matched, material.live
    note = (
        "Cells of the same data and model are compared at one training loss: the lowest that all their runs reached "
        "at a checkpoint. Values between two checkpoints (losses: between two recorded steps) are interpolated in "
        "the logarithm of the loss.\n"
        "◆ the cell that raises the layer  ● the other optimizers  ❘ grey bar: control with K turned at random "
        "(directional_haar and haar_nfc)  × control with the initial weights (w0_nfc). Bars: 95% intervals over seeds."
    )
    panels = speed_limited.panels(study, matched)
    legend = [(label, f"var({CSS_VARIABLES[colour]})") for label, colour in speed_limited.legend(study, matched)]
    return [
        colour_legend(legend) if panels else None,
        panel_row("raised", panels, live, cls="panels wide") if panels else None,
        el("p", note, cls="note"),
        _raised_table(study, matched, live),
        _scores_table(study, matched),
        _layers_table(study, matched, live),
    ]


SECTION = Section(
    anchor="speeds",
    name="speeds",
    question="Speed limited optimization: does a raised layer align?",
    answer=lambda material, convention: answer(material.study, material.matched, convention),
    asked=lambda material: bool(material.matched.levels),
    body=body,
)
