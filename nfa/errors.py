"""Mistakes a user can make: each is one line that names the thing, its value and the way out."""

import difflib
from collections.abc import Iterable

LONGEST_MESSAGE = 400  # of an exception that is not ours


class UserError(Exception):
    """A mistake in what the user gave. Printed as one line, without a traceback; exit code 2."""

    def __init__(self, message: str) -> None:
        """Keep the message to one line, whatever control characters the user's own words hold."""
        escaped = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
        super().__init__("".join(escaped))


class SweepError(UserError):
    """A sweep file that cannot be run: names the file, the key, the value and what would be right."""


def nearest(name: object, valid: Iterable[str], listed: str | None = None) -> str:
    """Say which valid name is meant and what is valid: the tail of an error message.

    ``listed`` says it where a list of the valid names would be too long to read.
    """
    names = sorted(valid)
    lower = {valid_name.lower(): valid_name for valid_name in names}
    close = difflib.get_close_matches(str(name).lower(), lower, n=1, cutoff=0.5)
    meant = f"did you mean {lower[close[0]]!r}? " if close else ""
    return meant + (listed or f"valid: {', '.join(names)}")


def one_line(text: object, limit: int = 120) -> str:
    """Show a user's value on one line, cut when it is long."""
    shown = " ".join(repr(text).split())
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."


def told(error: BaseException) -> str:
    """Name an exception and what it says, in one line; some of torch's go on for pages, with a C++ stack."""
    message = " ".join(str(error).partition("\nException raised from")[0].split())
    message = message if len(message) <= LONGEST_MESSAGE else message[: LONGEST_MESSAGE - 3] + "..."
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
