"""The parts of the W&B client that are not public. All of them are in this file, because a new version may move them.

The client raises two errors when its service process has died, and gives them no public name: they are imported from
``wandb.sdk.mailbox``. ``wandb.Table._set_file`` writes a table without inspecting each cell.
``wandb.sdk.wandb_setup.singleton`` returns the client's state in this process. Where the installed
version lacks one of these, importing this file raises an error of one line that names the version to install.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import wandb

from nfa.errors import UserError

OLDEST_VERSION = "0.31"  # the oldest version that is known to have these parts; pyproject.toml says the same

try:
    from wandb.sdk.mailbox import HandleAbandonedError, MailboxClosedError
    from wandb.sdk.wandb_setup import singleton

    if not hasattr(wandb.Table, "_set_file"):
        raise ImportError("wandb.Table has no method _set_file")
except ImportError as error:
    raise UserError(
        f"wandb: version {wandb.__version__} lacks a part that nfa uses ({error}); install version {OLDEST_VERSION}, "
        "or set `wandb: {mode: disabled}` in the sweep file"
    ) from error

SERVICE_ENDED = (HandleAbandonedError, MailboxClosedError)


def refuse_a_client_in_use() -> None:
    """Refuse to open the client where something else has opened it in this process.

    A process has one client. Runs would be written with the settings of the other user, and the client's end would end
    the other user's runs.

    Raises:
        UserError: The client is open.
    """
    if singleton().settings_if_loaded is not None:
        raise UserError(
            "wandb: this Python process has opened the W&B client already (wandb.init, wandb.login or wandb.Api), and "
            "publishing would end its runs; publish in a process of its own, with the command `nfa publish`"
        )


class PlainTable(wandb.Table):
    """A table of plain values, written without the client's search of every cell for arrays.

    That search would take a third of the time in which a run is published.
    """

    def bind_to_run(self, *arguments: Any, **named: Any) -> None:
        """Write the table as a file of the run."""
        with TemporaryDirectory() as folder:
            path = Path(folder) / "plain.table.json"
            content = json.dumps({"columns": self.columns, "data": self.data}, allow_nan=False)
            path.write_text(content, encoding="utf-8")
            self._set_file(str(path), is_tmp=True, extension=".table.json")
            super(wandb.Table, self).bind_to_run(*arguments, **named)  # moves the file; skips the inspection of `Table`
