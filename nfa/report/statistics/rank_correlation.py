"""Do better-aligned layers probe better? Spearman's rank correlation, per seed, then summarised over seeds.

Within a seed the points are the layers of all cells of one data set. Pooled over layers, points of one network are not
independent, and depth may raise or lower both ranks. So the correlation is also computed at each depth from the output.
"""

import numpy as np
import pandas as pd

from nfa.conventions import READOUT
from nfa.report.statistics.collected import Collected
from nfa.report.statistics.intervals import SPREAD, over_seeds
from nfa.report.statistics.pooled_settings import Pooling
from nfa.report.statistics.runs import RUN, at_last_step, finished_runs

FEWEST_POINTS = 3
POOLED = "hidden layers pooled"
KEYS = ["data", "layers", "quantity", "correlation", "power", "score"]


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
    aligned = aligned.merge(finished_runs(collected), on=RUN)
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
    """Return the name of one depth in the column ``layers``."""
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
    long = pooled_and_by_depth(points).melt(
        id_vars=["data", "layers", "quantity", "correlation", "power", "seed", "cell", "value"],
        value_vars=["probe", "gain"],
        var_name="score",
        value_name="probed",
    )
    long = long.dropna(subset=["value", "probed"])
    rho = spearman(long, [*KEYS, "seed"], "value", "probed")
    table = summarised(rho.rename(columns={"rho": "value"}), KEYS)
    table["pooled_over"] = pooling.column(table, long, KEYS)
    return table


def pooled_and_by_depth(points: pd.DataFrame) -> pd.DataFrame:
    """Repeat points for the column ``layers``: hidden layers pooled, then each depth from the output by itself."""
    each = points.assign(layers=points["depth_from_output"].map(by_depth))
    pooled = points[points["depth_from_output"] != READOUT].assign(layers=POOLED)
    return pd.concat([pooled, each], ignore_index=True)


def summarised(per_seed: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Summarise statistics over seeds, and note why a rank correlation is undefined.

    Args:
        per_seed: One row per seed and statistic: ``keys``, ``value`` and the number of points ``n``; where ``keys``
            has a ``measure``, rows whose measure does not begin with ``rho`` are no rank correlations.
        keys: Columns that identify a statistic.

    Returns:
        ``keys``, ``n`` (the fewest points of any seed), mean and interval over seeds, ``note``.
    """
    table = over_seeds(per_seed, keys)
    count = per_seed.groupby(keys, sort=True)["n"].min().rename("n").reset_index()
    table = table.merge(count, on=keys, validate="1:1").astype({"n": "int64"})
    few = table["n"] < FEWEST_POINTS
    if "measure" in keys:
        few &= table["measure"].str.startswith("rho")
    reasons = [f"fewer than {FEWEST_POINTS} points", "all points are tied"]
    table["note"] = np.select([few, table["n_seeds"] == 0], reasons, default="")
    return table[[*keys, "n", *SPREAD, "note"]].astype(dict.fromkeys([*keys, "note"], "string"))


def spearman(frame: pd.DataFrame, by: list[str], a: str, b: str) -> pd.DataFrame:
    """Compute Spearman's correlation of two columns within groups, ties sharing their mean rank.

    Returns:
        The columns ``by``, ``rho`` (NaN where there are fewer than three points or one column is constant) and ``n``,
        the number of points.

    >>> frame = pd.DataFrame({"seed": 0, "a": [1, 2, 3, 4], "b": [10, 20, 40, 30]})
    >>> spearman(frame, ["seed"], "a", "b").to_dict("records")
    [{'seed': 0, 'rho': 0.8, 'n': 4}]
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
