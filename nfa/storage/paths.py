"""The paths of all files of a sweep."""

from dataclasses import dataclass
from pathlib import Path

from nfa.sweep.origin import PLAN


@dataclass(frozen=True)
class CellPaths:
    """Files of one cell, below results/<sweep>/<cell>/."""

    folder: Path

    @property
    def cell(self) -> Path:
        """Canonical parameters, stage hashes, provenance."""
        return self.folder / "cell.json"

    @property
    def tuned(self) -> Path:
        """The values that were found for settings that are tuned; only cells with such settings have it."""
        return self.folder / "tuned.json"

    @property
    def trials(self) -> Path:
        """Losses of all trials of the search for these values."""
        return self.folder / "trials.parquet"

    @property
    def history(self) -> Path:
        """Loss, accuracy, learning rate, norms over training."""
        return self.folder / "history.parquet"

    @property
    def alignment(self) -> Path:
        """Every quantity of every layer and checkpoint."""
        return self.folder / "alignment.parquet"

    @property
    def matrices(self) -> Path:
        """Neural feature matrices and average gradient outer products for the figures, and spectra."""
        return self.folder / "matrices.npz"

    @property
    def probes(self) -> Path:
        """Scores of features: linear probes, kernel machines, geometry, and recovery of directions."""
        return self.folder / "probes.parquet"

    @property
    def timings(self) -> Path:
        """Seconds and peak memory per stage and seed."""
        return self.folder / "timings.parquet"

    @property
    def state(self) -> Path:
        """Saved states and finished parts; not declared by any rule, so that Snakemake never deletes them."""
        return self.folder / ".state"

    def checkpoint(self, seed: int, step: int) -> Path:
        """Return the path of the weights of one run at one step."""
        return self.folder / "checkpoints" / f"seed-{seed}" / f"step-{step}.safetensors"


def search_folder(results: Path, key: str) -> Path:
    """Return the folder of a search for tuned settings with this hash, which sweeps share."""
    return results / ".tuned" / key[:16]


@dataclass(frozen=True)
class SweepPaths:
    """Files of one sweep, below results/<sweep>/.

    Attributes:
        folder: results/<sweep>.
        made: Subfolder of tables, figures and report: "." for those of all cells, "so-far" for those of the finished
            cells (``nfa report``).
    """

    folder: Path
    made: str = "."

    def cell(self, cell_id: str) -> CellPaths:
        """Return the paths of one cell."""
        return CellPaths(self.folder / cell_id)

    @property
    def plan(self) -> Path:
        """The sweep as its jobs read it; written when Snakemake starts, not declared by any rule."""
        return self.folder / PLAN

    @property
    def cells(self) -> Path:
        """The table of cells: id -> every parameter."""
        return self.folder / "cells.tsv"

    @property
    def tables(self) -> Path:
        """Folder of the aggregated tables."""
        return self.folder / self.made / "tables"

    @property
    def figures(self) -> Path:
        """Folder of the figures."""
        return self.folder / self.made / "figures"

    @property
    def report(self) -> Path:
        """The report page."""
        return self.folder / self.made / "report.html"

    @property
    def provenance(self) -> Path:
        """Command, config, versions, commit, machine."""
        return self.folder / "provenance.json"

    @property
    def published(self) -> Path:
        """Record of what has been published: run -> digest, folder, sent."""
        return self.folder / "published.json"

    @property
    def published_runs(self) -> Path:
        """The same record of the runs of cells alone, written while the sweep is still being aggregated."""
        return self.folder / "published_runs.json"

    @property
    def wandb(self) -> Path:
        """Folder of the offline W&B runs; not declared by any rule."""
        return self.folder / "wandb"

    @property
    def mlflow(self) -> Path:
        """Folder of MLflow's store, if MLflow is used; not declared by any rule."""
        return self.folder / "mlflow"
