"""The run of a search for a cell's tuned settings, as one ``RunRecord``. Reads no files."""

import json
from typing import Any

import pandas as pd

from nfa.conventions import HEADLINE
from nfa.report.statistics.tuning import trial_ends
from nfa.sweep.cells import Cell, Sweep
from nfa.tracking.record.run import TAG_LIMIT, RunRecord, fit_name
from nfa.tracking.record.series import Series
from nfa.tracking.record.sweep_run import table_of

JOB_TYPE = "tune"
STEP = "tuning/step"


def tune_key(cell: Cell) -> str:
    """Return the key of a search's run, which does not depend on its content."""
    return f"{cell.id}/tune"


def build_tune_record(sweep: Sweep, cell: Cell, document: dict[str, Any], trials: pd.DataFrame) -> RunRecord:
    """Lay out the run of a search.

    Args:
        sweep: The sweep.
        cell: One of its cells with tuned settings, with the values that were found.
        document: The content of its tuned.json.
        trials: The content of its trials.parquet.
    """
    readable, _, code = cell.id.rpartition(".")
    names = [str(cell.values()[axis]["name"]) for axis in ("data", "model", "optimizer")]
    return RunRecord(
        key=tune_key(cell),
        stem=f"{code}-tune",
        name=fit_name(f"{readable} tune {code}"),
        group=fit_name(cell.id),
        job_type=JOB_TYPE,
        tags=tuple(dict.fromkeys(tag[:TAG_LIMIT] for tag in (sweep.name, *names, JOB_TYPE))),
        config={
            **cell.values(),
            "searches": {name: search.content for name, search in cell.searches.items()},
            "tune": sweep.tune.model_dump(mode="json"),
            "cell": cell.id,
            "sweep": sweep.name,
            "convention": HEADLINE._asdict(),
            "provenance": document["provenance"],
        },
        summary={
            **{f"tuning/{name}": value for name, value in document["found"].items()},
            **{f"tuning/{name}_at_end_of_range": end for name, end in document["at_edge"].items()},
            **{f"tuning/{key}": document[key] for key in ("validation_loss", "trials", "diverged", "seeds", "steps")},
        },
        series=(_curves(trials),),
        tables={"trials": table_of(_table(trials))},
        pictures=(),
    )


def _curves(trials: pd.DataFrame) -> Series:
    """Lay out the validation loss of every trial over its steps, mean over seeds; a trial is named by its values."""
    losses = trials[(trials["split"] == "validation") & (trials["metric"] == "loss")]
    means = losses.groupby(["step", "values"], as_index=False)["value"].mean().dropna()
    rows: dict[int, dict[str, float]] = {}
    for step, values, loss in zip(means["step"], means["values"], means["value"], strict=True):
        named = " ".join(f"{name} {value:g}" for name, value in json.loads(values).items())
        rows.setdefault(int(step), {STEP: int(step)})[f"tuning/validation_loss {named}"] = float(loss)
    return Series("tuning", STEP, list(rows.values()), ("tuning",))


def _table(trials: pd.DataFrame) -> pd.DataFrame:
    """Tabulate the trials: a column for each setting, the step and the validation loss at the end, and the outcome."""
    ends = trial_ends(trials.assign(cell="")).drop(columns=["cell", "whole"])
    settings = pd.DataFrame(ends.pop("values").tolist())
    diverged = ~ends["loss"].lt(float("inf"))
    loss = ends["loss"].where(~diverged)
    return pd.concat([ends[["trial"]], settings, ends[["step"]]], axis=1).assign(
        validation_loss=loss, diverged=diverged
    )
