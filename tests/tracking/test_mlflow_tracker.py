"""The MLflow tracker, read back with MLflow's own client."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from nfa.errors import UserError
from nfa.stages.publish import publish
from nfa.storage.paths import SweepPaths
from nfa.sweep.cells import Sweep
from nfa.tracking.destinations import mlflow_place
from nfa.tracking.mlflow_tracker import ID, flat
from tests.tracking.test_publication import change_history
from tests.tracking.weights_and_biases.test_tracker_online import records_of


def client_of(sweep: Sweep, results: Path) -> MlflowClient:
    """MLflow's client on a sweep's store."""
    return MlflowClient(f"sqlite:///{SweepPaths(results / sweep.name).mlflow / 'mlflow.db'}")


def runs_of(sweep: Sweep, results: Path) -> dict[str, Run]:
    """Return every run that is not deleted, by its nfa id."""
    client = client_of(sweep, results)
    experiment = client.get_experiment_by_name("nfa-test")
    assert experiment is not None
    return {run.data.tags[ID]: run for run in client.search_runs([experiment.experiment_id])}


def test_everything_is_there(sweep: Sweep, aggregated: Path) -> None:
    """All series, summary values, settings, tables and pictures are stored; a second publish adds nothing."""
    summary = publish(sweep, aggregated, mlflow_place)
    assert len(summary.published) == 5
    assert "5 runs published locally" in summary.lines()[0]
    assert not SweepPaths(aggregated / sweep.name).published.exists()
    client, found = client_of(sweep, aggregated), runs_of(sweep, aggregated)
    assert len(found) == 5
    for record in records_of(sweep, aggregated).values():
        run = found[record.id]
        assert (run.info.run_name, run.info.status) == (record.name, "FINISHED")
        for series in record.series:
            for name in {name for row in series.rows for name in row} - {series.step}:
                want = [(row[series.step], row[name]) for row in series.rows if name in row]
                points = client.get_metric_history(run.info.run_id, name)
                have = sorted((point.step, point.value) for point in points)
                assert len(have) == len(want)
                for (step, value), (want_step, wanted) in zip(have, want, strict=True):
                    assert step == want_step
                    assert value == wanted or (math.isnan(value) and math.isnan(wanted))
        for name, value in record.summary.items():
            if isinstance(value, str):
                assert run.data.tags[name] == value
            else:
                assert run.data.metrics[name] == value
        settings = {name: str(value) for name, value in flat(record.config) if not name.startswith("artifacts.")}
        assert settings.items() <= run.data.params.items()
        artifacts = Path(run.info.artifact_uri.removeprefix("file://"))
        for name, table in record.tables.items():
            content = json.loads((artifacts / "tables" / f"{name}.json").read_text())
            assert content == {"columns": table.names, "data": table.rows}
        assert len(list((artifacts / "pictures").iterdir())) == len(record.pictures)
    again = publish(sweep, aggregated, mlflow_place)
    assert (len(again.unchanged), len(again.published)) == (5, 0)
    assert runs_of(sweep, aggregated).keys() == found.keys()


def test_changed_and_half_written_runs(sweep: Sweep, results: Path) -> None:
    """Changed content is a new run and tags the old one; lost records are found; incomplete runs are rewritten."""
    publish(sweep, results, mlflow_place)
    before = runs_of(sweep, results)
    change_history(sweep, results)
    assert len(publish(sweep, results, mlflow_place).published) == 1
    after = runs_of(sweep, results)
    (old,) = (run for run in after.values() if "nfa.superseded" in run.data.tags)
    assert old.data.tags[ID] in before
    assert len(after) == 5
    client = client_of(sweep, results)
    victim = next(run for name, run in after.items() if name in before and run.info.run_id != old.info.run_id)
    client.update_run(victim.info.run_id, status="RUNNING")  # as a kill leaves it
    for record in (SweepPaths(results / sweep.name).mlflow / ".state").rglob("*.json"):
        record.unlink()
    publish(sweep, results, mlflow_place)
    again = runs_of(sweep, results)
    assert again.keys() == after.keys()
    changed = [name for name, run in again.items() if run.info.run_id != after[name].info.run_id]
    assert changed == [victim.data.tags[ID]]


def test_not_installed_is_one_line(tmp_path: Path) -> None:
    """The error names the package to install."""
    (tmp_path / "mlflow.py").write_text("raise ImportError('no mlflow here')")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    code = (
        "from pathlib import Path; from nfa.storage.paths import SweepPaths;"
        "from nfa.tracking.destinations import mlflow_place;"
        "from nfa.sweep.grid import parse; from tests.tracking.reading import DOCUMENT;"
        f"mlflow_place(parse(DOCUMENT, 't'), SweepPaths(Path({str(tmp_path)!r}))).open()"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert "UserError: mlflow: is not installed (no mlflow here); run `pip install 'nfa[mlflow]'`" in done.stderr


def test_a_damaged_store_is_one_line_and_left_alone(sweep: Sweep, results: Path) -> None:
    """A file that is no database is not overwritten."""
    store = SweepPaths(results / sweep.name).mlflow / "mlflow.db"
    store.parent.mkdir()
    store.write_bytes(b"no database" * 100)
    with pytest.raises(UserError, match=r"mlflow.db: cannot be opened .*move it away") as caught:
        publish(sweep, results, mlflow_place)
    assert "\n" not in str(caught.value)
    assert store.read_bytes() == b"no database" * 100


@pytest.mark.parametrize("settings", [{"a": {"b": 1, "c": {"d": [1, 2]}}, "e": None}])
def test_settings_are_named_by_their_path(settings: dict[str, object]) -> None:
    """Nested settings are named as in W&B."""
    assert list(flat(settings)) == [("a.b", 1), ("a.c.d", [1, 2]), ("e", None)]
