"""The data that the server keeps, and its refusals."""

import itertools
import json
import threading
from dataclasses import dataclass, field
from typing import Any

KEY = "f00dfacef00dfacef00dfacef00dfacef00dface"
ENTITY = "lab"


@dataclass
class ServedRun:
    """A run as the server has it."""

    name: str
    project: str
    entity: str | None = None  # that the client asked for at first
    display_name: str = ""
    group: str = ""
    job_type: str = ""
    state: str = "running"
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    lines: dict[int, str] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    exit_code: int | None = None
    opened: int = 0

    @property
    def history(self) -> list[dict[str, Any]]:
        """All rows, which must have no gaps."""
        assert sorted(self.lines) == list(range(len(self.lines))), sorted(self.lines)
        return [json.loads(self.lines[offset]) for offset in sorted(self.lines)]

    def rows(self) -> list[dict[str, Any]]:
        """History without what the client adds."""
        return [{key: value for key, value in row.items() if not key.startswith("_")} for row in self.history]


@dataclass
class ServedArtifact:
    """An artifact with its files and lineage."""

    id: str
    type: str
    name: str
    digest: str
    made_by: str
    aliases: list[str]
    used_by: list[str] = field(default_factory=list)
    manifest: dict[str, Any] = field(default_factory=dict)
    committed: bool = False
    client_id: str = ""


class State:
    """Everything that was received; its operations are in the classes that derive from it, each called _Operation."""

    address: str  # for WANDB_BASE_URL

    def __init__(self, projects: tuple[str, ...] | None = None) -> None:
        """Start empty; ``projects`` are those that may be written to, or None for all."""
        self.projects = projects
        self.runs: dict[str, ServedRun] = {}
        self.artifacts: dict[str, ServedArtifact] = {}
        self.reports: dict[str, dict[str, Any]] = {}
        self.storage: dict[str, bytes] = {}
        self.lock = threading.RLock()
        self.numbers = itertools.count(1)


class Refused(Exception):
    """A GraphQL error with an HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        """Store message and status."""
        super().__init__(message)
        self.status = status
