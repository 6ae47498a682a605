"""Only the quantities that are asked for are computed, with the values that they have in the whole table."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import nfa
from nfa.alignment.quantities import QUANTITIES
from nfa.alignment.quantities.layer import LayerContext
from nfa.alignment.quantities.values import Values

CHOSEN = ("uc_nfc", "c_nfc", "dc_nfc", "spectral", "c_haar_nfc", "fact", "relative_change", "depth_law_power")


class Counted(nn.Module):
    """A network that counts its forward passes, those of its copies among them; its last hidden layer can be frozen."""

    passes = 0

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(7, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()

    def forward(self, x: Tensor) -> Tensor:
        """(n, 7) -> (n, 3)."""
        Counted.passes += 1
        outputs: Tensor = self.layers(x)
        return outputs

    def move(self, *, frozen: str = "none") -> None:
        """Move the weights as training would, except for those of one layer."""
        source = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                change = torch.randn(parameter.shape, dtype=parameter.dtype, generator=source)
                parameter.add_(change, alpha=0.0 if name.startswith(frozen) else 0.1)


def inputs(n: int = 40) -> Tensor:
    return torch.randn(n, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def passes(function: Any, *arguments: Any, **options: Any) -> int:
    """Count the forward passes of a call."""
    before = Counted.passes
    function(*arguments, **options)
    return Counted.passes - before


def assert_rows_of(part: pd.DataFrame, whole: pd.DataFrame, names: tuple[str, ...]) -> None:
    """Compare a table with the rows of some quantities in the whole table, in its order."""
    texts = ["correlation", "power"]  # of a few quantities they may be empty, and then have another type
    part, expected = (t.fillna(dict.fromkeys(texts, "")).astype(dict.fromkeys(texts, str)) for t in (part, whole))
    expected = expected[expected.quantity.isin(names)].reset_index(drop=True)
    pd.testing.assert_frame_equal(part, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "options",
    [{}, {"estimator": "sketched", "probes": 2}, {"samples": 20}, {"estimator": "sketched", "samples": 20}],
    ids=lambda options: ", ".join(options) or "exact",
)
@pytest.mark.parametrize("moves", [{}, {"frozen": "layers.2"}, None], ids=["moved", "frozen", "start"])
def test_chosen_rows_are_those_of_the_whole_table(options: dict[str, Any], moves: dict[str, str] | None) -> None:
    model = Counted()
    options = options | {"initial": state(model), "targets": torch.zeros(40, 3), "loss": "mse", "weight_decay": 0.1}
    if moves is not None:
        model.move(**moves)
    whole = nfa.measure(model, inputs(), **options)
    assert_rows_of(nfa.measure(model, inputs(), quantities=reversed(CHOSEN), **options), whole, CHOSEN)
    for name in CHOSEN:
        assert_rows_of(nfa.measure(model, inputs(), quantities=[name], **options), whole, (name,))


def test_what_is_not_asked_for_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: LayerContext) -> Values:
        raise AssertionError("computed")

    monkeypatch.setitem(QUANTITIES, "haar_nfc", replace(QUANTITIES["haar_nfc"], values=refuse))
    names = [name for name in QUANTITIES if name != "haar_nfc"]
    assert "haar_nfc_sd" in set(nfa.measure(Counted(), inputs(), quantities=names).quantity)
    with pytest.raises(AssertionError, match="computed"):
        nfa.measure(Counted(), inputs())


def test_the_network_before_training_is_run_only_where_a_quantity_needs_it() -> None:
    model = Counted()
    initial = state(model)
    model.move()
    alone = passes(nfa.measure, model, inputs())
    for names, times in ((["uc_nfc", "c_nfc"], 1), (["w0_nfc", "relative_change"], 1), (["dc_nfc"], 2), (None, 2)):
        assert passes(nfa.measure, model, inputs(), initial=initial, quantities=names) == times * alone
    model.load_state_dict(initial)
    assert passes(nfa.measure, model, inputs(), initial=initial) == alone  # the same network: K0 is K


def monitored() -> Iterator[tuple[nfa.Monitor, Counted, dict[str, Tensor]]]:
    """Yield a monitor after its first and after its second call, the network, and its weights before training."""
    model = Counted()
    initial, monitor = state(model), nfa.Monitor(model, inputs())
    for step in (1, 2):
        model.move()
        monitor(step)
        yield monitor, model, initial


def test_a_monitor_measures_the_network_before_training_once() -> None:
    alone = passes(nfa.measure, Counted(), inputs())
    before = Counted.passes
    calls = [Counted.passes - before for _ in monitored()]
    first, second = calls[0], calls[1] - calls[0]
    assert second == alone
    assert first > 2 * alone  # W0, too, and two samples when the monitor is made


def test_a_monitors_rows_are_those_of_separate_measurements() -> None:
    for step, (monitor, model, initial) in enumerate(monitored(), start=1):
        rows = monitor.frame[monitor.frame.step == step].reset_index(drop=True)
        expected = nfa.measure(model, inputs(), initial=initial, step=step)
        pd.testing.assert_frame_equal(rows, expected, rtol=0, atol=1e-12)


def test_a_monitor_of_some_quantities_logs_these() -> None:
    model = Counted()
    monitor = nfa.Monitor(model, inputs(), quantities=["c_nfc", "uc_nfc"])
    model.move()
    assert {name.split("/")[1] for name in monitor(3)} == {"step", "log10_of_step_plus_1", "uc_nfc", "c_nfc"}
    assert list(dict.fromkeys(monitor.frame.quantity)) == ["uc_nfc", "c_nfc"]


class Routed(nn.Module):
    """Two experts, of which the sign of a parameter chooses one."""

    def __init__(self) -> None:
        """Make the experts."""
        super().__init__()
        torch.manual_seed(0)
        self.gate = nn.Parameter(torch.ones(()))
        self.experts = nn.ModuleList([nn.Linear(7, 5), nn.Linear(7, 5)])
        self.readout = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 7) -> (n, 2)."""
        outputs: Tensor = self.readout(self.experts[int(self.gate < 0)](x).tanh())
        return outputs


def test_a_layer_that_is_first_reached_later_is_compared_with_its_own_start() -> None:
    model, x = Routed(), inputs().float()
    monitor = nfa.Monitor(model, x)
    monitor(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.sub_(0.1)
        model.gate.fill_(-1)
    monitor(1)
    rows = monitor.frame.query("step == 1 and layer == 'experts.1'")
    assert rows[rows.quantity == "c_nfc"].value.notna().any()
    assert rows[rows.quantity == "relative_change"].value.item() > 0


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["uc_ncf"], "quantities: 'uc_ncf': did you mean 'uc_nfc'? nfa.quantities() lists all names"),
        ("uc_nfc", "quantities: 'uc_nfc' is not a list of names; pass for instance ['uc_nfc']"),
        ([], "quantities: the list is empty; name at least one quantity, or pass None for all"),
        ([1], "quantities: 1 is not text; names of quantities are, such as '1'"),
    ],
)
def test_names_that_cannot_be_used_are_refused(names: Any, words: str) -> None:
    for function in (nfa.measure, nfa.Monitor):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole message is compared)
            function(Counted(), inputs(), quantities=names)
        assert str(caught.value) == words
