"""The rows of a very large sweep that its report needs, so that memory does not grow with the sweep.

The report shows some of the cells one by one, and of these all rows are kept. Its sentences and tables are about all
cells. For them, these rows of every cell are kept: alignment, the factors of UC-NFC, their controls and the powers of
the depth law at the first and the last step, UC-NFC and C-NFC with its control at every checkpoint, and the test scores
of the probe stage at the first and the last step.
"""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
from pandas.api.types import union_categoricals

from nfa.conventions import CONTROLS
from nfa.report.statistics.collected import Collected
from nfa.report.statistics.features_alignment import FACTORS, NFCS
from nfa.report.statistics.predictions import DEPTH_LAW, PREDICTION_QUANTITIES
from nfa.report.statistics.runs import RUN
from nfa.sweep.cells import Sweep

# Quantities that have no convention, or no power.
WITHOUT_CONVENTION = (
    *FACTORS,
    *(CONTROLS[factor].spread for factor in ("directional", "spectral")),
    "spectrum_slope",
    *DEPTH_LAW,
)


def with_sweep_names(
    part: Collected, labels: pd.DataFrame, parameters: pd.DataFrame, swept: Sequence[str]
) -> Collected:
    """Give a part of a sweep the labels, the parameters and the swept settings that it has in the whole sweep."""
    cells = [cell.id for cell in part.sweep.cells]
    whole = {"labels": labels, "parameters": parameters}
    # Stored where a `cached_property` keeps its value, so that the part's own is never computed.
    vars(part).update({name: table[table["cell"].isin(cells)].reset_index(drop=True) for name, table in whole.items()})
    vars(part)["swept"] = swept
    return part


def rows_for_report(part: Collected, shown: set[str]) -> Collected:
    """Keep the rows of a part of a sweep that the report needs; ``shown`` are the cells that the page shows."""
    alignment, scores = part.alignment, part.scores
    ends = _first_or_last(alignment) | alignment["quantity"].isin(["uc_nfc", "c_nfc", "c_haar_nfc"])
    wanted = alignment["quantity"].isin([*NFCS, "haar_nfc_sd", *PREDICTION_QUANTITIES]) & alignment["power"].notna()
    wanted = (wanted | alignment["quantity"].isin(WITHOUT_CONVENTION)) & ends
    tests = (scores["split"] == "test") & _first_or_last(scores)
    rows = alignment[wanted | alignment["cell"].isin(shown)]
    return replace(
        part,
        documents={cell: _document(document, cell in shown) for cell, document in part.documents.items()},
        history=part.history[part.history["cell"].isin(shown)],
        alignment=rows.astype({"estimator": "category", "note": "category"}),
        scores=scores[tests | scores["cell"].isin(shown)],
        early=part.early[part.early["cell"].isin(shown)],
        trials=part.trials[part.trials["cell"].isin(shown)],
    )


def _first_or_last(frame: pd.DataFrame) -> pd.Series:
    last = frame.groupby(RUN, observed=True)["step"].transform("max")
    return (frame["step"] == 0) | (frame["step"] == last)


def _document(document: dict[str, object], whole: bool) -> dict[str, object]:
    """Keep a shown cell's whole document, of others the status of their runs and their provenance."""
    return document if whole else {name: document[name] for name in ("runs", "provenance")}


def join_parts(sweep: Sweep, parts: Sequence[Collected]) -> Collected:
    """Join the parts of a sweep."""
    history, alignment, scores = (
        _stack([getattr(part, name) for part in parts]) for name in ("history", "alignment", "scores")
    )
    documents = {cell: document for part in parts for cell, document in part.documents.items()}
    early, tuning, trials = (
        pd.concat([getattr(part, name) for part in parts], ignore_index=True) for name in ("early", "tuning", "trials")
    )
    return Collected(sweep, documents, history, alignment, scores, early, tuning, trials)


def _stack(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate frames whose categorical columns differ in their categories; these are joined in order."""
    columns = {}
    for name, dtype in frames[0].dtypes.items():
        parts = [frame[name] for frame in frames]
        texts = isinstance(dtype, pd.CategoricalDtype)
        columns[name] = pd.Series(union_categoricals(parts)) if texts else pd.concat(parts, ignore_index=True)
    return pd.DataFrame(columns)
