"""Summary values, one per run and name: they become the columns of a tracker's table of runs."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from nfa.conventions import ABOVE, ABOVE_IN_SD, CONTROLS, HEADLINES, LOG_STEP, READOUT, has_learned
from nfa.features.scores import IN_SUMMARY
from nfa.report.statistics.above_control import above_control, mean_over_layers
from nfa.report.statistics.runs import in_headline
from nfa.tracking.record.cell_files import CellResults
from nfa.tracking.record.series import Series

_PREDICTED = ("c_nfc", "c_nfc_update")
_OF_THE_TRAINED = ("final/", "lowest/", "highest/", "best_probe/", "features/")  # first parts of names


def summary_of(seed: int, results: CellResults, series: Sequence[Series], n_test: int) -> dict[str, Any]:
    """Gather final and best losses, alignment, the best probe and its baselines, feature scores, status and seconds.

    A key is absent if the value does not exist for the run (accuracy of a regression); NaN marks an undefined value.
    A run that diverged or did not learn has no values of the trained network, because a tracker would average them with
    those of the runs that learned; its curves and tables hold them.
    """
    training, alignment, probes = (group.rows for group in series)
    run = results.document["runs"][str(seed)]
    final = _final_training(training)
    diverged, learned = run["status"] == "diverged", _learned(run, training, final, n_test)
    measured = results.alignment[results.alignment["seed"] == seed]
    values = {
        **final,
        **_extremes(training),
        **{
            f"final/{key.partition('/')[2]}": value
            for key, value in _last(alignment).items()
            if key not in ("alignment/step", f"alignment/{LOG_STEP}")
        },
        **_above_summary(measured),
        **theory_summary(measured),
        **_probe_summary(probes),
        **_feature_summary(results.features[results.features["seed"] == seed]),
    }
    return {
        **{name: value for name, value in values.items() if learned or not name.startswith(_OF_THE_TRAINED)},
        "diverged": diverged,
        **({"diverged_at_step": run["last_step"]} if diverged else {}),
        "learned": learned,
        **({"reached": run["reached"]} if "reached" in run else {}),
        "last_step": run["last_step"],
        **_seconds(seed, results),
    }


def _above_summary(alignment: pd.DataFrame) -> dict[str, float]:
    """Average over hidden layers how far quantities lie above their controls at the last checkpoint.

    ``final/<quantity>/above_control`` is the difference, ``.../above_control_in_sd`` the same in standard deviations of
    the control (root mean square over layers).
    """
    chosen = alignment[in_headline(alignment)]
    last = chosen[chosen["step"] == chosen["step"].max()]
    found = {}
    for quantity in HEADLINES:
        means = mean_over_layers(above_control(last, quantity))
        for name, measure in ((ABOVE, "difference"), (ABOVE_IN_SD, "deviations")):
            found[f"final/{quantity}/{name}"] = float(means[measure].mean())  # of one row, or of none
    return found


def theory_summary(alignment: pd.DataFrame) -> dict[str, float]:
    """Average, over hidden layers, the predictions at step 0 and the depth law at the last checkpoint.

    ``predicted/c_nfc`` is C-NFC(0+) of gradient flow, ``predicted/c_nfc_update`` its value along the optimizer's first
    update. Each stands beside its control along the same direction, such as ``predicted/c_haar_nfc``.
    """
    hidden = alignment[(alignment["depth_from_output"] != READOUT) & in_headline(alignment)]
    at_start, at_end = (hidden[hidden["step"] == step] for step in (0, hidden["step"].max()))
    predicted = [name for quantity in _PREDICTED for name in (quantity, CONTROLS[quantity].mean)]
    wanted = {f"predicted/{name}": (at_start, name) for name in predicted}
    wanted |= {f"final/{name}": (at_end, name) for name in ("depth_law_power", "depth_law_fit")}
    return {key: float(rows.loc[rows["quantity"] == name, "value"].mean()) for key, (rows, name) in wanted.items()}


def _last(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return rows[-1] if rows else {}


def _final_training(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the last known loss and accuracy of each split; steps between checkpoints may lack some of them."""
    final: dict[str, float] = {}
    for row in rows:
        for split in ("train", "test"):
            for metric in ("loss", "accuracy"):
                if f"{split}/{metric}" in row:
                    final[f"final/{split}_{metric}"] = row[f"{split}/{metric}"]
    return final


def _extremes(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the lowest loss and the highest accuracy of each split over training, as ``lowest/test_loss``."""
    found: dict[str, float] = {}
    for name, metric, best in (("lowest", "loss", min), ("highest", "accuracy", max)):
        for split in ("train", "test"):
            values = [row[f"{split}/{metric}"] for row in rows if f"{split}/{metric}" in row]
            known = [value for value in values if not math.isnan(value)]
            if known:
                found[f"{name}/{split}_{metric}"] = best(known)
    return found


def _probe_summary(rows: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Return the best layer on test data at the last checkpoint, its score and its two baselines."""
    scores = {name: score for name, score in _test_scores(rows[-1]).items() if name != "input"} if rows else {}
    if not scores:
        return {}
    before = _test_scores(rows[0])
    layer = max(scores, key=lambda name: scores[name])
    summary: dict[str, Any] = {"best_probe/layer": layer, "best_probe/score": scores[layer]}
    baselines = {"untrained": before.get(layer), "input": before.get("input")}
    return summary | {f"best_probe/{name}": score for name, score in baselines.items() if score is not None}


def _feature_summary(features: pd.DataFrame) -> dict[str, float]:
    """Return the last scores of kernel machines (metric I, NFM, AGOP), recursive feature machine and recovery."""
    kernels = features[features["probe"].isin(IN_SUMMARY) & features["split"].eq("test")]
    recovered = features[features["metric"].isin(IN_SUMMARY)]
    table = pd.concat([kernels.assign(name=kernels["probe"]), recovered.assign(name=recovered["metric"])])
    last = table.sort_values("step", kind="stable").drop_duplicates(["name", "layer"], keep="last")
    first = last.drop_duplicates("name")  # the raw input or the first layer: rows are in the order of layers
    return {f"features/{name}": value for name, value in first[["name", "value"]].itertuples(index=False)}


def _test_scores(row: dict[str, float]) -> dict[str, float]:
    """Return the test scores in one row of the probe series by layer; ``input`` (raw inputs) occurs only at step 0."""
    scores = {key.rpartition("/")[2]: value for key, value in row.items() if key.startswith("probe/test_")}
    return {name: score for name, score in scores.items() if not math.isnan(score)}


def _learned(run: dict[str, Any], training: Sequence[dict[str, float]], final: dict[str, float], n_test: int) -> bool:
    """Return True if a run finished and learned its task."""
    constant, undefined = run["constant_predictor"], math.nan
    loss, accuracy, last = (
        final.get(f"final/{name}", undefined) for name in ("test_loss", "test_accuracy", "train_loss")
    )
    first = next((row["train/loss"] for row in training if "train/loss" in row), undefined)
    chance = undefined if constant["test_accuracy"] is None else constant["test_accuracy"]
    scores = loss, accuracy, constant["test_loss"], chance
    return bool(has_learned(run["status"] == "finished", scores, (first, last), n_test))


def _seconds(seed: int, results: CellResults) -> dict[str, float]:
    """Return the seconds of each stage and in total."""
    timings = results.timings[results.timings["seed"] == seed]
    stages = dict(zip(timings["stage"].tolist(), timings["seconds"].tolist(), strict=True))
    return {f"seconds/{stage}": seconds for stage, seconds in stages.items()} | {"seconds/total": sum(stages.values())}
