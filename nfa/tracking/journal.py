"""A run's content as lines of an append-only history, and the journal of the lines that were handed to the client.

A W&B server keeps the lines of a run in the order in which they arrived and reports how many it has. The journal of the
run lists the lines in the order in which they were handed over. The two together tell which lines are missing, whatever
was lost on the way and in whatever order the stages ended, so that no line is sent twice.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from nfa.storage.atomic import write_text
from nfa.tracking.record.pictures import RunPicture
from nfa.tracking.record.run import RunRecord
from nfa.tracking.record.tables import RunTable


@dataclass(frozen=True)
class Line:
    """One line of a run's history: a row of a series, a table, a picture or a page.

    Attributes:
        name: Name of the line, unique within a run.
        content: The row, the table, the picture, or the HTML text of the page.
    """

    name: str
    content: dict[str, float] | RunTable | RunPicture | str

    @cached_property
    def digest(self) -> str:
        """Hash of name and content, 16 hexadecimal digits."""
        total = hashlib.sha256(self.name.encode())
        match self.content:
            case RunTable():
                total.update(json.dumps([self.content.names, self.content.rows]).encode())
            case RunPicture():
                total.update(self.content.caption.encode() + self.content.pixels.tobytes())
            case str():
                total.update(self.content.encode())
            case row:
                total.update(json.dumps(row, sort_keys=True).encode())
        return total.hexdigest()[:16]


def lines_of(run: RunRecord) -> Iterator[Line]:
    """Yield all lines of a run in the order in which a new run is written."""
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
    """The list, in order, of the lines of one run that were handed over: each line is noted before it is sent."""

    def __init__(self, path: Path) -> None:
        """Use the file ``path``, which need not exist yet."""
        self.path = path

    def read(self) -> list[tuple[str, str]]:
        """Return pairs of digest and name. A last line that a kill cut short is ignored."""
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        entries = [entry.partition(" ") for entry in text[: text.rfind("\n") + 1].splitlines()]
        return [(digest, name) for digest, _, name in entries]

    def named(self) -> dict[str, str]:
        """Return the digest of each line by its name."""
        return {name: digest for digest, name in self.read()}

    def write(self, entries: Sequence[tuple[str, str]]) -> None:
        """Replace the journal by these pairs of digest and name."""
        write_text(self.path, "".join(f"{digest} {name}\n" for digest, name in entries))

    def add(self, line: Line) -> None:
        """Append one line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{line.digest} {line.name}\n")

    def fits(self, run: RunRecord) -> bool:
        """Return True if every line that was handed over is still part of the run's content."""
        return {digest for digest, _ in self.read()} <= {line.digest for line in lines_of(run)}


def journal_of(folder: Path, run_id: str) -> Journal:
    """Return the journal of a run in a tracker's folder."""
    return Journal(folder / ".state" / "lines" / run_id)
