"""Loss and accuracy of a network, and of the best constant prediction."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nfa.losses import LOSSES
from nfa.training.materials import Materials

EVALUATION_BATCH = 1000  # samples per forward pass: it limits memory, and changes results by rounding only


@torch.no_grad()
def evaluate(
    model: nn.Module, materials: Materials, split: str, loss: Callable[[Tensor, Tensor], Tensor]
) -> dict[str, float]:
    """Evaluate a network on a whole split, in evaluation mode.

    Args:
        model: The network.
        materials: The data.
        split: ``train`` or ``test``.
        loss: (outputs, targets) -> mean loss.

    Returns:
        ``loss``, and ``accuracy`` if the targets are classes.
    """
    inputs, targets, labels = materials.split(split)
    training = model.training
    model.eval()
    # Copies, because a network may change its input in place, which would change the data.
    outputs = torch.cat([model(batch.clone()) for batch in inputs.split(EVALUATION_BATCH)])
    model.train(training)
    scores = {"loss": loss(outputs.double(), targets.double()).item()}
    if labels is not None:
        scores["accuracy"] = (outputs.argmax(dim=1) == labels).double().mean().item()
    return scores


def constant_predictor(
    materials: Materials, loss_name: str, loss: Callable[[Tensor, Tensor], Tensor]
) -> dict[str, float | None]:
    """Score the best constant prediction, fitted on the training targets; a network has learned if it is better.

    The best constant is the mean target for squared error, the logarithm of the class frequencies for cross entropy,
    and the logarithm of the odds of the signs for the logistic loss. With spectral decoupling the best constant is
    found by optimisation from there.
    """
    constant = materials.y_train.double().mean(dim=0, keepdim=True)
    accuracy = None
    if materials.labels_train is not None and materials.labels_test is not None:
        frequencies = torch.bincount(materials.labels_train, minlength=constant.shape[1]).double()
        accuracy = (materials.labels_test == frequencies.argmax()).double().mean().item()
        if loss_name == "cross_entropy":
            constant = (frequencies / frequencies.sum()).clamp_min(1e-12).log()[None]
    if loss_name == "logistic":
        positive = (materials.y_train > 0).double().mean(dim=0, keepdim=True)
        constant = positive.clamp(1e-12, 1 - 1e-12).logit()
    if loss is not LOSSES[loss_name]:
        constant = _best(constant, materials.y_train.double(), loss)
    losses = {
        f"{split}_loss": loss(constant.expand(len(targets), -1), targets.double()).item()
        for split, targets in (("train", materials.y_train), ("test", materials.y_test))
    }
    return {**losses, "test_accuracy": accuracy}


def _best(constant: Tensor, targets: Tensor, loss: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Find the constant prediction (1, C) with the smallest loss, starting from ``constant``."""
    best = constant.clone().requires_grad_()
    search = torch.optim.LBFGS([best], max_iter=200, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        search.zero_grad()
        value = loss(best.expand(len(targets), -1), targets)
        value.backward()
        return value

    search.step(closure)
    return best.detach()
