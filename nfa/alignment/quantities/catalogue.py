"""The registry of quantities for people: a frame, the table of ``docs/quantities.md``, and the choice of some."""

from collections.abc import Sequence
from math import inf
from typing import Any

import pandas as pd

from nfa.alignment.network.arguments import checked_names
from nfa.alignment.quantities import QUANTITIES
from nfa.alignment.quantities.quantity import Quantity
from nfa.conventions import CORRELATIONS, POWERS
from nfa.errors import nearest


def chosen(names: Any) -> tuple[Quantity, ...]:
    """Find quantities by their names.

    Args:
        names: Names of quantities in any order; None for all.

    Returns:
        The quantities, in the order of the table.

    Raises:
        ValueError: Text in place of a list, an empty list, or a name that no quantity has.

    Example:
        >>> [quantity.name for quantity in chosen(["haar_nfc", "uc_nfc"])]
        ['uc_nfc', 'haar_nfc']
    """
    wanted = checked_names("quantities", "quantity", names)
    if wanted is None:
        return tuple(QUANTITIES.values())
    for name in wanted:
        if name not in QUANTITIES:
            raise ValueError(f"quantities: {name!r}: {nearest(name, QUANTITIES, 'nfa.quantities() lists all names')}")
    return tuple(quantity for name, quantity in QUANTITIES.items() if name in wanted)


def quantities() -> pd.DataFrame:
    """List every quantity that ``nfa.measure`` reports, in the order of its table.

    Returns:
        One row per quantity, all text: ``name`` (as in the column ``quantity``), ``label``, ``meaning``, ``formula``
        (F = WᵀW, G = WᵀKW, W̄ = W − W₀, s the power), ``source``, ``correlations`` and ``powers`` (those in which it is
        given; empty where it has none), ``control`` (the quantity that must be seen beside it; empty where there is
        none), ``range``.

    Example:
        >>> import nfa
        >>> nfa.quantities().set_index("name").loc["uc_nfc", ["label", "control", "range"]].tolist()
        ['UC-NFC', 'haar_nfc', '-1 to 1']
    """
    return pd.DataFrame([_row(quantity) for quantity in QUANTITIES.values()])


def _row(quantity: Quantity) -> dict[str, str]:
    """Describe one quantity in text."""
    return {
        "name": quantity.name,
        "label": quantity.label,
        "meaning": quantity.meaning,
        "formula": quantity.formula,
        "source": quantity.source,
        "correlations": ", ".join(quantity.correlations),
        "powers": ", ".join(quantity.powers),
        "control": quantity.control or "",
        "range": _range(*quantity.range),
    }


def _range(low: float, high: float) -> str:
    """Write a range, such as "-1 to 1"."""
    if low == -inf:
        return "any number"
    return f"at least {_number(low)}" if high == inf else f"{_number(low)} to {_number(high)}"


def _number(value: float) -> str:
    """Write a bound of a range: 1/64 as a fraction."""
    return f"1/{1 / value:g}" if 0 < value < 1 and (1 / value).is_integer() else f"{value:.3g}"


def markdown_table() -> str:
    """Write the registry as the table of ``docs/quantities.md``."""
    head = ("quantity", "definition", "meaning", "given in", "control", "range", "source")
    lines = [_line(head), _line(["---"] * len(head))]
    for quantity in QUANTITIES.values():
        control = f"`{quantity.control}`" if quantity.control else ""
        cells = (quantity.formula, quantity.meaning, _given_in(quantity), control, _range(*quantity.range))
        lines.append(_line([f"`{quantity.name}`", *cells, quantity.source]))
    return "\n".join(lines)


def _given_in(quantity: Quantity) -> str:
    """Name the correlations and powers in which a quantity is given."""
    correlations = "all correlations" if quantity.correlations == CORRELATIONS else ", ".join(quantity.correlations)
    powers = "all powers" if quantity.powers == POWERS else f"power {', '.join(quantity.powers)}"
    return f"{correlations}, {powers}" if quantity.powers else correlations


def _line(cells: Sequence[str]) -> str:
    """Write one row of a Markdown table."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
