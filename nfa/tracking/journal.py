"""A run's content as lines of an append-only history, and a journal of which were handed to a client.

A server keeps lines in the order they came, and tells how many it has. The journal says which these are: so whatever
was lost on the way, and in whatever order stages ended, what is missing is known, and nothing is sent twice.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from nfa.storage.atomic import write_text
from nfa.tracking.record.pictures import Picture
from nfa.tracking.record.run import RunRecord
from nfa.tracking.record.tables import Table


@dataclass(frozen=True)
class Line:
    """One line of a run's history: a row of a series, a table, a picture or a page.

    Attributes:
        name: What it is; no two lines of a run share it.
        content: The row, the table, the picture, or the text of a page.
    """

    name: str
    content: dict[str, float] | Table | Picture | str

    @cached_property
    def digest(self) -> str:
        """Short hash of name and content."""
        total = hashlib.sha256(self.name.encode())
        match self.content:
            case Table():
                total.update(json.dumps([self.content.names, self.content.rows]).encode())
            case Picture():
                total.update(self.content.caption.encode() + self.content.pixels.tobytes())
            case str():
                total.update(self.content.encode())
            case row:
                total.update(json.dumps(row, sort_keys=True).encode())
        return total.hexdigest()[:16]


def lines_of(run: RunRecord) -> Iterator[Line]:
    """All lines of a run, in the order they are written where nothing is there yet."""
    for series in run.series:
        for row in series.rows:
            yield Line(f"{series.name} {row[series.step]}", row)
    for name, table in run.tables.items():
        yield Line(f"tables/{name}", table)
    for picture in run.pictures:
        yield Line(f"pictures/{picture.name} {picture.step}", picture)
    for name, page in run.pages.items():
        yield Line(f"pages/{name}", page)


class Journal:
    """The lines that were handed over for one run, in order, by digest and name; each is noted before it goes."""

    def __init__(self, path: Path) -> None:
        """Use this file."""
        self.path = path

    def read(self) -> list[tuple[str, str]]:
        """Return digests and names; a last line that a kill cut short counts for nothing."""
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        entries = [entry.partition(" ") for entry in text[: text.rfind("\n") + 1].splitlines()]
        return [(digest, name) for digest, _, name in entries]

    def named(self) -> dict[str, str]:
        """Digests by name."""
        return {name: digest for digest, name in self.read()}

    def write(self, entries: Sequence[tuple[str, str]]) -> None:
        """Begin again with these."""
        write_text(self.path, "".join(f"{digest} {name}\n" for digest, name in entries))

    def add(self, line: Line) -> None:
        """Note one more."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{line.digest} {line.name}\n")

    def fits(self, run: RunRecord) -> bool:
        """Tell whether everything that was handed over is still part of the run's content."""
        return {digest for digest, _ in self.read()} <= {line.digest for line in lines_of(run)}


def journal_of(folder: Path, run_id: str) -> Journal:
    """Journal of a run below a tracker's folder."""
    return Journal(folder / ".state" / "lines" / run_id)
