"""The data axis. To add a data set: write one file with its settings, ``shape`` and ``load``, and name it here."""

from nfa.data import chain_monomial, fashion_mini
from nfa.data.shape import Data, DataEntry, DataShape

DATA: dict[str, DataEntry] = {
    "fashion_mini": fashion_mini.ENTRY,
    "chain_monomial": chain_monomial.ENTRY,
}

__all__ = ["DATA", "Data", "DataEntry", "DataShape"]
