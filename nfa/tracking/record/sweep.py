"""The run that stands for a whole sweep: aggregated tables, figures, the report page. Pure: frames in, record out."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from nfa.digests import digest
from nfa.sweep.cells import Sweep
from nfa.tracking.record.bundle import Bundle
from nfa.tracking.record.pictures import Picture
from nfa.tracking.record.run import TAG_LIMIT, RunRecord
from nfa.tracking.record.tables import Table

# Not among them: the joined alignment and probes, which each run holds for itself.
TABLES = ("cells_summary", "runs", "alignment_summary", "probes_summary", "history_summary", "rank_correlation")
JOB_TYPE = "sweep"
KEY = "sweep/summary"


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
        made_of: What the sweep was made from: configuration, checkpoints.
        makes: What came out: tables, report.
    """
    return RunRecord(
        key=KEY,
        stem=f"{digest({'sweep': sweep.name})[:8]}-sweep",
        name=f"{sweep.name}: summary",
        group=f"{sweep.name}: summary",
        job_type=JOB_TYPE,
        tags=tuple(dict.fromkeys((sweep.name[:TAG_LIMIT], "summary"))),
        config={
            "sweep": sweep.name,
            "document": json.dumps(content_of(sweep), sort_keys=True),  # its lists have no columns to filter by
            "cells": len(sweep.cells),
            "seeds": list(sweep.seeds),
            "artifacts": {bundle.name: bundle.digest for bundle in (*made_of, *makes)},
        },
        summary=_summary(tables["cells_summary"]),
        series=(),
        tables={name: table_of(tables[name]) for name in TABLES},
        pictures=tuple(Picture(name, 0, name, pixels) for name, pixels in sorted(figures.items())),
        pages={"report": page},
        uses=tuple(made_of),
        makes=tuple(makes),
    )


def content_of(sweep: Sweep) -> dict[str, Any]:
    """The sweep file without where its runs are published to."""
    return {key: value for key, value in sweep.document.items() if key != "wandb"}


def _summary(cells: pd.DataFrame) -> dict[str, Any]:
    """How many cells, and how many of them diverged or did not learn."""
    return {
        "cells": len(cells),
        "cells_diverged": int((cells["n_diverged"] > 0).sum()),
        "cells_not_learned": int((~cells["learned"].astype(bool)).sum()),
    }


def table_of(frame: pd.DataFrame) -> Table:
    """Lay out a frame: undefined values are None, whatever their type."""
    columns: dict[str, type] = {}
    content = []
    for name in frame.columns:
        values = frame[name]
        kind = _kind(values)
        finite = np.isfinite(values.to_numpy(float, na_value=np.nan)) if kind is float else values.notna().to_numpy()
        columns[str(name)] = kind
        held = zip(finite.tolist(), values.to_numpy(object).tolist(), strict=True)
        content.append([kind(value) if good else None for good, value in held])
    return Table(columns, [list(row) for row in zip(*content, strict=True)])


def _kind(values: "pd.Series[Any]") -> type:
    if pd.api.types.is_bool_dtype(values):
        return bool
    if pd.api.types.is_integer_dtype(values):
        return int
    if pd.api.types.is_float_dtype(values):
        return float
    if isinstance(values.dtype, pd.StringDtype):
        return str
    held = {type(value) for value in values.dropna()}  # a setting that some entries do not have
    return bool if held == {bool} else str
