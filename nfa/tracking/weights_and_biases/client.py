"""Settings, log-in and errors of the W&B client (tested with wandb 0.31)."""

import contextlib
import logging
import re
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import wandb
from pydantic import ValidationError
from wandb.errors import AuthenticationError, CommError, UsageError

from nfa.errors import UserError, one_line
from nfa.tracking.tracker import TrackerError, TrackerUnavailableError

INIT_SECONDS = 30.0  # wait for the server's first answer; the client's default is 90
FINISH_SECONDS = 120.0  # wait for the upload of a run, which has a few hundred kilobytes
# Wait for the end of the service process, which first uploads what `finish` did not wait for: minutes on a slow line.
CLOSE_SECONDS = 600.0
REQUEST_SECONDS = 20.0  # wait for one request; an unanswered request is sent again
RETRY_SECONDS = 10.0  # longest pause between two tries, after which a server that is back is noticed
TRANSMIT_SECONDS = 5.0  # pause between transmissions of an open run; new lines come every few seconds at most
WAY_OUT = "correct it, or set `wandb: {mode: offline}` in the sweep file"
REFUSAL = re.compile(r"not found|permission denied|forbidden|not authorized|(?<![:.\d])40[134]\b", re.IGNORECASE)
BUSY = "the service process is busy and did not respond in time"  # while it tries to reach the server again and again
NO_ANSWER = ("Failed to execute API request", "An error occurred while checking")


def client_settings(
    folder: Path, mode: Literal["offline", "online"], project: str, entity: str | None
) -> wandb.Settings:
    """Return the client's settings; a comment gives the reason for each choice."""
    return wandb.Settings(
        mode=mode,
        project=project,
        entity=entity,
        root_dir=str(folder.parent),
        use_dot_wandb=False,  # the folder is `wandb` even if a folder `.wandb` exists
        reinit="create_new",  # each run is an object of its own, not a global that other code could write to
        console="off",  # the output of publishing is not the output of training, and capturing costs a thread per run
        x_disable_stats=True,  # processor and memory use of publishing say nothing about training
        x_disable_meta=True,  # the config's `provenance` holds the command and machine of the training
        x_disable_machine_info=True,  # the same reason; it also calls the cloud's metadata address
        host="",  # the name of the publishing machine is private
        x_save_requirements=False,  # versions are in `provenance`
        disable_git=True,  # the commit is in `provenance`; and git is slow on a network disk
        disable_code=True,  # the code of a run is a commit of this repository, not a copy of `nfa`
        save_code=False,
        disable_job_creation=True,  # W&B Launch cannot rerun one seed of one cell; Snakemake can
        label_disable=True,  # the client would search the main script for labels
        sagemaker_disable=True,  # SageMaker must not change run ids or configuration
        symlink=False,  # a link `latest-run` is useless among a sweep's runs, and some shared disks have no links
        silent=True,  # publish prints its own summary
        x_log_level=logging.WARNING,  # keeps the three log files per run nearly empty
        x_disable_viewer=True,  # `check_login` checks the account once, not for every run
        # The server numbers a run's lines, so that another process continues after the last line that arrived.
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
    """Turn the client's errors into ``UserError`` and those of ``nfa.tracking.tracker``."""
    try:
        yield
    except (UserError, TrackerError):
        raise
    except ValidationError as error:  # in the client's settings, from the environment
        found = error.errors()[0]
        name = "_".join(map(str, found["loc"]))
        raise UserError(
            f"wandb: WANDB_{name.upper()}: {one_line(found['input'])}: {found['msg']}; {WAY_OUT}"
        ) from error
    except (AuthenticationError, UsageError) as error:
        if any(words in str(error) for words in NO_ANSWER):
            # The client raises the same error if the server refuses the key and if it does not answer.
            raise TrackerUnavailableError(f"the server does not answer: {_why_unanswered(error)}") from error
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
    text = " ".join(str(error).split()).replace(BUSY, "no answer in time")
    return text[:300].rstrip(".")


def _why_unanswered(error: Exception) -> str:
    """Say why a server does not answer, by one connection to it; the client only says that it still tries."""
    found = re.search(r"https?://[^\s/:]+(:\d+)?", str(error))
    if BUSY not in str(error) or found is None:
        return _line(error)
    address = urlsplit(found[0])
    proxy = urllib.request.getproxies().get(address.scheme)
    if proxy and not urllib.request.proxy_bypass(address.netloc):
        return f"{found[0]}: no answer through the proxy"
    port = address.port or {"http": 80, "https": 443}[address.scheme]
    try:
        socket.create_connection((str(address.hostname), port), timeout=REQUEST_SECONDS).close()
    except OSError as refused:
        return f"{found[0]}: {refused.strerror or refused}"
    return f"{found[0]}: it accepts connections, but sends no answer"


def check_login(entity: str | None) -> None:
    """Check the API key and the team before anything is published online.

    Without this check, the client would ask for a key inside a job, and would meet a wrong team at every run.

    Raises:
        UserError: The key is missing or wrong, or the account is not a member of the team ``entity``.
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
