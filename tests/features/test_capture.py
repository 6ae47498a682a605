"""The features of a layer: the values that enter the next layer, flattened or averaged."""

import torch
from torch import nn

from nfa.features import layer_features
from nfa.features.capture import MAX_FEATURES, flatten


def test_features_of_a_layer_enter_the_next_one() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(inplace=True), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2)).train()
    inputs = torch.randn(2500, 6)
    features = layer_features(model, inputs, ["0", "2", "4"])
    hidden = model[0](inputs).relu()
    torch.testing.assert_close(features["0"].values, hidden)
    torch.testing.assert_close(features["2"].values, model[2](hidden).tanh())
    torch.testing.assert_close(features["4"].values, model(inputs))
    assert features["4"].about.startswith("output of the network")
    assert model.training
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_large_feature_maps_are_averaged_over_a_coarser_grid() -> None:
    images = torch.arange(2 * 8 * 14 * 14.0).reshape(2, 8, 14, 14)
    pooled = flatten(images, "x")
    assert pooled.values.shape[1] <= MAX_FEATURES
    assert pooled.about == "x, averaged to 5 x 5"
    assert flatten(images[:, :1], "x").about == "x, flattened"
