"""The numbers of a sweep, prepared for figures and page: both look up in ``Study`` what they draw and write."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from nfa.conventions import CONTROLS, CONVENTIONS, HEADLINE, READOUT, Convention
from nfa.report.statistics.above_control import above_control
from nfa.report.statistics.collected import Collected
from nfa.report.statistics.common_steps import at_common_steps
from nfa.report.statistics.features_alignment import FACTORS, NFCS
from nfa.report.statistics.intervals import over_seeds
from nfa.report.statistics.labels import shown_of
from nfa.report.statistics.predictions import TARGETS, depth_law_points, power_of_slope, prediction_points
from nfa.report.statistics.runs import RUN, at_convention, at_last_step
from nfa.storage.paths import SweepPaths

_OF_FACTORS = (*FACTORS, "directional_haar_sd", "spectral_haar_sd")  # quantities that have no convention
FINALS = (*NFCS, "c_haar_nfc", *FACTORS)
CURVES = (*NFCS, "haar_nfc_sd", *_OF_FACTORS)


@dataclass(frozen=True)
class Curve:
    """One quantity of one layer over checkpoints: means over seeds and their intervals.

    Attributes:
        step: (t,) steps of the checkpoints.
        mean: (t,) means over seeds.
        low: (t,) lower ends of the 95% intervals; NaN with one seed.
        high: (t,) upper ends.
        note: (t,) texts: which limit a value is, or why it is NaN.
    """

    step: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    note: np.ndarray


_EMPTY = np.empty(0)
_NO_CURVE = Curve(_EMPTY, _EMPTY, _EMPTY, _EMPTY, _EMPTY)


@dataclass(frozen=True)
class Study:
    """A sweep's joined tables, derived tables and paths.

    Everything else is computed from these when it is first needed, and kept.

    Attributes:
        collected: What the cells wrote.
        tables: The tables of ``nfa.report.statistics.summaries.make_tables``.
        paths: The folders and files of the sweep.
    """

    collected: Collected
    tables: dict[str, pd.DataFrame]
    paths: SweepPaths

    @cached_property
    def cells(self) -> pd.DataFrame:
        """The table ``cells_summary`` indexed by cell id, with ``group``: the label without the optimizer."""
        labels = self.collected.labels.set_index("cell")
        return self.tables["cells_summary"].set_index("cell").assign(group=labels["group"])

    @cached_property
    def shown(self) -> list[str]:
        """The cells that the page shows: all, or ``CELLS_SHOWN`` evenly spread over the sweep."""
        return shown_of(list(self.cells.index))

    @cached_property
    def groups(self) -> dict[str, list[str]]:
        """Label -> shown cells with the same data, model and training, which differ in the optimizer only."""
        groups: dict[str, list[str]] = {}
        for cell in self.shown:
            groups.setdefault(self.row(cell)["group"], []).append(cell)
        return groups

    @cached_property
    def linear_steps(self) -> bool:
        """True if the checkpoints of all cells are spaced linearly; then axes of steps are linear, too."""
        return all(cell.train.evenly_spaced for cell in self.collected.sweep.cells)

    @cached_property
    def optimizers(self) -> dict[str, int]:
        """Label of each optimizer -> its number, which gives it the same colour in every figure."""
        return {label: index for index, label in enumerate(dict.fromkeys(self.cells["optimizer"]))}

    def pooled_names(self, data: str | None = None) -> str:
        """Name the settings that vary among the cells of one data set; without ``data``, of any data set."""
        sets = [part.index for name, part in self.cells.groupby("data", sort=False) if data in (None, name)]
        pooling = self.collected.pooling
        return ", ".join(dict.fromkeys(setting for cells in sets for setting in pooling.settings(cells)))

    def row(self, cell: str) -> dict[str, Any]:
        """Return one cell's row of ``cells``."""
        return self._rows[cell]

    @cached_property
    def _rows(self) -> dict[str, dict[str, Any]]:
        records: list[dict[Any, Any]] = self.cells.to_dict("records")
        return dict(zip(self.cells.index, records, strict=True))

    def optimizer(self, cell: str) -> int:
        """Return the number of a cell's optimizer, which gives its colour."""
        return self.optimizers[self.row(cell)["optimizer"]]

    @cached_property
    def deepest(self) -> int:
        """The largest depth from the output of any shown layer."""
        return max(depth for cell in self.shown for *_, depth in self.layers(cell))

    @cached_property
    def lowest(self) -> float:
        """The lowest correlation of any shown cell in any convention, so that all panels have the same axes."""
        table = self.tables["alignment_summary"]
        rows = table["quantity"].isin(NFCS) & table["cell"].isin(self.shown)
        return float(table.loc[rows, "mean"].min())

    def layers(self, cell: str) -> list[tuple[str, int, int]]:
        """Return name, index and depth from the output of a cell's layers, in forward order."""
        return self._layers[cell]

    @cached_property
    def _layers(self) -> dict[str, list[tuple[str, int, int]]]:
        columns = ["cell", "layer", "layer_index", "depth_from_output"]
        layers: dict[str, list[tuple[str, int, int]]] = {}
        places = self.tables["alignment_summary"][columns].drop_duplicates()
        for cell, name, index, depth in places.itertuples(index=False):
            layers.setdefault(cell, []).append((name, index, depth))
        return {cell: sorted(rows, key=lambda row: row[1]) for cell, rows in layers.items()}

    def name_at(self, depth: int) -> str | None:
        """Return the name of the layers of a depth from the output, or None if shown cells name them differently."""
        names = {name for cell in self.shown for name, _, here in self.layers(cell) if here == depth}
        return names.pop() if len(names) == 1 else None

    def place_name(self, depth: int) -> str:
        """Return the name of the layers of a depth from the output, or the depth in words if names differ."""
        return self.name_at(depth) or (f"{depth} from the output" if depth else "readout")

    def curve(self, cell: str, quantity: str, layer_index: int, convention: Convention) -> Curve:
        """Look up a quantity of a layer over checkpoints; empty where it has no values in the convention.

        The factors of UC-NFC have no convention, so that they are the same in all of them.
        """
        place = ("", "") if quantity in _OF_FACTORS else convention
        return self._curves.get((cell, quantity, layer_index, *place), _NO_CURVE)

    @cached_property
    def _curves(self) -> dict[tuple[str, str, int, str, str], Curve]:
        table = self.tables["alignment_summary"]
        table = table[table["quantity"].isin(CURVES) & table["cell"].isin(self.shown)]
        factors = table["quantity"].isin(_OF_FACTORS)
        table = table[factors | table["power"].notna()].astype({"correlation": object, "power": object})
        table.loc[factors, ["correlation", "power"]] = ""
        keys = ["cell", "quantity", "layer_index", "correlation", "power"]
        table = table.sort_values([*keys, "step"], kind="stable")
        columns = [table[column].to_numpy() for column in ("step", "mean", "ci_low", "ci_high", "note")]
        edges = np.flatnonzero((table[keys] != table[keys].shift()).any(axis=1).to_numpy())
        starts = table[keys].iloc[edges].itertuples(index=False, name=None)
        slices = pairwise([*edges, len(table)])
        return {key: Curve(*(column[a:b] for column in columns)) for key, (a, b) in zip(starts, slices, strict=True)}

    def above_curve(self, cell: str, layer_index: int) -> Curve:
        """Look up how far a hidden layer's directional factor lies above its control, over checkpoints."""
        return self._above_curves.get((cell, layer_index), _NO_CURVE)

    @cached_property
    def lowest_above(self) -> float:
        """The lowest value of ``above_curve`` of any shown cell; NaN where there is none."""
        return min((float(curve.mean.min()) for curve in self._above_curves.values()), default=float("nan"))

    @cached_property
    def _above_curves(self) -> dict[tuple[str, int], Curve]:
        rows = self.directions_above
        rows = at_common_steps(self.collected, rows[rows["cell"].isin(self.shown)])
        table = over_seeds(rows, ["cell", "layer_index", "step"], "difference")
        curves = {}
        for _, part in table.dropna(subset=["mean"]).groupby(["cell", "layer_index"], sort=False):
            step, mean, low, high = (part[column].to_numpy() for column in ("step", "mean", "ci_low", "ci_high"))
            place = part["cell"].iloc[0], part["layer_index"].iloc[0]
            curves[place] = Curve(step, mean, low, high, np.full(len(part), ""))
        return curves

    @cached_property
    def directions_above(self) -> pd.DataFrame:
        """The directional factor above its control, of every run, checkpoint and hidden layer.

        The rows of ``nfa.report.statistics.above_control.above_control``.
        """
        alignment = self.collected.alignment
        rows = alignment["quantity"].isin(("directional", *CONTROLS["directional"]))
        return above_control(alignment[rows].astype({"cell": str}), "directional")

    @cached_property
    def relative_losses(self) -> pd.DataFrame:
        """Test loss of shown cells over that of their constant predictor: ``cell``, ``step``, mean and interval."""
        table = self.tables["history_summary"]
        table = table[(table["split"] == "test") & (table["metric"] == "loss") & table["cell"].isin(self.shown)]
        constant = table["cell"].map(self.tables["runs"].groupby("cell")["constant_test_loss"].mean())
        return table[["cell", "step"]].join(table[["mean", "ci_low", "ci_high"]].div(constant, axis=0))

    @cached_property
    def probe_means(self) -> pd.DataFrame:
        """Final alignment beside final probe scores, means over seeds in the headline convention.

        One row per data set, shown cell and hidden layer: those and ``depth_from_output``, ``directional_above_haar``,
        ``uc_nfc``, ``probe``.
        """
        joined = self.tables["features_alignment"]
        points = joined[joined["last"] & joined["finished"]]
        by = ["data", "cell", "layer", "depth_from_output"]
        return self._headline_means(points, by, ["directional_above_haar", "uc_nfc", "probe"])

    @cached_property
    def prediction_means(self) -> pd.DataFrame:
        """Predicted beside measured C-NFC, means over seeds in the headline convention.

        One row per data set, shown cell and hidden layer: those and ``depth_from_output``, ``update``, ``first``,
        ``last``, the control of each of these three, such as ``update_control``, and ``first_step``; see
        ``nfa.report.statistics.predictions.prediction_points``.
        """
        by, numbers = ["data", "cell", "layer", "depth_from_output"], ["update", *TARGETS]
        return self._headline_means(
            self.predictions, by, [*numbers, *(f"{name}_control" for name in numbers), "first_step"]
        )

    def _headline_means(self, points: pd.DataFrame, by: list[str], columns: list[str]) -> pd.DataFrame:
        """Average points of hidden layers of shown cells over seeds, in the headline convention."""
        points = points[at_convention(points, HEADLINE) & (points["depth_from_output"] != READOUT)]
        points = points.astype({"cell": str, "layer": str})
        return points[points["cell"].isin(self.shown)].groupby(by, sort=True)[columns].mean().reset_index()

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """The predicted limit C-NFC(0+) beside the C-NFC measured later, per finished run, layer and convention."""
        return prediction_points(self.collected)

    @cached_property
    def depth_law(self) -> pd.DataFrame:
        """The best-fitting power of the AGOP beside the depth law's, per finished run, layer and correlation."""
        return depth_law_points(self.collected)

    def best_power(self, cell: str, layer_index: int, correlation: str) -> dict[str, Any] | None:
        """Look up a layer's means over seeds of the table ``depth_law``; None where no run finished."""
        return self._best_powers.get((cell, layer_index, correlation))

    def law(self, cell: str, layer_index: int) -> float:
        """Return the power that the depth law gives a layer; NaN in a branching network, or where no run finished."""
        row = self.best_power(cell, layer_index, HEADLINE.correlation)
        return float("nan") if row is None else float(row["law"])

    @cached_property
    def _best_powers(self) -> dict[tuple[str, int, str], dict[str, Any]]:
        columns = ["power", "fit", "low", "high", "law", "fit_at_law", "fit_at_1", "slope"]
        by = ["cell", "layer_index", "correlation"]
        means = self.depth_law.groupby(by, observed=True)[columns].mean().reset_index().astype({"cell": str})
        means["slope_power"] = power_of_slope(means["slope"])
        records: list[dict[Any, Any]] = means.to_dict("records")
        return {(row["cell"], row["layer_index"], row["correlation"]): row for row in records}

    @cached_property
    def layer_finals(self) -> pd.DataFrame:
        """Alignment of every layer at the first and the last step of every finished run, in every convention.

        Columns: ``cell``, ``seed``, ``depth_from_output``, ``correlation``, ``power``, ``initial`` (UC-NFC at step 0)
        and ``FINALS``; the factors among them are the same in every convention.
        """
        alignment = self.collected.alignment
        runs = self.tables["runs"]
        finished = runs.loc[runs["status"] == "finished", RUN].astype({"cell": alignment["cell"].dtype})
        of_layer = [*RUN, "depth_from_output", "layer_index"]
        place = [*of_layer, "correlation", "power"]
        wanted = alignment[alignment["quantity"].isin(FINALS)].merge(finished, on=RUN)
        first = wanted[(wanted["step"] == 0) & (wanted["quantity"] == "uc_nfc")].set_index(place)["value"]
        wanted = at_last_step(wanted).astype({"quantity": str})
        split = wanted["quantity"].isin(FACTORS)
        last = wanted[~split & wanted["power"].notna()].pivot(index=place, columns="quantity", values="value")
        factors = wanted[split].pivot(index=of_layer, columns="quantity", values="value")
        table = last.join(first.rename("initial")).reset_index().join(factors, on=of_layer).drop(columns="layer_index")
        return table.reindex(columns=[*RUN, "depth_from_output", "correlation", "power", "initial", *FINALS])

    @cached_property
    def run_means(self) -> pd.DataFrame:
        """``layer_finals`` averaged over hidden layers: one row per finished run and convention."""
        hidden = self.layer_finals[self.layer_finals["depth_from_output"] != READOUT]
        by = [*RUN, "correlation", "power"]
        means = hidden.groupby(by, observed=True)[["initial", *FINALS]].mean().reset_index()
        names = self.cells[["data", "model", "optimizer", "group"]]
        return means.astype({"cell": str}).join(names, on="cell")

    @cached_property
    def cell_means(self) -> dict[Convention, pd.DataFrame]:
        """Convention -> mean and interval, over the finished seeds of each cell, of each column of ``run_means``."""
        long = self.run_means.melt(["cell", "correlation", "power"], ["initial", *FINALS], var_name="measure")
        table = over_seeds(long, ["correlation", "power", "cell", "measure"])
        return {
            convention: table[at_convention(table, convention)].set_index(["cell", "measure"])
            for convention in CONVENTIONS
        }

    @cached_property
    def above_controls(self) -> dict[str, pd.DataFrame]:
        """UC-NFC, its directional and its spectral factor, each compared with its control in every hidden layer.

        Name of the quantity -> the last checkpoint's rows of ``nfa.report.statistics.above_control.above_control`` for
        finished runs, with the column ``initial`` (the value at step 0).
        """
        runs = self.tables["runs"]
        finished = runs.loc[runs["status"] == "finished", RUN]
        alignment, found = self.collected.alignment, {}
        for quantity in ("uc_nfc", "directional", "spectral"):
            rows = alignment[alignment["quantity"].isin((quantity, *CONTROLS[quantity]))].astype({"cell": str})
            points = above_control(rows.merge(finished, on=RUN), quantity)
            place = [*RUN, "layer", "correlation", "power"]
            initial = points.loc[points["step"] == 0, [*place, "value"]].rename(columns={"value": "initial"})
            found[quantity] = at_last_step(points).merge(initial, on=place, how="left", validate="1:1")
        return found

    @cached_property
    def shared(self) -> dict[Any, Any]:
        """Results that several sections of the page use, kept by whoever computes them first."""
        return {}

    @property
    def n_seeds(self) -> int:
        """Number of seeds of the sweep."""
        return len(self.collected.sweep.seeds)

    @cached_property
    def measured_with(self) -> str:
        """The estimator of K and the number of samples, in words."""
        alignment = self.collected.alignment
        estimators = " and ".join(sorted(set(alignment["estimator"].astype(str))))
        samples = " or ".join(f"{n:,}" for n in sorted(set(alignment["n"])))
        return f"{estimators}, n = {samples} training samples"
