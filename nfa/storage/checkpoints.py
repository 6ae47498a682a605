"""Weights on disk: safetensors files that say which run they belong to, and carry a digest of all that they hold."""

import hashlib
import json
import os
import re
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nfa.digests import sealed, unsealed
from nfa.errors import UserError, one_line
from nfa.storage.atomic import folder_beside, replacing
from nfa.sweep.cells import Cell

METADATA = "nfa"  # key of our metadata in the file's
TENSORS = "tensors"  # key, among our metadata, of the digest of the tensors


class DamagedError(UserError):
    """A file of weights that cannot be read, or whose content is not what was written."""


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors, whole or not at all; equal content gives equal bytes.

    Raises:
        OSError: The disk is full, or the file cannot be written for another reason of the system's.
    """
    content, memory = {}, set[int]()
    for name, value in tensors.items():
        own = value.detach().cpu().contiguous()
        # A weight of two layers has two names, and a file no way to say so: it is written twice.
        content[name] = own.clone() if own.untyped_storage().data_ptr() in memory else own
        memory.add(own.untyped_storage().data_ptr())
    # safetensors writes its metadata in no fixed order: one key keeps the bytes the same.
    text = {METADATA: json.dumps(sealed({**metadata, TENSORS: _digest(content)}), sort_keys=True)}
    with replacing(path) as temporary, folder_beside(path) as folder:
        try:
            save_file(content, folder / "file", text)
        except SafetensorError as error:
            found = re.search(r"os error (\d+)", str(error))
            if found is None:
                raise
            code = int(found.group(1))
            raise OSError(code, os.strerror(code)) from None
        (folder / "file").replace(temporary)


def load_tensors(path: Path, expected: dict[str, str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors and their metadata, checking that they are as they were written and belong where they lie.

    Raises:
        DamagedError: The file is not what was written.
        UserError: The file is missing or belongs to another run. Nothing is changed in any case.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = unsealed(json.loads((file.metadata() or {}).get(METADATA, "{}")))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        if metadata.pop(TENSORS, None) != _digest(tensors):
            raise ValueError("the tensors do not have the digest that they were written with")
    except FileNotFoundError:
        raise UserError(f"{path}: checkpoint is missing; run `nfa train` for this cell to make it again") from None
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise DamagedError(
            f"{path}: damaged checkpoint ({reason}); run `nfa train` for this cell to make it again"
        ) from None
    for key, value in expected.items():
        if metadata.get(key) != value:
            raise UserError(
                f"{path}: a foreign checkpoint: its {key} is {one_line(metadata.get(key))}, expected "
                f"{one_line(value)}; move it away"
            )
    return tensors, metadata


def load_weights(model: torch.nn.Module, path: Path, expected: dict[str, str]) -> None:
    """Load a checkpoint into a network.

    Raises:
        UserError: As for ``load_tensors``, or the tensors are not this network's.
    """
    tensors, _ = load_tensors(path, expected)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(f"{path}: not this network's weights: {' '.join(str(error).split())[:200]}") from None


def is_whole(path: Path) -> bool:
    """Tell whether a file of weights is there and holds what was written, whichever run it belongs to."""
    if not path.exists():
        return False
    try:
        load_tensors(path, {})
    except DamagedError:
        return False
    return True


def _digest(tensors: dict[str, Tensor]) -> str:
    """Hash the names, types, shapes and bytes of tensors."""
    total = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        total.update(json.dumps([name, str(value.dtype), list(value.shape)]).encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def run_identity(cell: Cell, seed: int) -> dict[str, str]:
    """Which run a checkpoint belongs to, as its metadata say."""
    return {"cell": cell.id, "seed": str(seed)}
