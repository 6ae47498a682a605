"""Weights on disk: safetensors files with the run that they belong to and a digest of their content."""

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
from nfa.storage.atomic import replacing, temporary_folder_for
from nfa.sweep.cells import Cell

METADATA = "nfa"  # key of our metadata in the metadata of the file
TENSORS = "tensors"  # key of the digest of the tensors in our metadata


class DamagedError(UserError):
    """A file of weights cannot be read, or its content is not what was written."""


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors to a file, whole or not at all; equal content gives equal bytes.

    Raises:
        OSError: The disk is full, or the system cannot write the file for another reason.
    """
    content, memory = {}, set[int]()
    for name, value in tensors.items():
        plain = value.detach().cpu().contiguous()
        # A weight that two layers share has two names; the format cannot express that, so the weight is written twice.
        content[name] = plain.clone() if plain.untyped_storage().data_ptr() in memory else plain
        memory.add(plain.untyped_storage().data_ptr())
    # safetensors writes metadata in no fixed order; with a single key the bytes are always the same.
    text = {METADATA: json.dumps(sealed({**metadata, TENSORS: _digest(content)}), sort_keys=True)}
    with replacing(path) as temporary, temporary_folder_for(path) as folder:
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
    """Read tensors and their metadata; check that they are as written and belong to the expected run.

    Args:
        path: The file.
        expected: Metadata that the file must have.

    Raises:
        DamagedError: The content of the file is not what was written.
        UserError: The file is missing or belongs to another run.
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
        UserError: As for ``load_tensors``, or the tensors do not fit the network.
    """
    tensors, _ = load_tensors(path, expected)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(f"{path}: not this network's weights: {' '.join(str(error).split())[:200]}") from None


def is_whole(path: Path) -> bool:
    """Return True if a file of weights exists and holds what was written, whichever run it belongs to."""
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
    """Return the metadata that identify the run of a checkpoint."""
    return {"cell": cell.id, "seed": str(seed)}
