"""Arguments of the command line that several verbs take."""

import argparse
from collections.abc import Callable

from nfa.errors import one_line


def whole(low: int, high: int, what: str) -> Callable[[str], int]:
    """Make the parser of a whole number from ``low`` to ``high``; anything else "is not ``what``"."""

    def parse(text: str) -> int:
        # Python refuses to convert thousands of digits, with a message of its own.
        if not text.isdecimal() or len(text) > len(str(high)) or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{one_line(text, 40)} is not {what}")
        return int(text)

    return parse


positive = whole(1, 10**1000, "a number of 1 or more")  # whoever uses it says what is too many
