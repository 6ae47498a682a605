"""A small sweep through the real Snakemake: planned jobs, written files, and work that is computed again."""

import json
import os
import signal
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from nfa.storage.columns import ALIGNMENT, HISTORY, PROBES, TIMINGS
from nfa.storage.paths import SweepPaths
from nfa.storage.tables import read_stamp
from nfa.sweep.cells import STAGES
from nfa.sweep.grid import parse
from tests.helpers import tiny
from tests.workflow.snakemake import Workflow, jobs_in, wait_for

DOCUMENT = tiny(
    data=[{"name": "fashion_mini", "n_train": 200, "n_test": 100}],
    model=[
        {"name": "mlp", "depth": 1, "width": 8},
        {"name": "conv", "depth": 1, "width": 4, "init_scale": 0.3, "for": {"optimizer": "sgd"}},
    ],
    train=[
        {"steps": 30, "batch_size": 32, "checkpoints": 3, "for": {"optimizer": "sgd"}},
        {"steps": 300, "batch_size": 32, "checkpoints": 3, "for": {"optimizer": "adam"}},
    ],
)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """Run the small sweep once for the tests of this module, which only add to it."""
    workflow = Workflow(tmp_path_factory.mktemp("sweep"), DOCUMENT)
    jobs = {
        "train": 3,
        "measure": 3,
        "probe": 3,
        "aggregate": 1,
        "publish_runs": 1,
        "publish": 1,
        "all": 1,
        "total": 13,
    }
    assert workflow.planned() == jobs
    assert not workflow.results.exists(), "planning wrote something"
    output = workflow.finished().stdout
    assert "report.html" in output
    return workflow


def table_bytes(results: Path) -> dict[str, bytes]:
    """Return the bytes of every table of a sweep except the timings."""
    files = [*results.glob("*/*.parquet"), *results.glob("tables/*"), *results.glob("*/matrices.npz")]
    return {str(f.relative_to(results)): f.read_bytes() for f in files if f.name != "timings.parquet"}


def modified(results: Path) -> dict[str, int]:
    """Return the modification time of every checkpoint."""
    return {str(f.relative_to(results)): f.stat().st_mtime_ns for f in results.glob("*/checkpoints/*/*")}


def test_afterwards_there_is_nothing_to_do(done: Workflow) -> None:
    output = done.run().stdout
    assert "Nothing to be done" in output
    assert jobs_in(output) == {}


def test_the_stage_contracts_hold_and_no_cell_is_missing(done: Workflow) -> None:
    sweep = parse(DOCUMENT, "x")
    paths = SweepPaths(done.results)
    assert pd.read_csv(paths.cells, sep="\t")["cell"].tolist() == [cell.id for cell in sweep.cells]
    for cell in sweep.cells:
        here = paths.cell(cell.id)
        steps = cell.train.checkpoint_steps(200)
        schemas = {"history": HISTORY, "alignment": ALIGNMENT, "probes": PROBES, "timings": TIMINGS}
        for path, schema in ((getattr(here, name), schema) for name, schema in schemas.items()):
            assert pq.read_schema(path).equals(schema), path
            assert set(pq.read_table(path).to_pandas()["seed"]) == set(sweep.seeds)
        alignment = pq.read_table(here.alignment).to_pandas()
        assert set(alignment["step"]) == set(steps)
        assert set(alignment["layer"]) == {layer.name for layer in cell.layers}
        undefined = alignment[alignment["value"].isna()]
        assert (undefined["note"] != "").all(), "NaN without a reason"
        document = json.loads(here.cell.read_text())
        assert document["id"] == cell.id
        assert document["hashes"]["train"] == sweep.hashes(cell)["train"]
        assert read_stamp(here.probes) == {"stage": "probe", "hash": sweep.hashes(cell)["probe"], "seeds": [0, 1]}
        assert {run["status"] for run in document["runs"].values()} == {"finished"}
        for seed in sweep.seeds:
            assert all(here.checkpoint(seed, step).exists() for step in steps)
    for name in ("report.html", "provenance.json", "published.json", "figures", "tables"):
        assert (done.results / name).exists(), name


def test_the_readout_is_exact_in_every_cell(done: Workflow) -> None:
    for path in done.results.glob("*/alignment.parquet"):
        frame = pd.read_parquet(path).query("depth_from_output == 0 and quantity == 'uc_nfc' and power == '1'")
        assert (frame["value"] - 1).abs().max() < 1e-9


def test_a_new_value_plans_only_the_new_cells(done: Workflow) -> None:
    wider = {**DOCUMENT, "optimizer": [{"name": "sgd", "lr": [0.1, 0.3]}, {"name": "adam", "lr": 0.01}]}
    done.write(wider)
    counts = done.planned()
    done.write(DOCUMENT)
    assert (counts["train"], counts["measure"], counts["probe"]) == (2, 2, 2)


def test_a_changed_probe_setting_probes_again_and_trains_nothing(done: Workflow) -> None:
    done.write({**DOCUMENT, "probe": {"kind": "ridge", "samples": 100}})
    counts = done.planned()
    done.write(DOCUMENT)
    assert "train" not in counts
    assert "measure" not in counts
    assert counts["probe"] == 3


@pytest.mark.slow
def test_a_server_that_is_gone_stops_no_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep ends with success, and published.json names what `nfa publish` has to send."""
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody listens
    one = {axis: tiny()[axis][-1:] for axis in ("data", "optimizer")}
    workflow = Workflow(tmp_path, tiny(**one, seeds=[0], wandb={"mode": "online"}))
    output = workflow.finished().stdout
    assert "W&B: warning: the server does not answer: http://127.0.0.1:9: Connection refused" in output
    published = json.loads((workflow.results / "published.json").read_text())
    assert not any(run["sent"] for run in published["runs"].values())
    assert len(published["unsent"]) == 1


def test_a_wrong_sweep_starts_no_job(tmp_path: Path) -> None:
    workflow = Workflow(tmp_path, {**DOCUMENT, "optimizer": [{"name": "sdg"}]})
    for options in ((), ("-n",)):
        output = workflow.run(*options)
        assert output.returncode == 2
        assert "optimizer[0].name: 'sdg': no such optimizer; did you mean 'sgd'?" in output.stdout
        assert "Traceback" not in output.stdout
    assert not (tmp_path / "results").exists()


def test_config_on_the_command_line_is_checked_too(tmp_path: Path) -> None:
    refused = Workflow(tmp_path, DOCUMENT).run("-n", "--config", "seeds=-1")
    assert refused.returncode == 2
    assert "seeds: -1" in refused.stdout


def test_a_second_snakemake_on_one_sweep_is_refused(tmp_path: Path) -> None:
    workflow = Workflow(tmp_path, {**DOCUMENT, "train": {"steps": 100_000, "batch_size": 32}})
    first = workflow.start("--until", "train")
    try:
        wait_for((workflow.results / ".plan.json").exists, first)
        second = workflow.run()
        assert second.returncode == 2, second.stdout
        assert "another snakemake works on this sweep" in second.stdout
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()


def test_a_second_run_that_was_killed_loses_nothing_finished_and_gives_the_same_bytes(
    done: Workflow, tmp_path: Path
) -> None:
    workflow = Workflow(tmp_path, DOCUMENT)
    process = workflow.start(cores=1)
    wait_for(lambda: any(workflow.results.glob("*/cell.json")), process)
    process.kill()  # Snakemake only: its job becomes an orphan
    process.wait()
    before = modified(workflow.results)
    trained = {path.parent.name for path in workflow.results.glob("*/cell.json")}
    workflow.finished()
    after = modified(workflow.results)
    assert trained
    assert [name for name in before if name.split("/")[0] in trained and after[name] != before[name]] == []
    first, second = table_bytes(done.results), table_bytes(workflow.results)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_a_new_seed_computes_only_that_seed(done: Workflow) -> None:
    # The last test of this module: the sweep it leaves behind has another seed.
    before = modified(done.results)
    done.write({**DOCUMENT, "seeds": 3})
    counts = done.planned()
    assert (counts["train"], counts["measure"], counts["probe"]) == (3, 3, 3)
    done.finished()
    after = modified(done.results)
    assert {name: after[name] for name in before} == before
    assert {name.split("/")[2] for name in after.keys() - before.keys()} == {"seed-2"}
    logs = [log for stage in STAGES for log in (done.results / "logs" / stage).iterdir()]
    assert len(logs) == 9
    assert [log for log in logs if log.read_text().count("seed 0: finished before") != 1] == []
    seeds = pd.read_parquet(next(done.results.glob("*/alignment.parquet")))["seed"]
    assert sorted(set(seeds)) == [0, 1, 2]
