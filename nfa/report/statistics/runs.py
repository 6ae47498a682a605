"""The tables ``runs`` (one row per run) and ``cells_summary`` (one row per cell), which a reader opens first."""

from typing import Any

import pandas as pd

from nfa.conventions import (
    ABOVE,
    ABOVE_IN_SD,
    CONTROLS,
    HEADLINE,
    HEADLINES,
    READOUT,
    Convention,
    has_learned,
    learned_share,
)
from nfa.report.statistics.above_control import above_control, mean_over_layers
from nfa.report.statistics.collected import Collected
from nfa.report.statistics.intervals import over_seeds

RUN = ["cell", "seed"]

# Last values in `runs`, averaged over hidden layers: quantities, their controls, and their distances above them.
_ALIGNED = ("w0_nfc", *(name for quantity in HEADLINES for name in (quantity, CONTROLS[quantity].mean)))
_ABOVE = tuple(f"{quantity}_{end}" for quantity in HEADLINES for end in (ABOVE, ABOVE_IN_SD))

# Numbers of a run that `cells_summary` averages over a cell's finished runs.
MEASURES = (
    "learned_share",
    "train_loss",
    "test_loss",
    "train_accuracy",
    "test_accuracy",
    "constant_test_loss",
    "constant_test_accuracy",
    "uc_nfc_initial",
    *_ALIGNED,
    *_ABOVE,
    "best_probe",
    "best_probe_untrained",
    "input_probe",
)


def run_status(collected: Collected) -> pd.DataFrame:
    """List all runs with ``status``, ``last_step``, ``last_checkpoint`` and the scores of the constant predictor.

    ``reached`` says of a run with ``train.until`` whether it came to its training loss or accuracy; null of others.
    """
    rows = []
    for cell in collected.sweep.cells:
        runs = collected.documents[cell.id]["runs"]
        for seed in collected.sweep.seeds:
            run: dict[str, Any] = runs[str(seed)]
            constant = run["constant_predictor"]
            place = (
                cell.id,
                seed,
                run["status"],
                run["last_step"],
                max(run["checkpoints"], default=0),
                run.get("reached"),
            )
            rows.append((*place, constant["train_loss"], constant["test_loss"], constant["test_accuracy"]))
    columns = [*RUN, "status", "last_step", "last_checkpoint", "reached"]
    columns += ["constant_train_loss", "constant_test_loss", "constant_test_accuracy"]
    frame = pd.DataFrame(rows, columns=columns)
    frame["reached"] = frame["reached"].astype("boolean")
    for column in columns[6:]:
        frame[column] = pd.to_numeric(frame[column]).astype("float64")
    frame["cell"] = pd.Categorical(frame["cell"], [cell.id for cell in collected.sweep.cells])
    return frame


def finished_runs(collected: Collected) -> pd.DataFrame:
    """List the runs that finished: ``cell`` and ``seed``."""
    status = run_status(collected)
    return status.loc[status["status"] == "finished", RUN]


def make_runs(collected: Collected) -> pd.DataFrame:
    """Tabulate the runs: every parameter, status, final scores, final alignment, best probe.

    Final means the last step; of a diverged run, the last step that was recorded. Alignment is in the headline
    convention, averaged over the hidden layers (without the readout) in which it is defined. ``..._above_control`` is
    the difference from the control, averaged over the layers in which both are defined, and ``..._above_control_in_sd``
    the same in standard deviations of the control, root mean square over layers (see
    ``nfa.report.statistics.above_control``).
    """
    runs = run_status(collected)
    runs = runs.merge(_final_scores(collected), on=RUN, how="left", validate="1:1")
    alignment = collected.alignment[in_headline(collected.alignment)]
    last = at_last_step(alignment)
    parts = [_layer_mean(alignment[alignment["step"] == 0], "uc_nfc", "uc_nfc_initial")]
    parts += [_layer_mean(last, quantity, quantity) for quantity in _ALIGNED]
    parts += [_above(last, quantity) for quantity in HEADLINES]
    for part in parts:
        runs = runs.merge(part, on=RUN, how="left", validate="1:1")
    runs = runs.merge(_best_probe(collected), on=RUN, how="left", validate="1:1")
    constant = runs["constant_test_loss"], runs["constant_test_accuracy"]
    scores = (runs["test_loss"], runs["test_accuracy"], *constant)
    n_test = runs["cell"].astype(str).map({cell.id: cell.shape.n_test for cell in collected.sweep.cells})
    losses = runs["train_loss_initial"], runs["train_loss"]
    runs.insert(5, "learned", has_learned(runs["status"] == "finished", scores, losses, n_test))
    runs.insert(6, "learned_share", learned_share(*scores))
    runs["cell"] = runs["cell"].astype("string")
    parameters = collected.parameters
    runs = runs.merge(parameters, on="cell", how="left", validate="m:1")
    texts = ["status", "best_probe_layer", "probe_metric"]
    runs[texts] = runs[texts].astype("string")
    rest = [column for column in runs.columns if column not in parameters.columns and column != "seed"]
    return runs[[*RUN, *parameters.columns[1:], *rest]]


def make_cells_summary(collected: Collected, runs: pd.DataFrame) -> pd.DataFrame:
    """Tabulate the cells: labels, parameters, how many runs finished and learned, and means over the finished runs."""
    labels = collected.labels.astype("string")
    groups = runs.groupby("cell", sort=False)
    counts = pd.DataFrame(
        {
            "n_seeds": groups.size(),
            "n_finished": groups["status"].agg(lambda status: (status == "finished").sum()),
            "n_diverged": groups["status"].agg(lambda status: (status == "diverged").sum()),
            "n_learned": groups["learned"].sum(),
            "n_not_reached": groups["reached"].agg(lambda reached: (~reached).sum()),
            "last_step": groups["last_step"].max(),
        }
    ).astype("int64")
    counts["learned"] = counts["n_learned"] == counts["n_seeds"]
    texts = groups[["probe_metric"]].first()
    finished = runs[runs["status"] == "finished"]
    long = finished.melt(id_vars="cell", value_vars=list(MEASURES), var_name="measure")
    spread = over_seeds(long, ["cell", "measure"])
    table = labels.merge(counts.join(texts).reset_index(), on="cell", validate="1:1")
    for measure in MEASURES:
        part = spread.loc[spread["measure"] == measure, ["cell", "mean", "sd", "ci_low", "ci_high"]]
        names = {"mean": measure} | {column: f"{measure}_{column}" for column in ("sd", "ci_low", "ci_high")}
        table = table.merge(part.rename(columns=names), on="cell", how="left", validate="1:1")
    table = table.merge(_most_frequent_best_layer(finished), on="cell", how="left", validate="1:1")
    return table.merge(collected.parameters, on="cell", validate="1:1")


def over_learned_runs(cells: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Replace the means of ``cells_summary``, which are over finished runs, by means over the runs that learned.

    Args:
        cells: The table ``cells_summary``.
        runs: The table ``runs`` of the same sweep.

    Returns:
        The table with other means and standard deviations, NaN for a cell without such a run; intervals are left out.
    """
    groups = runs[runs["learned"]].groupby("cell")[list(MEASURES)]
    means = groups.mean().join(groups.std().add_suffix("_sd")).reindex(cells["cell"]).reset_index(drop=True)
    others = [f"{measure}_{end}" for measure in MEASURES for end in ("ci_low", "ci_high")]
    return cells.reset_index(drop=True).drop(columns=others).assign(**means)


def at_convention(frame: pd.DataFrame, convention: Convention) -> pd.Series:
    """Return a mask of the rows of a table that are in a convention."""
    return (frame["correlation"] == convention.correlation) & (frame["power"] == convention.power)


def in_headline(frame: pd.DataFrame) -> pd.Series:
    """Return a mask of the rows of a table that are in the headline convention, as far as they have a convention."""
    return (frame["correlation"].isna() | (frame["correlation"] == HEADLINE.correlation)) & (
        frame["power"].isna() | (frame["power"] == HEADLINE.power)
    )


def at_last_step(frame: pd.DataFrame) -> pd.DataFrame:
    """Keep each run's rows at the last step that it has in the table."""
    last = frame.groupby(RUN, observed=True)["step"].transform("max")
    return frame[frame["step"] == last]


def _final_scores(collected: Collected) -> pd.DataFrame:
    """Return each run's last recorded loss and accuracy, a column per split and metric, and its first training loss."""
    history = collected.history
    scores = history[history["metric"].isin(["loss", "accuracy"])].sort_values("step", kind="stable")
    first = scores[(scores["split"] == "train") & (scores["metric"] == "loss")].drop_duplicates(RUN)
    first = first[[*RUN, "value"]].rename(columns={"value": "train_loss_initial"})
    scores = scores.drop_duplicates([*RUN, "split", "metric"], keep="last")
    scores = scores.assign(column=scores["split"].astype(str) + "_" + scores["metric"].astype(str))
    wide = scores.pivot(index=RUN, columns="column", values="value")
    columns = ["train_loss", "test_loss", "train_accuracy", "test_accuracy"]
    last = wide.reindex(columns=columns).astype("float64").reset_index().rename_axis(columns=None)
    return last.merge(first, on=RUN, how="left", validate="1:1")


def _layer_mean(alignment: pd.DataFrame, quantity: str, column: str) -> pd.DataFrame:
    """Average a quantity over each run's hidden layers, at the one step of the rows."""
    rows = alignment[(alignment["quantity"] == quantity) & (alignment["depth_from_output"] != READOUT)]
    return rows.groupby(RUN, observed=True)["value"].mean().rename(column).reset_index()


def _above(alignment: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """Average how far a quantity lies above its control over each run's hidden layers, at the one step of the rows."""
    means = mean_over_layers(above_control(alignment, quantity))
    names = {"difference": f"{quantity}_{ABOVE}", "deviations": f"{quantity}_{ABOVE_IN_SD}"}
    return means[[*RUN, *names]].rename(columns=names)


def _best_probe(collected: Collected) -> pd.DataFrame:
    """Find each run's best layer by its probe's test score; add that layer's score untrained and the raw input's."""
    test = collected.probes[collected.probes["split"] == "test"]
    layers = test[test["layer"] != "input"]
    last = at_last_step(layers).sort_values("value", ascending=False, kind="stable", na_position="last")
    best = last.drop_duplicates(RUN)[[*RUN, "layer", "metric", "value"]]
    best = best.rename(columns={"layer": "best_probe_layer", "metric": "probe_metric", "value": "best_probe"})
    untrained = layers.loc[layers["step"] == 0, [*RUN, "layer", "value"]]
    untrained = untrained.rename(columns={"layer": "best_probe_layer", "value": "best_probe_untrained"})
    best = best.merge(untrained, on=[*RUN, "best_probe_layer"], how="left", validate="1:1")
    raw = test.loc[(test["layer"] == "input") & (test["step"] == 0), [*RUN, "value"]]
    return best.merge(raw.rename(columns={"value": "input_probe"}), on=RUN, how="left", validate="1:1")


def _most_frequent_best_layer(runs: pd.DataFrame) -> pd.DataFrame:
    """Name the layer that is the best to probe in most of a cell's runs."""
    votes = runs.groupby(["cell", "best_probe_layer"], sort=True).size().rename("votes").reset_index()
    votes = votes.sort_values("votes", ascending=False, kind="stable").drop_duplicates("cell")
    return votes[["cell", "best_probe_layer"]].sort_values("cell").reset_index(drop=True)
