"""A network of the user's own: it is built by ``module:function`` and takes weights from a file.

Every mistake is one line.
"""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from nfa.alignment.initial import unused, unwrapped
from nfa.alignment.network.fitting import misfit
from nfa.alignment.network.layers import plain
from nfa.alignment.network.measuring_mode import measuring_mode
from nfa.errors import UserError, nearest, one_line
from nfa.external.references import named
from nfa.external.users_code import users_code

PICKLES = (".pt", ".pth", ".ckpt", ".bin", ".pkl")
STARTS = (
    b"PK\x03\x04",
    b"\x80\x02\x8a\n",
)  # first bytes of what torch.save writes: a zip archive, and formerly a pickle


def load_model(reference: str) -> nn.Module:
    """Make the network that ``module:function`` names.

    Args:
        reference: A module that Python finds (the current folder included), a colon, and the name of an ``nn.Module``
            or of something that returns one when called without arguments.

    Raises:
        UserError: There is no such module or function, or it gives no network.
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
        UserError: There is no such file, or its names or shapes are not those of the network.
    """
    model = plain(model)
    # Such a file holds tensors only, so other state (``get_extra_state``) is not asked for.
    own = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    lazy = next((name for name, value in own.items() if nn.parameter.is_lazy(value)), None)
    if lazy is not None:
        raise UserError(
            f"{path}: the network's {one_line(lazy)} has no shape yet: run a batch through it in the function"
        )
    state = dict(unwrapped(read_tensors(path), own))
    for name in own:
        if name not in state and unused(name):
            continue
        if name not in state:
            # A weight that has two names is saved under one of them.
            shared = [
                other for other in state if other in own and own[other].is_set_to(own[name]) and own[name].numel() > 0
            ]
            if not shared:
                raise UserError(f"{path}: {one_line(name)} is missing: {nearest(name, state)}")
            state[name] = state[shared[0]]
        if own[name].shape != state[name].shape:
            shapes = f"{tuple(state[name].shape)}, the network's is {tuple(own[name].shape)}"
            raise UserError(f"{path}: {one_line(name)} has shape {shapes}")
    for name in state:
        if name not in own:
            raise UserError(f"{path}: the network has no {one_line(name)}: {nearest(name, own)}")
    return state


def fitted(model: nn.Module, values: Tensor) -> Tensor:
    """Move values to the device of a network and convert floating-point values to its number type."""
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    return values.to(like.device, like.dtype if values.is_floating_point() else torch.int64)


def error_on(model: nn.Module, inputs: Tensor) -> Exception | None:
    """Run a network on samples and return the exception that it raises, or None."""
    on = f", on samples of shape {tuple(inputs.shape[1:])}, {inputs.dtype}"
    try:
        with users_code("the network", on, alone=True, passing=(Exception,)), measuring_mode(model), torch.no_grad():
            model(inputs.clone())
    except Exception as error:
        return error
    return None


def try_out(model: nn.Module, inputs: Tensor) -> Tensor:
    """Run the network on at most two samples, so that a mistake in it is reported in one line before the measurement.

    Returns:
        The outputs for these samples, (1 or 2, ...).

    Raises:
        UserError: The network raises an exception or does not return a tensor.
    """
    few = inputs[:2]
    on = f", on samples of shape {tuple(inputs.shape[1:])}, {inputs.dtype}"
    with users_code("the network", on, alone=True):
        try:
            with measuring_mode(model), torch.no_grad():
                outputs = model(few.clone())
        except Exception as error:
            reason = misfit(model, few, error)
            if reason is None:
                raise
            raise UserError(reason) from None
    if not isinstance(outputs, Tensor):
        raise UserError(
            f"the network returns {type(outputs).__name__}, not a tensor: wrap it in a module that returns one"
        )
    return outputs


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a .safetensors file.

    Raises:
        UserError: There is no such file, or it is of another format.
    """
    _must_exist(path)
    try:
        return load_file(path)
    except SafetensorError as error:
        with path.open("rb") as stream:
            pickled = stream.read(4) in STARTS
        if pickled or path.suffix in PICKLES:
            raise UserError(
                f"{path}: torch.save writes pickles, which nfa does not read; save the state dict with "
                f"safetensors.torch.save_file (docs/measure-your-own.md has a command that converts such files)"
            ) from None
        raise UserError(f"{path}: not a .safetensors file ({error})") from None


def _must_exist(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"{path}: no such file")
