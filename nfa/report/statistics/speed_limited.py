"""Speed Limited Optimization (SLO) beside the other optimizers of a sweep, at one training loss.

An SLO cell whose layers have different speeds is compared with every cell that shares all settings but the optimizer
and gives no layer a speed of its own: cells of other optimizers, and of SLO at equal speeds. All runs of these cells
are read at the same training loss, the lowest that all of them reached at a checkpoint (``matched_loss``). Values of
layers are interpolated between checkpoints, losses of the whole network between recorded steps.
"""

from typing import Any

import pandas as pd

from nfa.conventions import CONTROLS as CONTROLS_OF
from nfa.conventions import READOUT, Convention
from nfa.optim.slo import SLOSettings
from nfa.report.statistics.collected import Collected
from nfa.report.statistics.features_alignment import INPUT, NFCS
from nfa.report.statistics.intervals import over_seeds
from nfa.report.statistics.matched_loss import at_loss, common_level
from nfa.report.statistics.runs import RUN
from nfa.sweep.cells import Cell

CONTROLS = NFCS[2:]  # `above_w0_nfc` and `above_haar_nfc` are UC-NFC minus its control, at each seed
# The directional factor, its control, and the difference of both at each seed; they have no convention.
DIRECTIONS = ("directional", CONTROLS_OF["directional"].mean, "above_directional_haar")
WHOLE = ""  # in the column `layer`: the row is about the whole network
KEYS = ["layer", "quantity", "correlation", "power"]
COLUMNS = {
    "group": "string",
    "cell": "string",
    "raised": "string",
    "level": "float64",
    "other": "string",
    **dict.fromkeys(KEYS, "string"),
    "n_seeds": "int64",
    **dict.fromkeys(
        ("mean", "ci_low", "ci_high", "other_mean", "other_low", "other_high", "gain", "gain_low", "gain_high"),
        "float64",
    ),
}


def raised_layer(cell: Cell) -> str | None:
    """Name the hidden layer whose speed is above that of every other layer; None where there is no such layer."""
    optimizer = cell.optimizer
    if not isinstance(optimizer, SLOSettings) or optimizer.later or optimizer.adapt is not None:
        return None
    speeds = optimizer.phases([layer.name for layer in cell.layers])[0.0]
    fastest = [layer for layer, speed in speeds.items() if speed == max(speeds.values())]
    return fastest[0] if len(fastest) == 1 and fastest[0] != cell.layers[-1].name else None


def has_own_speeds(cell: Cell) -> bool:
    """Return True if a cell is SLO and its layers have different speeds at some time of training."""
    optimizer = cell.optimizer
    if not isinstance(optimizer, SLOSettings):
        return False
    speeds = optimizer.phases([layer.name for layer in cell.layers])[0.0]
    return bool(optimizer.later) or optimizer.adapt is not None or len(set(speeds.values())) > 1


def make_speed_limited(collected: Collected, runs: pd.DataFrame) -> pd.DataFrame:
    """Compare every SLO cell whose layers differ in speed with the other cells of its group, at one training loss.

    Args:
        collected: What the cells wrote.
        runs: The table of runs.

    Returns:
        One row per SLO cell, cell that it is compared with, layer, quantity and convention: ``group``, ``cell``,
        ``raised`` (the layer of the highest speed; empty where several share it), ``level`` (the training loss),
        ``other``, ``layer`` (empty: the whole network), ``quantity``, ``correlation``, ``power``, ``n_seeds``, means
        and 95% intervals over seeds of the cell, of the other, and of their difference at each seed (``gain``). Cells
        with a run that did not learn are left out.
    """
    learned = runs.groupby("cell")["learned"].all()
    whole = set(collected.history["cell"])  # a very large sweep keeps the history of the cells that its page shows
    groups = collected.labels.set_index("cell")["group"]
    cells = {cell.id: cell for cell in collected.sweep.cells if learned[cell.id] and cell.id in whole}
    limited = [name for name, cell in cells.items() if has_own_speeds(cell)]
    found = []
    if limited:
        kinds = _losses(collected, at_checkpoints=True), _losses(collected), _of_layers(collected), _of_whole(collected)
        for name in limited:
            others = [other for other in cells if other not in limited and groups[other] == groups[name]]
            if others:
                names = {"group": groups[name], "cell": name, "raised": raised_layer(cells[name]) or ""}
                kept, recorded, layers, whole_network = (table[table["cell"].isin([name, *others])] for table in kinds)
                level = common_level(kept)
                matched = pd.concat([at_loss(layers, kept, level), at_loss(whole_network, recorded, level)])
                found.append(_compare(matched, name, others).assign(level=level, **names))
    table = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=list(COLUMNS))
    return table[list(COLUMNS)].astype(COLUMNS)


def _compare(matched: pd.DataFrame, cell: str, others: list[str]) -> pd.DataFrame:
    """Compare the values of one cell with those of each of the others."""
    values = matched[matched["cell"] == cell].drop(columns="cell")
    parts = []
    for other in others:
        pairs = values.merge(
            matched[matched["cell"] == other].drop(columns="cell"), on=["seed", *KEYS], suffixes=("", "_other")
        )
        pairs["gain"] = pairs["value"] - pairs["value_other"]
        table = over_seeds(pairs, KEYS)
        for column, names in (
            ("value_other", ("other_mean", "other_low", "other_high")),
            ("gain", ("gain", "gain_low", "gain_high")),
        ):
            spread = over_seeds(pairs, KEYS, column)[[*KEYS, "mean", "ci_low", "ci_high"]]
            spread.columns = pd.Index([*KEYS, *names])
            table = table.merge(spread, on=KEYS)
        parts.append(table.assign(other=other))
    return pd.concat(parts, ignore_index=True)


def _losses(collected: Collected, *, at_checkpoints: bool = False) -> pd.DataFrame:
    """Return the training loss of every run, at all steps at which it is recorded or at checkpoints alone."""
    history = collected.history
    losses = history[(history["split"] == "train") & (history["metric"] == "loss")]
    losses = losses.rename(columns={"value": "loss"})[[*RUN, "step", "loss"]].astype({"cell": str})
    if at_checkpoints:
        checkpoints = collected.alignment[[*RUN, "step"]].astype({"cell": str}).drop_duplicates()
        losses = losses.merge(checkpoints, on=[*RUN, "step"])
    return losses.dropna(subset=["loss"])


COMPARED = [*RUN, "step", *KEYS, "value"]
TEXTS = dict.fromkeys(["cell", *KEYS], str)


def _of_layers(collected: Collected) -> pd.DataFrame:
    """Return the values by which hidden layers are compared: alignment and scores of features, at checkpoints.

    A layer that was measured head by head has the mean over its heads.
    """
    alignment = collected.alignment
    of_kind = alignment["quantity"].isin(NFCS) & alignment["power"].notna() | alignment["quantity"].isin(DIRECTIONS)
    aligned = alignment[(alignment["depth_from_output"] != READOUT) & of_kind]
    aligned = aligned[COMPARED].astype({"correlation": object, "power": object})
    aligned = aligned.fillna({"correlation": WHOLE, "power": WHOLE}).astype(TEXTS)
    aligned["layer"] = _whole_layers(collected, aligned)
    aligned = aligned.groupby(COMPARED[:-1], sort=False)["value"].mean().reset_index()
    place = [column for column in COMPARED if column not in ("quantity", "value")]
    wide = aligned.pivot(index=place, columns="quantity", values="value")
    wide = wide.reindex(columns=[*NFCS, *DIRECTIONS[:2]])
    for control in CONTROLS:
        wide[f"above_{control}"] = wide["uc_nfc"] - wide[control]
    factor, control, above = DIRECTIONS
    wide[above] = wide[factor] - wide[control]
    aligned = wide.melt(var_name="quantity", ignore_index=False).dropna(subset=["value"]).reset_index()
    scores = collected.scores
    held_out = (scores["split"] != "train") | (scores["probe"] == "recovery")
    scores = with_identity(scores[held_out])
    scores = scores[(scores["depth_from_output"] != READOUT).fillna(False)]
    quantity = scores["probe"].astype(str) + " " + scores["metric"].astype(str)
    scores = scores.assign(quantity=quantity, correlation=WHOLE, power=WHOLE)
    return pd.concat([part[COMPARED].astype(TEXTS) for part in (aligned, scores)], ignore_index=True)


def _whole_layers(collected: Collected, rows: pd.DataFrame) -> "pd.Series[str]":
    """Return the names of layers as the network has them; the alignment table has heads of some."""
    own = {(cell.id, layer.name) for cell in collected.sweep.cells for layer in cell.layers}
    known = pd.MultiIndex.from_frame(rows[["cell", "layer"]]).isin(own)
    return rows["layer"].where(known, rows["layer"].str.rpartition(".")[0])


def with_identity(scores: pd.DataFrame) -> pd.DataFrame:
    """Add the kernel machine with metric I to a layer that reads the raw input, beside its learned metrics.

    That machine is the one on the raw input, whose score is recorded at step 0 alone.

    Args:
        scores: Held-out scores of the probe stage, with the layers' places.
    """
    machines = scores["probe"].isin(["kernel_identity", "kernel_nfm"]) & (scores["layer"] != INPUT)
    place = [*RUN, "step", "layer"]
    per_place = scores[machines].groupby(place, observed=True)["probe"].transform("nunique")
    alone = scores[machines][per_place == 1].drop(columns=["probe", "value"])  # kernel_nfm without kernel_identity
    raw = scores.loc[(scores["layer"] == INPUT) & (scores["probe"] == "kernel_identity"), [*RUN, "probe", "value"]]
    return pd.concat([scores, alone.merge(raw, on=RUN)], ignore_index=True)


def _of_whole(collected: Collected) -> pd.DataFrame:
    """Return the values by which whole networks are compared, at every recorded step: their test scores."""
    history = collected.history
    tested = history[(history["split"] == "test") & history["metric"].isin(["loss", "accuracy"])]
    quantity = "test " + tested["metric"].astype(str)
    return tested.assign(layer=WHOLE, quantity=quantity, correlation=WHOLE, power=WHOLE)[COMPARED].astype(TEXTS)


class Matched:
    """The table of ``make_speed_limited``, for looking up single comparisons.

    Attributes:
        raised: Cell -> the layer whose speed it raises, for cells that raise one.
        levels: Cell -> the training loss at which it is compared.
    """

    def __init__(self, table: pd.DataFrame) -> None:
        """Index the table."""
        records: list[dict[Any, Any]] = table.to_dict("records")
        self._rows = {tuple(row[key] for key in ("cell", "other", *KEYS)): row for row in records}
        self.raised = {row["cell"]: row["raised"] for row in records if row["raised"]}
        self.levels = {row["cell"]: row["level"] for row in records}
        self._others: dict[str, list[str]] = {}
        for row in records:
            others = self._others.setdefault(row["cell"], [])
            if row["other"] not in others:
                others.append(row["other"])

    def others(self, cell: str) -> list[str]:
        """Return the cells with which a cell is compared, in the sweep's order."""
        return self._others[cell]

    def row(
        self, cell: str, other: str, layer: str, quantity: str, convention: Convention | None = None
    ) -> dict[Any, Any] | None:
        """Look up one comparison; ``convention`` is None for quantities without one."""
        return self._rows.get((cell, other, layer, quantity, *(convention or (WHOLE, WHOLE))))

    def scores(self, cell: str, layer: str) -> list[str]:
        """Return the scores by which a layer (or the whole network) is compared."""
        found = {key[3]: None for key in self._rows if (key[0], key[2], key[4]) == (cell, layer, WHOLE)}
        return [name for name in found if name not in DIRECTIONS]
