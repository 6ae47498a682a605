"""Where a sweep's runs are published to: which tracker, its folder, and how it is opened."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nfa.errors import UserError
from nfa.storage.paths import SweepPaths
from nfa.sweep.cells import Sweep
from nfa.tracking.tracker import Tracker, TrackerError, TrackerUnavailableError

if TYPE_CHECKING:
    from nfa.tracking.weights_and_biases.tracker import WandbTracker


@dataclass(frozen=True)
class Place:
    """Somewhere runs are published to.

    Attributes:
        name: What people call it.
        how: In what way: offline, online, disabled, or locally.
        folder: Holds its local runs, and the records of what was published.
        published: The file that names every published run.
        destination: What a run that was published elsewhere differs in.
        open: Start the tracker.
    """

    name: str
    how: Literal["offline", "online", "disabled", "locally"]
    folder: Path
    published: Path
    destination: str
    open: Callable[[], Tracker]


def wandb_place(sweep: Sweep, paths: SweepPaths) -> Place:
    """Weights & Biases, as the sweep file says."""
    return Place(
        name="W&B",
        how=sweep.wandb.mode,
        folder=paths.wandb,
        published=paths.published,
        destination=f"{sweep.wandb.entity or ''}/{sweep.wandb.project}",
        open=lambda: open_wandb(sweep, paths.wandb),
    )


def mlflow_place(sweep: Sweep, paths: SweepPaths) -> Place:
    """MLflow, in a database beside the results; the experiment has the name of the W&B project."""
    return Place(
        name="MLflow",
        how="locally",
        folder=paths.mlflow,
        published=paths.mlflow / "published.json",
        destination=sweep.wandb.project,
        open=lambda: _open_mlflow(sweep, paths.mlflow),
    )


def open_wandb(sweep: Sweep, folder: Path) -> "WandbTracker":
    """Open Weights & Biases as a sweep asks for it; its client is imported here and nowhere else.

    Raises:
        UserError: A setting is wrong.
        TrackerUnavailableError: The client is not installed or does not work, or its server does not answer.
    """
    settings = sweep.wandb
    assert settings.mode != "disabled"
    try:
        from nfa.tracking.weights_and_biases.tracker import WandbTracker

        return WandbTracker(folder.resolve(), settings.mode, settings.project, settings.entity)
    except (UserError, TrackerUnavailableError):
        raise
    except Exception as error:
        raise TrackerUnavailableError(f"wandb does not work here: {error}") from error


def _open_mlflow(sweep: Sweep, folder: Path) -> Tracker:
    """Open MLflow's store in a folder; its client is imported here and nowhere else."""
    try:
        from nfa.tracking.mlflow_tracker import MlflowTracker
    except ImportError as error:
        raise UserError(f"mlflow: is not installed ({error}); run `pip install 'nfa[mlflow]'`") from error
    try:
        return MlflowTracker(folder.resolve(), sweep.wandb.project)
    except (UserError, TrackerError):
        raise
    except Exception as error:  # of its database's package: a file that is no database, a folder to read only
        reason = str(error).partition("\n")[0]  # its package adds the query
        raise UserError(f"{folder / 'mlflow.db'}: cannot be opened ({reason}); move it away to begin anew") from error
