"""Tables of the searches for tuned settings: what was found, and every trial."""

import json
from collections.abc import Iterator
from typing import Any

import pandas as pd

from nfa.storage.columns import TRIALS
from nfa.storage.paths import SweepPaths
from nfa.storage.tables import read_written
from nfa.storage.tuned import found_values
from nfa.sweep.cells import Cell, Sweep

_TUNED = {
    "cell": "string",
    "setting": "string",
    "value": "float64",
    "low": "float64",
    "high": "float64",
    "scale": "string",
    "at_edge": "string",
    "validation_loss": "float64",
    "trials": "int64",
    "diverged": "int64",
    "seeds": "int64",
    "steps": "int64",
}
_TRIALS = {"cell": "string"} | {
    field.name: {"string": "string", "int64": "int64"}.get(str(field.type), "float64") for field in TRIALS
}


def read_tuning(sweep: Sweep, paths: SweepPaths) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the searches of all cells with settings to tune.

    Returns:
        ``tuning``: one row per cell and setting: ``value``, the range (``low``, ``high``, ``scale``; ``listed`` where
        the sweep file lists the values), ``at_edge`` (``low``, ``high`` or empty), ``validation_loss`` at the end of
        the best trial, the number of ``trials``, of ``diverged`` ones and of ``seeds``, and the optimizer ``steps`` of
        all of them together. ``tuning_trials``: the losses and accuracies of every trial over its training.

    Raises:
        UserError: A search is missing or damaged.
    """
    tuned, trials = [], []
    for cell in sweep.cells:
        if cell.searches:
            here = paths.cell(cell.id)
            tuned += list(_found(cell, found_values(sweep, cell, here)))
            trials.append(read_written(here.trials, by="tune").assign(cell=cell.id))
    every = pd.concat(trials, ignore_index=True) if trials else pd.DataFrame()
    return (
        pd.DataFrame(tuned).reindex(columns=list(_TUNED)).astype(_TUNED),
        every.reindex(columns=list(_TRIALS)).astype(_TRIALS),
    )


def _found(cell: Cell, document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a row for each tuned setting of a cell."""
    same = {key: document[key] for key in ("validation_loss", "trials", "diverged", "seeds", "steps")}
    for name, search in cell.searches.items():
        yield {
            "cell": cell.id,
            "setting": f"optimizer.{name}",
            "value": document["found"][name],
            "low": search.low,
            "high": search.high,
            "scale": "listed" if search.values else search.scale,
            "at_edge": document["at_edge"].get(name, ""),
            **same,
        }


def trial_ends(trials: pd.DataFrame) -> pd.DataFrame:
    """Reduce trials to the loss that each had when it ended.

    Args:
        trials: The table ``tuning_trials``.

    Returns:
        One row per cell and trial: ``cell``, ``trial``, ``values`` (a mapping), ``step``, ``loss`` (validation loss at
        that step, mean over the seeds; infinite where a seed diverged), ``whole`` (as long as the longest trial).
    """
    losses = trials[(trials["split"] == "validation") & (trials["metric"] == "loss")]
    last = losses.groupby(["cell", "trial"])["step"].transform("max")
    place = ["cell", "trial", "values", "step"]
    means = losses[losses["step"] == last].groupby(place)["value"].agg(lambda values: values.mean(skipna=False))
    table = pd.DataFrame({"loss": means}).reset_index()
    diverged = trials.loc[trials["metric"] == "diverged", ["cell", "trial"]].drop_duplicates()
    lost = pd.MultiIndex.from_frame(table[["cell", "trial"]]).isin(pd.MultiIndex.from_frame(diverged))
    table["loss"] = table["loss"].mask(lost | table["loss"].isna(), float("inf"))
    table["whole"] = table["step"] == table.groupby("cell")["step"].transform("max")
    table["values"] = table["values"].map(json.loads)
    return table
