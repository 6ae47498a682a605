"""Losses by name, and targets brought to the shape of the outputs: torch would silently broadcast other shapes."""

from torch import Tensor
from torch.nn import functional

from nfa.alignment.covariance.gradients import Loss
from nfa.errors import nearest
from nfa.losses import LOSSES


def find_loss(loss: Loss | str) -> Loss:
    """Return a loss as a function; one given by its name takes the targets that ``fitting_targets`` takes.

    Raises:
        ValueError: The name is unknown, or the loss is neither a name nor a function.
    """
    if not isinstance(loss, str):
        if not callable(loss):
            raise ValueError(f"loss: {loss!r}: pass a function of outputs and targets, or one of {', '.join(LOSSES)}")
        return loss
    if loss not in LOSSES:
        raise ValueError(f"loss: {loss!r}: {nearest(loss, LOSSES)}")
    return lambda outputs, targets: LOSSES[loss](outputs, fitting_targets(loss, outputs, targets))


def fitting_targets(loss: str, outputs: Tensor, targets: Tensor) -> Tensor:
    """Bring targets to the shape of the outputs, and integers to the outputs' number type.

    Args:
        loss: Name of one of ``nfa.losses``.
        outputs: (n, *shape).
        targets: (n, *shape); (n,) or (n, 1) where a sample has one output; integers of the shape (n,) or (n, 1), the
            classes 0 to C - 1 of outputs (n, C), for ``cross_entropy`` and ``logistic``. For ``cross_entropy`` (n, C)
            is a code of classes: one value for the class, one lower value for every other.

    Returns:
        (n, *shape); a class becomes 1 for the class and -1 for every other.

    Raises:
        ValueError: The targets have another shape, name classes that the outputs do not have, are 0 for ``logistic``,
            which takes signs, or are shares of classes for ``cross_entropy``.

    Example:
        >>> import torch
        >>> fitting_targets("cross_entropy", torch.zeros(2, 3), torch.tensor([0, 2])).tolist()
        [[1.0, -1.0, -1.0], [-1.0, -1.0, 1.0]]
    """
    shape, single = tuple(outputs.shape[1:]), targets.shape[1:].numel() == 1
    classes = len(shape) == 1 and shape[0] > 1
    if loss != "mse" and classes and single and not targets.is_floating_point():
        low, high = int(targets.min()), int(targets.max())
        if low < 0 or high >= shape[0]:
            raise ValueError(f"targets: classes {low} to {high}, but the outputs are for classes 0 to {shape[0] - 1}")
        return 2 * functional.one_hot(targets.flatten().long(), shape[0]).to(outputs) - 1
    if tuple(targets.shape[1:]) != shape:
        if not single or outputs.shape[1:].numel() != 1:
            what = f"one target has shape {tuple(targets.shape[1:])}, one output {shape}"
            raise ValueError(f"targets: {what}; they must be the same for loss {loss!r}")
        targets = targets.reshape(len(targets), *shape)
    if loss == "logistic" and not bool(targets.all()):
        raise ValueError("targets: 0 has no sign; loss 'logistic' takes positive and negative ones, such as 1 and -1")
    if loss == "cross_entropy" and classes and not _is_code(targets):
        raise ValueError(
            "targets: rows that are no code of classes (one value for the class, one lower value for every other); "
            "for loss 'cross_entropy' give classes, or for shares of classes loss=torch.nn.functional.cross_entropy"
        )
    return targets.to(outputs.device) if targets.is_floating_point() else targets.to(outputs)


def _is_code(targets: Tensor) -> bool:
    """Tell whether (n, C) targets have only two values, the larger one once in every row."""
    low, high = targets.aminmax()
    of_class = targets == high
    return bool(low < high and (of_class.sum(1) == 1).all() and (of_class | (targets == low)).all())
