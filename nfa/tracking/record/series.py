"""Metrics over steps: one row per step, in groups (training, alignment, probes) that have their own step metrics."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log10

import numpy as np
import pandas as pd

from nfa.conventions import LOG_STEP, LOGGED, READOUT
from nfa.report.statistics.runs import in_headline


@dataclass(frozen=True)
class Series:
    """Metrics that share their steps.

    Attributes:
        name: Name of the group.
        step: Name of the group's step metric, which every row holds.
        rows: One row (metric -> value) per step, in order. The name of each metric begins with one of ``prefixes``.
        prefixes: First parts of the metrics' names.
    """

    name: str
    step: str
    rows: list[dict[str, float]]
    prefixes: tuple[str, ...]


def all_series(
    history: pd.DataFrame, alignment: pd.DataFrame, probes: pd.DataFrame, names: Mapping[str, str]
) -> tuple[Series, ...]:
    """Lay out one run's training curves, alignment and probe scores.

    Args:
        history: Training curves.
        alignment: Every quantity of every layer and checkpoint.
        probes: Scores of linear probes.
        names: Layer -> its name in metrics, as ``nfa.conventions.layer_keys`` gives it.
    """
    return (
        Series("train", "train/step", _training_rows(history, names), ("train", "test")),
        Series("alignment", "alignment/step", _alignment_rows(alignment, names), ("alignment",)),
        Series("probe", "probe/step", _probe_rows(probes, names), ("probe",)),
    )


def _training_rows(history: pd.DataFrame, names: Mapping[str, str]) -> list[dict[str, float]]:
    """Name losses, accuracies etc. ``<split>/<metric>``; a layer's name at the end becomes its index."""
    rows: dict[int, dict[str, float]] = {}
    columns = (history[column].tolist() for column in ("step", "epoch", "split", "metric", "value"))
    for step, epoch, split, metric, value in zip(*columns, strict=True):
        row = rows.setdefault(step, {"train/step": step, "train/epoch": epoch})
        head, _, tail = metric.partition("/")
        row[f"{split}/{head}/{names.get(tail, tail)}" if tail else f"{split}/{head}"] = value
    return [rows[step] for step in sorted(rows)]


def _alignment_rows(alignment: pd.DataFrame, names: Mapping[str, str]) -> list[dict[str, float]]:
    """Lay out quantities and their controls in the headline convention, per layer and as mean over hidden layers."""
    chosen = alignment[in_headline(alignment)]
    steps = sorted(chosen["step"].unique().tolist())
    rows: dict[int, dict[str, float]] = {
        step: {"alignment/step": step, f"alignment/{LOG_STEP}": log10(step + 1)} for step in steps
    }
    for quantity in LOGGED:
        of_quantity = chosen[chosen["quantity"] == quantity]
        if of_quantity.empty:  # not asked for
            continue
        hidden: dict[int, list[float]] = {step: [] for step in rows}
        columns = (of_quantity[column].tolist() for column in ("step", "layer", "depth_from_output", "value"))
        for step, layer, depth, value in zip(*columns, strict=True):
            rows[step][f"alignment/{quantity}/{names.get(layer, layer)}"] = value
            hidden[step] += [value] if depth != READOUT and not np.isnan(value) else []
        for step, values in hidden.items():
            rows[step][f"alignment/{quantity}/mean"] = float(np.mean(values)) if values else float("nan")
    return list(rows.values())


def _probe_rows(probes: pd.DataFrame, names: Mapping[str, str]) -> list[dict[str, float]]:
    """Name scores ``probe/<split>_<metric>/<layer index>``, and those of the raw inputs (step 0) ``.../input``."""
    rows: dict[int, dict[str, float]] = {}
    columns = (probes[column].tolist() for column in ("step", "layer", "split", "metric", "value"))
    for step, layer, split, metric, value in zip(*columns, strict=True):
        row = rows.setdefault(step, {"probe/step": step})
        row[f"probe/{split}_{metric}/{names.get(layer, layer)}"] = value
    return [rows[step] for step in sorted(rows)]
