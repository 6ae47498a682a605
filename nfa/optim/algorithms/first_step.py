"""The first step of an optimizer that has no state yet, taken by the optimizer itself on copies of the parameters."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor

from nfa.optim.algorithms.clip import clip_

Maker: TypeAlias = Callable[[dict[str, Tensor]], torch.optim.Optimizer]


def first_update(
    parameters: Mapping[str, Tensor], gradients: Mapping[str, Tensor], make: Maker, clip: float | None = None
) -> dict[str, Tensor]:
    """Take one step on float64 copies of the parameters, and return how far each entry moved.

    Because the optimizer itself takes the step, weight decay of either kind, clipping, epsilons, speeds, and parameters
    that hold several layers act as in training. For every optimizer of ``nfa.optim`` the step is proportional to the
    learning rate, so that its direction is that of the limit of ever smaller learning rates.

    Args:
        parameters: Qualified name -> W0, in any floating type; left unchanged.
        gradients: The same names -> gradient.
        make: Function that makes an optimizer of the named tensors that it is given.
        clip: Largest norm of the gradient of all parameters; a longer gradient is scaled down to it.

    Returns:
        Name -> W1 - W0, float64, laid out in memory as the parameter. Zero where the optimizer moves nothing.

    Raises:
        ValueError: ``make`` returned no optimizer, or one of other tensors, whose step would move the network itself.
    """
    start = {name: value.detach().to(torch.float64, copy=True) for name, value in parameters.items()}
    moved = {name: value.clone().requires_grad_() for name, value in start.items()}
    optimizer = make(moved)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise ValueError(f"optimizer: the function returns {type(optimizer).__name__}, not a torch optimizer")
    given = {id(value) for value in moved.values()}
    if any(id(value) not in given for group in optimizer.param_groups for value in group["params"]):
        raise ValueError("optimizer: the function makes it of other tensors than those it is given: use named.values()")
    for name, value in moved.items():
        value.grad = gradients[name].detach().to(value, copy=True)
    clip_(moved.values(), clip)
    optimizer.step()
    return {name: value.detach() - start[name] for name, value in moved.items()}
