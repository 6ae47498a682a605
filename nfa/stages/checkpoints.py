"""Weights on disk: safetensors files that say which run they belong to."""

import json
import os
import re
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nfa.errors import UserError
from nfa.tables import folder_beside, replacing

METADATA = "nfa"  # key of our metadata in the file's


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors, whole or not at all; equal content gives equal bytes.

    Raises:
        OSError: The disk is full, or the file cannot be written for another reason of the system's.
    """
    # safetensors writes its metadata in no fixed order: one key keeps the bytes the same.
    text = {METADATA: json.dumps(metadata, sort_keys=True)}
    content, memory = {}, set[int]()
    for name, value in tensors.items():
        own = value.detach().cpu().contiguous()
        # A weight of two layers has two names, and a file no way to say so: it is written twice.
        content[name] = own.clone() if own.untyped_storage().data_ptr() in memory else own
        memory.add(own.untyped_storage().data_ptr())
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
    """Read tensors and their metadata, checking that the file belongs where it lies.

    Raises:
        UserError: The file is missing, damaged, or belongs to another run; nothing is changed.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(json.loads((file.metadata() or {}).get(METADATA, "{}")))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except FileNotFoundError:
        raise UserError(f"{path}: checkpoint is missing; run `nfa train` for this cell to make it again") from None
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: damaged checkpoint ({reason}); remove the file and train the cell again") from None
    for key, value in expected.items():
        if metadata.get(key) != value:
            raise UserError(
                f"{path}: a foreign checkpoint: its {key} is {metadata.get(key)!r}, expected {value!r}; move it away"
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
