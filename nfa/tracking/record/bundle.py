"""Files that are published as they are, as one versioned thing with a name: what W&B calls an artifact."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path


@dataclass(frozen=True)
class Bundle:
    """Some files.

    Attributes:
        name: Its name, the same for every version of it.
        kind: configuration, checkpoints, tables or report.
        content: Each file by its name in the bundle: a path, or its text.
    """

    name: str
    kind: str
    content: Mapping[str, Path | str]

    @cached_property
    def digest(self) -> str:
        """Hash of names and contents."""
        total = hashlib.sha256()
        for name in sorted(self.content):
            given = self.content[name]
            data = given.encode() if isinstance(given, str) else given.read_bytes()
            total.update(hashlib.sha256(name.encode()).digest() + hashlib.sha256(data).digest())
        return total.hexdigest()
