"""The places to which runs can be published, W&B and MLflow: their folder, project, and a function to open them."""

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
    """A place to which runs are published.

    Attributes:
        name: Name of the tracker, for messages.
        how: How runs are published: offline, online, disabled, or locally.
        folder: Folder of the local runs and of the ledger.
        published: The file that lists every published run.
        destination: Account and project; a run that was published to another one is published again.
        open: Function that starts the tracker.
    """

    name: str
    how: Literal["offline", "online", "disabled", "locally"]
    folder: Path
    published: Path
    destination: str
    open: Callable[[], Tracker]


def wandb_place(sweep: Sweep, paths: SweepPaths) -> Place:
    """Return the W&B place that the sweep file asks for."""
    return Place(
        name="W&B",
        how=sweep.wandb.mode,
        folder=paths.wandb,
        published=paths.published,
        destination=f"{sweep.wandb.entity or ''}/{sweep.wandb.project}",
        open=lambda: open_wandb(sweep, paths.wandb),
    )


def mlflow_place(sweep: Sweep, paths: SweepPaths) -> Place:
    """Return the MLflow place: a database in the results folder. The experiment is named like the W&B project."""
    return Place(
        name="MLflow",
        how="locally",
        folder=paths.mlflow,
        published=paths.mlflow / "published.json",
        destination=sweep.wandb.project,
        open=lambda: _open_mlflow(sweep, paths.mlflow),
    )


def open_wandb(sweep: Sweep, folder: Path) -> "WandbTracker":
    """Open Weights & Biases with the sweep's settings. The client is imported only by this function.

    Raises:
        UserError: A setting is wrong, or the installed client is too old.
        TrackerUnavailableError: The client is not installed or does not work, or the server does not answer.
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
    """Open the MLflow store in ``folder``. The client is imported only by this function."""
    try:
        from nfa.tracking.mlflow_tracker import MlflowTracker
    except ImportError as error:
        raise UserError(f"mlflow: is not installed ({error}); run `pip install 'nfa[mlflow]'`") from error
    try:
        return MlflowTracker(folder.resolve(), sweep.wandb.project)
    except (UserError, TrackerError):
        raise
    except Exception as error:  # raised by the database package: the file is no database, or the folder is read-only
        reason = str(error).partition("\n")[0]  # the next lines quote the query
        raise UserError(f"{folder / 'mlflow.db'}: cannot be opened ({reason}); move it away to start anew") from error
