"""The surroundings of the W&B client: where it may write, and which of the user's settings it may read."""

import configparser
import os
from collections.abc import Iterator
from contextlib import chdir, contextmanager, suppress
from pathlib import Path

# The user's variables that say how to reach the server and as which account. They are kept online only. docs/wandb.md
# lists them.
CONNECTION = (
    "WANDB_API_KEY",
    "WANDB_APP_URL",
    "WANDB_BASE_URL",
    "WANDB_CREDENTIALS_FILE",
    "WANDB_HTTP_TIMEOUT",
    "WANDB_IDENTITY_TOKEN_FILE",
    "WANDB_INSECURE_DISABLE_SSL",
)
FILES = ("WANDB_CREDENTIALS_FILE", "WANDB_IDENTITY_TOKEN_FILE")  # variables that hold a path


@contextmanager
def client_environment(folder: Path, online: bool) -> Iterator[None]:
    """Set the client's variables inside the `with` statement, and restore the environment after it.

    The content of a run comes from the sweep's files alone. Therefore a stray ``WANDB_TAGS`` or ``WANDB_MODE`` is
    removed, and offline also the API key, so that the client cannot write it to a file. Of the user's own file of
    settings, which could name another team, only the server's address is passed on.

    Args:
        folder: Folder of the runs; the client's own files go to its subfolder ``.client``.
        online: True if the client will talk to a server.
    """
    before = {name: value for name, value in os.environ.items() if name.startswith("WANDB_")}
    kept = {name: value for name, value in before.items() if name in CONNECTION} if online else {}
    kept |= {name: os.path.abspath(os.path.expanduser(kept[name])) for name in FILES if name in kept}
    if online and "WANDB_BASE_URL" not in kept and (address := _address_in_settings()):
        kept["WANDB_BASE_URL"] = address
    chosen = {
        "WANDB_DIR": str(folder.parent),  # the client appends `wandb`
        # By default, these folders are in the home directory or the working directory.
        "WANDB_CACHE_DIR": str(folder / ".client" / "cache"),
        "WANDB_DATA_DIR": str(folder / ".client" / "data"),
        "WANDB_ARTIFACT_DIR": str(folder / ".client" / "artifacts"),
        "WANDB_CONFIG_DIR": str(folder / ".client" / "config"),
        "WANDB_SILENT": "true",  # publish prints its own summary
        "WANDB_ERROR_REPORTING": "false",  # sends no crash reports
    }
    try:
        _replace(kept | chosen)
        yield
    finally:
        _replace(before)


@contextmanager
def in_own_folder(folder: Path) -> Iterator[None]:
    """Work in a folder of the client's own inside the `with` statement, where the user has no settings.

    The client reads two files of the working folder: ``wandb/settings`` (made by ``wandb init``), which may name a
    team, notes and a W&B sweep, when it starts; and ``config-defaults.yaml``, which it adds to the configuration of a
    run, when it opens the run. A process has one working folder, so no other thread may use relative paths meanwhile.

    Args:
        folder: Folder of the runs.
    """
    own = folder / ".client"
    own.mkdir(parents=True, exist_ok=True)
    with chdir(own):
        yield


def _address_in_settings() -> str | None:
    """Return the address of the server that ``wandb login --host`` wrote to the user's file of settings, if any."""
    file = Path(os.environ.get("WANDB_CONFIG_DIR", "~/.config/wandb")).expanduser() / "settings"
    settings = configparser.ConfigParser(interpolation=None)
    with suppress(OSError, UnicodeDecodeError, configparser.Error):  # damaged: the client would ignore it too
        settings.read(file, encoding="utf-8")
    return settings.get("default", "base_url", fallback=None)


def _replace(variables: dict[str, str]) -> None:
    """Make ``variables`` the only W&B variables in the environment."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        del os.environ[name]
    os.environ.update(variables)
