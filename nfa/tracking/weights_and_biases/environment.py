"""The environment variables of the W&B client: where it may write, and which of the user's settings it may read."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# The user's variables that say how to reach the server and as which account. They are kept online only.
CONNECTION = (
    "WANDB_API_KEY",
    "WANDB_APP_URL",
    "WANDB_BASE_URL",
    "WANDB_CONFIG_DIR",
    "WANDB_CREDENTIALS_FILE",
    "WANDB_ENTITY",
    "WANDB_HTTP_TIMEOUT",
    "WANDB_IDENTITY_TOKEN_FILE",
    "WANDB_INSECURE_DISABLE_SSL",
)


@contextmanager
def client_environment(folder: Path, online: bool) -> Iterator[None]:
    """Set the client's variables inside the `with` statement, and restore the environment after it.

    The content of a run comes from the sweep's files alone. Therefore a stray ``WANDB_TAGS`` or ``WANDB_MODE`` is
    removed, and offline also the API key, so that the client cannot write it to a file.

    Args:
        folder: Folder of the runs; the client's own files go to its subfolder ``.client``.
        online: True if the client will talk to a server.
    """
    before = {name: value for name, value in os.environ.items() if name.startswith("WANDB_")}
    kept = {name: value for name, value in before.items() if online and name in CONNECTION}
    chosen = {
        "WANDB_DIR": str(folder.parent),  # the client appends `wandb`
        # By default, these folders are in the home directory or the working directory.
        "WANDB_CACHE_DIR": str(folder / ".client" / "cache"),
        "WANDB_DATA_DIR": str(folder / ".client" / "data"),
        "WANDB_ARTIFACT_DIR": str(folder / ".client" / "artifacts"),
        "WANDB_SILENT": "true",  # publish prints its own summary
        "WANDB_ERROR_REPORTING": "false",  # sends no crash reports
    }
    if not online:
        # Online, the user's own folder is read, which may name the server of the lab. Nothing is written to it.
        chosen["WANDB_CONFIG_DIR"] = str(folder / ".client" / "config")
    try:
        _replace(kept | chosen)
        yield
    finally:
        _replace(before)


def _replace(variables: dict[str, str]) -> None:
    """Make ``variables`` the only W&B variables in the environment."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        del os.environ[name]
    os.environ.update(variables)
