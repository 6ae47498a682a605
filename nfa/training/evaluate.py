"""Loss and accuracy of a network, and of the best constant prediction."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nfa.training.materials import Materials

EVALUATION_BATCH = 1000  # samples per forward pass: bounds memory, changes no result beyond rounding


@torch.no_grad()
def evaluate(
    model: nn.Module, materials: Materials, split: str, loss: Callable[[Tensor, Tensor], Tensor]
) -> dict[str, float]:
    """Evaluate a network on a whole split, in eval mode: ``loss``, and ``accuracy`` where there are classes."""
    inputs, targets, labels = materials.split(split)
    training = model.training
    model.eval()
    outputs = torch.cat([model(batch) for batch in inputs.split(EVALUATION_BATCH)])
    model.train(training)
    scores = {"loss": loss(outputs.double(), targets.double()).item()}
    if labels is not None:
        scores["accuracy"] = (outputs.argmax(dim=1) == labels).double().mean().item()
    return scores


def constant_predictor(
    materials: Materials, loss_name: str, loss: Callable[[Tensor, Tensor], Tensor]
) -> dict[str, float | None]:
    """Score the best constant prediction, fitted on the training targets: what a network must beat to have learned.

    For squared error it is the mean target; for cross entropy the logarithm of the class frequencies.
    """
    constant = materials.y_train.double().mean(dim=0, keepdim=True)
    accuracy = None
    if materials.labels_train is not None and materials.labels_test is not None:
        frequencies = torch.bincount(materials.labels_train, minlength=constant.shape[1]).double()
        accuracy = (materials.labels_test == frequencies.argmax()).double().mean().item()
        if loss_name == "cross_entropy":
            constant = (frequencies / frequencies.sum()).clamp_min(1e-12).log()[None]
    losses = {
        f"{split}_loss": loss(constant.expand(len(targets), -1), targets.double()).item()
        for split, targets in (("train", materials.y_train), ("test", materials.y_test))
    }
    return {**losses, "test_accuracy": accuracy}
