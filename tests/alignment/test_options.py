"""Options of a measurement are validated when they are made, and are those of the public functions."""

from dataclasses import FrozenInstanceError, fields, replace
from inspect import signature
from typing import Any

import pytest
import torch
from torch import nn

import nfa
from nfa.alignment import measure_covariances
from nfa.alignment.network.arguments import CovarianceOptions
from nfa.alignment.options import MeasureOptions


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"estimator": "exactly"}, "estimator: 'exactly' is none of"),
        ({"samples": 0}, "samples: 0 must be at least 1"),
        ({"layers": "0"}, "layers: '0' is not a list of names"),
        ({"weight_decay": -1.0}, "weight_decay: -1.0 must be a number of at least 0"),
        ({"targets": torch.zeros(3)}, "targets without a loss"),
        ({"loss": "ms"}, "loss: 'ms': did you mean 'mse'?"),
        ({"updates": [1]}, "updates: a list is no mapping"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_options_that_cannot_be_used_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("?", r"\?")):
        MeasureOptions(**options)
    with pytest.raises(ValueError, match=words.replace("?", r"\?")):  # before the first measurement
        nfa.Monitor(nn.Linear(2, 2), torch.randn(3, 2), **options)


def test_names_of_layers_are_read_once() -> None:
    options = MeasureOptions(layers=iter(["0", "2"]))  # type: ignore[arg-type]
    assert options.layers == ["0", "2"]
    assert replace(options, step=3).layers == ["0", "2"]


def test_options_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        MeasureOptions().seed = 1  # type: ignore[misc]


def test_defaults_are_those_of_the_public_functions() -> None:
    for function, kind, others in (
        (nfa.measure, MeasureOptions, {"model", "inputs", "initial"}),
        (measure_covariances, CovarianceOptions, {"model", "inputs", "like"}),
    ):
        given = {name: p.default for name, p in signature(function).parameters.items() if name not in others}
        assert given == {field.name: field.default for field in fields(kind)}
