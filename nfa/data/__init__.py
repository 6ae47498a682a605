"""The data axis. To add a data set: write one file with its settings, ``shape`` and ``load``, and name it here."""

from nfa.data import (
    alignment_reversing,
    boolean,
    chain_monomial,
    fashion_mini,
    file,
    gaussian_power_law,
    modular_arithmetic,
    polynomials,
    sklearn_sets,
    teacher,
    translation_invariant,
    two_features,
    vision_sets,
)
from nfa.data import function as user
from nfa.data.shape import Data, DataEntry, DataShape
from nfa.entries import USERS_OWN

DATA: dict[str, DataEntry] = {
    "fashion_mini": fashion_mini.ENTRY,
    **vision_sets.ENTRIES,
    **sklearn_sets.ENTRIES,
    "file": file.ENTRY,
    USERS_OWN: user.ENTRY,
    "chain_monomial": chain_monomial.ENTRY,
    "gaussian_power_law": gaussian_power_law.ENTRY,
    "single_index": polynomials.SINGLE_INDEX,
    "multi_index": polynomials.MULTI_INDEX,
    "staircase": boolean.STAIRCASE,
    "sparse_parity": boolean.SPARSE_PARITY,
    "teacher": teacher.ENTRY,
    "alignment_reversing": alignment_reversing.ENTRY,
    "nongaussian": translation_invariant.ENTRY,
    "two_features": two_features.ENTRY,
    "modular_arithmetic": modular_arithmetic.ENTRY,
}

__all__ = ["DATA", "Data", "DataEntry", "DataShape"]
