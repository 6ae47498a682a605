"""The W&B client's surroundings: where it may write, and what it may take from the environment."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What says how to reach the server and who one is. It is the user's, needed online, and not needed offline.
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
    """Set the client's variables for a while, and put the environment back as it was.

    What a run holds comes from the sweep's files alone, so a stray ``WANDB_TAGS`` or ``WANDB_MODE`` is put aside;
    offline the key as well: what the client does not have, it cannot write.

    Args:
        folder: Where runs are written; the client's own files go to ``.client`` in it.
        online: Whether the client will talk to a server.
    """
    before = {name: value for name, value in os.environ.items() if name.startswith("WANDB_")}
    kept = {name: value for name, value in before.items() if online and name in CONNECTION}
    chosen = {
        "WANDB_DIR": str(folder.parent),  # it adds `wandb` itself
        # By default these are in the home directory or the working directory.
        "WANDB_CACHE_DIR": str(folder / ".client" / "cache"),
        "WANDB_DATA_DIR": str(folder / ".client" / "data"),
        "WANDB_ARTIFACT_DIR": str(folder / ".client" / "artifacts"),
        "WANDB_SILENT": "true",  # publish prints its own summary
        "WANDB_ERROR_REPORTING": "false",  # no crash reports to anyone
    }
    if not online:
        # Online the user's own folder is read: it may name the lab's server. Nothing is written to it either way.
        chosen["WANDB_CONFIG_DIR"] = str(folder / ".client" / "config")
    try:
        _replace(kept | chosen)
        yield
    finally:
        _replace(before)


def _replace(variables: dict[str, str]) -> None:
    """Make these the only W&B variables."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        del os.environ[name]
    os.environ.update(variables)
