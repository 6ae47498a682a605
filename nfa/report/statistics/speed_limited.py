"""Speed Limited Optimization beside the other optimizers of a sweep, at one training loss: the numbers.

One row per SLO cell, layer, quantity and cell that it is compared with. All runs of the two, and of the others that the
SLO cell is compared with, are taken at the lowest training loss that all of them reached at a checkpoint: layers
between two checkpoints, the whole network's losses between two recorded steps. Compared are cells that share
everything but the optimizer and give no layer a speed of its own: other optimizers, and SLO at equal speeds.
"""

from typing import Any

import pandas as pd

from nfa.conventions import READOUT, Convention
from nfa.optim.slo import SLOSettings
from nfa.report.statistics.collected import Collected
from nfa.report.statistics.features_alignment import INPUT
from nfa.report.statistics.intervals import over_seeds
from nfa.report.statistics.matched_loss import at_loss, common_level
from nfa.report.statistics.runs import RUN
from nfa.sweep.cells import Cell

ALIGNED = ("uc_nfc", "c_nfc", "w0_nfc", "haar_nfc")
CONTROLS = ALIGNED[2:]  # and how far UC-NFC is above them at each seed: above_w0_nfc, above_haar_nfc
WHOLE = ""  # stands in the layer column for what the whole network has: its losses
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
    """Name the one layer that a cell's speeds raise above all others, the readout aside; None where there is none."""
    optimizer = cell.optimizer
    if not isinstance(optimizer, SLOSettings) or optimizer.later or optimizer.adapt is not None:
        return None
    speeds = optimizer.phases([layer.name for layer in cell.layers])[0.0]
    fastest = [layer for layer, speed in speeds.items() if speed == max(speeds.values())]
    return fastest[0] if len(fastest) == 1 and fastest[0] != cell.layers[-1].name else None


def has_own_speeds(cell: Cell) -> bool:
    """Whether a cell is SLO with a layer of a speed of its own, at some time of training."""
    optimizer = cell.optimizer
    if not isinstance(optimizer, SLOSettings):
        return False
    speeds = optimizer.phases([layer.name for layer in cell.layers])[0.0]
    return bool(optimizer.later) or optimizer.adapt is not None or len(set(speeds.values())) > 1


def make_speed_limited(collected: Collected, runs: pd.DataFrame) -> pd.DataFrame:
    """Compare every SLO cell with speeds of its own to the others of its group, at matched training loss.

    Args:
        collected: What the cells wrote.
        runs: The table of runs.

    Returns:
        ``group``, ``cell``, ``raised`` (the layer; empty where no one layer is), ``level`` (the training loss),
        ``other``, ``layer`` (empty: the whole network), ``quantity``, ``correlation``, ``power``, ``n_seeds``, means
        and 95% intervals over seeds of the cell, of the other, and of their difference at each seed (``gain``). Cells
        with a run that did not learn are left out.
    """
    learned = runs.groupby("cell")["learned"].all()
    whole = set(collected.history["cell"])  # of cells that a page of very many does not show there is no history
    groups = collected.labels.set_index("cell")["group"]
    cells = {cell.id: cell for cell in collected.sweep.cells if learned[cell.id] and cell.id in whole}
    limited = [name for name, cell in cells.items() if has_own_speeds(cell)]
    found = []
    if limited:
        kinds = _losses(collected, at_checkpoints=True), _losses(collected), _of_layers(collected), _of_whole(collected)
        for name in limited:
            others = [o for o in cells if o not in limited and groups[o] == groups[name]]
            if others:
                names = {"group": groups[name], "cell": name, "raised": raised_layer(cells[name]) or ""}
                kept, recorded, layers, whole_network = (table[table["cell"].isin([name, *others])] for table in kinds)
                level = common_level(kept)
                matched = pd.concat([at_loss(layers, kept, level), at_loss(whole_network, recorded, level)])
                found.append(_compare(matched, name, others).assign(level=level, **names))
    table = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=list(COLUMNS))
    return table[list(COLUMNS)].astype(COLUMNS)


def _compare(matched: pd.DataFrame, cell: str, others: list[str]) -> pd.DataFrame:
    """Compare one cell with each of the others by values taken at one training loss."""
    own = matched[matched["cell"] == cell].drop(columns="cell")
    parts = []
    for other in others:
        pairs = own.merge(
            matched[matched["cell"] == other].drop(columns="cell"), on=["seed", *KEYS], suffixes=("", "_other")
        )
        pairs["gain"] = pairs["value"] - pairs["value_other"]
        spread = {
            column: over_seeds(pairs, KEYS, column)[[*KEYS, "n_seeds", "mean", "ci_low", "ci_high"]]
            for column in ("value", "value_other", "gain")
        }
        names = {"mean": "other_mean", "ci_low": "other_low", "ci_high": "other_high"}
        table = spread["value"].merge(spread["value_other"].drop(columns="n_seeds").rename(columns=names), on=KEYS)
        names = {"mean": "gain", "ci_low": "gain_low", "ci_high": "gain_high"}
        table = table.merge(spread["gain"].drop(columns="n_seeds").rename(columns=names), on=KEYS)
        parts.append(table.assign(other=other))
    return pd.concat(parts, ignore_index=True)


def _losses(collected: Collected, *, at_checkpoints: bool = False) -> pd.DataFrame:
    """Training loss of every run, at all steps at which it is recorded or at checkpoints alone."""
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
    """What hidden layers are compared by at checkpoints, long: alignment, and scores of their features."""
    alignment = collected.alignment
    hidden = alignment["depth_from_output"] != READOUT
    aligned = alignment[hidden & alignment["quantity"].isin(ALIGNED) & alignment["power"].notna()]
    aligned = aligned[COMPARED].astype(TEXTS)
    place = [column for column in COMPARED if column not in ("quantity", "value")]
    wide = aligned.pivot(index=place, columns="quantity", values="value").reindex(columns=list(ALIGNED))
    for control in CONTROLS:
        wide[f"above_{control}"] = wide["uc_nfc"] - wide[control]
    aligned = wide.melt(var_name="quantity", ignore_index=False).dropna(subset=["value"]).reset_index()
    scores = collected.scores
    held_out = (scores["split"] != "train") | (scores["probe"] == "recovery")
    scores = with_identity(scores[held_out])
    scores = scores[(scores["depth_from_output"] != READOUT).fillna(False)]
    quantity = scores["probe"].astype(str) + " " + scores["metric"].astype(str)
    scores = scores.assign(quantity=quantity, correlation=WHOLE, power=WHOLE)
    return pd.concat([part[COMPARED].astype(TEXTS) for part in (aligned, scores)], ignore_index=True)


def with_identity(scores: pd.DataFrame) -> pd.DataFrame:
    """Give a layer that reads the raw input the kernel machine with metric I beside its learned metrics.

    That machine is the raw input's own, which stands at step 0 alone.

    Args:
        scores: Held-out scores of the probe stage, with places of layers.
    """
    machines = scores["probe"].isin(["kernel_identity", "kernel_nfm"]) & (scores["layer"] != INPUT)
    place = [*RUN, "step", "layer"]
    per_place = scores[machines].groupby(place, observed=True)["probe"].transform("nunique")
    alone = scores[machines][per_place == 1].drop(columns=["probe", "value"])  # kernel_nfm without a metric I
    raw = scores.loc[(scores["layer"] == INPUT) & (scores["probe"] == "kernel_identity"), [*RUN, "probe", "value"]]
    return pd.concat([scores, alone.merge(raw, on=RUN)], ignore_index=True)


def _of_whole(collected: Collected) -> pd.DataFrame:
    """What the whole network is compared by, at every step at which losses are recorded: its test scores."""
    history = collected.history
    tested = history[(history["split"] == "test") & history["metric"].isin(["loss", "accuracy"])]
    quantity = "test " + tested["metric"].astype(str)
    return tested.assign(layer=WHOLE, quantity=quantity, correlation=WHOLE, power=WHOLE)[COMPARED].astype(TEXTS)


class Matched:
    """The table above, to look things up in."""

    def __init__(self, table: pd.DataFrame) -> None:
        """Index the table."""
        records: list[dict[Any, Any]] = table.to_dict("records")
        self._rows = {tuple(row[key] for key in ("cell", "other", *KEYS)): row for row in records}
        self.raised = {row["cell"]: row["raised"] for row in records if row["raised"]}
        self.levels = {row["cell"]: row["level"] for row in records}
        self._others: dict[str, list[str]] = {}
        for row in records:
            here = self._others.setdefault(row["cell"], [])
            if row["other"] not in here:
                here.append(row["other"])

    def others(self, cell: str) -> list[str]:
        """The cells that one is compared with, in the sweep's order."""
        return self._others[cell]

    def row(
        self, cell: str, other: str, layer: str, quantity: str, convention: Convention | None = None
    ) -> dict[Any, Any] | None:
        """Find one comparison; ``convention`` is None for what has none."""
        return self._rows.get((cell, other, layer, quantity, *(convention or (WHOLE, WHOLE))))

    def scores(self, cell: str, layer: str) -> list[str]:
        """The quantities without a convention that a layer, or the whole network, is compared by."""
        found = {key[3]: None for key in self._rows if (key[0], key[2], key[4]) == (cell, layer, WHOLE)}
        return list(found)
