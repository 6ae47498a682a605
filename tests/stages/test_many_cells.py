"""Sweeps with more cells than are read at a time give the same tables and page."""

from pathlib import Path

import pandas as pd
import pytest

from nfa.report.statistics.chart_points import read_cells
from nfa.report.statistics.study import Study
from nfa.report.terminal.summary import shown_line, summary_table
from nfa.stages import aggregate as stage
from nfa.storage.paths import SweepPaths
from nfa.storage.tables import read_table
from tests.fake_results import write
from tests.helpers import tiny_sweep


def aggregated(results: Path, at_once: int, monkeypatch: pytest.MonkeyPatch) -> SweepPaths:
    monkeypatch.setattr(stage, "CELLS_AT_ONCE", at_once)
    sweep = tiny_sweep(seeds=2, train={"steps": 20, "checkpoints": 3})
    paths = write(sweep, results)
    stage.aggregate(sweep, results)
    return paths


def test_in_parts_tables_and_page_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = aggregated(tmp_path / "whole", 500, monkeypatch)
    parts = aggregated(tmp_path / "parts", 3, monkeypatch)
    for path in sorted(whole.tables.glob("*.parquet")):
        pd.testing.assert_frame_equal(read_table(path), read_table(parts.tables / path.name), obj=path.name)
    assert whole.report.read_text() == parts.report.read_text()
    texts = {path.stem for path in parts.tables.glob("*.csv")}
    of_cells = {"runs", "cells_summary", "loss_checkpoints", "tuning"}
    assert texts == of_cells | {"predictions", "features_ranks", "speed_limited"}


def test_of_cells_that_are_not_shown_enough_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = tiny_sweep(seeds=2, train={"steps": 20, "checkpoints": 3})
    paths = write(sweep, tmp_path)
    monkeypatch.setattr("nfa.report.statistics.labels.CELLS_SHOWN", 2)
    found = []
    for at_once in (500, 1):
        monkeypatch.setattr(stage, "CELLS_AT_ONCE", at_once)
        collected, tables = stage.collect_and_tabulate(sweep, paths)
        found.append(Study(collected, tables, paths))
        assert len(found[-1].shown) == 2
    whole, parts = found
    assert len(parts.collected.history) < len(whole.collected.history)
    assert len(parts.collected.alignment) < len(whole.collected.alignment)
    pd.testing.assert_frame_equal(parts.run_means, whole.run_means)
    for name in ("predictions", "features_ranks"):
        pd.testing.assert_frame_equal(parts.tables[name], whole.tables[name])
    for quantity in ("directional", "spectral", "uc_nfc"):
        pd.testing.assert_frame_equal(parts.above_controls[quantity], whole.above_controls[quantity])
    pd.testing.assert_frame_equal(parts.depth_law, whole.depth_law)
    pd.testing.assert_frame_equal(parts.tables["cells_summary"], whole.tables["cells_summary"])


def test_the_terminal_shows_the_same_cells_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = tiny_sweep(seeds=2, train={"steps": 20, "checkpoints": 3})
    paths = write(sweep, tmp_path)
    stage.aggregate(sweep, tmp_path)
    cells = read_cells(paths.folder)
    assert summary_table(cells, 120).row_count == len(sweep.cells)
    assert shown_line(cells, paths.folder) == ""
    monkeypatch.setattr("nfa.report.statistics.labels.CELLS_SHOWN", 2)
    assert summary_table(cells, 120).row_count == 2
    assert shown_line(cells, paths.folder).startswith(f"Shown: 2 of {len(sweep.cells)} cells, evenly spread")
