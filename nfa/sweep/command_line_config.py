"""Check the settings that Snakemake takes from its command line by ``--config key=value``."""

from collections.abc import Mapping
from typing import Any

import yaml

from nfa.errors import SweepError, cut, one_line
from nfa.sweep.explain import plain_numbers
from nfa.sweep.read_yaml import check_size


def refuse_nested_text(config: Mapping[str, Any], written: Any) -> None:
    """Refuse numbers inside a mapping or list of ``--config``, which Snakemake has turned into text.

    ``--config seeds=5`` arrives as a number, but the value in ``--config 'train={steps: 5}'`` as the text "5". Some
    settings accept text, so the mistake would not always be noticed.

    Args:
        config: Snakemake's merged configuration.
        written: The content of the sweep file itself.

    Raises:
        SweepError: There is such a text; the line says where to write the value instead.
    """
    check_size(config, "--config")
    config, written = plain_numbers(config), plain_numbers(written)
    for key, value in config.items():
        before = written.get(key) if isinstance(written, Mapping) else None
        if isinstance(value, Mapping | list) and value != before:
            _refuse(value, before, cut(key))


def _refuse(value: Any, before: Any, where: str) -> None:
    """Refuse text that YAML would read as another type and that is not in the sweep file."""
    if value == before:
        return
    if isinstance(value, Mapping):
        known = before if isinstance(before, Mapping) else {}
        for key, part in value.items():
            _refuse(part, known.get(key), f"{where}.{cut(key)}")
    elif isinstance(value, list):
        listed = before if isinstance(before, list) else []
        for place, part in enumerate(value):
            _refuse(part, listed[place] if place < len(listed) else None, f"{where}[{place}]")
    elif isinstance(value, str) and _is_no_text(value):
        raise SweepError(
            f"--config: {where}: Snakemake makes nested values text, here {one_line(value)}; write them in the sweep "
            f"file, or under `sizes:` in it, and choose the size with --config size=NAME"
        )


def _is_no_text(text: str) -> bool:
    """Return True if YAML reads a text as a number, a truth value or null."""
    try:
        return not isinstance(yaml.safe_load(text[:100]), str)
    except (yaml.YAMLError, ValueError):
        return False
