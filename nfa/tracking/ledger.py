"""What has been published: one small file per run below ``<tracker's folder>/.state/``, whole or not there.

Snakemake deletes published.json before the job that writes it; this survives, and published.json is made of it.
"""

import json
import re
import shutil
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

from nfa.storage.atomic import write_text
from nfa.storage.locks import waiting_lock

# A run's folder as W&B names it, ending in an id as nfa.tracking.record.run makes it: no one else's folder is removed.
RUN_FOLDER = re.compile(r"(offline-)?run-\d{8}_\d{6}-[0-9a-f]{8}-(s\d+|sweep)-[0-9a-f]{8}(-\d+)?")


@dataclass(frozen=True)
class Entry:
    """One published run.

    Attributes:
        id: The run's id.
        digest: Hash of its content.
        destination: Account and project it is for.
        inputs: Hash of the files and settings it was made from: while these are the same, nothing need be read.
        folder: Name of its local folder; None if it has none.
        sent: Whether a server has all of it.
        superseded: Ids of runs of earlier content that a server has.
        tagged: Which of these are tagged so there.
        live: Whether the run was begun while it trained, and is not complete.
        linked: Whether a server knows its place among bundles of files, which an offline run cannot tell it.
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
    """The published runs of one sweep, and their folders."""

    def __init__(self, folder: Path) -> None:
        """Use ``folder``, which holds the runs' folders and will hold the records."""
        self.folder = folder
        self.state = folder / ".state"

    def locked(self) -> AbstractContextManager[None]:
        """Keep the folder to one process: two would both write what neither finds."""
        return waiting_lock(self.state / "lock", f"publish: another process publishes to {self.folder}")

    def run_lock(self, key: str) -> FileLock:
        """Keep a run to one process: the follower of a stage, or publish."""
        path = self.state / f"{key}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(path)

    def read(self, key: str) -> Entry | None:
        """Return what is known of a run; None if it was never published, or its record is damaged."""
        try:
            content = json.loads(self._file(key).read_text(encoding="utf-8"))
            lists = {name: tuple(content.get(name, ())) for name in ("superseded", "tagged")}
            entry = Entry(**{**content, **lists})
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None
        if not entry.sent and entry.folder and (self.folder / entry.folder / f"run-{entry.id}.wandb.synced").exists():
            # The mark that `wandb sync` leaves.
            return Entry(**{**asdict(entry), "sent": True})
        return entry

    def write(self, key: str, entry: Entry) -> None:
        """Record a run."""
        write_text(self._file(key), json.dumps(asdict(entry)))

    def has_folder(self, entry: Entry) -> bool:
        """Tell whether a run's local folder is still there."""
        return entry.folder is not None and (self.folder / entry.folder / f"run-{entry.id}.wandb").exists()

    def remove(self, folder: str | None) -> None:
        """Remove a run's folder; only one that is named as ours are."""
        if folder is not None and RUN_FOLDER.fullmatch(folder):
            shutil.rmtree(self.folder / folder, ignore_errors=True)

    def remove_halves(self) -> None:
        """Remove folders of runs that no record names: a kill or a failure left them half-written.

        What `wandb sync` has uploaded stays: it is the user's to remove, with `wandb clean`.
        """
        entries = [self.read(f"{file.parent.name}/{file.stem}") for file in self.state.glob("*/*.json")]
        recorded = {entry.folder for entry in entries if entry}
        for folder in self.folder.glob("*run-*"):
            if folder.name not in recorded and not any(folder.glob("*.synced")):
                self.remove(folder.name)

    def _file(self, key: str) -> Path:
        return self.state / f"{key}.json"
