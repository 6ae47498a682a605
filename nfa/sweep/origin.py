"""Record which sweep file results come from, in the plan and in provenance.json. Imports no torch."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfa.digests import digest, read_sealed
from nfa.errors import SweepError, UserError
from nfa.sweep.explain import plain_numbers
from nfa.sweep.read_yaml import read_yaml

PLAN = ".plan.json"  # the file in a sweep's results from which its jobs read the sweep


@dataclass(frozen=True)
class Origin:
    """A sweep file at the time when it was read.

    Attributes:
        file: Its absolute path.
        name: The name of the sweep in the file; if the file gives no name, the file's own name without suffix.
        digest: Hash of the content that YAML reads, so comments and the order of keys do not change it.
    """

    file: Path
    name: str
    digest: str

    @classmethod
    def of(cls, file: Path, content: Any) -> "Origin":
        """Describe a file whose content was read before."""
        name = content.get("sweep", file.stem) if isinstance(content, Mapping) else file.stem
        try:
            hashed = digest(plain_numbers(content))
        except (ValueError, TypeError, RecursionError):  # no sweep: it has dates, or an alias inside its own value
            hashed = digest(file.read_text(encoding="utf-8"))
        return cls(Path(os.path.abspath(file)), str(name), hashed)

    @classmethod
    def remembered(cls, document: Mapping[str, Any], results: Path) -> "Origin":
        """Read the description from the document of a plan or a provenance.json in ``results``, results/<sweep>."""
        return cls(_working_folder(results) / document["file"], document["name"], document["digest"])

    def document(self, results: Path) -> dict[str, str]:
        """Return the description to be kept in ``results``, so that results and sweep file can be moved together.

        The path is relative to the folder in which Snakemake works, if the file is inside that folder.
        """
        folder = _working_folder(results)
        inside = self.file.is_relative_to(folder)
        file = self.file.relative_to(folder).as_posix() if inside else str(self.file)
        return {"file": file, "name": self.name, "digest": self.digest}

    def now(self) -> "Origin | None":
        """Describe the file as it is now; None if it is gone or is no YAML."""
        try:
            return Origin.of(self.file, read_yaml(self.file))
        except SweepError:
            return None


def _working_folder(results: Path) -> Path:
    """Return the folder in which Snakemake works, two above a sweep's results."""
    return Path(os.path.abspath(results)).parent.parent


def plan_text(document: Mapping[str, Any], origin: Origin | None, results: Path) -> str:
    """Return the text of a plan: the document of the sweep, from which its jobs read it, and the sweep file."""
    plan = {"document": document, "origin": origin.document(results) if origin else None}
    return json.dumps({**plan, "digest": digest(plan)}, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def read_plan(path: Path) -> tuple[dict[str, Any], Origin | None]:
    """Read a plan; return the sweep's document and the sweep file.

    Raises:
        UserError: The plan is missing or damaged.
    """
    try:
        plan = read_sealed(path)
        origin = plan["origin"] and Origin.remembered(plan["origin"], path.parent)
        return dict(plan["document"]), origin
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UserError(f"{path}: cannot be read: {reason}") from None
    except (ValueError, TypeError, KeyError):
        raise UserError(
            f"{path}: damaged; start `snakemake` with the sweep file again, which writes a new plan"
        ) from None
