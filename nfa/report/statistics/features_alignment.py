"""The table ``features_alignment``: alignment beside feature quality, for questions that need both.

It has one row per cell, seed, step, layer and convention, so that a single query answers most such questions:

    SELECT data, depth_from_output, corr(uc_nfc, probe_gain) FROM 'features_alignment.parquet'
    WHERE correlation = 'cosine' AND power = '1' AND last GROUP BY ALL
"""

import pandas as pd

from nfa.conventions import LINEAR_PROBES
from nfa.features.scores import BEYOND_PROBES
from nfa.report.statistics.collected import Collected
from nfa.report.statistics.runs import RUN, run_status

NFCS = ("uc_nfc", "c_nfc", "w0_nfc", "haar_nfc")  # neural feature correlations, then their two controls
FACTORS = ("directional", "directional_haar", "spectral", "spectral_haar")  # of UC-NFC as a cosine at power 1
# Columns of scores, in order. A score that a layer lacks (deeper layers have no kernel machines) is NaN.
SCORES = (
    "probe",
    "probe_untrained",
    "probe_gain",
    "probe_input",
    *BEYOND_PROBES,
)
INPUT = "input"
_PLACE = [*RUN, "step", "layer"]


def make_features_alignment(collected: Collected) -> pd.DataFrame:
    """Join alignment with all held-out scores of the features of the same layer.

    Returns:
        One row per cell, seed, checkpoint, layer, correlation and power: ``cell``; ``data``, ``family`` (name of the
        model without its settings), ``model`` and ``optimizer``; every other setting that the sweep varies, such as
        ``model.init_scale``; ``seed``, ``step``, ``last`` (the run's last checkpoint), ``finished``, ``layer``,
        ``layer_index``, ``depth_from_output``, ``correlation``, ``power``, the alignment quantities, ``above_haar``
        (uc_nfc - haar_nfc), the factors of UC-NFC with their controls, ``directional_above_haar`` (directional -
        directional_haar), and the scores (``SCORES``). The factors have no convention, so that they are the same in all
        rows of a layer.
    """
    alignment = collected.alignment
    wanted = alignment[alignment["quantity"].isin(NFCS) & alignment["power"].notna()]
    keys = [*_PLACE, "layer_index", "depth_from_output", "correlation", "power"]
    table = wanted.astype({"quantity": str}).pivot(index=keys, columns="quantity", values="value")
    table = table.reindex(columns=list(NFCS)).reset_index()
    table["above_haar"] = table["uc_nfc"] - table["haar_nfc"]
    table = table.astype({"cell": str, "layer": str})
    table = table.merge(_factors(alignment), on=_PLACE, how="left", validate="m:1")
    table = table.merge(wide_scores(collected.scores), on=_PLACE, how="left", validate="m:1")
    status = run_status(collected).astype({"cell": str})
    status["finished"] = status["status"] == "finished"
    table = table.merge(status[[*RUN, "finished"]], on=RUN, validate="m:1")
    table["last"] = table["step"] == table.groupby(RUN)["step"].transform("max")
    settings = collected.parameters.set_index("cell")[[name for name in collected.swept if not name.endswith(".name")]]
    labels, family = collected.labels.set_index("cell"), collected.parameters.set_index("cell")["model.name"]
    names = labels.assign(family=family.reindex(labels.index))[["data", "family", "model", "optimizer"]].join(settings)
    table = table.join(names, on="cell")
    columns = ["cell", *names.columns, "seed", "step", "last", "finished", *keys[3:], *NFCS, "above_haar"]
    columns += [*FACTORS, "directional_above_haar", *SCORES]
    texts = ["cell", "data", "family", "model", "optimizer", "layer", "correlation", "power"]
    order = pd.CategoricalDtype([cell.id for cell in collected.sweep.cells])
    table = table.assign(order=table["cell"].astype(order))
    by = ["order", "seed", "step", "layer_index", "correlation", "power"]
    return table.sort_values(by, kind="stable", ignore_index=True)[columns].astype(dict.fromkeys(texts, "string"))


def _factors(alignment: pd.DataFrame) -> pd.DataFrame:
    """Lay out one row per cell, seed, step and layer, with a column per factor of UC-NFC."""
    rows = alignment[alignment["quantity"].isin(FACTORS)].astype({"cell": str, "layer": str, "quantity": str})
    wide = rows.pivot(index=_PLACE, columns="quantity", values="value").reindex(columns=list(FACTORS))
    wide = wide.astype("float64").reset_index().rename_axis(columns=None)
    return wide.assign(directional_above_haar=wide["directional"] - wide["directional_haar"])


def wide_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """Lay out one row per cell, seed, step and layer, with a column per score; scores that need data use test data."""
    scores = scores.astype({"cell": str, "layer": str, "probe": str, "metric": str, "split": str})
    scores = scores[(scores["split"] == "test") | (scores["probe"] == "recovery")]
    column = scores["probe"].where(~scores["probe"].isin(["geometry", "recovery"]), scores["metric"])
    scores = scores.assign(column=column.replace(dict.fromkeys(LINEAR_PROBES, "probe")))
    wide = scores.pivot(index=_PLACE, columns="column", values="value").reindex(columns=list(SCORES)).astype("float64")
    wide = wide.reset_index().rename_axis(columns=None)
    raw = wide.loc[wide["layer"] == INPUT, [*RUN, "probe", "kernel_identity", "rfm"]].set_index(RUN).add_suffix("_raw")
    layers = wide[wide["layer"] != INPUT].join(raw, on=RUN)
    untrained = layers.loc[layers["step"] == 0].set_index([*RUN, "layer"])["probe"].rename("before")
    layers = layers.join(untrained, on=[*RUN, "layer"])
    layers["probe_untrained"] = layers["before"]
    layers["probe_gain"] = layers["probe"] - layers["before"]
    layers["probe_input"] = layers["probe_raw"]
    compared = layers["kernel_nfm"].notna()  # a first layer is compared with the machines on the raw input
    layers["kernel_identity"] = layers["kernel_identity"].fillna(layers["kernel_identity_raw"].where(compared))
    layers["rfm"] = layers["rfm_raw"].where(compared)
    return layers[[*_PLACE, *SCORES]].reset_index(drop=True)
