"""Weights & Biases: the only file that imports its client (tested with wandb 0.31).

One service process serves all runs of a publish: starting one takes 0.2 s, a run after that about 0.1 s.
"""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import wandb
from PIL import Image
from wandb.errors import AuthenticationError, CommError, UsageError

from nfa.errors import UserError
from nfa.tracking.environment import client_environment
from nfa.tracking.record import RunRecord, Table
from nfa.tracking.tracker import Sent, TrackerError, TrackerUnavailableError

INIT_SECONDS = 30.0  # a server that does not answer is found out after this; the client's own limit is 90
FINISH_SECONDS = 300.0  # a run is a few hundred kilobytes; a server that takes longer is not taking them
NO_ANSWER = ("Failed to execute API request", "An error occurred while checking")
ROWS = 200_000  # rows of a table written at most: the client cuts off at 10,000 and says so only in a log


class WandbTracker:
    """Publishes runs to W&B, or to folders that `wandb sync` uploads later."""

    def __init__(self, folder: Path, mode: Literal["offline", "online"], project: str, entity: str | None) -> None:
        """Start the client's service process.

        Raises:
            UserError: The project's name is none, or online there is no key or a wrong one.
            TrackerUnavailableError: The service process does not start, or the server does not answer.
        """
        self._online = mode == "online"
        self._held = contextlib.ExitStack()
        self._held.enter_context(client_environment(folder, self._online))
        try:
            with _explained():
                self._settings = _settings(folder, mode, project, entity)
                wandb.setup(self._settings)
                if self._online:
                    _check_login()
        except BaseException:
            self.close()
            raise

    def publish(self, run: RunRecord) -> Sent:
        """Publish one run, all of it; see ``Tracker.publish``."""
        with _explained():
            opened = wandb.init(
                id=run.id,
                name=run.name,
                group=run.group,
                job_type=run.job_type,
                tags=run.tags,
                config=run.config,
                settings=self._settings,
            )
            try:
                _write(opened, run)
            except BaseException:
                opened.finish(exit_code=1)
                raise
            opened.finish()
        return Sent(Path(opened.dir).parent.name, sent=self._online)

    def close(self) -> None:
        """Stop the service process and put the environment back. Never raises."""
        # The client ends the interpreter when its service ended badly; the runs are written or not by then.
        with self._held, contextlib.suppress(Exception, SystemExit):
            wandb.teardown()


def _settings(folder: Path, mode: Literal["offline", "online"], project: str, entity: str | None) -> wandb.Settings:
    """Choose every setting that matters, each with its reason."""
    return wandb.Settings(
        mode=mode,
        project=project,
        entity=entity,
        root_dir=str(folder.parent),
        use_dot_wandb=False,  # `wandb`, also where a folder `.wandb` happens to be
        reinit="create_new",  # a run is an object of its own, never a global that other code could write to
        console="off",  # what publish prints is not what training printed, and capturing costs a thread per run
        x_disable_stats=True,  # processor and memory of publishing say nothing about training
        x_disable_meta=True,  # the command and machine that matter are config's `provenance`, from cell.json
        x_disable_machine_info=True,  # the same; it also asks the cloud's metadata address, which is a network call
        host="",  # the name of the publishing machine is nobody's business
        x_save_requirements=False,  # versions are in `provenance`
        disable_git=True,  # so is the commit; and git is slow on a network disk
        disable_code=True,  # the code of a run is a commit of this repository, not a copy of `nfa`
        save_code=False,
        disable_job_creation=True,  # W&B Launch cannot rerun one seed of one cell; Snakemake can
        label_disable=True,  # it would search the main script for labels
        sagemaker_disable=True,  # run ids and configuration are ours wherever this runs
        symlink=False,  # `latest-run` means nothing among a sweep's runs, and some shared disks have no links
        silent=True,  # publish prints its own summary
        x_log_level=logging.WARNING,  # three log files per run stay nearly empty
        x_disable_viewer=True,  # who is logged in is checked once, not for every run
        init_timeout=INIT_SECONDS,
        finish_timeout=FINISH_SECONDS,
        finish_timeout_raises=True,  # a run that did not arrive must not count as sent
    )


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn the client's errors into the boundary's."""
    try:
        yield
    except (UserError, TrackerError):
        raise
    except (AuthenticationError, UsageError) as error:
        way_out = "correct it, or set `wandb: {mode: offline}` in the sweep file"
        raise UserError(f"wandb: {_line(error)}; {way_out}") from error
    except (CommError, TimeoutError, ConnectionError) as error:
        raise TrackerUnavailableError(f"the server did not take the run: {_line(error)}") from error
    except Exception as error:
        raise TrackerError(f"{type(error).__name__}: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")


def _check_login() -> None:
    """Refuse to start online without a key, or with a wrong one: the client would ask for it inside a job."""
    try:
        found = wandb.login(prompt=False)
    except AuthenticationError as error:
        # The client raises the same for a key that the server refuses and for a server that does not answer.
        if any(words in str(error) for words in NO_ANSWER):
            raise TrackerUnavailableError(f"the server does not answer: {_line(error)}") from error
        raise
    if not found:
        raise UserError(
            "wandb: mode is online, but there is no API key; run `wandb login` or set WANDB_API_KEY, "
            "or set `wandb: {mode: offline}` in the sweep file"
        )


def _write(opened: wandb.Run, run: RunRecord) -> None:
    """Write a run's metrics, tables, pictures and summary.

    Never ``step=``: the client drops what goes back to an earlier step, and these series each begin at 0.
    """
    for series in run.series:
        opened.define_metric(series.step, hidden=True, summary="none")
        for prefix in series.prefixes:
            # Without `summary="none"` the table of runs would hold every last value twice: here and under `final/`.
            opened.define_metric(f"{prefix}/*", step_metric=series.step, summary="none")
        for row in series.rows:
            opened.log(row)
    for name, table in run.tables.items():
        key = f"tables/{name}"
        media = _table(table)
        # A table that is bound before it is logged is a file of its run. Unbound, the client also makes an artifact of
        # it, outside the run's folder, by an absolute path: the run could not be moved to where there is a network.
        media.bind_to_run(opened, key, 0)
        opened.log({key: media})
    opened.define_metric("pictures/step", hidden=True, summary="none")
    opened.define_metric("pictures/*", step_metric="pictures/step")
    for picture in run.pictures:
        image = wandb.Image(Image.fromarray(picture.pixels), caption=picture.caption)
        opened.log({"pictures/step": picture.step, f"pictures/{picture.name}": image})
    opened.summary.update(run.summary)


def _table(table: Table) -> Any:
    """Make a W&B table; columns have their types from the schema, so no cell is inspected (five times faster)."""
    wandb.Table.MAX_ROWS = ROWS
    media = wandb.Table(columns=[*table.names], dtype=list(table.columns.values()))
    media.data = table.rows
    return media
