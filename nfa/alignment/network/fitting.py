"""Why a network does not run on the samples it was given: in one sentence, before the words of torch."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from nfa.alignment.network.undisturbed import undisturbed
from nfa.errors import describe

TRIED = 2  # samples: some networks treat a single one in another way
SIZED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)  # modules that say which size of input they take
LOOKED_UP = (nn.Embedding, nn.EmbeddingBag)


@contextmanager
def explained(model: nn.Module, inputs: Tensor) -> Iterator[None]:
    """Say what is wrong with the samples, where that is why a network raised an exception.

    An exception that has another cause is left as it is.

    Args:
        model: The network. Where the cause may be the samples, it is run again on two of them.
        inputs: (n, *input shape), on its device.

    Raises:
        ValueError: Samples of a number type or of a shape that the network does not take.
    """
    try:
        yield
    except Exception as error:
        reason = misfit(model, inputs, error)
        if reason is None:
            raise
        raise ValueError(f"inputs: {reason}") from error


def misfit(model: nn.Module, inputs: Tensor, error: BaseException) -> str | None:
    """Find out whether the samples are the cause of an exception; None where they are not."""
    return _wrong_type(model, inputs, error) or _wrong_size(model, inputs, error)


def _wrong_type(model: nn.Module, inputs: Tensor, error: BaseException) -> str | None:
    """Say which number type the network takes: one on which it runs, while it does not on the one given."""
    like = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    looks_up = inputs.is_floating_point() and any(isinstance(module, LOOKED_UP) for module in model.modules())
    types = [like, torch.int64] if looks_up else [like]
    for dtype in types:
        if dtype != inputs.dtype and _first_layer(model, inputs)[0] and not _first_layer(model, inputs.to(dtype))[0]:
            given, taken = (str(kind).removeprefix("torch.") for kind in (inputs.dtype, dtype))
            way = f"pass inputs.to({dtype})"
            if inputs.is_floating_point() and dtype.is_floating_point:
                way += f", or model.to({inputs.dtype})"
            return f"they are {given}, and the network takes {taken}: {way} ({describe(error)})"
    return None


def _wrong_size(model: nn.Module, inputs: Tensor, error: BaseException) -> str | None:
    """Say which size the network's first layer takes, where that layer failed on the samples themselves."""
    layer, given = _failed_layer(error)
    if layer is None or given is None or not len(given) or given[0].numel() != inputs[0].numel():
        return None
    if isinstance(layer, nn.Linear):
        taken, axis, what = layer.in_features, -1, "inputs"
    else:
        assert isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d)
        taken, axis, what = layer.in_channels, -1 - len(layer.kernel_size), "channels"
    found = given.shape[axis] if given.dim() >= -axis else None
    if found == taken:
        return None
    failed, first = _first_layer(model, inputs)
    if not failed or first is not layer:
        return None
    name = next((name for name, module in model.named_modules() if module is layer), type(layer).__name__)
    was = f"was given {found}" if found is not None else f"was given samples of shape {tuple(given.shape[1:])}"
    shape = tuple(inputs.shape[1:])
    return f"samples of shape {shape} do not fit: layer {name!r} takes {taken} {what} and {was} ({describe(error)})"


def _failed_layer(error: BaseException) -> tuple[nn.Module | None, Tensor | None]:
    """Find the module in whose forward pass an exception was raised, and what that was given."""
    layer, given = None, None
    trace = error.__traceback__
    while trace is not None:
        own: dict[str, Any] = trace.tb_frame.f_locals
        if isinstance(own.get("self"), SIZED) and isinstance(own.get("input"), Tensor):
            layer, given = own["self"], own["input"]
        trace = trace.tb_next
    return layer, given


def _first_layer(model: nn.Module, inputs: Tensor) -> tuple[bool, nn.Module | None]:
    """Run a network on a few samples: whether it fails, and the only layer it came to, if it came to one alone."""
    entered: list[nn.Module] = []

    def enter(module: nn.Module, _given: tuple[Any, ...]) -> None:
        entered.append(module)

    hooks = [module.register_forward_pre_hook(enter) for module in model.modules() if isinstance(module, SIZED)]
    try:
        with undisturbed(model), torch.no_grad():
            model(inputs[:TRIED].clone())
    except (Exception, SystemExit):
        return True, entered[0] if len(entered) == 1 else None
    finally:
        for hook in hooks:
            hook.remove()
    return False, None
