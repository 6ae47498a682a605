"""Files on disk that do not fit the sweep file, and the sweep file that results belong to."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from nfa.errors import SweepError, UserError
from nfa.storage.atomic import write_text
from nfa.storage.documents import write_cells, write_plan, write_provenance
from nfa.storage.paths import SweepPaths
from nfa.storage.stale import check_name, stale_outputs, warnings_about
from nfa.sweep.cells import Sweep
from nfa.sweep.grid import load, load_cells, parse
from tests.fake_results import write
from tests.helpers import tiny

DOCUMENT = tiny(data=[{"name": "chain_monomial"}])


def saved(folder: Path, name: str = "sweep.yaml", **changes: object) -> Sweep:
    """Write a sweep file and read it."""
    (folder / name).write_text(yaml.safe_dump(DOCUMENT | changes))
    return load(folder / name)


@pytest.fixture
def done(tmp_path: Path) -> tuple[Sweep, SweepPaths]:
    """A sweep file and the files of its two cells, as if all had run."""
    sweep = saved(tmp_path)
    paths = write(sweep, tmp_path / "results")
    write_plan(sweep, paths)
    write_provenance(sweep, paths, ["nfa"])
    write_text(paths.report, "page")
    return sweep, paths


def test_nothing_is_stale_of_the_sweep_file_itself(done: tuple[Sweep, SweepPaths]) -> None:
    sweep, paths = done
    assert stale_outputs(sweep, paths) == []
    assert warnings_about(paths) == []


def test_tables_of_other_settings_or_fewer_seeds_are_stale(done: tuple[Sweep, SweepPaths], tmp_path: Path) -> None:
    sweep, paths = done
    cells = [paths.cell(cell.id) for cell in sweep.cells]
    expected = {
        "measure": [cell.alignment for cell in cells],
        "probe": [cell.probes for cell in cells],
        "seeds": [file for cell in cells for file in (cell.history, cell.alignment, cell.probes)],
    }
    changes: dict[str, Any] = {"measure": {"samples": 20}, "probe": {"samples": 100}, "seeds": 3}
    for key, value in changes.items():
        other = saved(tmp_path, "sweep.yaml", **{key: value})
        assert stale_outputs(other, paths) == [*map(str, expected[key]), str(paths.report)]
    fewer = saved(tmp_path, seeds=[1])
    assert stale_outputs(fewer, paths) == [str(paths.report)]


def test_damaged_and_foreign_files_are_stale_and_missing_ones_snakemakes_matter(
    done: tuple[Sweep, SweepPaths],
) -> None:
    sweep, paths = done
    first, second = (paths.cell(cell.id) for cell in sweep.cells)
    first.alignment.write_bytes(first.alignment.read_bytes()[:-20])
    first.probes.unlink()
    document = json.loads(second.cell.read_text())
    second.cell.write_text(json.dumps(document | {"hashes": {"train": "0" * 64}}))
    assert stale_outputs(sweep, paths) == [str(first.alignment), str(second.history)]
    shutil.copy(first.history, second.history)
    assert stale_outputs(sweep, paths) == [str(first.alignment), str(second.history)]


def test_results_without_a_plan_or_with_an_older_one_are_reported_on_again(
    done: tuple[Sweep, SweepPaths], tmp_path: Path
) -> None:
    """The plan is what `nfa status` reads."""
    sweep, paths = done
    write_plan(saved(tmp_path, seeds=3), paths)
    sweep = saved(tmp_path)
    assert stale_outputs(sweep, paths) == [str(paths.report)]
    assert "sweep file has changed since" in warnings_about(paths)[0]
    assert "tables and report are of an earlier state" in warnings_about(paths)[1]
    paths.plan.unlink()
    assert stale_outputs(sweep, paths) == [str(paths.report)]
    assert warnings_about(paths) == []  # provenance.json remembers the file too


def test_comments_and_the_order_of_keys_are_no_change(done: tuple[Sweep, SweepPaths], tmp_path: Path) -> None:
    _, paths = done
    text = yaml.safe_dump(dict(reversed(DOCUMENT.items())), sort_keys=False)
    (tmp_path / "sweep.yaml").write_text("# a comment\n" + text)
    assert warnings_about(paths) == []


@pytest.mark.parametrize("by", ["plan", "provenance"])
def test_another_file_of_the_name_is_refused_until_the_first_is_gone(
    done: tuple[Sweep, SweepPaths], tmp_path: Path, by: str
) -> None:
    first, paths = done
    if by == "provenance":
        paths.plan.unlink()
    check_name(saved(tmp_path, "same.yaml"), paths)
    second = saved(tmp_path, "second.yaml", seeds=5)
    check_name(first, paths)
    check_name(saved(tmp_path, seeds=7), paths)  # the first, edited
    with pytest.raises(UserError, match=r"second.yaml: .*results/tiny holds the results of another sweep file") as told:
        check_name(second, paths, snakemake=True)
    for way in ("`sweep: OTHER`", "`--config sweep=OTHER`", "away"):
        assert way in str(told.value)
    moved = tmp_path / "moved" / "results"
    shutil.copytree(tmp_path / "results", moved)  # where the first file is not
    check_name(second, SweepPaths(moved / "tiny"))
    saved(tmp_path, sweep="other")
    check_name(second, paths)
    saved(tmp_path)
    (tmp_path / "link.yaml").symlink_to(tmp_path / "sweep.yaml")
    check_name(load(tmp_path / "link.yaml"), paths)
    (tmp_path / "link.yaml").unlink()
    (tmp_path / "sweep.yaml").unlink()
    check_name(second, paths)


def test_a_damaged_plan_is_no_sweep(done: tuple[Sweep, SweepPaths]) -> None:
    sweep, paths = done
    text = paths.plan.read_text()
    paths.plan.write_text(text.replace('"samples": 50', '"samples": 58'))
    assert text != paths.plan.read_text()
    for read in (load, lambda path: load_cells(path, [sweep.cells[0].id])):
        with pytest.raises(UserError, match=r"\.plan\.json: damaged; start `snakemake`"):
            read(paths.plan)
    assert stale_outputs(sweep, paths) == [str(paths.report)]


@pytest.mark.parametrize(("file", "name"), [("study.yaml", "study"), ("a.b.yml", "a.b"), ("2020.json", "2020")])
def test_a_sweep_without_a_name_is_called_as_its_file(tmp_path: Path, file: str, name: str) -> None:
    nameless = {key: value for key, value in DOCUMENT.items() if key != "sweep"}
    (tmp_path / file).write_text(json.dumps(nameless | {"sizes": {"full": {"seeds": 5}}}))
    sweep = load(tmp_path / file)
    assert (sweep.name, sweep.document["sweep"]) == (name, name)
    assert load(tmp_path / file, "full").name == f"{name}-full"
    paths = SweepPaths(tmp_path / "results" / name)
    write_plan(sweep, paths)
    again = load(paths.plan)
    assert (again.name, again.origin) == (name, sweep.origin)


@pytest.mark.parametrize("file", ["my study.yaml", ".yaml", "-x.yaml", f"{'x' * 65}.yaml", "été.yaml"])
def test_a_file_whose_name_cannot_name_a_folder_needs_one(file: str) -> None:
    nameless = {key: value for key, value in DOCUMENT.items() if key != "sweep"}
    with pytest.raises(SweepError, match=r"sweep: missing, and the file's own name .* add `sweep: NAME`") as told:
        parse(nameless, f"folder/{file}")
    assert "\n" not in str(told.value)
    assert parse(nameless | {"sweep": "mine"}, file).name == "mine"


def test_a_damaged_provenance_is_told_as_such(done: tuple[Sweep, SweepPaths]) -> None:
    _, paths = done
    text = paths.provenance.read_text()
    paths.provenance.write_text(text.replace('"steps"', '"stets"', 1))
    assert [line.partition(";")[0] for line in warnings_about(paths)] == [f"{paths.provenance}: damaged"]


def test_a_data_file_that_has_changed_or_is_gone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables were made from the earlier content of the data file; the sweep file alone does not show that."""
    monkeypatch.chdir(tmp_path)
    rows = [f"{0.1 * i:.1f},{0.3 * i * i:.2f}" for i in range(40)]
    table = tmp_path / "q.csv"
    table.write_text("\n".join(["a,y", *rows]))
    document = {**DOCUMENT, "data": [{"name": "file", "path": "q.csv", "targets": "y"}]}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(document))
    sweep = load("sweep.yaml")
    paths = write(sweep, tmp_path / "results")
    write_plan(sweep, paths)
    write_cells(sweep, paths)
    write_provenance(sweep, paths, ["nfa"])
    assert warnings_about(paths) == []
    table.write_text("\n".join(["a,y", "7.5,1.25", *rows[1:]]))
    (line,) = warnings_about(paths)
    assert f"the data of {len(sweep.cells)} of {len(sweep.cells)} cells have changed since the tables were made" in line
    table.unlink()
    (line,) = warnings_about(paths)
    assert line.startswith("sweep.yaml: data[0]: q.csv: no such file")
    assert line.endswith("; so it is not known if the data of these results have changed")
