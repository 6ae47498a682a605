"""Sweep files that are not there, are no YAML or have keys that YAML readers change."""

from pathlib import Path

import pytest
import yaml

from nfa.errors import SweepError
from nfa.sweep.grid import load, parse


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sweep: a\nsweep: b\n", ["line 2", "given twice"]),
        ("later:\n  0.5: {last: 1}\n  0.50: {first: 1}\n", ["line 3", "0.50", "given twice"]),
        ("model: [{name: mlp}\n", ["not YAML: line 2, column 1: while parsing a flow sequence did not find expected"]),
        ("model:\n\t- {name: mlp}\n", ["not YAML: line 2, column 1: a tab; indent with spaces"]),
        ("- a\n- b\n", ["not a sweep"]),
        ("", ["not a sweep"]),
        ("a: &x [*x]\n", ["nested without end"]),
        ("? [1, 2]\n: 3\n", ["not YAML"]),
        ("sweep: 2026-99-99\n", ["not YAML", "month"]),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(text)
    with pytest.raises(SweepError) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_the_key_on_is_a_key_whoever_reads_the_file(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    written = "data: [{name: fashion_mini}]\nmodel: [{name: mlp}]\noptimizer: [{name: slo, on: adam}]\n"
    path.write_text(written)
    assert yaml.safe_load(written)["optimizer"][0] == {"name": "slo", True: "adam"}  # so Snakemake reads it
    for sweep in (load(path), parse(yaml.safe_load(written), "my.yaml")):
        assert sweep.cells[0].content["optimizer"]["on"] == "adam"
    path.write_text(written.replace("on: adam", "on: adam, 'on': sgd"))
    with pytest.raises(SweepError, match="line 3: on: given twice"):
        load(path)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=r"no such file.*nfa init"):
        load(tmp_path / "absent.yaml")
