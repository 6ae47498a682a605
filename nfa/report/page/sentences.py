"""Parts of sentences that several answers share: means with intervals over seeds, and the convention they are in."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from nfa.conventions import Convention
from nfa.report.numbers import interval, plural
from nfa.report.statistics.intervals import half_interval
from nfa.report.statistics.runs import at_convention
from nfa.report.statistics.study import Study

NOTHING = "No run finished, so there is no answer."
NOT_DEFINED = "No finished run has a hidden layer in which this is defined, so there is no answer."


def counted(study: Study, cells: "pd.Series[Any]") -> str:
    """Count cells and name the settings that vary among them: ``3 cells that differ in model.init_scale``."""
    names = study.collected.pooling.names(cells)
    return plural(cells.nunique(), "cell") + (f" that differ in {names}" if names else "")


def pooled(study: Study, cells: Iterable[object]) -> str:
    """Name the settings that vary among the cells that a number is made of."""
    return pooled_sentence(study.collected.pooling.listed(cells))


def pooled_sentence(listed: str) -> str:
    """Name, in a sentence that follows another one, the settings that ``Pooling.listed`` gave; empty for none."""
    return f" The cells taken together differ in {listed}." if listed else ""


def pooled_note(study: Study) -> str:
    """End a caption with the settings that vary among the cells of a data set; empty where none does."""
    names = study.pooled_names()
    return f". Cells of a data set are taken together that differ in {names}" if names else ""


def mean_over_seeds(study: Study, frame: pd.DataFrame, column: str) -> tuple[float, float, float]:
    """Average over cells (and layers) within each seed, then take mean and 95% interval over seeds.

    The average is over the cells in which every seed finished, so that all seeds average over the same cells. Where
    there is no such cell, it is over all rows and has no interval.

    Args:
        study: The sweep's numbers.
        frame: One row per run (and layer): ``cell``, ``seed`` and the column.
        column: Name of the column to average.

    Returns:
        Mean, lower and upper end of the interval; NaN where undefined.
    """
    frame = frame.dropna(subset=[column])
    complete = frame.groupby("cell", observed=True)["seed"].transform("nunique") == study.n_seeds
    per_seed = frame[complete].groupby("seed")[column].mean()
    if per_seed.empty:
        return float(frame[column].mean()), float("nan"), float("nan")
    mean = float(per_seed.mean())
    half = float(half_interval(pd.Series([per_seed.std()]), pd.Series([len(per_seed)])).iloc[0])
    return mean, mean - half, mean + half


def seed_mean(study: Study, frame: pd.DataFrame, column: str) -> str:
    """Write ``mean_over_seeds`` as text: ``0.72 [0.70, 0.75]``."""
    return interval(*mean_over_seeds(study, frame, column))


def complete_cells(study: Study, frame: pd.DataFrame) -> pd.DataFrame:
    """Select the rows of the cells in which every run finished, so that all seeds average over the same cells.

    Where there is no such cell, all rows are kept.
    """
    complete = frame["cell"].astype(str).isin(study.cells.index[study.cells["n_finished"] == study.n_seeds])
    return frame[complete] if complete.any() else frame


def rows_at(study: Study, frame: pd.DataFrame, convention: Convention) -> pd.DataFrame:
    """Select the rows of a convention, of the cells in which every run finished where there are any."""
    return complete_cells(study, frame[at_convention(frame, convention)])


def stated(study: Study, convention: Convention | str) -> str:
    """State the convention, the estimator, the samples and the seeds, in a sentence that follows another one."""
    seeds = plural(study.n_seeds, "seed") + ("" if study.n_seeds > 1 else ", so no intervals")
    return f" Convention: {convention} ({study.measured_with}; {seeds})."
