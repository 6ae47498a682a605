"""Which rule makes a cell: one for all stages of a small cell, or one for each. Imports no torch.

Snakemake tells rules with the same outputs apart by a regular expression of the wildcard. It copies the expression into
every output, and reads through it for every job: so it is kept short, by as much of an id as tells it from the others.
"""

import re
from collections.abc import Collection

from nfa.sweep.cells import Sweep
from nfa.sweep.estimate import estimate

ANY, NONE = "[^/]+", "(?!)"


def cell_patterns(sweep: Sweep) -> tuple[str, str]:
    """Return regular expressions of the ids of a sweep's small cells, and of its other ones."""
    small = {cell.id for cell in sweep.cells if estimate(sweep, cell).small}
    large = sweep.by_id.keys() - small
    return pattern(small, large), pattern(large, small)


def pattern(ids: Collection[str], others: Collection[str]) -> str:
    """Write a regular expression that matches some ids, and none of the others."""
    if not ids or not others:
        return ANY if ids else NONE
    choices = [f"{_beginnings(ids, others)}[^/]*"]  # short where what is in the name decides
    hashes, theirs = ({name.rpartition(".")[2] for name in names} for names in (ids, others))
    if hashes.isdisjoint(theirs):
        choices.append(rf"[^/]+\.{_beginnings(hashes, theirs)}[0-9a-f]*(?![^/])")
    return min(choices, key=len)


def _beginnings(texts: Collection[str], others: Collection[str]) -> str:
    """Write a regular expression of the shortest beginnings that tell some texts from the others.

    No text may begin with the whole of another.
    """
    if not others:
        return ""
    follow: dict[str, tuple[list[str], list[str]]] = {}  # first character -> the rest of those that have it
    for number, group in enumerate((texts, others)):
        for text in group:
            follow.setdefault(text[0], ([], []))[number].append(text[1:])
    branches: dict[str, list[str]] = {}  # what comes next -> first characters
    for first, rest in sorted(follow.items()):
        if rest[0]:
            branches.setdefault(_beginnings(*rest), []).append(re.escape(first))
    written = [f"[{''.join(firsts)}]{after}" if firsts[1:] else firsts[0] + after for after, firsts in branches.items()]
    return f"(?:{'|'.join(written)})" if written[1:] else written[0]
