"""The list of all texts that the column ``note`` of a table can hold: limits that were taken, and why a value is NaN.

The module that writes a text enters it here with ``reason``, so that a test can make each text happen.
"""

REASONS: list[str] = []


def reason(text: str) -> str:
    """Enter a text into the list and return it; {names} in it are filled in later by ``str.format``."""
    REASONS.append(text)
    return text
