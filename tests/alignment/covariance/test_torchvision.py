"""Every family of torchvision's classification networks: each weight is measured or has a reason, and check passes."""

import re
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

import nfa
from nfa.alignment.network.layers import owner
from nfa.external.torchvision_import import torchvision
from tests.helpers import environment

models = torchvision().models

_SIZES = r"\d|_(?:tiny|small|base|large|[tsbmlh])(?:_|$)"  # the end of a family's name
SIDES = {
    "alexnet": 63,
    "inception_v3": 75,
    "maxvit_t": 64,
}  # smallest image sides of networks for which 32 pixels are too few
OPTIONS: dict[str, dict[str, Any]] = {
    "vit_b_16": {"image_size": 32},
    "inception_v3": {"init_weights": False},
    "googlenet": {"init_weights": False},
}
QUICK = {"squeezenet1_1", "shufflenet_v2_x0_5", "regnet_x_400mf", "mobilenet_v3_small", "resnet18"}
UNUSED = "not used in the forward pass"
TABLE = "picked out by a tensor of indices, which makes a copy: w[e] with a whole number e would be measured"
ENTRYWISE = "added or multiplied entry by entry: no matrix product"
# Weights of two or more dimensions that multiply no samples as a matrix: network -> pattern of the owner -> reason.
LEFT_OUT = {
    "googlenet": {r"aux[12]\.(conv\.conv|fc[12])": UNUSED},  # only in training mode
    "inception_v3": {r"AuxLogits\.(conv[01]\.conv|fc)": UNUSED},
    "swin_t": {r".*relative_position_bias_table": TABLE},
    "maxvit_t": {r".*relative_position_bias_table": TABLE},
    "swin_v2_t": {
        r".*logit_scale": "used by clamp: not a matrix product that is measured",
        r".*cpb_mlp\.[02]": "what it multiplies does not depend on the samples",
    },
    "convnext_tiny": {r".*layer_scale": ENTRYWISE},
    "vit_b_16": {r"class_token": "joined with other tensors before the product", r"encoder\.pos_embedding": ENTRYWISE},
}


def smallest_of_each_family() -> list[str]:
    """List the smallest network of each family in torchvision's own list."""
    families: dict[tuple[str, str], tuple[int, str]] = {}
    for name in models.list_models(
        module=models
    ):  # classification networks only; other tasks have modules of their own
        family = models.get_model_builder(name).__module__, re.split(_SIZES, name)[0]
        size = models.get_model_weights(name).DEFAULT.meta["num_params"], name
        families[family] = min(size, families.get(family, size))
    return sorted(name for _, name in families.values())


def build(name: str) -> nn.Module:
    """Make a network with ten classes; weights that start at zero are random, too."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if name == "maxvit_t":  # its window of 7 needs 224 pixels
            model: nn.Module = models.MaxVit(
                input_size=(64, 64),
                partition_size=2,
                stem_channels=64,
                block_channels=[64, 128, 256, 512],
                block_layers=[2, 2, 5, 2],
                head_dim=32,
                stochastic_depth_prob=0.2,
                num_classes=10,
            )
        else:
            model = models.get_model(name, weights=None, num_classes=10, **OPTIONS.get(name, {}))
        with torch.no_grad():
            for parameter in model.parameters():
                if not parameter.any():
                    parameter.normal_(std=0.1)
    return model


def checked(name: str) -> None:
    """Check one network."""
    side = SIDES.get(name, 32)
    model = build(name)
    inputs = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    table = nfa.check(model, inputs, samples=2)
    assert table.passed.all(), table[~table.passed].to_string()
    assert table.error.max() < 1e-11, "float64 on both sides"
    assert not table.note.any(), "every layer has a gradient"
    left_out = table.attrs["left_out"]
    weights = {owner(weight) for weight, parameter in model.named_parameters() if parameter.dim() >= 2}
    measured = {re.sub(r"\.[qkv]$", "", layer) for layer in table.layer}
    packed = {
        re.sub(r"\.in_proj_weight$", "", weight) for weight in weights
    }  # query, key and value are named after the module
    assert measured | set(left_out) == packed
    assert not measured & set(left_out)
    for weight, reason in left_out.items():
        assert any(re.fullmatch(place, weight) and reason == why for place, why in LEFT_OUT[name].items()), weight
    assert bool(left_out) == (name in LEFT_OUT)


def test_the_families_are_those_we_know() -> None:
    found = smallest_of_each_family()
    assert set(found) >= {*QUICK, *LEFT_OUT, *SIDES, *OPTIONS}
    assert len(found) >= 22
    for name in ("convnext_tiny", "resnext50_32x4d", "wide_resnet50_2", "efficientnet_v2_s", "swin_v2_t", "vgg11"):
        assert name in found


@pytest.mark.parametrize("name", sorted(QUICK))
def test_quick_families(name: str) -> None:
    checked(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in smallest_of_each_family() if name not in QUICK])
def test_every_other_family(name: str) -> None:
    checked(name)


LANGUAGE_MODEL = """
class Language(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5000, 64)
        self.block = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
        self.readout = nn.Linear(64, 5000)

    def forward(self, tokens):
        return self.readout(self.block(self.embedding(tokens)))

model, inputs = Language(), torch.randint(5000, (32, 16))
outputs = 16 * 5000
"""
WIDE_RESNET = """
from nfa.external.torchvision_import import torchvision

model, inputs = torchvision().models.resnet18(weights=None), torch.randn(32, 3, 32, 32)
outputs = 1000
"""
MEASURED = """
import resource, torch
from torch import nn
{build}
from nfa.alignment import measure_covariances

model.eval()
measure_covariances(model, inputs[:2], estimator="sketched", probes=1)  # loads all that stays in memory
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
measured = measure_covariances(model, inputs, probes=1)
assert all(layer.estimator == "sketched" or layer.depth_from_output == 0 for layer in measured.layers.values())
assert all(layer.outputs == outputs for layer in measured.layers.values())
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.parametrize(("build", "limit"), [(WIDE_RESNET, 400), (LANGUAGE_MODEL, 400)], ids=["resnet18", "language"])
def test_wide_outputs_go_through_the_sketch_in_bounded_memory(build: str, limit: float) -> None:
    # All rows of J would take 1,000 outputs (80,000 of the language model) times all activations: tens of GiB.
    code = MEASURED.format(build=build)
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < limit, f"{done.stdout.strip()} MiB more"
