"""Proof on networks that others wrote: the smallest member of every torchvision classification family.

Every weight of two or more dimensions is measured or named with its reason, and W^T K W is the average gradient outer
product of a direct computation.
"""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

import nfa
from nfa.alignment import measure_covariances
from nfa.alignment.layers import owner, parameters_of
from nfa.vision import torchvision

# Side of the smallest images, where 32 is too small for the network's strides.
SIDES = {"alexnet": 64, "inception_v3": 75, "squeezenet1_1": 32, "vit_b_16": 32, "maxvit_t": 64}
OPTIONS: dict[str, dict[str, Any]] = {
    "vit_b_16": {"image_size": 32},
    "maxvit_t": {"input_size": (64, 64), "partition_size": 2},
    "googlenet": {"aux_logits": True, "init_weights": False},
    "inception_v3": {"aux_logits": True, "init_weights": False},
}
SMALLEST = {
    "alexnet": "alexnet",
    "convnext": "convnext_tiny",
    "densenet": "densenet121",
    "efficientnet": "efficientnet_b0",
    "efficientnet_v": "efficientnet_v2_s",
    "googlenet": "googlenet",
    "inception_v": "inception_v3",
    "maxvit_t": "maxvit_t",
    "mnasnet": "mnasnet0_5",
    "mobilenet_v": "mobilenet_v3_small",
    "regnet_x": "regnet_x_400mf",
    "regnet_y": "regnet_y_400mf",
    "resnet": "resnet18",
    "resnext": "resnext50_32x4d",
    "shufflenet_v": "shufflenet_v2_x0_5",
    "squeezenet": "squeezenet1_1",
    "swin": "swin_t",
    "swin_v": "swin_v2_t",
    "vgg": "vgg11",
    "vit": "vit_b_16",
    "wide_resnet": "wide_resnet50_2",
}
QUICK = ("resnet", "shufflenet_v", "mobilenet_v")


def family(name: str) -> str:
    """First part of a network's name, up to its size or version."""
    match = re.match(
        r"(regnet_[xy]|efficientnet_v|swin_v|mobilenet_v|shufflenet_v|inception_v|maxvit_t|wide_resnet)", name
    )
    return match[0] if match else re.split(r"[\d_]", name)[0]


def families() -> Iterator[str]:
    """Every family that torchvision has."""
    models = torchvision().models
    return iter(sorted({family(name) for name in models.list_models(module=models)}))


def network(name: str) -> tuple[nn.Module, torch.Tensor]:
    """Ten classes, and two images of the smallest side."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = torchvision().models.get_model(name, weights=None, num_classes=10, **OPTIONS.get(name, {}))
        side = SIDES.get(name, 32)
        return model.eval(), torch.randn(2, 3, side, side)


def test_no_family_is_forgotten() -> None:
    assert set(families()) == set(SMALLEST)


@pytest.mark.parametrize(
    "name",
    [pytest.param(SMALLEST[key], marks=() if key in QUICK else pytest.mark.slow) for key in SMALLEST],
)
def test_every_weight_is_measured_or_named(name: str) -> None:
    model, inputs = network(name)
    table = nfa.check(model, inputs, samples=2)
    assert len(table)
    assert table.passed.all(), table[~table.passed].to_string()
    measured = measure_covariances(model, inputs, estimator="sketched")
    known = set(measured.layers) | set(measured.left_out)
    for parameter, value in parameters_of(model).items():
        if value.dim() >= 2:
            prefix = owner(parameter)
            parts = {f"{prefix.removesuffix('.in_proj_weight')}.{part}" for part in "qkv"}
            assert prefix in known or parts <= known, parameter
    assert all(measured.left_out.values())
