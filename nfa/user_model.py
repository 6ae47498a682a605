"""A network of the user's own: ``module:function``, weights and samples from files. Every mistake is one line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from nfa.errors import UserError, nearest, told
from nfa.importing import named
from nfa.users_code import users_code


def load_model(reference: str) -> nn.Module:
    """Make the network that ``module:function`` names.

    Args:
        reference: A module that Python finds (the current folder included), a colon, and in it an ``nn.Module``, or
            something that gives one when called without arguments.

    Raises:
        UserError: No such module or function, or it gives no network.
    """
    module_name, _, name = reference.partition(":")
    if not module_name or not name:
        raise UserError(f"{reference}: write module:function, e.g. my_models:make, for a function in my_models.py")
    made = named(reference, alone=True)
    if not isinstance(made, nn.Module):
        if not callable(made):
            raise UserError(f"{reference}: is a {type(made).__name__}; name a function that returns a network")
        with users_code(f"{reference}: calling it without arguments", alone=True):
            made = made()
    if not isinstance(made, nn.Module):
        raise UserError(f"{reference}: returns {type(made).__name__}, not a torch.nn.Module")
    return made


def load_state(model: nn.Module, path: Path) -> dict[str, Tensor]:
    """Read the state of a network from a .safetensors file.

    Raises:
        UserError: No such file, or names or shapes that are not the network's.
    """
    # State that is no tensor (``get_extra_state``) cannot be in such a file.
    own = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    lazy = next((name for name, value in own.items() if nn.parameter.is_lazy(value)), None)
    if lazy is not None:
        raise UserError(f"{path}: the network's {lazy!r} has no shape yet: run it on a batch in the function")
    state = _tensors(path)
    for name in own:
        if name not in state:
            # A weight with two names is saved under one of them.
            shared = [
                other for other in state if other in own and own[other].is_set_to(own[name]) and own[name].numel() > 0
            ]
            if not shared:
                raise UserError(f"{path}: {name!r} is missing: {nearest(name, state)}")
            state[name] = state[shared[0]]
        if own[name].shape != state[name].shape:
            shapes = f"{tuple(state[name].shape)}, the network's is {tuple(own[name].shape)}"
            raise UserError(f"{path}: {name!r} has shape {shapes}")
    for name in state:
        if name not in own:
            raise UserError(f"{path}: the network has no {name!r}: {nearest(name, own)}")
    return state


def load_samples(model: nn.Module, path: Path) -> tuple[Tensor, Tensor | None]:
    """Read samples and, where there are any, their targets.

    Args:
        model: Floating-point arrays are brought to the number type and the device of its parameters.
        path: A .npz or .safetensors file with an array ``x`` (or a single array of any name), and perhaps ``y``.

    Returns:
        Inputs (n, ...) and targets (n, ...) or None.

    Raises:
        UserError: No such file, or no such arrays.
    """
    arrays: Mapping[str, Tensor]
    if path.suffix == ".npz":
        arrays = _arrays(path)
    elif path.suffix == ".safetensors":
        arrays = _tensors(path)
    else:
        raise UserError(f"{path}: samples are read from .npz or .safetensors files")
    if not arrays:
        raise UserError(f"{path}: holds no array")
    if "x" not in arrays and len(arrays) > 1:
        raise UserError(f"{path}: no array 'x' among {', '.join(sorted(arrays))}: the samples must be called x")
    inputs = arrays["x"] if "x" in arrays else next(iter(arrays.values()))
    targets = arrays.get("y") if "x" in arrays else None
    for name, array in (("x", inputs), ("y", targets)):
        if array is not None and array.dim() == 0:
            raise UserError(f"{path}: {name!r} is a single number; its first axis must count samples")
    if len(inputs) == 0:
        raise UserError(f"{path}: zero samples; at least one is needed")
    if targets is not None and len(targets) != len(inputs):
        raise UserError(f"{path}: {len(inputs)} samples in x but {len(targets)} targets in y")
    return fitted(model, inputs), None if targets is None else fitted(model, targets)


def fitted(model: nn.Module, values: Tensor) -> Tensor:
    """Bring values to the device of a network and, where they are no integers, to its number type."""
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    return values.to(like.device, like.dtype if values.is_floating_point() else torch.int64)


def try_out(model: nn.Module, inputs: Tensor) -> Tensor:
    """Run the network on at most two samples, so that what is wrong with it is said in one line.

    Returns:
        Its outputs.

    Raises:
        UserError: It raises, or does not return a tensor.
    """
    from nfa.alignment.undisturbed import undisturbed

    shape = tuple(inputs.shape[1:])
    on = f", on samples of shape {shape}, {inputs.dtype}"
    with users_code("the network", on, alone=True), undisturbed(model), torch.no_grad():
        outputs = model(inputs[:2].clone())
    if not isinstance(outputs, Tensor):
        raise UserError(f"the network returns {type(outputs).__name__}, not a tensor: wrap it in a module that does")
    return outputs


def _tensors(path: Path) -> dict[str, Tensor]:
    _must_exist(path)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise UserError(f"{path}: not a .safetensors file ({error})") from None


def _arrays(path: Path) -> dict[str, Tensor]:
    _must_exist(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive)
    except Exception as error:  # zipfile, zlib and numpy each have their own
        raise UserError(f"{path}: cannot be read as .npz with plain arrays ({told(error)})") from None
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub":
            raise UserError(f"{path}: {name!r} holds {array.dtype}, not numbers")
    return {name: torch.from_numpy(_native(array)) for name, array in arrays.items()}


def _native(array: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """Bring an array to a number type that torch has, in this machine's byte order."""
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        return array.astype(np.float64)
    if array.dtype.kind in "ui":
        return array.astype(np.int64)
    return array.astype(array.dtype.newbyteorder("="), order="C")


def _must_exist(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"{path}: no such file")
