"""Half of the change in alignment is counted from the first checkpoint."""

from dataclasses import replace

import numpy as np
import pytest

from nfa.conventions import HEADLINE, READOUT
from nfa.report.figures import curves
from nfa.report.page.sections.alignment_rise import directions, half_way, uc_nfc, when
from nfa.report.statistics.study import Study
from tests.helpers import tiny_sweep
from tests.report.studies import drawn, study_of


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return study_of(tiny_sweep(seeds=3), tmp_path_factory.mktemp("results"))


def test_halves_are_counted_from_the_first_checkpoint(study: Study) -> None:
    halves = half_way(study, uc_nfc(study, HEADLINE))
    steps = study.collected.sweep.cells[0].train.checkpoint_steps(200)
    assert len(halves) == 12
    assert set(np.unique(halves)) <= set(steps[1:])


def with_directions(study: Study, above: list[float]) -> Study:
    """Let the directional factor of every hidden layer lie so far above its control at each checkpoint."""
    table = study.collected.alignment.copy()
    steps = sorted(table["step"].unique())
    rows = table["quantity"] == "directional"
    table.loc[rows, "value"] = 0.45 + table.loc[rows, "step"].map(dict(zip(steps, above, strict=True)))
    table.loc[rows & (table["depth_from_output"] == READOUT), "value"] = 5.0
    return Study(replace(study.collected, alignment=table), study.tables, study.paths)


def test_directions_are_counted_above_their_control(study: Study) -> None:
    """The control rises with the factor at the last checkpoint, so that half of the way above it is made earlier."""
    steps = sorted(study.collected.alignment["step"].unique())
    changed = with_directions(study, [0.0, *[0.2] * (len(steps) - 2), 0.3])
    halves = half_way(changed, directions(changed))
    assert set(halves) == {steps[1]}
    assert len(halves) == 12
    said = when(changed, HEADLINE)
    assert f"by step {steps[1]:,} in the directional factor above its control and by step" in said.verdict
    assert said.short.startswith(f"half of the change by step {steps[1]:,} in the directional factor above its control")
    still = when(with_directions(study, [0.1] * len(steps)), HEADLINE)
    assert "The directional factor above its control hardly changes" in still.verdict
    assert "is made by step" in still.verdict


def test_a_panel_has_the_directional_factor_above_its_control(study: Study) -> None:
    steps = sorted(study.collected.alignment["step"].unique())
    changed = with_directions(study, [0.0, *[0.2] * (len(steps) - 2), 0.3])
    top, *_ = drawn(curves.panel(changed, changed.shown[0]))
    lines = [np.asarray(line.get_ydata(), float) for line in top.lines]
    layers = [line for line in lines if len(line) == len(steps)]
    assert len(layers) == 2  # the hidden ones
    np.testing.assert_allclose(layers[0], np.array([0.0, *[0.2] * (len(steps) - 2), 0.3]), atol=1e-12)
