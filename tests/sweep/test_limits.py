"""Sweep files without end, or of absurd size, are refused within seconds; what is echoed of them is short."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from nfa.errors import SweepError, cut, one_line
from nfa.sweep.grid import load, parse
from nfa.sweep.read_yaml import MAX_BYTES
from tests.helpers import environment, tiny
from tests.workflow.snakemake import Workflow

SECONDS = 60  # a hang is a failure; no time is measured
BOMB = "a0: &a0 [1, 2]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))
MERGED = "a0: &a0 {k: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 30))
AXES = "data: {name: digits}\noptimizer: {name: sgd}\n"


def expand(*arguments: object, cwd: Path, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run ``nfa expand``; fail where it takes more than a minute, or more memory than 4 GB."""
    command = ["bash", "-c", 'ulimit -v 4000000; exec "$@"', "_", sys.executable, "-m", "nfa.cli.main", "expand"]
    return subprocess.run(
        [*command, *map(str, arguments)],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        **options,
    )


def refused(done: "subprocess.CompletedProcess[str]", words: str) -> None:
    assert done.returncode == 2, done.stderr[-2000:]
    assert done.stderr.count("\n") == 1
    assert len(done.stderr) < 1000
    assert words in done.stderr, done.stderr


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    refused(expand("pipe.yaml", cwd=tmp_path), "pipe.yaml: is a pipe, not a file")
    refused(expand("/dev/zero", cwd=tmp_path), "/dev/zero: is a device or socket, not a file")
    refused(expand(tmp_path, cwd=tmp_path), "is a folder, not a file")
    read, write = os.pipe()
    try:
        refused(expand("/dev/stdin", cwd=tmp_path, stdin=read), "/dev/stdin: is a pipe, not a file")
    finally:
        os.close(read)
        os.close(write)


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "huge.yaml").write_text("data: [" + "{name: digits},\n" * 3_300_000 + "]\n")
    refused(
        expand("huge.yaml", cwd=tmp_path),
        f"huge.yaml: has 52,800,009 bytes, but a sweep file has at most {MAX_BYTES:,}",
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "values, because aliases (*name) are repeated"),
        (f"{AXES}model: {{name: mlp}}\ntrain: *a29\n".join([BOMB, ""]), "values, because aliases (*name) are repeated"),
        (MERGED, "<<: merges more than"),
        (BOMB.replace("[", "{x: ").replace("]", "}").replace(", 2", "").replace(", *", ", y: *", 1), "not YAML"),
        ("a: &x [*x]\n", "nested without end"),
        ("a: &x {b: *x}\n", "nested without end"),
        ("data: " + "[" * 60 + "]" * 60, "nested more than 50 deep"),
        ("data: " + "[" * 50_000 + "]" * 50_000, "nested more than 50 deep"),
        ("- " * 50_000, "nested more than 50 deep"),
        (f"{AXES}model: {{name: mlp, width: {'9' * 5000}}}", "a whole number of 5,000 digits"),
        (f"{AXES}model: {{name: mlp, width: 0x{'f' * 900}}}", "a number of about 1,084 digits is out of range"),
        (f"{AXES}model: {{name: mlp, init_scale: 1e400}}", "inf is not a finite number"),
        (f"{AXES}model: {{name: mlp, width: {'9' * 100_000}e0}}", "inf is not a whole number"),
        (f"{AXES}model: {{name: mlp}}\nseeds: 10000000", "seeds: 10000000: use 1 to 10000 seeds"),
        (f"{AXES}model: {{name: mlp}}\nseeds: [{'1, ' * 100_000}]", "is neither a number of seeds nor a list"),
        (f'{AXES}model: {{name: "m\\0lp"}}', "'m\\x00lp': no such model"),
        (f'{AXES}model: {{name: "m\\0lp:make"}}', "m\\x00lp: no such module"),
        (f"{AXES}model: {{name: mlp, 2026-01-01: 3}}", "a key must be text"),
        (f"{AXES}model: {{name: mlp, ~: 3}}", "None: a key must be text"),
    ],
)
def test_odd_documents_are_refused_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "odd.yaml").write_text(text)
    refused(expand("odd.yaml", cwd=tmp_path), words)


def test_a_list_of_a_million_seeds_is_refused() -> None:
    with pytest.raises(SweepError, match=r"values, because aliases \(\*name\) are repeated"):
        parse(tiny(seeds=list(range(1_000_000))), "x.yaml")


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["model"][0].update({f"key{n}": list(range(100)) for n in range(10)}),
        lambda d: d["optimizer"].append(
            {"name": "slo", "speeds": [{f"layer{n}": list(range(50)) for n in range(3)}] * 1000}
        ),
        lambda d: (
            d["model"][0].update(width=list(range(1, 1001))),
            d["optimizer"][0].update(lr=[n / 1000 for n in range(1, 1001)]),
        ),
    ],
)
def test_a_grid_beyond_the_limit_is_counted_and_not_expanded(tmp_path: Path, change: Callable[[Any], object]) -> None:
    document = tiny()
    change(document)
    (tmp_path / "large.yaml").write_text(yaml.safe_dump(document))
    done = expand("large.yaml", cwd=tmp_path)
    refused(done, "points, and 200000 is the most; split the sweep")


def test_cells_that_for_leaves_out_do_not_count() -> None:
    """A product of 4 million of which a fraction is meant: refused by its product, it could not be written at all."""
    data = [{"name": name, "n_train": 100, "n_test": 50} for name in ("chain_monomial", "staircase")]
    entries = [{"name": "mlp", "width": [1, 2], "for": {"data": entry["name"]}} for entry in data]
    assert len(parse(tiny(data=data, model=entries), "x").cells) == 2 * 2 * 2


LONG = "n" * 5000


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update({LONG: 1}),
        lambda d: d.update(sweep=LONG),
        lambda d: d.update(seeds=LONG),
        lambda d: d.update(size=LONG),
        lambda d: d.update(sizes={LONG: {"seeds": 1}, "-": {}}),
        lambda d: d.update(sizes={"a": {LONG: 1}}),
        lambda d: d.update(sizes=LONG),
        lambda d: d.update(measure={LONG: 1}),
        lambda d: d.update(measure=LONG),
        lambda d: d.update(measure={"estimator": LONG}),
        lambda d: d.update(wandb={"project": LONG}),
        lambda d: d.update(wandb={"entity": "/" + LONG}),
        lambda d: d.update(train={LONG: [1, 2]}),
        lambda d: d.update(train={LONG: []}),
        lambda d: d.update(train={"loss": LONG}),
        lambda d: d.update(model={"name": LONG}),
        lambda d: d.update(model={"name": f"{LONG}:make"}),
        lambda d: d.update(model={"name": f"this:{LONG}"}),
        lambda d: d.update(model={"name": "os:getcwd", "arguments": {LONG: 1}}),
        lambda d: d.update(model={"name": "mlp", LONG: 1}),
        lambda d: d.update(model={"name": "mlp", "for": {LONG: "x"}}),
        lambda d: d.update(model={"name": "mlp", "for": {"data": LONG}}),
        lambda d: d.update(data={"name": f"{LONG}:make"}),
        lambda d: d.update(data={"name": f"this:{LONG}"}),
        lambda d: d.update(data={"name": "os:getcwd", "arguments": {LONG: 1}}),
        lambda d: d.update(optimizer={"name": "slo", "speeds": {LONG: 1}}),
        lambda d: d.update(optimizer={"name": "slo", "speeds": {LONG: -1}}),
        lambda d: d.update(optimizer={"name": "slo", "later": {LONG: {"first": 1}}}),
    ],
)
def test_at_most_80_characters_of_a_word_are_echoed(change: Callable[[dict[str, Any]], object]) -> None:
    document = tiny()
    change(document)
    with pytest.raises(SweepError) as caught:
        parse(document, "x.yaml")
    runs = re.findall(r"n{20,}", str(caught.value))
    assert runs, str(caught.value)[:300]
    assert max(map(len, runs)) <= 80
    assert len(str(caught.value)) < 1500


def test_the_command_line_echoes_no_more(tmp_path: Path) -> None:
    for arguments in (["--" + LONG], [LONG], ["expand", "x.yaml", "--size", "x", LONG]):
        command = [sys.executable, "-m", "nfa.cli.main", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=environment(), cwd=tmp_path, timeout=SECONDS)
        assert done.returncode == 2
        assert max(map(len, re.findall(r"n+", done.stderr))) <= 80


def test_a_value_is_shown_in_its_order_and_cut() -> None:
    assert one_line({"b": 1, "a": [1, 2.5, "x"]}) == "{'b': 1, 'a': [1, 2.5, 'x']}"
    assert one_line("a\nb") == "'a\\nb'"
    assert one_line(10**5000).startswith("a number of about 5,001 digits")
    assert len(one_line([list(range(10**5))] * 10**5)) <= 80
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    assert len(one_line(nested)) <= 80
    assert cut("x" * 81) == "x" * 77 + "..."


def test_nested_settings_on_the_command_line_are_refused(tmp_path: Path) -> None:
    flow = Workflow(tmp_path, tiny(data=[{"name": "chain_monomial"}], model=[{"name": "mlp"}]))
    for option, words in (
        ("train={steps: 5}", "--config: train.steps: Snakemake makes nested values text, here '5'"),
        ("seeds=[1, 2]", "--config: seeds[0]: Snakemake makes nested values text, here '1'"),
    ):
        done = flow.run("-n", "--config", option)
        assert done.returncode == 2, done.stdout
        assert words in done.stdout
        assert "--config size=NAME" in done.stdout
    assert flow.planned("--config", "seeds=3")


def test_snakemake_refuses_aliases_without_end(tmp_path: Path) -> None:
    flow = Workflow(tmp_path, tiny())
    flow.config.write_text(flow.config.read_text() + BOMB)
    done = subprocess.run(
        flow.command("-n"), cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 2, done.stderr
    assert "values, because aliases (*name) are repeated" in done.stderr


def test_a_file_of_ordinary_size_is_read(tmp_path: Path) -> None:
    path = tmp_path / "many.yaml"
    document = tiny(optimizer=[{"name": "sgd", "lr": n / 1000} for n in range(1, 201)])
    path.write_text(yaml.safe_dump(document))
    assert len(load(path).cells) == 400
