"""Every text that a note can hold is made to happen; one that is entered without a case here fails."""

import ast
import itertools
import math
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import nfa
import nfa.features.quality as quality
import nfa.theory.quadratic as quadratic
from nfa.alignment import check, frame, measure, measure_covariances
from nfa.alignment.covariance import blocks
from nfa.alignment.covariance import layer_covariances as covariance
from nfa.alignment.network import survey, trial
from nfa.alignment.network.reasons import REASONS
from nfa.alignment.quantities import (
    ansatz,
    best_power,
    centred,
    correlation,
    evaluate,
    fact,
    haar,
    layer,
    sketch,
    sketched_split,
    slope,
    spectra,
    subject,
    weights,
)
from nfa.features import SamplesWithTargets, linear_rows
from tests.alignment.architectures import Net, draw
from tests.alignment.covariance.test_rounding import Chaotic, MeanAfterNorm, _next
from tests.alignment.network import test_experts as experts
from tests.alignment.network import test_uses as uses

checking = sys.modules["nfa.alignment.check"]  # the package has a function of that name
PACKAGE = Path(nfa.__file__).parent


def chain(*sizes: int, dtype: torch.dtype = torch.float64) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [m for a, b in itertools.pairwise(sizes) for m in (nn.Linear(a, b, bias=False), nn.Tanh())]
    return nn.Sequential(*layers[:-1]).to(dtype)


def inputs(n: int = 24, d: int = 4, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


def with_weight(weight: Tensor, *, readout: Tensor | None = None) -> nn.Sequential:
    """A linear network of two layers of given weights."""
    k, d = weight.shape
    model = nn.Sequential(nn.Linear(d, k, bias=False), nn.Linear(k, 2, bias=False)).double()
    with torch.no_grad():
        model.get_parameter("0.weight").copy_(weight)
        if readout is not None:
            model.get_parameter("1.weight").copy_(readout)
    return model


class Skip(nn.Module):
    """A branching network."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.first, self.second = nn.Linear(4, 4).double(), nn.Linear(4, 2).double()

    def forward(self, x: Tensor) -> Tensor:
        """(n, 4) -> (n, 2)."""
        return self.second(x + torch.tanh(self.first(x)))  # type: ignore[no-any-return]


class Dropping(nn.Module):
    """Dropout that is on in eval mode, too."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.first, self.second = nn.Linear(4, 16), nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 4) -> (n, 2)."""
        return self.second(nn.functional.dropout(self.first(x), 0.5, training=True))  # type: ignore[no-any-return]


class Unnumbered(nn.Module):
    """Two outputs, the second NaN with a gradient that is finite."""

    def __init__(self) -> None:
        """Make the layer."""
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 4) -> (n, 2)."""
        return self.second(torch.tanh(self.first(x))) + torch.tensor([0.0, math.nan])  # type: ignore[no-any-return]


class Counter(nn.Module):
    """Gives other outputs in every pass."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.first, self.second, self.passes = nn.Linear(4, 6), nn.Linear(6, 2), 0

    def forward(self, x: Tensor) -> Tensor:
        """(n, 4) -> (n, 2)."""
        self.passes += 1
        return self.second(torch.tanh(self.first(x + self.passes / 10)))  # type: ignore[no-any-return]


class Loop(nn.Module):
    """Uses a layer where samples come in company alone, and elsewhere another one of the same weights."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.first, self.second, self.other = nn.Linear(4, 6), nn.Linear(6, 2), nn.Linear(6, 2)
        self.other.load_state_dict(self.second.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        """(n, 4) -> (n, 2)."""
        h = torch.tanh(self.first(x))
        return self.second(h) if len(x) > 2 else self.other(h)  # type: ignore[no-any-return]


def trained(model: nn.Module, scale: float = 0.1) -> dict[str, Tensor]:
    """The state before some change of every weight."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return before


def limits_of(**moving: Any) -> pd.DataFrame:
    model = chain(4, 6, 2)
    layers = measure_covariances(model, inputs()).layers
    velocities = {name: torch.ones_like(layer.weight) for name, layer in layers.items()}
    given: dict[str, Any] = dict.fromkeys(moving, velocities)
    return frame(layers, initial=layers, **given)


def of_notes(table: pd.DataFrame) -> set[str]:
    return set(table.note)


def frozen_layer() -> pd.DataFrame:
    model = chain(4, 6, 2)
    before = trained(model)
    with torch.no_grad():
        model.get_parameter("0.weight").copy_(before["0.weight"])
    return measure(model, inputs(), initial=before)


def infinite(what: str) -> pd.DataFrame:
    layers = measure_covariances(chain(4, 6, 2), inputs()).layers
    given = {name: torch.full_like(layer.weight, math.inf) for name, layer in layers.items()}
    more: dict[str, Any] = {"initial": layers} if what == "updates" else {"weight_decay": 0.1}
    return frame(layers, **(more | {what: given}))


def without_float64() -> nn.Module:
    """A network of grouped products, which torch has in float32 only."""
    torch.manual_seed(0)
    return Net(experts.grouped, gate=nn.Linear(8, 5), w=draw(5, 8, 4), readout=nn.Linear(4, 2)).float()


def unrouted() -> pd.DataFrame:
    """Experts that were there in an earlier step, of which these few samples reach one."""
    model = experts.experts()
    everywhere = measure_covariances(model, experts.inputs())
    return frame(measure_covariances(model, experts.inputs(1), like=everywhere.survey).layers)


def overflowing() -> pd.DataFrame:
    model = chain(4, 6, 2, dtype=torch.float32)
    with torch.no_grad():
        model.get_parameter("2.weight").fill_(1e38)
    model.append(nn.Linear(2, 2)).append(nn.Linear(2, 2))
    with torch.no_grad():
        for place in (3, 4):
            model.get_parameter(f"{place}.weight").fill_(1e38)
    return measure(model, inputs(dtype=torch.float32))


def last_digit(which: str) -> pd.DataFrame:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6, bias=False), nn.Linear(6, 2, bias=False))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    before[which] = _next(before[which], 1)
    if which == "1.weight":
        before["0.weight"] = torch.randn(6, 4)
    return measure(model, inputs(dtype=torch.float32), initial=before)


def unmoved_covariance() -> pd.DataFrame:
    model = chain(4, 6, 2)
    return measure(model, inputs(), initial=trained(model))  # at the readout


def no_initial_covariance() -> set[str]:
    found = measure_covariances(chain(4, 6, 2), inputs()).layers["0"]
    reference = layer.Reference(initial_weight=found.weight + torch.randn_like(found.weight))
    return {value.note for value in evaluate.quantity_values(found, reference, 0)["dc_nfc"].values()}


def wide() -> pd.DataFrame:
    model = nn.Sequential(nn.Linear(4, 1100), nn.Tanh(), nn.Linear(1100, 1))
    return measure(model, inputs(4, dtype=torch.float32), layers=["0"])


def decomposed() -> pd.DataFrame:
    model = nn.Sequential(nn.Linear(300, 300), nn.Tanh(), nn.Linear(300, 1))
    return measure(model, inputs(4, 300, torch.float32), layers=["0"])


def weights_zero() -> set[str]:
    """Notes of both quantities of the weights alone that are undefined for W = 0."""
    table = measure(with_weight(torch.zeros(3, 4)), inputs(), initial=with_weight(torch.eye(3, 4).double()))
    first = table[table.layer == "0"].set_index("quantity").note
    assert first["relative_change"] == first["localisation"]
    return {first["localisation"]}


def scores() -> set[str]:
    """Notes of the probes of features that do not vary, for targets that do not vary."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    train, test = (
        SamplesWithTargets(torch.ones(n, 4), torch.zeros(n, 2), torch.zeros(n, dtype=torch.long)) for n in (30, 20)
    )
    return {row.note for row in linear_rows(model, train, test, ["0", "2"])}


def recovered() -> set[str]:
    """Notes of a layer whose K is zero."""
    model = with_weight(torch.eye(3, 4), readout=torch.zeros(2, 3))
    return {row.note for row in quality.recovery_rows(model, inputs(), "0", torch.eye(4)[:, :2].double().numpy())}


def feature_machine() -> set[str]:
    """Notes of a recursive feature machine."""
    torch.manual_seed(0)
    train, test = (SamplesWithTargets(torch.randn(n, 4), torch.randn(n, 2), torch.arange(n) % 2) for n in (40, 20))
    return {row.note for row in quality.input_rows(train, test, kernel_samples=30, rfm=2)[0]}


def contradicting_sketches() -> set[str]:
    """Notes of the factors where the two sketches of K have nothing in common."""
    weight, ends = torch.diag(torch.tensor([2.0, 1.0])).double(), torch.eye(2).double()
    first, second = ([blocks.OuterSum(torch.diag(end)[None], None)] for end in ends)
    estimator = sketch.Estimator.of(blocks.Blocks([1], first, second), None)
    return {value.note for value in sketched_split.unbiased_split(estimator, weight, 0.0).values()}


def below_rounding() -> set[str]:
    """Notes of a change of two digits of every entry of a W whose largest singular value is rounded by more."""
    model = with_weight(torch.ones(6, 4)).float()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        model.get_parameter("0.weight").add_(2.0**-22 * torch.randn(6, 4).sign())
    return of_notes(measure(model, inputs(dtype=torch.float32), initial=before))


ENDS = torch.diag(torch.tensor([1.0, 2.0, 3.0])), torch.tensor([[3.0, 0.0, 0.0], [0.0, 1.0, 0.0]])

CASES: dict[str, Callable[[], Iterable[str]]] = {
    ansatz.NO_DEPTH_POWER: lambda: of_notes(measure(Skip(), inputs())),
    layer.GRADIENT_FLOW: lambda: of_notes(limits_of(gradients=1)),
    layer.RULE_FLOW: lambda: of_notes(limits_of(instead=1)),
    subject.FIRST_UPDATE: lambda: of_notes(limits_of(updates=1)),
    layer.OVERFLOW: lambda: of_notes(overflowing()),
    layer.K_ROUNDING: lambda: of_notes(measure(MeanAfterNorm().double(), torch.randn(8, 3, 8, 8).double())),
    evaluate.PLUG_IN: lambda: of_notes(measure(chain(4, 6, 2), inputs(), samples=12)),
    ansatz.NO_INITIAL: lambda: of_notes(measure(chain(4, 6, 2), inputs())),
    centred.NO_INITIAL_K: no_initial_covariance,
    centred.AT_START_TWICE: lambda: of_notes(limits_of()),
    subject.AT_START_NO_GRADIENT: lambda: of_notes(limits_of()),
    subject.FROZEN: lambda: of_notes(frozen_layer()),
    subject.CHANGE_ROUNDING: lambda: of_notes(last_digit("0.weight")),
    ansatz.CHANGE_NOT_FINITE: lambda: [part for note in of_notes(infinite("updates")) for part in note.split(": ")],
    centred.K_UNCHANGED: lambda: of_notes(unmoved_covariance()),
    centred.K_CHANGE_ROUNDING: lambda: of_notes(last_digit("1.weight")),
    fact.NO_DECAY: lambda: of_notes(measure(chain(4, 6, 2), inputs())),
    fact.DECOUPLED: lambda: of_notes(measure(chain(4, 6, 2), inputs(), decoupled_decay=0.01)),
    fact.NO_LOSS_GRADIENT: lambda: of_notes(measure(chain(4, 6, 2), inputs(), weight_decay=0.1)),
    fact.GRADIENT_NOT_FINITE: lambda: of_notes(infinite("gradients")),
    trial.DRAWN: lambda: of_notes(measure(Dropping(), inputs(dtype=torch.float32))),
    trial.UNSTEADY: lambda: of_notes(measure(Counter(), inputs(dtype=torch.float32))),
    trial.MAGNIFIED: lambda: of_notes(measure(Chaotic(), inputs(dtype=torch.float32))),
    covariance.NOT_FINITE: lambda: of_notes(measure(Unnumbered(), inputs(dtype=torch.float32))),
    correlation.NFM_ZERO: lambda: of_notes(measure(with_weight(torch.zeros(3, 4)), inputs())),
    correlation.OTHER_ZERO: lambda: of_notes(
        measure(with_weight(torch.eye(3, 4), readout=torch.zeros(2, 3)), inputs())
    ),
    correlation.EQUAL: lambda: of_notes(measure(with_weight(torch.ones(3, 4)), inputs())),
    correlation.EQUAL_OFF_DIAGONAL: lambda: of_notes(measure(with_weight(torch.eye(3)), inputs(d=3))),
    correlation.NO_OFF_DIAGONAL: lambda: of_notes(measure(with_weight(torch.ones(3, 1)), inputs(d=1))),
    spectra.MATRIX_ZERO: lambda: of_notes(measure(with_weight(torch.zeros(3, 4)), inputs())),
    spectra.FEW_DIRECTIONS: lambda: of_notes(measure(with_weight(torch.ones(3, 4)), inputs())),
    spectra.NO_EIGENSPACE: lambda: of_notes(measure(with_weight(torch.eye(3, 4)), inputs())),
    spectra.EITHER_ZERO: lambda: of_notes(measure(with_weight(torch.zeros(3, 4)), inputs())),
    weights.WEIGHT_ZERO: weights_zero,
    best_power.AT_AN_END: lambda: of_notes(measure(with_weight(ENDS[0], readout=ENDS[1]), inputs(d=3))),
    best_power.AS_FAR: lambda: of_notes(measure(with_weight(ENDS[0], readout=ENDS[1]), inputs(d=3))),
    best_power.ALIKE: lambda: of_notes(measure(chain(4, 1), inputs())),
    sketched_split.NOISE: contradicting_sketches,
    slope.NO_WEIGHT: lambda: of_notes(measure(with_weight(torch.zeros(3, 4)), inputs())),
    slope.BELOW_ROUNDING: below_rounding,
    slope.ONE_DIRECTION: lambda: of_notes(measure(chain(4, 1, 2), inputs())),
    slope.ONE_STRENGTH: lambda: of_notes(measure(with_weight(torch.eye(2)), inputs(d=2))),
    slope.K_VANISHES: lambda: of_notes(measure(with_weight(ENDS[0], readout=torch.zeros(2, 3)), inputs(d=3))),
    slope.TWO_DIRECTIONS: lambda: of_notes(measure(chain(4, 2, 3), inputs())),
    slope.NO_VARIATION: lambda: of_notes(measure(chain(4, 6, 2), inputs())),
    sketch.TOO_FEW: lambda: of_notes(measure(chain(4, 6, 2), inputs(4), estimator="sketched", batch_size=4)),
    haar.EXPECTED: lambda: of_notes(wide()),
    haar.TOO_LARGE: lambda: of_notes(decomposed()),
    haar.NO_CONTROL: lambda: of_notes(measure(chain(4, 1, 2), inputs())),
    checking.K_ZERO: lambda: of_notes(check(with_weight(torch.eye(3, 4), readout=torch.zeros(2, 3)), inputs())),
    checking.NOT_ALONE: lambda: of_notes(check(Loop(), inputs(dtype=torch.float32))),
    checking.FEW_OUTPUTS: lambda: of_notes(check(chain(4, 6, 20), inputs())),
    checking.TWO_DRAWS: lambda: of_notes(check(Dropping(), inputs(dtype=torch.float32))),
    checking.NO_FLOAT64: lambda: of_notes(check(without_float64(), experts.inputs(20, d=8).float())),
    survey.NOT_HERE: lambda: of_notes(unrouted()),
    survey.LEAVES_OUT: lambda: of_notes(measure(uses.IN_PART["norm"][0], uses.samples(6, 4))),
    survey.AS_ONE: lambda: of_notes(measure(uses.attention(uses.rotated, written=False), uses.samples(5, 3, 4))),
    quality.OVERFLOW: scores,
    quality.NO_METRIC: recovered,
    quality.NO_KERNEL: scores,
    quality.NO_SCATTER: scores,
    quality.ITERATION: feature_machine,
    quadratic.OFF_DIAGONAL: lambda: [
        found.note for found in quadratic.finite_width(torch.eye(3).numpy(), torch.eye(3).numpy(), 4).values()
    ],
}


def matches(text: str) -> re.Pattern[str]:
    """A pattern of a text whose {names} are filled in."""
    return re.compile(".+?".join(re.escape(part) for part in re.split(r"\{[^}]*\}", text)))


@pytest.mark.parametrize("text", sorted(REASONS))
def test_it_happens(text: str) -> None:
    assert text in CASES, "no case makes this note"
    pattern = matches(text)
    found = set(CASES[text]())
    assert any(pattern.fullmatch(part) for note in found for part in (note, *note.split("; "), *note.split(": "))), (
        found
    )


def test_no_reason_goes_around_the_list() -> None:
    """A reason is entered by name: no call of ``undefined`` writes a text itself."""
    written = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""
            if called.startswith("undefined") and isinstance(node, ast.Call) and any(map(_is_text, node.args)):
                written.append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    assert not written


def _is_text(node: ast.AST) -> bool:
    """Whether an expression is a text, or a text in one of two cases."""
    if isinstance(node, ast.IfExp):
        return _is_text(node.body) or _is_text(node.orelse)
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))
