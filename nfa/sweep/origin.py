"""The sweep file that results come from, as the plan and provenance.json remember it. Imports no torch."""

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

PLAN = ".plan.json"  # name of the file in a sweep's results that says what its jobs are to do


@dataclass(frozen=True)
class Origin:
    """A sweep file at the time when it was read.

    Attributes:
        file: Its absolute path.
        name: The name of the sweep in the file itself; the name of the file where it gives none.
        digest: Hash of what it says, as YAML: comments and the order of keys are not in it.
    """

    file: Path
    name: str
    digest: str

    @classmethod
    def of(cls, file: Path, content: Any) -> "Origin":
        """Describe a file by its content, which was read from it before."""
        name = content.get("sweep", file.stem) if isinstance(content, Mapping) else file.stem
        try:
            said = digest(plain_numbers(content))
        except (ValueError, TypeError, RecursionError):  # dates, say, or an alias inside what it names: no sweep
            said = digest(file.read_text(encoding="utf-8"))
        return cls(Path(os.path.abspath(file)), str(name), said)

    @classmethod
    def remembered(cls, document: Mapping[str, Any], results: Path) -> "Origin":
        """Take it from a plan or from provenance.json in the folder ``results``, results/<sweep>."""
        return cls(_working_folder(results) / document["file"], document["name"], document["digest"])

    def document(self, results: Path) -> dict[str, str]:
        """Describe it for the folder ``results``: relative to where Snakemake works, where the file lies there.

        So results and sweep file can be moved together.
        """
        folder = _working_folder(results)
        inside = self.file.is_relative_to(folder)
        file = self.file.relative_to(folder).as_posix() if inside else str(self.file)
        return {"file": file, "name": self.name, "digest": self.digest}

    def now(self) -> "Origin | None":
        """Read the file again; None where it is not there any more or is no YAML."""
        try:
            return Origin.of(self.file, read_yaml(self.file))
        except SweepError:
            return None


def _working_folder(results: Path) -> Path:
    """The folder in which Snakemake works: that of the folder ``results``."""
    return Path(os.path.abspath(results)).parent.parent


def plan_text(document: Mapping[str, Any], origin: Origin | None, results: Path) -> str:
    """Write out a plan: the sweep as its jobs read it, and the file that it comes from."""
    plan = {"document": document, "origin": origin.document(results) if origin else None}
    return json.dumps({**plan, "digest": digest(plan)}, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def read_plan(path: Path) -> tuple[dict[str, Any], Origin | None]:
    """Read a plan: the sweep's document, and the file that it comes from.

    Raises:
        UserError: It is missing or damaged.
    """
    try:
        plan = read_sealed(path)
        origin = plan["origin"] and Origin.remembered(plan["origin"], path.parent)
        return dict(plan["document"]), origin
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UserError(f"{path}: cannot be read: {reason}") from None
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{path}: damaged; start `snakemake` on the sweep file again, which writes it anew") from None
