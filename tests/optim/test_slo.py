"""Settings of SLO that a sweep file may give: speeds that change during training."""

import pytest

from nfa.errors import SweepError
from nfa.optim.slo import SLOSettings
from tests.helpers import tiny_sweep

LAYERS = ["hidden0", "hidden1", "readout"]


def test_phases_are_spelled_out_and_two_ways_to_say_them_are_one_cell() -> None:
    settings = SLOSettings(
        speeds={"first": 1, "others": 0.1}, later={"0.75": {"last": 2}, "0.5": {"hidden1": 1, "others": 0}}
    )
    assert list(settings.phases(LAYERS)) == [0.0, 0.5, 0.75]
    assert settings.phases(LAYERS)[0.5] == {"hidden0": 0, "hidden1": 1, "readout": 0}
    two = [
        {"name": "slo", "later": {0.5: {"first": 1, "others": 0.1}}},
        {"name": "slo", "speeds": {"others": 1}, "later": {"5e-1": {"hidden0": 1, "1": 0.1, "last": 0.1}}},
    ]
    ids = {tuple(cell.id for cell in tiny_sweep(optimizer=[entry]).cells) for entry in two}
    assert len(ids) == 1


def test_settings_at_their_defaults_change_no_id() -> None:
    plain = tiny_sweep(optimizer=[{"name": "slo", "lr": 0.1}]).cells[0]
    assert set(plain.content["optimizer"]) == {"name", "speeds"}


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"later": {1.5: {"first": 1}}}, "optimizer[0].later.1.5: must be a share of the steps"),
        ({"later": {"half": {"first": 1}}}, "optimizer[0].later.half: must be a share of the steps"),
        ({"later": {0.5: {"first": -1}}}, "optimizer[0].later.0.5.first: -1 is negative"),
        ({"later": {0.5: {"hidden7": 1}}}, "optimizer[0].later.0.5.hidden7: no such layer"),
        ({"later": {0.5: {"first": 1}}, "adapt": 10}, "later and adapt are both given"),
        ({"adapt_rate": 2}, "adapt_rate: only used with adapt"),
        ({"adapt": 0}, "optimizer[0].adapt: 0 is out of range"),
        ({"adapt": 30}, "optimizer[0].adapt: 30: speeds would never change in 30 steps"),
        ({"on": "adamm"}, "optimizer[0].on: 'adamm': did you mean 'adam'?"),
        ({"speeds": {"hidden7": 1}}, "optimizer[0].speeds.hidden7: no such layer"),
    ],
)
def test_what_makes_no_sense_is_one_line(entry: dict[str, object], said: str) -> None:
    with pytest.raises(SweepError) as caught:
        tiny_sweep(optimizer=[{"name": "slo", "lr": 0.1, **entry}])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
