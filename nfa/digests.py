"""Documents that carry a digest of themselves, so that one whose bytes have changed on a disk is not taken for another.

``unsealed(json.loads(text))`` returns the document of ``text = json.dumps(sealed(document))``, or raises ValueError.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

KEY = "digest"


def digest(content: Any) -> str:
    """Hash plain content: SHA-256, hexadecimal, the same whatever the order of keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def sealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """Add a document's digest to it, under the key ``digest``."""
    return {**document, KEY: digest(document)}


def unsealed(document: Any) -> dict[str, Any]:
    """Return a document without its digest.

    Raises:
        ValueError: The document has no digest, or its content is not what the digest was taken of.
    """
    if not isinstance(document, dict):
        raise ValueError("not a document with a digest")
    content = {key: value for key, value in document.items() if key != KEY}
    if document.get(KEY) != digest(content):
        raise ValueError("its content does not have the digest that it was written with")
    return content


def read_sealed(path: Path) -> dict[str, Any]:
    """Read a document from a JSON file, without its digest.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged.
    """
    return unsealed(json.loads(path.read_text(encoding="utf-8")))


def file_digest(path: Path) -> str:
    """Hash the bytes of a file: SHA-256, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
