"""`nfa.Monitor` in a run of the real client: no row is lost, and the names are those of a published sweep."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import wandb
from torch import Tensor, nn

import nfa
from nfa.conventions import LOG_STEP, LOGGED, READOUT, layer_keys
from nfa.tracking.record.series import all_series
from tests.tracking.reading import Logged, run_folders


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An offline run of the client, whose service process ends with it: others would take it for their own."""
    monkeypatch.chdir(tmp_path)
    with wandb.init(mode="offline", dir=tmp_path, project="monitor", settings=wandb.Settings(console="off")) as run:
        yield run
    wandb.teardown()


@pytest.mark.parametrize("gives_steps", [True, False], ids=["log(step=...)", "log without a step"])
@pytest.mark.parametrize("first", ["monitors", "loop"])
def test_two_monitors_and_a_loop_lose_no_row(run: Any, tmp_path: Path, gives_steps: bool, first: str) -> None:
    model, images = network(), torch.randn(20, 6)
    monitors = [nfa.Monitor(model, images, prefix=prefix) for prefix in ("alignment", "again")]
    for monitor in monitors:
        monitor.define_metrics(run)

    def log_loss(step: int) -> None:
        run.log({"loss": float(step)}, **({"step": step} if gives_steps else {}))

    for step in range(0, 60, 10):
        if first == "loop":
            log_loss(step)
        if step % 20 == 0:
            for monitor in monitors:
                run.log(monitor(step), commit=False)
        if first == "monitors":
            log_loss(step)
    run.config.update({"layers": monitors[0].layer_names})
    run.finish()
    (folder,) = run_folders(tmp_path / "wandb")
    logged = Logged(folder)
    assert [row["loss"] for row in logged.history if "loss" in row] == [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]
    for monitor, prefix in zip(monitors, ("alignment", "again"), strict=True):
        rows = logged.series(f"{prefix}/step")
        assert list(rows) == [0, 20, 40]
        frame = monitor.frame.query(
            "quantity == 'uc_nfc' and correlation == 'cosine' and power == '1' and layer == '2'"
        )
        assert [row[f"{prefix}/uc_nfc/1"] for row in rows.values()] == frame.value.tolist()
    defined = {record.get("name") or record.get("glob_name"): record for record in logged.of("metric")}
    assert {"alignment/*", "again/*"} <= defined.keys()


class TwoReadouts(nn.Module):
    """Two readouts side by side, and between them in forward order a layer whose product is dead."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.body, self.left, self.hidden, self.right = (
            nn.Linear(6, 5),
            nn.Linear(5, 2),
            nn.Linear(5, 4),
            nn.Linear(4, 3),
        )
        with torch.no_grad():
            self.hidden.bias.fill_(-100.0)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 6) -> (n, 5)."""
        body = self.body(x).tanh()
        return torch.cat([self.left(body), self.right(self.hidden(body).relu())], 1)


@pytest.mark.parametrize("make", [network, TwoReadouts])
def test_a_published_sweep_has_the_same_names_and_values(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    model = make()
    monitor = nfa.Monitor(model, torch.randn(20, 6))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    logged = monitor(0)
    empty = pd.DataFrame(columns=["step", "epoch", "split", "metric", "value", "layer"])
    frame = monitor.frame
    readouts = frame.layer[frame.depth_from_output == READOUT].unique()
    names = layer_keys({layer: index for index, layer in enumerate(frame.layer.unique())}, readouts)
    assert monitor.layer_names == {key: layer for layer, key in names.items()}
    series = next(each for each in all_series(empty, frame, empty, names) if each.name == "alignment")
    (row,) = series.rows
    assert row == pytest.approx(logged, rel=1e-15, nan_ok=True)
    assert {name.split("/")[1] for name in logged} == {"step", LOG_STEP, *LOGGED}
    undefined = {name for name, value in logged.items() if math.isnan(value)}
    assert ("alignment/uc_nfc/2" in undefined) == (make is TwoReadouts)
