"""The conditions under which a network is measured, and their end: the network is left as it was.

Each condition (eval mode, gradients for all parameters, no autocast, full precision, remembered state) is a context
manager that puts back what it changed, also after an exception. ``measuring_mode`` enters all of them. The state of the
network itself is kept by ``snapshot``.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from nfa.alignment.network.snapshot import Snapshot
from nfa.errors import describe


@contextmanager
def measuring_mode(model: nn.Module) -> Iterator[None]:
    """Put a network into eval mode with autograd on; afterwards restore the network and the random state.

    Eval mode makes samples independent of each other: BatchNorm uses its running statistics, dropout is off. Every
    floating-point parameter requires gradients meanwhile, so that autograd follows frozen layers and fused fast paths
    stay off. Gradients are only taken with ``torch.autograd.grad``, so none is accumulated in ``.grad``. Matrix
    products on a GPU keep all 24 bits of float32. A ``torch.autocast`` of the caller's is off: a network is measured in
    the number type of its parameters, wherever it is called from. An autocast that the network enters in its own
    forward pass is part of the network; its cache of cast weights is off, because a cached cast would not be recognised
    as a weight.

    Restored are modes, buffers, parameters, the states of generators of random numbers, and the attributes of modules,
    also the contents of lists, dicts and sets in them, so that nothing a forward pass stored keeps a graph alive.
    Parameters are copied for the first pass; afterwards only copies of those that it changed are kept, and of
    embeddings with ``max_norm``. Not restored are a parameter that only a later pass changes, state in objects other
    than modules, and lazy modules, which the first pass initialises.
    """
    devices = _cuda(model)
    with (
        _modes(model),
        _following(model),
        _state_kept(model),
        torch.random.fork_rng(devices=devices),
        torch.enable_grad(),
        _full_precision(bool(devices)),
        _own_type(model),
    ):
        yield


def _cuda(model: nn.Module) -> list[int]:
    """Indices of the GPUs that hold parameters of the network."""
    used = {p.device.index for p in model.parameters() if p.device.type == "cuda" and p.device.index is not None}
    return sorted(used)


@contextmanager
def _state_kept(model: nn.Module) -> Iterator[None]:
    """Put back the network's attributes, buffers and parameters."""
    snapshot = Snapshot(model)
    try:
        yield
    finally:
        snapshot.restore()


@contextmanager
def _modes(model: nn.Module) -> Iterator[None]:
    """Put a network into eval mode, and afterwards every module back into its own mode.

    Raises:
        ValueError: The network has no eval mode.
    """
    modes = {module: module.training for module in model.modules()}
    try:
        try:
            model.eval()
        except NotImplementedError as error:
            raise ValueError(
                "the network is a program made by torch.export, which has no eval mode: pass the network that it was "
                f"made of ({describe(error)})"
            ) from error
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def _following(model: nn.Module) -> Iterator[None]:
    """Let every floating-point parameter require gradients."""
    frozen = [p for p in model.parameters() if p.is_floating_point() and not p.requires_grad]
    try:
        for parameter in frozen:
            parameter.requires_grad_()
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


@contextmanager
def _own_type(model: nn.Module) -> Iterator[None]:
    """Switch off the caller's ``torch.autocast``, and autocast's cache of cast weights."""
    enabled = torch.is_autocast_cache_enabled()
    devices = {"cpu", *(p.device.type for p in model.parameters())} - {"meta"}
    try:
        with ExitStack() as stack:
            for device in sorted(devices):
                stack.enter_context(torch.autocast(device, enabled=False))
            torch.set_autocast_cache_enabled(False)
            yield
    finally:
        torch.set_autocast_cache_enabled(enabled)


@contextmanager
def _full_precision(cuda: bool) -> Iterator[None]:
    """Switch off TensorFloat-32, which has 11 bits, in matrix products and convolutions on a GPU."""
    if not cuda:
        yield
        return
    matmul = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(matmul)
