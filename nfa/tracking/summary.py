"""One value per run: the columns of a tracker's table of runs."""

import math
from collections.abc import Sequence
from typing import Any

from nfa.report.conventions import beats_constant
from nfa.tracking.results import CellResults
from nfa.tracking.series import Series


def summary_of(seed: int, results: CellResults, series: Sequence[Series]) -> dict[str, Any]:
    """Gather final losses and alignment, probes against their baselines, state and cost.

    A key is absent where there is nothing to say (accuracy of a regression); NaN is an undefined value.
    """
    training, alignment, probes = (group.rows for group in series)
    run = results.document["runs"][str(seed)]
    final = _final_training(training)
    return {
        **final,
        **{
            f"final/{key.partition('/')[2]}": value
            for key, value in _last(alignment).items()
            if key != "alignment/step"
        },
        **_probe_summary(probes),
        "diverged": run["status"] == "diverged",
        "learned": _learned(run, final),
        "last_step": run["last_step"],
        **_seconds(seed, results),
    }


def _last(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return rows[-1] if rows else {}


def _final_training(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Loss and accuracy of both splits where they were last taken: between checkpoints there may be only some."""
    final: dict[str, float] = {}
    for row in rows:
        for split in ("train", "test"):
            for metric in ("loss", "accuracy"):
                if f"{split}/{metric}" in row:
                    final[f"final/{split}_{metric}"] = row[f"{split}/{metric}"]
    return final


def _probe_summary(rows: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Best layer on test data at the last checkpoint, and what it has to beat: itself untrained, the raw input."""
    scores = {name: score for name, score in _test_scores(rows[-1]).items() if name != "input"} if rows else {}
    if not scores:
        return {}
    before = _test_scores(rows[0])
    layer = max(scores, key=lambda name: scores[name])
    summary: dict[str, Any] = {"best_probe/layer": layer, "best_probe/score": scores[layer]}
    baselines = {"untrained": before.get(layer), "input": before.get("input")}
    return summary | {f"best_probe/{name}": score for name, score in baselines.items() if score is not None}


def _test_scores(row: dict[str, float]) -> dict[str, float]:
    """Test scores in one row of the probe series, by layer; the raw input is `input`, at step 0 alone."""
    scores = {key.rpartition("/")[2]: value for key, value in row.items() if key.startswith("probe/test_")}
    return {name: score for name, score in scores.items() if not math.isnan(score)}


def _learned(run: dict[str, Any], final: dict[str, float]) -> bool:
    """Tell whether a run clearly beats the best constant prediction on test data."""
    if run["status"] == "diverged":
        return False
    loss, accuracy = (final.get(f"final/test_{score}", math.nan) for score in ("loss", "accuracy"))
    constant = run["constant_predictor"]
    correct = constant["test_accuracy"]
    return bool(beats_constant(loss, accuracy, constant["test_loss"], math.nan if correct is None else correct))


def _seconds(seed: int, results: CellResults) -> dict[str, float]:
    """Seconds of each stage and in total."""
    timings = results.timings[results.timings["seed"] == seed]
    stages = dict(zip(timings["stage"].tolist(), timings["seconds"].tolist(), strict=True))
    return {f"seconds/{stage}": seconds for stage, seconds in stages.items()} | {"seconds/total": sum(stages.values())}
