"""``nfa show``: every alignment beside its control, and how far the directional factor lies above its own."""

from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console

from nfa.report.statistics.points import read_cells
from nfa.report.terminal.summary import NARROW, above_line, summary_table


def shown(cells: pd.DataFrame, width: int) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(summary_table(cells, width))
    return console.export_text()


def test_every_value_stands_beside_its_control(results: Path) -> None:
    cells = read_cells(results)
    lines = shown(cells, 160).splitlines()
    for row in cells.to_dict("records"):
        (line,) = (line for line in lines if f"{row['test_loss']:.4f}±" in line and row["optimizer"] in line)
        for quantity, control in (("uc_nfc", "haar_nfc"), ("c_nfc", "c_haar_nfc"), ("directional", "directional_haar")):
            assert f"{row[quantity]:.2f} ({row[control]:.2f})" in line
        half = row["directional_above_control_ci_high"] - row["directional_above_control"]
        distance = f"{row['directional_above_control']:.2f}±{half:.2f}"
        assert f"{distance} {row['directional_above_control_in_sd']:.1f} sd" in line


def test_a_narrow_terminal_holds_every_column(results: Path) -> None:
    cells = read_cells(results)
    for width in (80, NARROW, 120):
        text = shown(cells, width)
        assert max(map(len, text.splitlines())) <= width
        assert "…" not in text
        assert text.count(f"({cells['haar_nfc'].iloc[0]:.2f})") >= len(cells)


def test_a_sentence_counts_the_cells_above_their_control(results: Path) -> None:
    cells = read_cells(results)
    assert above_line(cells) == "The directional factor is above its control, 95% over seeds, in 4 of 4 cells."
    low = cells["directional_above_control_ci_low"]
    at_chance = cells.assign(directional_above_control_ci_low=low.where(cells.index != 1, -0.01))
    assert above_line(at_chance).endswith(f"in 3 of 4 cells; not in {cells['label'].iloc[1]}.")
    one_seed = cells.assign(directional_above_control_ci_low=np.nan)
    assert above_line(one_seed).endswith("no cell has two finished seeds.")
