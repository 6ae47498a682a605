"""Predictions beside measurements: the limit C-NFC(0+) against the C-NFC of training, and the depth law's power.

There are two predictions of C-NFC(0+), both known before training: ``flow``, along gradient flow (or along the flow of
the learning rule in use), and ``update``, along the first full-batch step of the optimizer in use.
"""

import pandas as pd

from nfa.report.statistics.collected import Collected
from nfa.report.statistics.pooled_settings import Pooling
from nfa.report.statistics.rank_correlation import pooled_and_by_depth, spearman, summarised
from nfa.report.statistics.runs import RUN, at_last_step, finished_runs

CONVENTION = ["correlation", "power"]
KEYS = ["data", "layers", *CONVENTION, "predictor", "at", "measure"]
PREDICTORS = {"flow": "c_nfc", "update": "c_nfc_update"}  # name -> quantity at step 0
TARGETS = ("first", "last")  # checkpoints after step 0


def prediction_points(collected: Collected) -> pd.DataFrame:
    """Join predictions with the C-NFC measured later, for finished runs.

    Returns:
        One row per run, layer and convention: ``cell``, ``data``, ``seed``, ``layer``, ``depth_from_output``,
        ``correlation``, ``power``, ``flow``, ``update``, ``first`` (C-NFC at the first checkpoint after step 0),
        ``first_step``, ``last`` (at the last one).
    """
    alignment = collected.alignment
    place = [*RUN, "layer", "depth_from_output", *CONVENTION]
    rows = alignment.loc[alignment["quantity"].isin(PREDICTORS.values()), ["quantity", "step", *place, "value"]]
    rows = rows.merge(finished_runs(collected), on=RUN)
    measured = rows[(rows["quantity"] == "c_nfc") & (rows["step"] > 0)]
    last = at_last_step(measured)
    first = measured[measured["step"] == measured.groupby(RUN, observed=True)["step"].transform("min")]
    points = last[[*place, "value"]].rename(columns={"value": "last"})
    steps = {"value": "first", "step": "first_step"}
    points = points.merge(first[[*place, "step", "value"]].rename(columns=steps), on=place, validate="1:1")
    for name, quantity in PREDICTORS.items():
        start = rows[(rows["quantity"] == quantity) & (rows["step"] == 0)]
        found = start[[*place, "value"]].rename(columns={"value": name})
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
        over seeds. ``n`` is the number of points per seed (the fewest of any seed), ``pooled_over`` the settings
        that vary among the cells that are taken together.
    """
    identity = ["data", "layers", *CONVENTION, "seed", "cell"]
    long = pooled_and_by_depth(points).melt(
        [*identity, *PREDICTORS], list(TARGETS), var_name="at", value_name="measured"
    )
    long = long.melt([*identity, "at", "measured"], list(PREDICTORS), var_name="predictor", value_name="predicted")
    long = long.astype({"correlation": str, "power": str}).dropna(subset=["measured", "predicted"])
    by = [*identity[:-1], "predictor", "at"]
    rho = spearman(long, by, "predicted", "measured").rename(columns={"rho": "value"})
    gap = long.assign(value=(long["measured"] - long["predicted"]).abs())
    difference = gap.groupby(by, sort=True)["value"].agg(["mean", "size"]).reset_index()
    difference = difference.rename(columns={"mean": "value", "size": "n"})
    both = pd.concat([rho.assign(measure="rho"), difference.assign(measure="difference")], ignore_index=True)
    table = summarised(both, KEYS)
    pooled = pd.concat([long.assign(measure=measure) for measure in ("rho", "difference")])
    table["pooled_over"] = pooling.column(table, pooled, KEYS)
    return table


def depth_law_points(collected: Collected) -> pd.DataFrame:
    """Gather the power of the AGOP that fits each layer's NFM best, at the last step of every finished run.

    Returns:
        One row per run, layer and correlation: ``cell``, ``seed``, ``layer``, ``layer_index``, ``depth_from_output``,
        ``correlation``, ``power``, ``fit``, ``low``, ``high``, ``law`` (1/(L - l + 1); NaN in a branching network),
        ``fit_at_law`` and ``fit_at_1`` (UC-NFC at those powers), and of the layer alone, whatever the correlation:
        ``slope`` (p, of K's spectrum against W's) and ``slope_power`` (1/(1 + p), the best power where K is a power of
        W W^T; NaN where p is not above -1).
    """
    alignment = collected.alignment
    parts = {f"depth_law_{part}": part for part in ("power", "fit", "low", "high")}
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
    points = points.merge(slopes, on=[*RUN, "layer"], how="left", validate="m:1")
    points["slope_power"] = 1 / (1 + points["slope"].where(points["slope"] > -1))
    return points
