"""One forward pass that keeps every layer's pre-activations, ready for reverse passes from the outputs."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nfa.alignment.layers import left_out, measurable_layers


@dataclass(frozen=True)
class Recording:
    """What one forward pass left.

    Attributes:
        inputs: The leaf that was fed in, so that paths from the input can be told; a copy of the samples.
        outputs: (n, C).
        calls: Layer name -> its pre-activations h, one tensor per call of the module, in forward order of first calls.
        unmeasured: The same for modules whose weight is left out, where their output is a tensor.
    """

    inputs: Tensor
    outputs: Tensor
    calls: dict[str, list[Tensor]]
    unmeasured: dict[str, list[Tensor]]


def record(model: nn.Module, inputs: Tensor) -> Recording:
    """Run one batch and keep the pre-activations of every layer.

    Args:
        model: Network in eval mode, with autograd on.
        inputs: (n, *input shape); copied, so that an in-place operation of the network cannot change it.

    Raises:
        ValueError: The output is not an (n, C) tensor, or a layer runs where autograd is off.
    """
    leaf = inputs.detach().clone().requires_grad_(inputs.is_floating_point())
    calls: dict[str, list[Tensor]] = {}
    unmeasured: dict[str, list[Tensor]] = {}
    layers = measurable_layers(model)
    others = left_out(model).keys() - layers.keys()
    handles = []
    try:
        for name, module in model.named_modules():
            if name in layers:
                handles.append(module.register_forward_hook(_keep(name, calls)))
            elif name in others and not any(module.children()):
                handles.append(module.register_forward_hook(_keep(name, unmeasured)))
        # The network gets a copy of the leaf: autograd refuses an in-place activation on a leaf itself.
        outputs = _checked(model(leaf.clone()), len(inputs))
    finally:
        for handle in handles:
            handle.remove()
    return Recording(leaf, outputs, calls, unmeasured)


def _keep(name: str, calls: dict[str, list[Tensor]]) -> Callable[[nn.Module, Any, Any], Tensor | None]:
    """Make the hook that keeps a module's output and passes a copy on.

    The copy is what a following in-place activation changes; the tensor kept stays the pre-activation.
    """

    def hook(_module: nn.Module, _args: Any, output: Any) -> Tensor | None:
        if not isinstance(output, Tensor):
            return None
        if not torch.is_grad_enabled():
            raise ValueError(f"layer {name!r} runs under torch.no_grad(): its gradients cannot be taken")
        # Without a trainable parameter or a floating-point input before it, nothing else makes autograd follow it.
        kept = output if output.requires_grad else output.detach().requires_grad_()
        calls.setdefault(name, []).append(kept)
        return kept.clone()

    return hook


def _checked(outputs: Any, n: int) -> Tensor:
    """Refuse network outputs that are not (n, C)."""
    if not isinstance(outputs, Tensor):
        raise ValueError(
            f"the network returns {type(outputs).__name__}, not an (n, C) tensor: "
            "wrap it in a module that returns the tensor to be differentiated"
        )
    if outputs.dim() != 2 or len(outputs) != n or outputs.shape[1] == 0:
        raise ValueError(
            f"the network's output has shape {tuple(outputs.shape)} for {n} samples, not (n, C): "
            "wrap it in a module that reshapes it"
        )
    if not outputs.requires_grad:
        raise ValueError("the network's output carries no gradient: it is detached, or made of integers")
    return outputs


def batches(inputs: Tensor | Iterable[Tensor], batch_size: int, device: torch.device) -> Iterator[Tensor]:
    """Cut samples into batches of at most ``batch_size``.

    Raises:
        ValueError: No samples, values that are not finite, something that is no tensor, or a tensor on another device.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size: {batch_size} must be at least 1")
    seen = 0
    for part in [inputs] if isinstance(inputs, Tensor) else inputs:
        if not isinstance(part, Tensor):
            raise ValueError(
                f"inputs: a batch is a {type(part).__name__}, not a tensor; pass e.g. (x for x, y in loader)"
            )
        if part.device != device:
            raise ValueError(f"inputs are on {part.device}, the network on {device}: move one of them")
        if not torch.isfinite(part).all():
            raise ValueError("inputs hold NaN or infinity: nothing can be measured")
        seen += len(part)
        yield from (batch for batch in part.split(batch_size) if len(batch))
    if seen == 0:
        raise ValueError("inputs: zero samples; at least one is needed")
