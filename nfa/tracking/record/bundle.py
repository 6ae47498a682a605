"""Files that are published unchanged under one name, with versions: W&B calls such a bundle an artifact."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path


@dataclass(frozen=True)
class Bundle:
    """A named set of files.

    Attributes:
        name: Name of the bundle, the same for all its versions.
        kind: configuration, checkpoints, tables or report.
        content: File name in the bundle -> path of the file, or its text.
    """

    name: str
    kind: str
    content: Mapping[str, Path | str]

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the names and contents of the files."""
        total = hashlib.sha256()
        for name in sorted(self.content):
            given = self.content[name]
            data = given.encode() if isinstance(given, str) else given.read_bytes()
            total.update(hashlib.sha256(name.encode()).digest() + hashlib.sha256(data).digest())
        return total.hexdigest()
