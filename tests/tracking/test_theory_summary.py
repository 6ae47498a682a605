"""The summary of theory that a run records: means over hidden layers."""

import pandas as pd
import pytest

from nfa.tracking.record.summary import theory_summary


def test_summary_for_wandb_has_means_over_hidden_layers() -> None:
    def row(quantity: str, step: int, depth: int, value: float) -> dict[str, object]:
        power = None if quantity.startswith("depth_law") else "1"
        place = {"quantity": quantity, "step": step, "depth_from_output": depth}
        return {**place, "correlation": "cosine", "power": power, "value": value}

    rows = [row("c_nfc", 0, depth, value) for depth, value in ((0, 1.0), (1, 0.4), (2, 0.6))]
    rows += [row("c_nfc_update", 0, depth, 0.1 * depth) for depth in (0, 1, 2)]
    rows += [row("c_haar_nfc", 0, depth, value) for depth, value in ((0, 1.0), (1, 0.2), (2, 0.4))]
    rows += [row("c_haar_nfc_update", 0, depth, 0.05 * depth) for depth in (0, 1, 2)]
    rows += [row("depth_law_power", step, depth, step / 10) for step in (0, 10) for depth in (0, 1)]
    rows += [row("depth_law_fit", 10, 1, 0.9), row("c_nfc", 10, 1, 0.8)]
    found = theory_summary(pd.DataFrame(rows))
    assert found["predicted/c_nfc"] == pytest.approx(0.5)
    assert found["predicted/c_nfc_update"] == pytest.approx(0.15)
    assert found["predicted/c_haar_nfc"] == pytest.approx(0.3)
    assert found["predicted/c_haar_nfc_update"] == pytest.approx(0.075)
    assert found["final/depth_law_power"] == pytest.approx(1.0)
    assert found["final/depth_law_fit"] == pytest.approx(0.9)
