"""C-NFC near its start: one epoch at a tiny learning rate, as in the authors' code, gives the limit at step 0."""

import pytest
import torch
from torch import nn

import nfa
from nfa.models import MODELS
from nfa.models.mlp import MLP
from nfa.sweep.grid import parse
from nfa.training import load_data

QUANTITIES = ["c_nfc", "c_haar_nfc"]


def test_one_epoch_at_a_tiny_rate_gives_the_limit_and_its_control() -> None:
    """The epoch has whole batches only, so that its gradients sum to that of all samples where the rate is small."""
    document = {
        "sweep": "early",
        "data": [{"name": "fashion_mini", "n_train": 1024}],
        "model": [{"name": "mlp", "depth": 5, "width": 64, "init": "pytorch"}],
        "optimizer": [{"name": "sgd", "lr": 1e-4}],
        "train": {"epochs": 1, "batch_size": 128, "loss": "mse"},
    }
    (cell,) = parse(document, "early.yaml").cells
    data = load_data(cell, 0, torch.device("cpu"))
    inputs, targets = data.x_train.double(), data.y_train.double()
    assert isinstance(cell.model, MLP)
    model = MODELS["mlp"].build(cell.model, cell.shape, torch.Generator().manual_seed(0)).double()
    initial = {name: value.clone() for name, value in model.state_dict().items()}
    options = {"targets": targets, "loss": "mse", "initial": initial, "quantities": QUANTITIES, "estimator": "exact"}
    limit = nfa.measure(model, inputs, **options)
    assert limit.query("quantity == 'c_nfc' and power == '1'").note.str.contains("limit").all()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    for x, y in zip(inputs.split(128), targets.split(128), strict=True):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
    after = nfa.measure(model, inputs, **options)
    compared = limit.merge(after, on=["layer", "quantity", "correlation", "power"], suffixes=("", "_after"))
    compared = compared.query("power == '1' and layer != 'readout'")
    assert len(compared) == 5 * len(QUANTITIES) * 3
    for row in compared.itertuples():
        assert row.value_after == pytest.approx(row.value, abs=0.01), (row.layer, row.quantity, row.correlation)
