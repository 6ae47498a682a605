"""Errors for people: a mistake of the user is one line that names the thing, its value and what would be right."""

import difflib
import math
import os
import reprlib
import sysconfig
import traceback
from collections.abc import Iterable
from itertools import islice
from types import FrameType

USERS_MODULES: set[str] = set()  # top-level names of the modules that a ``module:function`` named
_OWN = os.path.dirname(os.path.abspath(__file__)) + os.sep
_INSTALLED = ("site-packages", "dist-packages", *{sysconfig.get_path(name) for name in ("stdlib", "platstdlib")})

LONGEST_ECHO = 80  # characters of a user's value or key in a message
LONGEST_MESSAGE = 400  # characters of another library's message


class UserError(Exception):
    """A mistake in the user's input. It is printed as one line without a traceback; the exit code is 2."""

    def __init__(self, message: str) -> None:
        """Keep the message on one line: control characters in the user's own words are escaped."""
        escaped = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
        super().__init__("".join(escaped))


class SweepError(UserError):
    """A mistake in a sweep file: the line names the file, the key, the value and what would be right."""


def nearest(name: object, valid: Iterable[str], listed: str | None = None) -> str:
    """Return the end of an error message about a wrong name: the most similar valid name, and the list of valid names.

    Args:
        name: The wrong name.
        valid: The valid names.
        listed: A text in place of the list, where the list would be too long to read.

    Example:
        >>> nearest("mpl", ["mlp", "conv"])
        "did you mean 'mlp'? valid: conv, mlp"
    """
    names = sorted(valid)
    lower = {valid_name.lower(): valid_name for valid_name in names}
    given = name if isinstance(name, str) else one_line(name)
    close = difflib.get_close_matches(given[:LONGEST_ECHO].lower(), lower, n=1, cutoff=0.5)
    meant = f"did you mean {lower[close[0]]!r}? " if close else ""
    return meant + (listed or f"valid: {', '.join(cut(valid_name) for valid_name in names)}")


def one_line(value: object, limit: int = LONGEST_ECHO) -> str:
    """Write a user's value on one line, cut to ``limit`` characters; only the first parts of a large value are read."""
    return cut(" ".join(_Short(limit).repr(value).split()), limit)


def cut(text: object, limit: int = LONGEST_ECHO) -> str:
    """Write a user's word, such as a key, without quotes, cut to ``limit`` characters."""
    if not isinstance(text, str):
        return one_line(text, limit)
    return text if len(text) <= limit else text[: limit - 3] + "..."


class _Short(reprlib.Repr):
    """Python's ``repr`` in bounded time, also for large collections, long text and very long numbers."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit
        self.maxlevel, self.maxother = 4, 10 * limit
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdict = 16

    def repr_str(self, x: str, level: int) -> str:
        """Write the beginning of a text."""
        return repr(x[: self.limit])[:-1] + "..." if len(x) > self.limit else repr(x)

    def repr_int(self, x: int, level: int) -> str:
        """Write a whole number, or its length if it has thousands of digits, which Python refuses to write."""
        digits = int(x.bit_length() * math.log10(2)) + 1
        return repr(x) if digits <= 1000 else f"a number of about {digits:,} digits"

    def repr_dict(self, x: dict[object, object], level: int) -> str:
        """Write a mapping in its own order, where ``reprlib`` would sort it."""
        if level <= 0:
            return "{...}"
        parts = [f"{self.repr1(key, level - 1)}: {self.repr1(x[key], level - 1)}" for key in islice(x, self.maxdict)]
        return "{" + ", ".join([*parts, *["..."] * (len(x) > self.maxdict)]) + "}"


def describe(error: BaseException) -> str:
    """Describe an exception in one line: its type, its message and the place in the user's code where it was raised.

    Long messages are cut: some of torch's have several pages, with a C++ stack.
    """
    try:
        text = str(error)
    except BaseException:  # the user's own exception class can raise here
        text = ""
    message = " ".join(text.partition("\nException raised from")[0].split())
    message = message if len(message) <= LONGEST_MESSAGE else message[: LONGEST_MESSAGE - 3] + "..."
    description = f"{type(error).__name__}: {message}" if message else type(error).__name__
    place = None if isinstance(error, SyntaxError) else users_place(error)  # a syntax error names its own place
    return description if place is None else f"{description} ({place})"


def users_place(error: BaseException) -> str | None:
    """Return ``file:line`` of the innermost user's code that an exception passed; None if it passed none."""
    found = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        if _is_users(frame):
            found = frame.f_code.co_filename, line
    if found is None:
        return None
    path = os.path.relpath(found[0])
    return f"{found[0] if path.startswith(os.pardir) else path}:{found[1]}"


def _is_users(frame: FrameType) -> bool:
    """Return True if a frame runs code of a module that the user named, or of a file that is not installed."""
    file, module = frame.f_code.co_filename, str(frame.f_globals.get("__name__", ""))
    if file.startswith("<") or module.partition(".")[0] == "nfa" or os.path.abspath(file).startswith(_OWN):
        return False
    if module.partition(".")[0] in USERS_MODULES:
        return True
    # Compiled modules name source files that do not exist on this machine.
    return os.path.isfile(file) and not any(folder in file for folder in _INSTALLED)


class Preempted(Exception):
    """The process was told to stop, and has saved its work."""
