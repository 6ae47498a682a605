"""Ids of cells and hashes of stages: what they depend on, and what changes neither."""

import copy
from typing import Any

from nfa.sweep.grid import SEGMENT, parse
from tests.helpers import tiny
from tests.sweep.test_grid import DEFAULT, changed


def ids(document: dict[str, Any]) -> list[str]:
    """Return the ids of a document's cells."""
    return [cell.id for cell in parse(document, "x.yaml").cells]


def test_ids_are_one_readable_path_segment() -> None:
    for name in ids(DEFAULT):
        assert "/" not in name
        assert len(name) < 200
        assert SEGMENT.fullmatch(name.rpartition(".")[2])
    assert ids(DEFAULT)[0].startswith("fashion_mini.mlp-d2-w128-s0.3.sgd-")


def test_ids_do_not_change_from_version_to_version() -> None:
    """A changed id would orphan every finished cell of every user: raise REVISIONS instead, on purpose."""
    document = {
        "data": [{"name": "fashion_mini"}],
        "model": [{"name": "mlp", "width": 128, "depth": 2, "init_scale": 0.3}],
        "optimizer": [{"name": "sgd", "lr": 0.5}, {"name": "slo", "lr": 0.2, "speeds": {"first": 1, "others": 0.01}}],
        "train": {"steps": 1000, "batch_size": 128},
    }
    assert ids(document) == [
        "fashion_mini.mlp-d2-w128-s0.3.sgd-lr0.5.1b2c804f",
        "fashion_mini.mlp-d2-w128-s0.3.slo-lr0.2-first1-others0.01.c599b6ba",
    ]


def test_whole_numbers_may_be_written_as_floats() -> None:
    document = tiny(train={"steps": 4, "batch_size": 8})
    floats = copy.deepcopy(document) | {"train": {"steps": "4e0", "batch_size": 8.0}}
    assert ids(floats) == ids(document)


def test_renaming_reordering_and_spelling_out_defaults_change_no_id() -> None:
    reordered = {key: DEFAULT[key] for key in reversed(DEFAULT)}
    reordered["sweep"] = "other-name"
    reordered["model"] = [dict(reversed(entry.items())) for entry in DEFAULT["model"]]
    reordered["model"][0]["activation"] = "relu"  # the default, spelled out
    reordered["optimizer"] = copy.deepcopy(DEFAULT["optimizer"])
    reordered["optimizer"][5]["speeds"] = {"others": 0.01, "first": 1}
    assert ids(reordered) == ids(DEFAULT)


def test_adding_a_value_keeps_every_cell_and_seeds_are_in_no_id() -> None:
    wider = changed(lambda d: d["model"][0].update(depth=[2, 3, 4]))
    assert set(ids(DEFAULT)) < set(ids(wider))
    assert ids(changed(lambda d: d.update(seeds=[5, 7]))) == ids(DEFAULT)


def test_a_stage_hash_holds_what_the_stage_depends_on() -> None:
    base = parse(DEFAULT, "x")
    probing = parse(changed(lambda d: d["probe"].update(samples=100)), "x")
    spelled_out = parse(changed(lambda d: d["measure"].update(heads=False)), "x")  # the default
    measuring = parse(changed(lambda d: d["measure"].update(samples=100)), "x")
    for cell in base.cells:
        hashes = base.hashes(cell)
        assert probing.hashes(cell) == {**hashes, "probe": probing.hashes(cell)["probe"]}
        assert probing.hashes(cell)["probe"] != hashes["probe"]
        assert measuring.hashes(cell) == {**hashes, "measure": measuring.hashes(cell)["measure"]}
        assert measuring.hashes(cell)["measure"] != hashes["measure"]
        assert spelled_out.hashes(cell) == hashes


def test_two_ways_to_write_the_same_speeds_are_one_cell() -> None:
    ways: list[dict[Any, Any]] = [{"first": 1, "others": 0.01}, {0: 1, "others": 0.01}, {"hidden0": 1, "others": 0.01}]
    document = tiny(data=[{"name": "chain_monomial"}])
    hashes = {ids({**document, "optimizer": [{"name": "slo", "speeds": speeds}]})[0][-8:] for speeds in ways}
    assert len(hashes) == 1
