"""The data axis of a sweep: data sets that are shipped, downloaded, drawn from a distribution, or the user's own.

Each entry of the registry ``DATA`` has one file with its settings, ``shape`` (the facts that need no loading) and
``load``. ``shape.py`` defines the promised ``DataShape`` and the loaded ``Data``; ``options.py`` holds the settings
that all entries share and applies them. The user's own data come from a file (``file.py``, with ``table.py`` for
tables, ``npz.py`` for arrays, ``suspects.py`` for columns that give the target away) or from a function
(``user_function.py``); both become a data set in ``arrays.py``. ``labels.py`` decides whether targets are classes, and
``one_hot.py`` codes classes as targets.

These entries are in files of another name:

- ``single_index`` and ``multi_index``: ``polynomials``; ``staircase`` and ``sparse_parity``: ``boolean``;
- ``nongaussian``: ``translation_invariant``;
- torchvision's (``mnist``, ``cifar10``, ...): ``vision_sets``; scikit-learn's (``digits``, ...): ``sklearn_sets``.

To add a data set, write one file with its settings, ``shape``, ``load`` and ``ENTRY``, and name it in ``DATA``.
``docs/extend.md`` shows the steps.
"""

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
    user_function,
    vision_sets,
)
from nfa.data.shape import Data, DataEntry, DataShape
from nfa.entries import USERS_OWN

DATA: dict[str, DataEntry] = {
    "fashion_mini": fashion_mini.ENTRY,
    **vision_sets.ENTRIES,
    **sklearn_sets.ENTRIES,
    "file": file.ENTRY,
    USERS_OWN: user_function.ENTRY,
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
