"""Every cell with all its numbers: settings, runs, quantities at the last step, and probes."""

from typing import Any

import pandas as pd

from nfa.conventions import NOT_REACHED
from nfa.report.numbers import UNDEFINED, number, plus_minus, significant
from nfa.report.page.html import Safe, el
from nfa.report.page.sections.section import Section, left_out
from nfa.report.page.tables import anchor, state, table
from nfa.report.statistics.labels import show_setting
from nfa.report.statistics.study import Study

# The first rows of the table of quantities; quantities that are not named here follow.
ORDER = (
    "uc_nfc",
    "w0_nfc",
    "haar_nfc",
    "haar_nfc_sd",
    "directional",
    "directional_haar",
    "spectral",
    "spectral_haar",
    "spectrum_slope",
    "c_nfc",
    "c_haar_nfc",
    "c_nfc_update",
    "dc_nfc",
    "relative_change",
)
LIMITS = ("c_nfc", "c_nfc_update")  # quantities whose values at step 0 are limits t → 0+


def _cell(study: Study, cell: str) -> Safe:
    """Make the collapsed block of one cell."""
    row = study.row(cell)
    alignment = study.tables["alignment_summary"]
    alignment = alignment[alignment["cell"] == cell]
    summary = el("summary", el("b", row["label"]), " ", state(row))
    content = [
        el("p", el("code", cell)),
        _parameters(study.collected.documents[cell]["parameters"]),
        _runs(study, cell),
        _quantities(study, cell, alignment),
        _probes(study, cell),
    ]
    return el("details", summary, content, id=anchor(study, cell))


def _parameters(parameters: dict[str, dict[str, Any]]) -> Safe:
    """List the settings of each axis."""
    parts = [
        el(
            "div",
            el("dt", axis),
            el("dd", ", ".join(f"{key} {show_setting(value)}" for key, value in entry.items() if value is not None)),
        )
        for axis, entry in parameters.items()
    ]
    return el("dl", parts, cls="parameters")


def _runs(study: Study, cell: str) -> Safe:
    """Tabulate the final scores of each seed's run."""
    runs = study.tables["runs"]
    rows = []
    for run in runs[runs["cell"] == cell].to_dict("records"):
        probe = (
            f"{number(run['best_probe'], 3)} ({run['best_probe_layer']})" if pd.notna(run["best_probe"]) else UNDEFINED
        )
        values = [significant(run["train_loss"]), significant(run["test_loss"]), number(run["test_accuracy"], 3), probe]
        learned = "yes" if run["learned"] else "no"
        status = NOT_REACHED if pd.notna(run["reached"]) and not run["reached"] else run["status"]
        cells = [status, f"{run['last_step']:,}", learned, *values]
        rows.append(el("tr", el("th", run["seed"], scope="row"), [el("td", value) for value in cells]))
    head = ("seed", "status", "last step", "learned", "train loss", "test loss", "test accuracy", "best probe, test")
    return table(
        head, rows, "Runs of the cell; best probe: highest test score of any layer, with that layer", cls="numbers"
    )


def _quantities(study: Study, cell: str, alignment: pd.DataFrame) -> Safe:
    """Tabulate the limits at step 0 and all quantities at the last step: a row per quantity and convention."""
    layers = study.layers(cell)
    last = int(alignment["step"].max())
    first = alignment[(alignment["step"] == 0) & alignment["quantity"].isin(LIMITS) & (last > 0)]
    rows = _quantity_rows(first, layers, 0) + _quantity_rows(alignment[alignment["step"] == last], layers, last)
    head = ("quantity", "correlation", "power", "step", *(name for name, *_ in layers))
    caption = (
        f"All quantities at the last step ({last:,}): mean over seeds ± half of the 95% interval; ○ marks limits t → "
        "0+ at step 0"
    )
    return table(head, rows, caption, cls="numbers")


def _quantity_rows(part: pd.DataFrame, layers: list[tuple[str, int, int]], step: int) -> list[Safe]:
    """Make a row per quantity, correlation and power, with a column per layer."""
    records: list[dict[Any, Any]] = part.to_dict("records")
    found: dict[tuple[str, ...], dict[int, dict[Any, Any]]] = {}
    for row in records:
        key = (row["quantity"], *("–" if pd.isna(row[name]) else row[name] for name in ("correlation", "power")))
        found.setdefault(key, {})[row["layer_index"]] = row
    places = {quantity: place for place, quantity in enumerate(ORDER)}
    rows = []
    for key in sorted(found, key=lambda key: places.get(key[0], len(places))):
        values = [_value(found[key].get(index)) for _, index, _ in layers]
        texts = [el("td", text) for text in (*key[1:], f"{step:,}")]
        rows.append(el("tr", el("th", key[0], scope="row"), texts, values))
    return rows


def _value(row: dict[Any, Any] | None) -> Safe:
    """Make one entry of the table of quantities."""
    if row is None:
        return el("td", UNDEFINED, title="not measured")
    shown = plus_minus(row["mean"], row["ci_high"] - row["mean"], 3)
    limit = "○ " if row["note"] and shown != UNDEFINED and row["step"] == 0 else ""
    return el("td", f"{limit}{shown}", title=row["note"] or None)


def _probes(study: Study, cell: str) -> Safe:
    """Tabulate the test scores of each layer's probe before and after training."""
    probes = study.tables["probes_summary"]
    probes = probes[(probes["cell"] == cell) & (probes["split"] == "test")]
    if probes.empty:
        return Safe("")
    last = int(probes["step"].max())
    rows = []
    for layer in dict.fromkeys(probes["layer"]):
        here = probes[probes["layer"] == layer].set_index("step")
        cells = [
            plus_minus(here.at[step, "mean"], here.at[step, "ci_high"] - here.at[step, "mean"], 3)
            if step in here.index
            else "–"
            for step in (0, last)
        ]
        rows.append(
            el("tr", el("th", layer, scope="row"), [el("td", text) for text in (here["features"].iloc[0], *cells)])
        )
    probe, metric = probes["probe"].iloc[0], {"r2": "R²"}.get(probes["metric"].iloc[0], "accuracy")
    caption = f"Test {metric} of a linear probe ({probe}): mean over seeds ± half of the 95% interval"
    return table(("layer", "features", "untrained", f"step {last:,}"), rows, caption, cls="numbers")


SECTION = Section(
    anchor="cells",
    name="cells",
    question="Every cell",
    body=lambda material: [left_out(material.study), *(_cell(material.study, cell) for cell in material.study.shown)],
)
