"""The texts that the column ``note`` of a table can hold: limits that were taken, and reasons why a value is undefined.

Each text is entered into one list by the module that writes it, so that a test can make each of them happen.
"""

REASONS: list[str] = []


def reason(text: str) -> str:
    """Enter a text into the list of those that a note can hold; {names} in it are filled in by ``str.format``."""
    REASONS.append(text)
    return text
