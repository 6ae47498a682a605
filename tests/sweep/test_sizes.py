"""One sweep file in several sizes: what a size changes, what it leaves, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from nfa.errors import SweepError
from nfa.stages.plan import read_sweep
from nfa.sweep.grid import load, load_all_sizes, parse
from tests.helpers import nfa, tiny

SIZES = {"full": {"seeds": 5, "train": {"steps": 77}, "model": [{"name": "mlp", "width": 512, "depth": 3}]}}


def sized(**changes: Any) -> dict[str, Any]:
    """Return a small sweep that has another size."""
    return tiny(sweep="study", seeds=2, train={"steps": 4, "batch_size": 8}, sizes=SIZES) | changes


def test_as_written_it_is_the_sweep_without_sizes() -> None:
    plain = {key: value for key, value in sized().items() if key != "sizes"}
    written, alone = parse(sized(), "x"), parse(plain, "x")
    assert written.document == alone.document
    assert [cell.id for cell in written.cells] == [cell.id for cell in alone.cells]
    assert (written.name, written.sizes, alone.sizes) == ("study", ("full",), ())


def test_a_size_replaces_lists_joins_mappings_and_has_results_of_its_own() -> None:
    full = parse(sized(size="full"), "x")
    assert full.name == "study-full"
    assert len(full.seeds) == 5
    assert {cell.model.width for cell in full.cells} == {512}  # type: ignore[attr-defined]
    assert {(cell.train.steps, cell.train.batch_size) for cell in full.cells} == {(77, 8)}
    again = parse(full.document, "x")
    assert [cell.id for cell in again.cells] == [cell.id for cell in full.cells]
    assert again.name == "study-full"


def test_a_size_is_chosen_by_the_file_the_command_and_snakemake_alike(tmp_path: Path) -> None:
    path, chosen = tmp_path / "study.yaml", tmp_path / "chosen.yaml"
    path.write_text(yaml.safe_dump(sized()))
    chosen.write_text(yaml.safe_dump(sized(size="full")))
    ids = [cell.id for cell in load(path, "full").cells]
    assert [cell.id for cell in load(chosen).cells] == ids
    assert [cell.id for cell in read_sweep(sized(size="full"), [path]).cells] == ids
    told = nfa("expand", path, "--size", "full")
    assert f"study-full: {len(ids)} cells x 5 seeds" in told.stdout
    assert "Sizes that the file defines, to choose with --size: full." in told.stdout
    assert [sweep.name for sweep in load_all_sizes(chosen)] == ["study", "study-full"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": "ful"}, "x: size: 'ful': no such size; did you mean 'full'"),
        ({"size": "full", "sizes": {}}, "x: size: 'full': no such size; the file has no sizes; leave it out"),
        ({"sizes": ["full"]}, r"x: sizes: \['full'\] must be a mapping"),
        ({"sizes": {"full": 3}}, "x: sizes.full: 3 must be a mapping"),
        ({"sizes": 3}, "x: sizes: 3 must be a mapping"),
        ({"sizes": None}, "x: sizes: None must be a mapping"),
        ({"sizes": {"full": {"sweep": "other"}}}, "x: sizes.full: 'sweep': no such key"),
        ({"sizes": {"a/b": {}}}, "x: sizes: 'a/b' cannot name a folder"),
        ({"sizes": {None: {}}}, "x: sizes: None cannot name a folder"),
        ({"size": "full", "sizes": {"full": {"seeds": 0}}}, "x: seeds: 0"),
        ({"sizes": {"full": {"seeds": 0}}}, "x: sizes.full: seeds: 0"),  # though it is not chosen
        ({"sizes": {"full": {"model": [{"name": "mpl"}]}}}, r"x: sizes.full: model\[0\].name: 'mpl': no such model"),
        ({"size": ["full"]}, r"x: size: \['full'\]: no such size"),
    ],
)
def test_what_is_wrong_is_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SweepError, match=message) as told:
        parse(sized(**changes), "x")
    assert "\n" not in str(told.value)
