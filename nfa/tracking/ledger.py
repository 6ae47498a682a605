"""The ledger of published runs: one small JSON file per run in ``<tracker's folder>/.state/``, written atomically.

Snakemake deletes ``published.json`` before it runs the job that writes this file. The ledger survives, and
``published.json`` is made from it.
"""

import json
import re
import shutil
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from filelock import FileLock

from nfa.storage.atomic import write_text
from nfa.storage.locks import waiting_lock

# Name of a local W&B folder whose run id was made by nfa.tracking.record.run. No other folder is ever removed.
RUN_FOLDER = re.compile(r"(offline-)?run-\d{8}_\d{6}-[0-9a-f]{8}-(s\d+|sweep)-[0-9a-f]{8}(-\d+)?")


@dataclass(frozen=True)
class LedgerEntry:
    """The record of one published run.

    Attributes:
        id: Id of the run.
        digest: Hash of its content.
        destination: Account and project to which it was published.
        inputs: Hash of the files and settings from which it was made; if unchanged, the files need not be read again.
        folder: Name of its local folder; None if it has none.
        sent: True if the server has the complete run.
        superseded: Ids of runs on the server that hold earlier content of this run.
        tagged: Those of ``superseded`` that are already tagged as superseded on the server.
        live: True if the run was begun while it trained and is not complete yet.
        linked: True if the server knows the file bundles that the run used and made. Offline runs cannot say this,
            and a server may refuse artifacts.
    """

    id: str
    digest: str
    destination: str
    inputs: str
    folder: str | None
    sent: bool
    superseded: tuple[str, ...] = ()
    tagged: tuple[str, ...] = ()
    live: bool = False
    linked: bool = False


class Ledger:
    """The records and the local folders of one sweep's published runs."""

    def __init__(self, folder: Path) -> None:
        """Use ``folder``, which holds the runs' local folders; the records are kept in its subfolder ``.state``."""
        self.folder = folder
        self.state = folder / ".state"

    def locked(self) -> AbstractContextManager[None]:
        """Lock the folder, so that two processes never publish the same runs at once."""
        return waiting_lock(self.state / "lock", f"publish: another process publishes to {self.folder}")

    def run_lock(self, key: str) -> FileLock:
        """Return the lock of one run, which either a stage's follower or ``nfa publish`` holds."""
        path = self.state / f"{key}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(path)

    def read(self, key: str) -> LedgerEntry | None:
        """Return the record of a run; None if it was never published or its record is damaged."""
        try:
            content = json.loads(self._file(key).read_text(encoding="utf-8"))
            lists = {name: tuple(content.get(name, ())) for name in ("superseded", "tagged")}
            entry = LedgerEntry(**{**content, **lists})
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None
        if not entry.sent and entry.folder and (self.folder / entry.folder / f"run-{entry.id}.wandb.synced").exists():
            # `wandb sync` leaves this file when it has uploaded the run.
            return replace(entry, sent=True)
        return entry

    def write(self, key: str, entry: LedgerEntry) -> None:
        """Write the record of a run."""
        write_text(self._file(key), json.dumps(asdict(entry)))

    def has_folder(self, entry: LedgerEntry) -> bool:
        """Return True if the run's local folder still exists."""
        return entry.folder is not None and (self.folder / entry.folder / f"run-{entry.id}.wandb").exists()

    def remove(self, folder: str | None) -> None:
        """Remove a run's folder, if its name shows that nfa made it."""
        if folder is not None and RUN_FOLDER.fullmatch(folder):
            shutil.rmtree(self.folder / folder, ignore_errors=True)

    def remove_unrecorded(self) -> None:
        """Remove the run folders that no record names: a kill or a failure left them incomplete.

        Folders that ``wandb sync`` has uploaded stay: the user removes them with ``wandb clean``.
        """
        entries = [self.read(f"{file.parent.name}/{file.stem}") for file in self.state.glob("*/*.json")]
        recorded = {entry.folder for entry in entries if entry}
        for folder in self.folder.glob("*run-*"):
            if folder.name not in recorded and not any(folder.glob("*.synced")):
                self.remove(folder.name)

    def _file(self, key: str) -> Path:
        return self.state / f"{key}.json"
