"""One sentence about samples that a network does not run on, in place of an error of torch.

A network fails in the middle of a measurement, in torch's words, for many reasons; the samples are one of them. To tell
them apart the network is run again on two of the samples: as they are, and in the number type of its weights. The
layer in whose forward pass the exception was raised, found in the traceback, says which size or which range it takes.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from nfa.alignment.network.measuring_mode import measuring_mode
from nfa.errors import describe

TRIED = 2  # samples: some networks treat a single one in another way
SIZED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)  # modules that say which size of input they take
SIZES = re.compile(r"\b([Ss]izes?|[Ss]hapes?|[Dd]imensions?|out of (range|bounds))\b")  # in torch's messages
LOOKED_UP = (nn.Embedding, nn.EmbeddingBag)


@contextmanager
def explained(model: nn.Module, inputs: Tensor) -> Iterator[None]:
    """Replace an exception by a sentence about the samples where they are its cause.

    An exception that has another cause is left as it is. Where samples have several axes, as images and sequences do,
    an error of torch's that also comes up on two samples alone is reported with their shape.

    Args:
        model: The network. Where the cause may be the samples, it is run again on two of them.
        inputs: (n, *input shape), on its device.

    Raises:
        ValueError: Samples of a number type, of a shape or out of the range that the network takes.
    """
    try:
        yield
    except Exception as error:
        reason = misfit(model, inputs, error) or _does_not_run(model, inputs, error)
        if reason is None:
            raise
        raise ValueError(f"inputs: {reason}") from error


def misfit(model: nn.Module, inputs: Tensor, error: BaseException) -> str | None:
    """Describe what is wrong with the samples, where they are the cause of an exception; else return None."""
    return _wrong_type(model, inputs, error) or _wrong_size(model, inputs, error) or _out_of_range(model, inputs, error)


def _wrong_type(model: nn.Module, inputs: Tensor, error: BaseException) -> str | None:
    """Name the number type that the network takes: one on which it runs, while it does not on the one given."""
    like = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    looks_up = inputs.is_floating_point() and any(isinstance(module, LOOKED_UP) for module in model.modules())
    types = [like, torch.int64] if looks_up else [like]
    for dtype in types:
        if dtype != inputs.dtype and _first_layer(model, inputs)[0] and not _first_layer(model, inputs.to(dtype))[0]:
            given, taken = (str(kind).removeprefix("torch.") for kind in (inputs.dtype, dtype))
            way = f"pass inputs.to({dtype})"
            if inputs.is_floating_point() and dtype.is_floating_point:
                way += f", or model.to({inputs.dtype})"
            while isinstance(error, ValueError) and error.__cause__ is not None:  # the sentence about a copy in float64
                error = error.__cause__
            return f"they are {given}, and the network takes {taken}: {way} ({describe(error)})"
    return None


def _wrong_size(model: nn.Module, inputs: Tensor, error: BaseException) -> str | None:
    """Name the size that a layer takes and the size that it was given.

    For samples of one axis only the first layer, which is given the samples themselves: a later layer that fails is a
    fault of the network. The size of an image, or the length of a sequence, can show in a later layer.
    """
    layer, given = _failed_layer(error, SIZED)
    if layer is None or given is None or not len(given):
        return None
    if isinstance(layer, nn.Linear):
        taken, axis, what = layer.in_features, -1, "inputs"
    else:
        assert isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d)
        taken, axis, what = layer.in_channels, -1 - len(layer.kernel_size), "channels"
    found = given.shape[axis] if given.dim() >= -axis else None
    if found == taken:
        return None
    several_axes, whole = inputs.dim() > 2, given[0].numel() == inputs[0].numel()
    if not several_axes and not whole:
        return None
    failed, first = _first_layer(model, inputs)
    if not failed or not (several_axes or first is layer):
        return None
    was = f"was given {found}" if found is not None else f"was given samples of shape {tuple(given.shape[1:])}"
    shape, name = tuple(inputs.shape[1:]), _name(model, layer)
    return f"samples of shape {shape} do not fit: layer {name!r} takes {taken} {what} and {was} ({describe(error)})"


def _out_of_range(model: nn.Module, inputs: Tensor, error: BaseException) -> str | None:
    """Name a token for which an embedding has no row."""
    layer, tokens = _failed_layer(error, LOOKED_UP)
    if layer is None or tokens is None or tokens.is_floating_point() or not tokens.numel():
        return None
    rows: int = layer.num_embeddings  # type: ignore[assignment]
    wrong = tokens[(tokens < 0) | (tokens >= rows)]
    if inputs.is_floating_point() or not len(wrong):
        return None
    name = _name(model, layer)
    return f"token {int(wrong[0])} is out of range: layer {name!r} takes 0 to {rows - 1} ({describe(error)})"


def _does_not_run(model: nn.Module, inputs: Tensor, error: Exception) -> str | None:
    """Report that two samples of several axes alone make a network fail in an operation that speaks of sizes."""
    of_sizes = isinstance(error, RuntimeError | IndexError) and SIZES.search(str(error)) is not None
    if not of_sizes or inputs.dim() <= 2 or not _first_layer(model, inputs)[0]:
        return None
    return f"the network does not run on samples of shape {tuple(inputs.shape[1:])}: {describe(error)}"


def _name(model: nn.Module, layer: nn.Module) -> str:
    return next((name for name, module in model.named_modules() if module is layer), type(layer).__name__)


def _failed_layer(error: BaseException, kinds: tuple[type[nn.Module], ...]) -> tuple[nn.Module | None, Tensor | None]:
    """Find the module of some kinds in whose forward pass an exception was raised, and the tensor it was given."""
    layer, given = None, None
    trace = error.__traceback__
    while trace is not None:
        variables: dict[str, Any] = trace.tb_frame.f_locals
        if isinstance(variables.get("self"), kinds) and isinstance(variables.get("input"), Tensor):
            layer, given = variables["self"], variables["input"]
        trace = trace.tb_next
    return layer, given


def _first_layer(model: nn.Module, inputs: Tensor) -> tuple[bool, nn.Module | None]:
    """Run a network on two samples.

    Returns:
        Whether it fails; and the layer at which it does, where that is the first and only layer that the pass came to.
    """
    entered: list[nn.Module] = []

    def enter(module: nn.Module, _given: tuple[Any, ...]) -> None:
        entered.append(module)

    hooks = [module.register_forward_pre_hook(enter) for module in model.modules() if isinstance(module, SIZED)]
    try:
        with measuring_mode(model), torch.no_grad():
            model(inputs[:TRIED].clone())
    except (Exception, SystemExit):
        return True, entered[0] if len(entered) == 1 else None
    finally:
        for hook in hooks:
            hook.remove()
    return False, None
