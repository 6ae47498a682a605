"""Sizes of a sweep file: the file as written, or with the changes of one of its ``sizes``, chosen by the key ``size``.

    sweep: ansatz_mlp
    train: {epochs: 10}
    sizes:
      full: {train: {epochs: 150}, seeds: 5}

With ``size: full`` in the file, ``snakemake --config size=full`` or ``nfa expand FILE --size full`` the file is another
sweep with its own name and results, ``ansatz_mlp-full``.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from nfa.errors import SweepError, nearest, one_line

NAME = re.compile(r"[A-Za-z0-9_]{1,20}")


def at_size(document: Mapping[Any, Any], keys: Sequence[str], source: str) -> dict[Any, Any]:
    """Apply the changes of the chosen size to a sweep document.

    Sections that are mappings in both are joined setting by setting; lists and everything else are replaced as a whole.

    Args:
        document: A sweep document with its name; ``size`` and ``sizes`` may be among its keys.
        keys: The keys that a size may change.
        source: The file, for messages.

    Returns:
        The document without ``size`` and ``sizes``, named after the size.

    Raises:
        SweepError: There is no such size, or one of the sizes is no mapping of a sweep's keys: one line.
    """
    plain = {key: value for key, value in document.items() if key not in ("size", "sizes")}
    sizes = document.get("sizes", {})
    if not isinstance(sizes, Mapping):
        raise SweepError(f"{source}: sizes: {one_line(sizes)} must be a mapping, e.g. {{full: {{seeds: 5}}}}")
    for name, changes in sizes.items():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise SweepError(
                f"{source}: sizes: {one_line(name)} cannot name a folder; use at most 20 letters, digits and _"
            )
        if not isinstance(changes, Mapping):
            raise SweepError(f"{source}: sizes.{name}: {one_line(changes)} must be a mapping, e.g. {{seeds: 5}}")
        for key in changes:
            if key not in keys:
                raise SweepError(f"{source}: sizes.{name}: {one_line(key)}: no such key; {nearest(key, keys)}")
    size = document.get("size")
    if size is None:
        return plain
    if not isinstance(size, str) or size not in sizes:
        known = nearest(size, sizes) if sizes else "the file has no sizes; leave it out"
        raise SweepError(f"{source}: size: {one_line(size)}: no such size; {known}")
    for key, value in sizes[size].items():
        both = isinstance(value, Mapping) and isinstance(plain.get(key), Mapping)
        plain[key] = {**plain[key], **value} if both else value
    return {**plain, "sweep": f"{plain['sweep']}-{size}"}
