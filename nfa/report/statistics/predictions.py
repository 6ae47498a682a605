"""Predictions beside measurements: the limit C-NFC(0+) against the C-NFC of training, and the depth law's power.

There are two predictions of C-NFC(0+), both known before training: ``flow``, along gradient flow (or along the flow of
the learning rule in use), and ``update``, along the first full-batch step of the optimizer in use. Each has a control,
C-NFC along the same direction with K turned at random: where that agrees with the measurement as well as the prediction
does, the agreement is that of chance.
"""

import pandas as pd

from nfa.conventions import CONTROLS
from nfa.report.statistics.collected import Collected
from nfa.report.statistics.pooled_settings import Pooling
from nfa.report.statistics.rank_correlation import pooled_and_by_depth, spearman, summarised
from nfa.report.statistics.runs import RUN, at_last_step, finished_runs

CONVENTION = ["correlation", "power"]
KEYS = ["data", "layers", *CONVENTION, "predictor", "at", "measure"]
PREDICTORS = {"flow": "c_nfc", "update": "c_nfc_update"}  # name -> quantity at step 0
TARGETS = ("first", "last")  # checkpoints after step 0
NFCS = tuple(PREDICTORS.values())
PREDICTION_QUANTITIES = (*NFCS, *(CONTROLS[quantity].mean for quantity in NFCS))

DEPTH_LAW = {f"depth_law_{part}": part for part in ("power", "fit", "low", "high")}  # quantity -> column


def prediction_points(collected: Collected) -> pd.DataFrame:
    """Join predictions with the C-NFC measured later, for finished runs.

    Returns:
        One row per run, layer and convention: ``cell``, ``data``, ``seed``, ``layer``, ``depth_from_output``,
        ``correlation``, ``power``, ``flow``, ``update``, ``first`` (C-NFC at the first checkpoint after step 0),
        ``first_step``, ``last`` (at the last one), and the control of each of the four numbers, such as
        ``flow_control``; NaN at powers other than 1, which have no control.
    """
    alignment = collected.alignment
    place = [*RUN, "layer", "depth_from_output", *CONVENTION]
    rows = alignment.loc[alignment["quantity"].isin(PREDICTION_QUANTITIES), ["quantity", "step", *place, "value"]]
    rows = rows.merge(finished_runs(collected), on=RUN)
    later = rows[rows["step"] > 0]
    first = later[later["step"] == later.groupby(RUN, observed=True)["step"].transform("min")]
    points = first.loc[first["quantity"] == "c_nfc", [*place, "step"]].rename(columns={"step": "first_step"})
    parts = {"first": (first, "c_nfc"), "last": (at_last_step(later), "c_nfc")}
    parts |= {name: (rows[rows["step"] == 0], quantity) for name, quantity in PREDICTORS.items()}
    for name, (part, quantity) in parts.items():
        for wanted, column in ((quantity, name), (CONTROLS[quantity].mean, f"{name}_control")):
            found = part.loc[part["quantity"] == wanted, [*place, "value"]].rename(columns={"value": column})
            points = points.merge(found, on=place, how="left", validate="1:1")
    points["data"] = points["cell"].astype(str).map(collected.labels.set_index("cell")["data"])
    return points


def make_predictions(points: pd.DataFrame, pooling: Pooling) -> pd.DataFrame:
    """Compare predictions with measurements.

    Args:
        points: As ``prediction_points`` gives them.
        pooling: Names the settings that vary among the cells of a row.

    Returns:
        One row per data set, ``layers`` (a depth from the output, or hidden layers pooled), convention, ``predictor``
        (``flow`` or ``update``), ``at`` (``first`` or ``last`` checkpoint) and ``measure``: ``rho``, Spearman's over
        cells and layers, or ``difference``, the mean of |measured - predicted|; each per seed, then mean and interval
        over seeds. ``rho_control`` and ``difference_control`` are the same with the prediction's control in its place,
        and ``rho_above_control`` is Spearman's of both numbers less their own controls; these three are given at power
        1. ``n`` is the number of points per seed (the fewest of any seed), ``pooled_over`` the settings that vary
        among the cells that are taken together.
    """
    identity = ["data", "layers", *CONVENTION, "seed", "cell"]
    points = pooled_and_by_depth(points).astype({"correlation": str, "power": str})
    pairs = []
    for predictor in PREDICTORS:
        for at in TARGETS:
            predicted, chance, measured = (points[name] for name in (predictor, f"{predictor}_control", at))
            above = {"predicted": predicted - chance, "measured": measured - points[f"{at}_control"]}
            place = points[identity].assign(predictor=predictor, at=at)
            pairs += [
                place.assign(predicted=predicted, measured=measured, end=""),
                place.assign(predicted=chance, measured=measured, end="_control"),
                place.assign(**above, end="_above_control"),
            ]
    long = pd.concat(pairs, ignore_index=True).dropna(subset=["measured", "predicted"])
    by = [*identity[:-1], "predictor", "at", "end"]
    rho = spearman(long, by, "predicted", "measured").rename(columns={"rho": "value"})
    gap = long.assign(value=(long["measured"] - long["predicted"]).abs())[long["end"] != "_above_control"]
    difference = gap.groupby(by, sort=True)["value"].agg(["mean", "size"]).reset_index()
    difference = difference.rename(columns={"mean": "value", "size": "n"})
    found = {"rho": rho, "difference": difference}
    named = [part.assign(measure=measure + part["end"]) for measure, part in found.items()]
    table = summarised(pd.concat(named, ignore_index=True), KEYS)
    pooled = [part.assign(measure=measure + part["end"]) for measure, part in (("rho", long), ("difference", gap))]
    table["pooled_over"] = pooling.column(table, pd.concat(pooled), KEYS)
    return table


def depth_law_points(collected: Collected) -> pd.DataFrame:
    """Gather the power of the AGOP that fits each layer's NFM best, at the last step of every finished run.

    Returns:
        One row per run, layer and correlation: ``cell``, ``seed``, ``layer``, ``layer_index``, ``depth_from_output``,
        ``correlation``, ``power``, ``fit``, ``low``, ``high``, ``law`` (1/(L - l + 1); NaN in a branching network),
        ``fit_at_law`` and ``fit_at_1`` (UC-NFC at those powers), and, whatever the correlation, ``slope`` (p, of K's
        spectrum against W's).
    """
    alignment = collected.alignment
    parts = DEPTH_LAW
    place = [*RUN, "layer", "layer_index", "depth_from_output", "correlation"]
    last = at_last_step(alignment[alignment["quantity"].isin([*parts, "uc_nfc"])])
    last = last.merge(finished_runs(collected), on=RUN)
    best = last[last["quantity"].isin(list(parts))]
    best = best.astype({"quantity": str, "correlation": str}).pivot(index=place, columns="quantity", values="value")
    points = best.rename(columns=parts).reindex(columns=list(parts.values())).reset_index().rename_axis(columns=None)
    aligned = last[last["quantity"] == "uc_nfc"].astype({"correlation": str, "power": str})
    for power, name in (("depth", "fit_at_law"), ("1", "fit_at_1")):
        columns = [*place, "value", *(["exponent"] if power == "depth" else [])]
        found = aligned.loc[aligned["power"] == power, columns].rename(columns={"value": name, "exponent": "law"})
        points = points.merge(found, on=place, how="left", validate="1:1")
    slopes = alignment[alignment["quantity"] == "spectrum_slope"]
    slopes = at_last_step(slopes)[[*RUN, "layer", "value"]].rename(columns={"value": "slope"})
    return points.merge(slopes, on=[*RUN, "layer"], how="left", validate="m:1")


def power_of_slope(slope: pd.Series) -> pd.Series:
    """Return 1/(1 + p), the best power of the AGOP where K = c (W W^T)^p; NaN where p is not above -1.

    >>> power_of_slope(pd.Series([0.0, 1.0, -1.5])).tolist()
    [1.0, 0.5, nan]
    """
    return 1 / (1 + slope.where(slope > -1))
