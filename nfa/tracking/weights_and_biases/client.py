"""The W&B client: its settings, its log-in, its errors (tested with wandb 0.31)."""

import contextlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import wandb
from pydantic import ValidationError
from wandb.errors import AuthenticationError, CommError, UsageError

from nfa.errors import UserError, one_line
from nfa.tracking.tracker import TrackerError, TrackerUnavailableError

INIT_SECONDS = 30.0  # a server that does not answer is found out after this; the client's own limit is 90
FINISH_SECONDS = 120.0  # a run is a few hundred kilobytes; a server that takes longer is not taking them
REQUEST_SECONDS = 20.0  # one request; what was lost or not answered by then is sent again
RETRY_SECONDS = 10.0  # longest pause between two tries: a server that is back is noticed within this
TRANSMIT_SECONDS = 5.0  # between transmissions while a run is open; lines of a curve come every few seconds at most
WAY_OUT = "correct it, or set `wandb: {mode: offline}` in the sweep file"
REFUSAL = re.compile(r"not found|permission denied|forbidden|not authorized|(?<![:.\d])40[134]\b", re.IGNORECASE)
NO_ANSWER = ("Failed to execute API request", "An error occurred while checking")


def client_settings(
    folder: Path, mode: Literal["offline", "online"], project: str, entity: str | None
) -> wandb.Settings:
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
        # A run's lines are kept by their number: one that is on the server is never sent again, in whatever process.
        resume="allow" if mode == "online" else None,
        x_file_stream_transmit_interval=TRANSMIT_SECONDS,
        x_file_stream_timeout_seconds=REQUEST_SECONDS,
        x_file_stream_retry_wait_max_seconds=RETRY_SECONDS,
        x_file_transfer_timeout_seconds=FINISH_SECONDS,  # a file may be a checkpoint
        x_file_transfer_retry_wait_max_seconds=RETRY_SECONDS,
        x_graphql_timeout_seconds=REQUEST_SECONDS,
        x_graphql_retry_wait_max_seconds=RETRY_SECONDS,
        init_timeout=INIT_SECONDS,
        finish_timeout=FINISH_SECONDS,
        finish_timeout_raises=True,  # a run that did not arrive must not count as sent
    )


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn the client's errors into the boundary's."""
    try:
        yield
    except (UserError, TrackerError):
        raise
    except ValidationError as error:  # of the client's own settings, from the environment or its settings file
        found = error.errors()[0]
        name = "_".join(map(str, found["loc"]))
        raise UserError(
            f"wandb: WANDB_{name.upper()}: {one_line(found['input'])}: {found['msg']}; {WAY_OUT}"
        ) from error
    except (AuthenticationError, UsageError) as error:
        if any(words in str(error) for words in NO_ANSWER):
            # The client raises the same for a key that the server refuses and for a server that does not answer.
            raise TrackerUnavailableError(f"the server does not answer: {_line(error)}") from error
        raise UserError(f"wandb: {_line(error)}; {WAY_OUT}") from error
    except CommError as error:
        if REFUSAL.search(str(error)):
            raise UserError(f"wandb: the server refuses the run: {_line(error)}; {WAY_OUT}") from error
        raise TrackerUnavailableError(f"the server did not take the run: {_line(error)}") from error
    except (TimeoutError, ConnectionError) as error:
        raise TrackerUnavailableError(f"the server did not take the run: {_line(error)}") from error
    except Exception as error:
        raise TrackerError(f"{type(error).__name__}: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")


def check_login(entity: str | None) -> None:
    """Refuse to start online without a key, with a wrong one, or for a team that one is not in.

    The client itself would ask for a key inside a job, and find out about the team at every run.
    """
    if not wandb.login(prompt=False):
        raise UserError(
            "wandb: mode is online, but there is no API key; run `wandb login` or set WANDB_API_KEY, "
            "or set `wandb: {mode: offline}` in the sweep file"
        )
    if entity is not None:
        viewer = wandb.Api().viewer
        mine = sorted({viewer.username, viewer.entity, *viewer.teams} - {None})
        if entity not in mine:
            raise UserError(f"wandb: entity {entity!r} is not yours; this key may write to {', '.join(mine)}")
