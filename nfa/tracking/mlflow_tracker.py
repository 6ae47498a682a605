"""MLflow as a tracker: a database and a folder of artifacts on this machine, no server.

    mlflow ui --backend-store-uri sqlite:///results/default/mlflow/mlflow.db        # the whole package has the browser

A run's configuration becomes its parameters (``model.depth``), series and summary its metrics, tables, pictures and
pages its artifacts.
"""

import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

# Read when the package is imported; it would report its use to its makers.
os.environ.update({"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"})

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from PIL import Image

from nfa.tracking.record.run import RunRecord
from nfa.tracking.tracker import Sent, TrackerError

ID = "nfa.id"  # tag by which a run is found again
BATCH = 1000  # metrics that MLflow takes at once
PARAMETERS = 100  # parameters that it takes at once
LONGEST = 6000  # characters that it takes for a parameter's value


class MlflowTracker:
    """Publishes runs to an MLflow store in a folder."""

    def __init__(self, folder: Path, experiment: str) -> None:
        """Open the store in ``folder``, and the experiment of this name in it."""
        folder.mkdir(parents=True, exist_ok=True)
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of every table that it makes
        logging.getLogger("alembic").setLevel(logging.WARNING)
        with _explained():
            self._client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
            known = self._client.get_experiment_by_name(experiment)
            self._experiment: str = (
                known.experiment_id
                if known
                else self._client.create_experiment(experiment, artifact_location=(folder / "artifacts").as_uri())
            )

    def publish(self, run: RunRecord) -> Sent:
        """Publish one run, all of it; see ``Tracker.publish``."""
        with _explained():
            for half in self._find(run.id):
                if half.info.status == "FINISHED":
                    return Sent(None, sent=True, linked=True)
                self._client.delete_run(half.info.run_id)  # a kill left it
            tags = {ID: run.id, "nfa.group": run.group, "nfa.job_type": run.job_type}
            tags |= {f"nfa.tag.{tag}": "true" for tag in run.tags}
            run_id: str = self._client.create_run(self._experiment, run_name=run.name, tags=tags).info.run_id
            self._write(run_id, run)
            for replaced in run.replaces:
                for earlier in self._find(replaced):
                    self._client.set_tag(earlier.info.run_id, "nfa.superseded", "true")
            self._client.set_terminated(run_id)
        return Sent(None, sent=True, linked=True)

    def close(self) -> None:
        """Nothing is held."""

    def _find(self, run_id: str) -> list[Run]:
        return list(self._client.search_runs([self._experiment], f"tags.`{ID}` = '{run_id}'"))

    def _write(self, run_id: str, run: RunRecord) -> None:
        """Write parameters, metrics and artifacts of a run."""
        numbers = {key: float(value) for key, value in run.summary.items() if not isinstance(value, str)}
        metrics = [Metric(key, value, 0, 0) for key, value in numbers.items()]
        for series in run.series:
            for row in series.rows:
                step = int(row[series.step])
                metrics += [Metric(key, float(value), 0, step) for key, value in row.items() if key != series.step]
        parameters = [Param(key, str(value)[:LONGEST]) for key, value in flat(run.config)]
        words = [RunTag(key, value) for key, value in run.summary.items() if isinstance(value, str)]
        for start in range(0, len(parameters), PARAMETERS):
            self._client.log_batch(run_id, params=parameters[start : start + PARAMETERS])
        for start in range(0, len(metrics), BATCH):
            self._client.log_batch(run_id, metrics=metrics[start : start + BATCH])
        self._client.log_batch(run_id, tags=words)
        with tempfile.TemporaryDirectory() as name:
            _write_artifacts(run, Path(name))
            self._client.log_artifacts(run_id, name)


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Name nested settings by their path: ``model.depth``."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _write_artifacts(run: RunRecord, folder: Path) -> None:
    """Write tables (as MLflow's own are), pictures and pages as files."""
    for name, table in run.tables.items():
        path = folder / "tables" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"columns": table.names, "data": table.rows}, allow_nan=False), encoding="utf-8")
    for picture in run.pictures:
        path = folder / "pictures" / f"{picture.name}_step_{picture.step}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(picture.pixels).save(path)
    for name, page in run.pages.items():
        (folder / f"{name}.html").write_text(page, encoding="utf-8")


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn the client's errors into the boundary's."""
    try:
        yield
    except (MlflowException, OSError) as error:
        raise TrackerError(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}") from error
