"""Read YAML safely: only from a regular file of limited size, and only content of limited size.

A few lines of YAML can expand to astronomically many values, because an alias can repeat a list of aliases, and reading
a pipe or a device may never end. Such a file is refused within seconds.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from nfa.errors import SweepError, cut

MAX_BYTES = 500_000  # a larger file takes too long to read
MAX_VALUES = 500_000  # of a document, where the value of an alias counts as often as the alias is used
MAX_DEPTH = 50
_BOOL, _MERGE = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:merge"
_INT = "tag:yaml.org,2002:int"


_Safe: Any = getattr(
    yaml, "CSafeLoader", yaml.SafeLoader
)  # the C loader is ten times faster, but not installed everywhere


class _Loader(_Safe):  # type: ignore[misc]
    """A safe loader that refuses duplicate keys, of which YAML keeps the last, and reads the key ``on`` as text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build one mapping; refuse duplicate keys."""
        seen = set()
        for key_node, _ in node.value:
            if isinstance(key_node, yaml.ScalarNode) and key_node.tag != _MERGE:
                if key_node.tag == _BOOL:
                    key_node.tag = self.DEFAULT_SCALAR_TAG
                key = self.construct_object(key_node)  # values are compared, so 0.5 and 0.50 are one key
                if key in seen:
                    line = key_node.start_mark.line + 1
                    raise SweepError(f"line {line}: {cut(key_node.value)}: given twice; keep one of them")
                seen.add(key)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merge the mappings that ``<<`` names, up to a limit: PyYAML keeps duplicates, which may multiply."""
        merged = 0
        for key_node, value in node.value:
            if key_node.tag == _MERGE:
                for part in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    if isinstance(part, yaml.MappingNode):
                        self.flatten_mapping(part)
                        merged += len(part.value)
                        if merged > MAX_VALUES // 10:
                            line = key_node.start_mark.line + 1
                            raise SweepError(
                                f"line {line}: <<: merges more than {MAX_VALUES // 10:,} settings; merge fewer"
                            )
        super().flatten_mapping(node)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Read a whole number; refuse thousands of digits, for which Python's own message is meant for programmers."""
        if len(node.value) > 1000:
            line = node.start_mark.line + 1
            raise SweepError(
                f"line {line}: {cut(node.value)}: a whole number of {len(node.value):,} digits is too long"
            )
        return int(super().construct_yaml_int(node))


_Loader.add_constructor(_INT, _Loader.construct_yaml_int)


def _text(path: Path) -> str:
    """Read a text file, which must be a regular file: reading a pipe or a device may never end.

    Raises:
        SweepError: There is no such file, it is no regular file, it is too large or it is no text: one line.
    """
    try:
        # Opening a pipe would wait for its other end.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise SweepError(f"{path}: is {_kind(status.st_mode)}, not a file; write the sweep into a file")
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise SweepError(f"{path}: no such file; `nfa init {path}` writes one to start from") from None
    except IsADirectoryError:
        raise SweepError(f"{path}: is a folder, not a file; give the sweep file in it") from None
    except OSError as error:
        raise SweepError(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise SweepError(
            f"{path}: has {status.st_size:,} bytes, but a sweep file has at most {MAX_BYTES:,}; give a sweep file"
        )
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise SweepError(f"{path}: cannot be read: not UTF-8 text") from None


def _kind(mode: int) -> str:
    """Name the kind of a file that is not a regular one."""
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a pipe" if stat.S_ISFIFO(mode) else "a device or socket"


def read_yaml(path: Path) -> Any:
    """Read a YAML file.

    Raises:
        SweepError: The file is missing, cannot be read, is no YAML or expands to too many values: one line.
    """
    text = _text(path)
    try:
        _check_depth(text)
        document = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except SweepError as error:
        raise SweepError(f"{path}: {error}") from None
    except RecursionError:
        raise SweepError(f"{path}: not YAML: nested without end") from None
    except yaml.MarkedYAMLError as error:
        raise SweepError(f"{path}: not YAML: {_explained(error, text)}") from None
    except (yaml.YAMLError, ValueError, TypeError) as error:  # the last two: impossible dates, unhashable keys
        raise SweepError(f"{path}: not YAML: {cut(' '.join(str(error).split()), 300)}") from None
    check_size(document, str(path))
    return document


def _explained(error: yaml.MarkedYAMLError, text: str) -> str:
    """Explain an error of the YAML reader in one line, with its place."""
    mark = error.problem_mark or error.context_mark
    place = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
    if mark is not None and "\t" in "".join(text.splitlines()[mark.line : mark.line + 1])[: mark.column + 1]:
        return f"{place}a tab; indent with spaces"
    return place + cut(" ".join(" ".join(filter(None, (error.context, error.problem))).split()), 300)


def _check_depth(text: str) -> None:
    """Refuse deep nesting, which would crash the C loader, before the document is loaded.

    Raises:
        SweepError: The document is nested more than ``MAX_DEPTH`` deep.
    """
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise SweepError(f"nested more than {MAX_DEPTH} deep")


def check_size(document: Any, source: str) -> None:
    """Refuse a document that expands to too many values, without expanding its aliases.

    Raises:
        SweepError: It expands to more than ``MAX_VALUES`` values, or is nested more than ``MAX_DEPTH`` deep.
    """
    counted: dict[int, int] = {}  # id of a collection -> number of values; all uses of an alias are one object
    open_now: set[int] = set()

    def count(value: Any, depth: int) -> int:
        if not isinstance(value, Mapping | list | tuple | set):
            return 1
        if id(value) in open_now:
            raise SweepError(f"{source}: nested without end, because an alias (*name) is used inside its own value")
        if depth > MAX_DEPTH:
            raise SweepError(f"{source}: nested more than {MAX_DEPTH} deep")
        if id(value) not in counted:
            open_now.add(id(value))
            parts = value.values() if isinstance(value, Mapping) else value
            counted[id(value)] = 1 + sum(count(part, depth + 1) for part in parts)
            open_now.remove(id(value))
        return counted[id(value)]

    total = count(document, 0)
    if total > MAX_VALUES:
        raise SweepError(
            f"{source}: expands to {total:,} values, because aliases (*name) are repeated; at most {MAX_VALUES:,} are "
            f"allowed"
        )
