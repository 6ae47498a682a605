"""The numbers of an aggregated sweep as points: one per run, step, layer and quantity, in one convention each.

What ``nfa figure`` draws and tabulates. A quantity is named as in ``alignment.parquet``, with its convention where that
is not the headline's: ``uc_nfc``, ``uc_nfc:offdiagonal:1/2``, ``depth_law_power:pearson``. Beside them stand
``depth_power``, the exponent of the depth-matched power, and what history.parquet says of a run and so of all its
layers: ``train_loss``, ``test_loss``, ``train_accuracy``, ``test_accuracy``.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from nfa.conventions import CORRELATIONS, HEADLINE, POWERS, READOUT
from nfa.errors import UserError, nearest
from nfa.storage.paths import SweepPaths
from nfa.storage.tables import read_written

RUN = ["cell", "seed"]
PLACE = ["layer", "layer_index", "depth_from_output"]
SCORES = ("train_loss", "test_loss", "train_accuracy", "test_accuracy")
DEPTH_POWER = "depth_power"


@dataclass(frozen=True)
class Wanted:
    """A quantity in one convention.

    Attributes:
        name: As asked for, and as shown.
        quantity: Its name in the table.
        correlation: Where it has one.
        power: Where it has one.
    """

    name: str
    quantity: str
    correlation: str = HEADLINE.correlation
    power: str = HEADLINE.power

    @classmethod
    def parse(cls, text: str) -> "Wanted":
        """Read ``quantity``, ``quantity:correlation`` or ``quantity:correlation:power``.

        Raises:
            UserError: No such correlation or power.
        """
        quantity, *convention = text.split(":")
        for value, known in zip(convention, (CORRELATIONS, POWERS), strict=False):
            if value not in known:
                raise UserError(f"{text}: {value!r}: {nearest(value, known)}; e.g. uc_nfc:offdiagonal:1/2")
        return cls(text, quantity, *convention[:2])


def read_points(results: Path, wanted: Sequence[Wanted], at_train_loss: float | None = None) -> pd.DataFrame:
    """Collect points of hidden layers of runs that finished; one that diverged ends at no step that compares.

    Args:
        results: Folder of an aggregated sweep.
        wanted: Quantities.
        at_train_loss: Keep one point of each run, where its training loss first is this: between the two checkpoints
            around it, linear in the logarithm of the loss. None: keep every checkpoint.

    Returns:
        Columns ``cell``, ``seed``, ``step``, ``layer``, ``layer_index``, ``depth_from_output``, ``quantity`` (as asked
        for), ``value``, and those of the table of cells.

    Raises:
        UserError: Not aggregated, no such quantity, or a run whose training loss never is that low.
    """
    cells = read_cells(results)
    alignment = read_written(SweepPaths(results).tables / "alignment.parquet")
    alignment = alignment[alignment["depth_from_output"] != READOUT].merge(_finished(results), on=RUN)
    history = _histories(results, cells["cell"])
    points = pd.concat([_points(alignment, history, each) for each in wanted], ignore_index=True)
    if at_train_loss is not None:
        points = _matched(points, history, at_train_loss)
    shared = [column for column in cells.columns if column not in points.columns]
    return points.merge(cells[["cell", *shared]], on="cell", how="left", validate="m:1")


def _finished(results: Path) -> pd.DataFrame:
    """List the runs that finished, ``cell`` and ``seed``, and say on stderr how many did not.

    Raises:
        UserError: None did.
    """
    runs = read_written(SweepPaths(results).tables / "runs.parquet")
    finished = runs.loc[runs["status"] == "finished", RUN]
    if finished.empty:
        raise UserError(f"{results}: all {len(runs)} runs diverged; lower the learning rate")
    if len(finished) < len(runs):
        print(f"nfa: {len(runs) - len(finished)} of {len(runs)} runs diverged and are left out", file=sys.stderr)
    return finished


def _histories(results: Path, cells: Iterable[str]) -> pd.DataFrame:
    """Join losses and accuracies of all runs: a column for each of ``SCORES``."""
    parts = [read_written(SweepPaths(results).cell(cell).history, by="train").assign(cell=cell) for cell in cells]
    history = pd.concat(parts, ignore_index=True)
    history["quantity"] = history["split"] + "_" + history["metric"]
    wide = history[history["quantity"].isin(SCORES)].pivot(index=[*RUN, "step"], columns="quantity", values="value")
    return wide.reindex(columns=list(SCORES)).reset_index()


def _points(alignment: pd.DataFrame, history: pd.DataFrame, wanted: Wanted) -> pd.DataFrame:
    """Points of one quantity.

    Raises:
        UserError: There is no such quantity.
    """
    columns = [*RUN, "step", *PLACE]
    if wanted.quantity in SCORES:
        layers = alignment[[*RUN, "step", *PLACE]].drop_duplicates()
        found = layers.merge(history[[*RUN, "step", wanted.quantity]], on=[*RUN, "step"], how="inner")
        return found.rename(columns={wanted.quantity: "value"}).assign(quantity=wanted.name)
    if wanted.quantity == DEPTH_POWER:
        rows = (
            alignment["quantity"].eq("uc_nfc") & alignment["correlation"].eq("cosine") & alignment["power"].eq("depth")
        )
        found = alignment.loc[rows, [*columns, "exponent"]].rename(columns={"exponent": "value"})
        return found.assign(quantity=wanted.name)
    rows = alignment["quantity"].eq(wanted.quantity)
    if not rows.any():
        known = [*alignment["quantity"].unique(), DEPTH_POWER, *SCORES]
        raise UserError(f"{wanted.name}: no such quantity; {nearest(wanted.quantity, known)}")
    for column, value in (("correlation", wanted.correlation), ("power", wanted.power)):
        rows &= alignment[column].isna() | alignment[column].eq(value)
    return alignment.loc[rows, [*columns, "value"]].assign(quantity=wanted.name)


def _matched(points: pd.DataFrame, history: pd.DataFrame, loss: float) -> pd.DataFrame:
    """Read every run where its training loss first is ``loss``; steps become fractions of steps.

    Raises:
        UserError: A run's training loss is never that low, or was from the start.
    """
    parts = []
    measured = points[[*RUN, "step"]].drop_duplicates()
    known = history.dropna(subset="train_loss").merge(measured, on=[*RUN, "step"]).sort_values("step")
    for _, losses in known.groupby(RUN, sort=False):
        below = np.flatnonzero(losses["train_loss"] <= loss)
        if not len(below) or below[0] == 0:
            reached = f"from {losses['train_loss'].iloc[0]:.3g} to {losses['train_loss'].min():.3g}"
            run = f"{losses['cell'].iloc[0]}, seed {losses['seed'].iloc[0]}"
            raise UserError(f"--at-train-loss {loss:g}: {run}, went {reached}; choose one in between")
        pair = losses.iloc[below[0] - 1 : below[0] + 1]
        logs = np.log(pair["train_loss"].to_numpy())
        weight = float((logs[0] - np.log(loss)) / (logs[0] - logs[1]))
        parts.append(pair.assign(weight=[1 - weight, weight])[[*RUN, "step", "weight"]])
    near = points.merge(pd.concat(parts), on=[*RUN, "step"])
    near["step"] = near["step"] * near["weight"]
    near["value"] = near["value"] * near["weight"]
    by = [*RUN, *PLACE, "quantity"]
    sums = near.groupby(by, sort=False)[["step", "value"]].sum(min_count=2)  # NaN where one of the two is
    return sums.reset_index()


def read_cells(results_folder: Path) -> pd.DataFrame:
    """Read the table of cells.

    Raises:
        UserError: The sweep has not been aggregated, or the table is damaged.
    """
    return read_written(SweepPaths(results_folder).tables / "cells_summary.parquet")
