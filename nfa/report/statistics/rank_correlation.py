"""Do better-aligned layers probe better? Spearman's rank correlation, per seed, then summarised over seeds.

Within a seed the points are cells (x layers) of one data set. Pooled over layers, points of one network are not
independent and depth is mixed in; so it is also taken at each depth from the output by itself.
"""

import numpy as np
import pandas as pd

from nfa.conventions import READOUT
from nfa.report.statistics.collected import Collected
from nfa.report.statistics.intervals import over_seeds
from nfa.report.statistics.pooled_settings import Pooling
from nfa.report.statistics.runs import RUN, at_last_step, run_status

FEWEST_POINTS = 3
POOLED = "hidden layers pooled"
KEYS = ["data", "layers", "quantity", "correlation", "power", "score"]
SPREAD = ["n", "n_seeds", "mean", "sd", "ci_low", "ci_high", "note", "pooled_over"]


def probe_points(collected: Collected) -> pd.DataFrame:
    """Join final alignment with final test scores of probes, for finished runs.

    Returns:
        One row per run, layer, quantity and convention: ``cell``, ``data``, ``seed``, ``layer``, ``depth_from_output``,
        ``quantity``, ``correlation``, ``power``, ``value``, ``probe`` (accuracy or R^2), ``gain`` (over the same
        layer untrained).
    """
    alignment = collected.alignment
    aligned = at_last_step(alignment[alignment["quantity"].isin(["uc_nfc", "c_nfc"])])
    aligned = aligned[[*RUN, "step", "layer", "depth_from_output", "quantity", "correlation", "power", "value"]]
    status = run_status(collected)
    aligned = aligned.merge(status.loc[status["status"] == "finished", RUN], on=RUN)
    place = [*RUN, "step", "layer"]
    test = collected.probes.loc[collected.probes["split"] == "test", [*place, "value"]]
    untrained = test.loc[test["step"] == 0, [*RUN, "layer", "value"]].rename(columns={"value": "untrained"})
    points = aligned.merge(test.rename(columns={"value": "probe"}), on=place, validate="m:1")
    points = points.merge(untrained, on=[*RUN, "layer"], how="left", validate="m:1")
    points["gain"] = points["probe"] - points["untrained"]
    data = collected.labels.set_index("cell")["data"]
    points["data"] = points["cell"].astype(str).map(data)
    return points.drop(columns=["untrained", "step"])


def by_depth(depth_from_output: int) -> str:
    """Name one depth in the column ``layers``."""
    return f"depth_from_output {depth_from_output}"


def make_rank_correlation(points: pd.DataFrame, pooling: Pooling) -> pd.DataFrame:
    """Correlate the ranks of alignment and probe scores.

    Args:
        points: As ``probe_points`` gives them.
        pooling: Names the settings that vary among the cells of a row.

    Returns:
        One row per data set, ``layers`` (a depth from the output, or hidden layers pooled), quantity, convention and
        ``score`` (``probe`` or ``gain``); ``n`` is the number of points per seed (the fewest of any seed),
        ``pooled_over`` the settings that vary among the cells that are ranked.
    """
    each = points.assign(layers=points["depth_from_output"].map(by_depth))
    pooled = points[points["depth_from_output"] != READOUT].assign(layers=POOLED)
    long = pd.concat([pooled, each], ignore_index=True).melt(
        id_vars=["data", "layers", "quantity", "correlation", "power", "seed", "cell", "value"],
        value_vars=["probe", "gain"],
        var_name="score",
        value_name="probed",
    )
    long = long.dropna(subset=["value", "probed"])
    rho = spearman(long, [*KEYS, "seed"], "value", "probed")
    table = over_seeds(rho, KEYS, "rho")
    count = rho.groupby(KEYS, sort=True)["n"].min().rename("n").reset_index()
    table = table.merge(count, on=KEYS, validate="1:1")
    table["note"] = np.select(
        [table["n"] < FEWEST_POINTS, table["n_seeds"] == 0],
        [f"fewer than {FEWEST_POINTS} points", "all points are tied"],
        default="",
    )
    table["pooled_over"] = pooling.column(table, long, KEYS)
    return table[KEYS + SPREAD].astype(dict.fromkeys([*KEYS, "note"], "string"))


def spearman(frame: pd.DataFrame, by: list[str], a: str, b: str) -> pd.DataFrame:
    """Compute Spearman's correlation of two columns within groups, ties sharing their mean rank: ``rho`` and ``n``.

    NaN where there are fewer than three points or one column is constant.
    """
    groups = frame.groupby(by, sort=True)
    ranks = groups[[a, b]].rank()
    keys = [frame[key] for key in by]
    centred = ranks - ranks.groupby(keys).transform("mean")
    products = pd.DataFrame(
        {"ab": centred[a] * centred[b], "aa": centred[a] ** 2, "bb": centred[b] ** 2, "n": 1}, index=frame.index
    )
    sums = products.groupby(keys, sort=True).sum()
    scale = (sums["aa"] * sums["bb"]) ** 0.5
    sums["rho"] = (sums["ab"] / scale.where(scale > 0)).where(sums["n"] >= FEWEST_POINTS)
    return sums[["rho", "n"]].reset_index()
