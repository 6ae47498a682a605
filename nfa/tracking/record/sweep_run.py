"""The summary run of a sweep: its aggregated tables, figures and report page as one ``RunRecord``. Reads no files."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from nfa.digests import digest
from nfa.sweep.cells import Sweep
from nfa.tracking.record.bundle import Bundle
from nfa.tracking.record.pictures import RunPicture
from nfa.tracking.record.run import TAG_LIMIT, RunRecord
from nfa.tracking.record.tables import RunTable

# The joined tables `alignment` and `probes` are left out, because each run holds its own part of them.
TABLES = ("cells_summary", "runs", "alignment_summary", "probes_summary", "history_summary", "features_ranks")
JOB_TYPE = "sweep"
SUMMARY_KEY = "sweep/summary"


def build_sweep_record(
    sweep: Sweep,
    tables: Mapping[str, pd.DataFrame],
    figures: Mapping[str, np.ndarray],
    page: str,
    made_of: Sequence[Bundle] = (),
    makes: Sequence[Bundle] = (),
) -> RunRecord:
    """Lay out a sweep's summary run.

    Args:
        sweep: The sweep.
        tables: Aggregated tables by name; those in ``TABLES`` are published.
        figures: Pixels of each figure by name, height x width x 3, uint8.
        page: The report page, HTML.
        made_of: File bundles from which the sweep's results were made: configuration, checkpoints.
        makes: File bundles of the results: tables, report.
    """
    return RunRecord(
        key=SUMMARY_KEY,
        stem=f"{digest({'sweep': sweep.name})[:8]}-sweep",
        name=f"{sweep.name}: summary",
        group=f"{sweep.name}: summary",
        job_type=JOB_TYPE,
        tags=tuple(dict.fromkeys((sweep.name[:TAG_LIMIT], "summary"))),
        config={
            "sweep": sweep.name,
            "document": json.dumps(
                content_of(sweep), sort_keys=True
            ),  # as text, because W&B cannot filter by its lists
            "cells": len(sweep.cells),
            "seeds": list(sweep.seeds),
            "artifacts": {bundle.name: bundle.digest for bundle in (*made_of, *makes)},
        },
        summary=_summary(tables["cells_summary"]),
        series=(),
        tables={name: table_of(tables[name]) for name in TABLES},
        pictures=tuple(RunPicture(name, 0, name, pixels) for name, pixels in sorted(figures.items())),
        pages={"report": page},
        uses=tuple(made_of),
        makes=tuple(makes),
    )


def content_of(sweep: Sweep) -> dict[str, Any]:
    """Return the sweep file's content without its section ``wandb``, which does not change results."""
    return {key: value for key, value in sweep.document.items() if key != "wandb"}


def _summary(cells: pd.DataFrame) -> dict[str, Any]:
    """Count all cells, those that diverged, and those that did not learn."""
    return {
        "cells": len(cells),
        "cells_diverged": int((cells["n_diverged"] > 0).sum()),
        "cells_not_learned": int((~cells["learned"].astype(bool)).sum()),
    }


def table_of(frame: pd.DataFrame) -> RunTable:
    """Convert a frame to a table with a Python type per column; undefined values become None."""
    columns: dict[str, type] = {}
    content = []
    for name in frame.columns:
        values = frame[name]
        kind = _kind(values)
        finite = np.isfinite(values.to_numpy(float, na_value=np.nan)) if kind is float else values.notna().to_numpy()
        columns[str(name)] = kind
        held = zip(finite.tolist(), values.to_numpy(object).tolist(), strict=True)
        content.append([kind(value) if good else None for good, value in held])
    return RunTable(columns, [list(row) for row in zip(*content, strict=True)])


def _kind(values: "pd.Series[Any]") -> type:
    if pd.api.types.is_bool_dtype(values):
        return bool
    if pd.api.types.is_integer_dtype(values):
        return int
    if pd.api.types.is_float_dtype(values):
        return float
    if isinstance(values.dtype, pd.StringDtype):
        return str
    held = {type(value) for value in values.dropna()}  # a setting that some cells lack
    return bool if held == {bool} else str
