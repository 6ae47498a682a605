"""The tables about one network: failures, left-out weights and standard errors are shown."""

from pathlib import Path

import pandas as pd
from rich.console import Console, RenderableType

from nfa.report.terminal.network import check_report, measure_report


def shown(report: RenderableType, folder: Path) -> list[str]:
    with (folder / "shown").open("w") as file:
        console = Console(width=100, record=True, file=file)
        console.print(report)
    return [" ".join(line.split()) for line in console.export_text().splitlines()]


def test_a_layer_that_fails_the_check_is_counted_and_weights_that_are_left_out_are_named(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {
            "layer": ["first", "second"],
            "shape": ["4 x 3", "2 x 4"],
            "error": [1.25e-7, 0.5],
            "passed": [True, False],
            "compared": "all samples",
            "note": ["", "see there"],
        }
    )
    table.attrs["left_out"] = {"embedding": "its input is no number"}
    lines = shown(check_report(table), tmp_path)
    assert "first 4 x 3 1.2e−07 passed" in lines
    assert "second 2 x 4 0.5 FAILED see there" in lines
    assert "Not measured:" in lines
    assert "embedding: its input is no number" in lines
    assert lines[-1] == "1 of 2 layers failed."
    passed = table.assign(passed=True)
    passed.attrs = table.attrs
    assert shown(check_report(passed), tmp_path)[-1] == "2 layers passed."


def test_an_estimate_has_its_standard_error_and_an_exact_value_has_none(tmp_path: Path) -> None:
    rows = [("uc_nfc", 0.5, 0.0126, ""), ("haar_nfc", 0.25, 0.01, ""), ("haar_nfc_sd", 0.04, float("nan"), "")]
    rows += [("c_nfc", float("nan"), 0.0, "W is W0")]
    factors = [("directional", 0.75, 0.0, ""), ("directional_haar", 0.5, 0.02, "")]
    table = pd.DataFrame([*rows, *factors], columns=["quantity", "value", "stderr", "note"])
    factor = table["quantity"].isin([name for name, *_ in factors])
    table = table.assign(correlation="cosine", power="1", layer="4", layer_index=0, depth_from_output=0)
    table = table.assign(estimator="probes", n=1000)
    table.loc[factor, ["correlation", "power"]] = None
    table.attrs["left_out"] = {}
    lines = shown(measure_report(table, "cosine", "1", centred=True), tmp_path)
    assert lines[0].startswith(
        "cosine, power 1; probes, n = 1,000; ±: standard error; of a control: standard deviation"
    )
    assert "4 (readout) 0.500 ± 0.013 0.25 ± 0.04 n/a n/a 0.750 0.50" in lines
    assert "C-NFC: W is W0" in lines
    without = shown(measure_report(table, "cosine", "1", centred=False), tmp_path)
    assert not any("W0" in line for line in without)
    assert "4 (readout) 0.500 ± 0.013 0.25 ± 0.04 0.750 0.50" in without
