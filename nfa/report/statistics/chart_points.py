"""The points that ``nfa figure`` draws and tabulates: one per run, step, layer and quantity of an aggregated sweep.

A quantity is named as in ``alignment.parquet``, followed by its correlation and power where these are not cosine and 1:
``uc_nfc``, ``uc_nfc:offdiagonal:1/2``, ``depth_law_power:pearson``. Five more names are no quantities of that table:
``depth_power``, the exponent of the depth-matched power, and the scores of the whole run, repeated for each of its
layers: ``train_loss``, ``test_loss``, ``train_accuracy``, ``test_accuracy``.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from nfa.conventions import CORRELATIONS, HEADLINE, POWERS, READOUT, Convention
from nfa.errors import UserError, nearest
from nfa.report.statistics.matched_loss import at_loss, crossings
from nfa.report.statistics.runs import RUN, at_convention
from nfa.storage.paths import SweepPaths
from nfa.storage.tables import read_written

PLACE = [*RUN, "step", "layer", "layer_index", "depth_from_output"]
SCORES = ("train_loss", "test_loss", "train_accuracy", "test_accuracy")
DEPTH_POWER = "depth_power"


@dataclass(frozen=True)
class Wanted:
    """A quantity in one convention.

    Attributes:
        name: The text that the user gave, which names the quantity in figure and table.
        quantity: The quantity's name in the table.
        correlation: The correlation, if the quantity has one.
        power: The power of the AGOP, if the quantity has one.
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

        >>> Wanted.parse("uc_nfc:pearson")
        Wanted(name='uc_nfc:pearson', quantity='uc_nfc', correlation='pearson', power='1')
        """
        quantity, *convention = text.split(":")
        for value, known in zip(convention, (CORRELATIONS, POWERS), strict=False):
            if value not in known:
                raise UserError(f"{text}: {value!r}: {nearest(value, known)}; e.g. uc_nfc:offdiagonal:1/2")
        return cls(text, quantity, *convention[:2])


def read_points(results: Path, wanted: Sequence[Wanted], at_train_loss: float | None = None) -> pd.DataFrame:
    """Collect the points of hidden layers of finished runs; a diverged run has no last step to compare at.

    Args:
        results: Folder of an aggregated sweep.
        wanted: Quantities.
        at_train_loss: Show each run where its training loss first fell to this value: at the checkpoint that it kept
            there (``train.checkpoints_at_loss``), or else interpolated, see ``nfa.report.statistics.matched_loss``.
            None keeps every checkpoint.

    Returns:
        Columns ``cell``, ``seed``, ``step``, ``layer``, ``layer_index``, ``depth_from_output``, ``quantity``
        (``Wanted.name``), ``value``, and those of the table of cells.

    Raises:
        UserError: The sweep is not aggregated, there is no such quantity, or a run's training loss never fell to
            ``at_train_loss``.
    """
    cells = read_cells(results)
    alignment = read_written(SweepPaths(results).tables / "alignment.parquet")
    alignment = alignment[alignment["depth_from_output"] != READOUT].merge(_finished(results), on=RUN)
    history = _histories(results, cells["cell"])
    points = pd.concat([_points(alignment, history, each) for each in dict.fromkeys(wanted)], ignore_index=True)
    if at_train_loss is not None:
        kept = _kept_at(results, at_train_loss).merge(points[RUN].drop_duplicates(), on=RUN)
        others = points.merge(kept[RUN], on=RUN, how="left", indicator=True)
        others = others[others.pop("_merge") == "left_only"]
        points = pd.concat(
            [points.merge(kept, on=[*RUN, "step"]), _at_train_loss(others, history, at_train_loss)], ignore_index=True
        )
    shared = [column for column in cells.columns if column not in points.columns]
    return points.merge(cells[["cell", *shared]], on="cell", how="left", validate="m:1")


def _finished(results: Path) -> pd.DataFrame:
    """List the finished runs (``cell`` and ``seed``), and print to standard error how many diverged.

    Raises:
        UserError: All runs diverged.
    """
    runs = read_written(SweepPaths(results).tables / "runs.parquet")
    finished = runs.loc[runs["status"] == "finished", RUN]
    if finished.empty:
        every = "the only run" if len(runs) == 1 else f"all {len(runs)} runs"
        raise UserError(f"{results}: {every} diverged; lower the learning rate")
    if len(finished) < len(runs):
        left_out = len(runs) - len(finished)
        verb = "is" if left_out == 1 else "are"
        print(f"nfa: {left_out} of {len(runs)} runs diverged and {verb} left out", file=sys.stderr)
    return finished


def _histories(results: Path, cells: Iterable[str]) -> pd.DataFrame:
    """Read losses and accuracies of all runs: one row per run and step, a column for each of ``SCORES``."""
    parts = [read_written(SweepPaths(results).cell(cell).history, by="train").assign(cell=cell) for cell in cells]
    history = pd.concat(parts, ignore_index=True)
    history["quantity"] = history["split"] + "_" + history["metric"]
    wide = history[history["quantity"].isin(SCORES)].pivot(index=[*RUN, "step"], columns="quantity", values="value")
    return wide.reindex(columns=list(SCORES)).reset_index()


def _points(alignment: pd.DataFrame, history: pd.DataFrame, wanted: Wanted) -> pd.DataFrame:
    """Select the points of one quantity.

    Raises:
        UserError: There is no such quantity.
    """
    if wanted.quantity in SCORES:
        layers = alignment[PLACE].drop_duplicates()
        found = layers.merge(history[[*RUN, "step", wanted.quantity]], on=[*RUN, "step"], how="inner")
        return found.rename(columns={wanted.quantity: "value"}).assign(quantity=wanted.name)
    if wanted.quantity == DEPTH_POWER:
        rows = alignment["quantity"].eq("uc_nfc") & at_convention(alignment, Convention("cosine", "depth"))
        found = alignment.loc[rows, [*PLACE, "exponent"]].rename(columns={"exponent": "value"})
        return found.assign(quantity=wanted.name)
    rows = alignment["quantity"].eq(wanted.quantity)
    if not rows.any():
        known = [*alignment["quantity"].unique(), DEPTH_POWER, *SCORES]
        raise UserError(f"{wanted.name}: no such quantity; {nearest(wanted.quantity, known)}")
    for column, value in (("correlation", wanted.correlation), ("power", wanted.power)):
        rows &= alignment[column].isna() | alignment[column].eq(value)
    return alignment.loc[rows, [*PLACE, "value"]].assign(quantity=wanted.name)


def _kept_at(results: Path, loss: float) -> pd.DataFrame:
    """List the checkpoints that runs kept at exactly this training loss: ``cell``, ``seed``, ``step``."""
    path = SweepPaths(results).tables / "loss_checkpoints.parquet"
    if not path.exists():  # tables of an earlier version
        return pd.DataFrame(columns=[*RUN, "step"])
    table = read_written(path)
    table = table[(table["train_loss"] == loss) & table["step"].notna()]
    return table[[*RUN, "step"]].astype({"cell": str, "step": "int64"})


def _at_train_loss(points: pd.DataFrame, history: pd.DataFrame, loss: float) -> pd.DataFrame:
    """Interpolate every run where its training loss first fell to ``loss``; steps become fractions of steps.

    Raises:
        UserError: A run's training loss never fell that low, or was that low from the start.
    """
    checkpoints = points[[*RUN, "step"]].drop_duplicates()
    losses = history.rename(columns={"train_loss": "loss"})[[*RUN, "step", "loss"]].dropna(subset="loss")
    losses = losses.merge(checkpoints, on=[*RUN, "step"]).sort_values("step")
    steps = crossings(losses, loss)
    crossed = set(steps.loc[steps["before"] < steps["after"], RUN].itertuples(index=False, name=None))
    for run, part in losses.groupby(RUN, sort=False):
        if run not in crossed:
            reached = f"went from {part['loss'].iloc[0]:.3g} to {part['loss'].min():.3g}"
            where = f"the training loss of {run[0]}, seed {run[1]},"
            raise UserError(f"--at-train-loss {loss:g}: {where} {reached}; choose a value in between")
    steps["step"] = (1 - steps["share"]) * steps["before"] + steps["share"] * steps["after"]
    return at_loss(points, losses, loss).merge(steps[[*RUN, "step"]], on=RUN, validate="m:1")


def read_cells(results_folder: Path) -> pd.DataFrame:
    """Read the table of cells.

    Raises:
        UserError: The sweep has not been aggregated, or by an earlier version, or the table is damaged.
    """
    cells = read_written(SweepPaths(results_folder).tables / "cells_summary.parquet")
    if "n_not_reached" not in cells:
        raise UserError(f"{results_folder}: aggregated by an earlier version; run `nfa aggregate` for it again")
    return cells
