"""Targets of named losses: all shapes that fit give the same numbers, other shapes are refused, none is broadcast."""

import re
from collections.abc import Callable

import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import nfa
from nfa.alignment import measure
from nfa.theory import limit

INPUTS = torch.randn(20, 3)
VALUES = INPUTS[:, 0] * INPUTS[:, 1]
SIGNS = VALUES.sign()
CLASSES = torch.arange(20) % 3
HOT = functional.one_hot(CLASSES, 3)


def network(outputs: int, *after: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, outputs), *after)


def measured(model: nn.Module, targets: Tensor, loss: object) -> pd.DataFrame:
    return measure(model, INPUTS, targets=targets, loss=loss, initial=model, weight_decay=0.1)  # type: ignore[arg-type]


FLAT = nn.Flatten(0)
SAME: dict[str, tuple[nn.Module, str, Tensor, Tensor, Callable[[Tensor, Tensor], Tensor]]] = {
    "mse": (network(1), "mse", VALUES, VALUES[:, None], functional.mse_loss),
    "mse of one number": (network(1, FLAT), "mse", VALUES[:, None], VALUES, functional.mse_loss),
    "mse of float64": (network(1), "mse", VALUES.double(), VALUES[:, None], functional.mse_loss),
    "logistic": (network(1), "logistic", SIGNS, SIGNS[:, None], lambda f, y: functional.soft_margin_loss(f, y)),
    "logistic of classes": (network(3), "logistic", CLASSES, 2.0 * HOT - 1, functional.soft_margin_loss),
    "classes": (network(3), "cross_entropy", CLASSES, CLASSES, functional.cross_entropy),
    "classes in a column": (network(3), "cross_entropy", CLASSES[:, None], CLASSES, functional.cross_entropy),
    "classes in bytes": (network(3), "cross_entropy", CLASSES.to(torch.uint8), CLASSES, functional.cross_entropy),
    "code of classes": (network(3), "cross_entropy", HOT - 1 / 3, CLASSES, functional.cross_entropy),
}


@pytest.mark.parametrize("case", SAME)
def test_every_shape_that_fits_gives_the_same_numbers(case: str) -> None:
    model, name, given, plain, loss = SAME[case]
    expected = measured(model, plain, loss)
    assert expected[expected.quantity.isin(["fact", "c_nfc"])].value.notna().any()
    pd.testing.assert_frame_equal(measured(model, given, name), expected, rtol=1e-5, atol=1e-6)
    early, theirs = (limit(model, INPUTS, targets, of) for targets, of in ((given, name), (plain, loss)))
    pd.testing.assert_frame_equal(early, theirs, rtol=1e-5, atol=1e-6)
    monitor = nfa.Monitor(model, list(zip(INPUTS.split(7), given.split(7), strict=True)), loss=name)
    monitor(0)
    theirs = nfa.Monitor(model, list(zip(INPUTS.split(7), plain.split(7), strict=True)), loss=loss)
    theirs(0)
    pd.testing.assert_frame_equal(monitor.frame, theirs.frame, rtol=1e-5, atol=1e-6)


NO_CODE = (
    "targets: rows that are no code of classes (one value for the class, one lower value for every other); for loss "
    "'cross_entropy' give classes, or for shares of classes loss=torch.nn.functional.cross_entropy"
)
REFUSED: dict[str, tuple[int, str, object, str]] = {
    "labels for squared error": (
        3,
        "mse",
        CLASSES,
        "targets: one target has shape (), one output (3,); they must be the same for loss 'mse'",
    ),
    "column for many outputs": (
        3,
        "mse",
        VALUES[:, None],
        "targets: one target has shape (1,), one output (3,); they must be the same for loss 'mse'",
    ),
    "too many": (
        1,
        "mse",
        HOT.float(),
        "targets: one target has shape (3,), one output (1,); they must be the same for loss 'mse'",
    ),
    "one output for classes": (
        1,
        "cross_entropy",
        CLASSES,
        "loss: cross_entropy: needs outputs (n, classes), two or more; one sample's here is (1,)",
    ),
    "labels that are numbers": (
        3,
        "cross_entropy",
        VALUES,
        "targets: one target has shape (), one output (3,); they must be the same for loss 'cross_entropy'",
    ),
    "unknown classes": (
        2,
        "cross_entropy",
        CLASSES,
        "targets: classes 0 to 2, but the outputs are for classes 0 to 1",
    ),
    "shares of classes": (
        3,
        "cross_entropy",
        (HOT + 0.1) / 1.3 + 0.01 * VALUES[:, None],
        NO_CODE,
    ),
    "shares of two classes": (2, "cross_entropy", torch.stack([VALUES.sigmoid(), (-VALUES).sigmoid()], 1), NO_CODE),
    "no class": (3, "cross_entropy", torch.zeros(20, 3), NO_CODE),
    "zeros and ones": (
        1,
        "logistic",
        (VALUES > 0).float(),
        "targets: 0 has no sign; loss 'logistic' takes positive and negative ones, such as 1 and -1",
    ),
    "numpy": (1, "mse", VALUES.numpy(), "targets: ndarray is no tensor; torch.as_tensor makes one"),
    "a number": (1, "mse", torch.tensor(1.0), "targets: a single number, not a tensor (n, ...)"),
    "unknown loss": (1, "msee", VALUES, "loss: 'msee': did you mean 'mse'? valid: cross_entropy, logistic, mse"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_in_one_sentence(case: str) -> None:
    outputs, loss, targets, message = REFUSED[case]
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        measured(network(outputs), targets, loss)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        limit(network(outputs), INPUTS, targets, loss)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("loss", "what"),
    [
        (lambda f, y: (f - y).square(), "a tensor of shape (20, 1)"),
        (lambda f, y: (f - y).square().mean().item(), "a float"),
        (lambda f, y: y.sum(), "a number without a gradient"),
    ],
)
def test_a_loss_of_one_s_own_gives_one_number(loss: Callable[[Tensor, Tensor], Tensor], what: str) -> None:
    message = f"loss: gives {what}, not one number that autograd follows: the samples' mean"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        measured(network(1), VALUES[:, None], loss)
