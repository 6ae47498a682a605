"""The MLflow tracker, which writes to a database and a folder of artifacts on this machine and needs no server.

    mlflow ui --backend-store-uri sqlite:///results/default/mlflow/mlflow.db    # needs the package mlflow, with its UI

A run's configuration becomes MLflow parameters (``model.depth``), series and summary become metrics, and tables,
pictures and pages become artifacts.
"""

import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

# The package reads these at import; without them it would report its use to its makers.
os.environ.update({"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"})

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from PIL import Image

from nfa.tracking.record.run import RunRecord
from nfa.tracking.tracker import Sent, TrackerError

ID = "nfa.id"  # tag that holds the run's id, by which the run is found again
BATCH = 1000  # most metrics that MLflow accepts in one call
PARAMETERS = 100  # most parameters that MLflow accepts in one call
LONGEST = 6000  # most characters that MLflow accepts for the value of a parameter


class MlflowTracker:
    """Publishes runs to an MLflow store in a folder."""

    def __init__(self, folder: Path, experiment: str) -> None:
        """Open, or create, the store in ``folder`` and the experiment of this name."""
        folder.mkdir(parents=True, exist_ok=True)
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it would report every table that it creates
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
        """Publish one complete run; see ``Tracker.publish``."""
        with _explained():
            for found in self._find(run.id):
                if found.info.status == "FINISHED":
                    return Sent(None, sent=True, linked=True)
                self._client.delete_run(found.info.run_id)  # a kill left it incomplete
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
        """Do nothing: the client holds no process and no connection."""

    def _find(self, run_id: str) -> list[Run]:
        return list(self._client.search_runs([self._experiment], f"tags.`{ID}` = '{run_id}'"))

    def _write(self, run_id: str, run: RunRecord) -> None:
        """Write the parameters, metrics and artifacts of a run."""
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
    """Yield nested settings as pairs of path and value.

    >>> list(flat({"model": {"depth": 2}, "seed": 0}))
    [('model.depth', 2), ('seed', 0)]
    """
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _write_artifacts(run: RunRecord, folder: Path) -> None:
    """Write tables (in the format of MLflow's tables), pictures and pages as files."""
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
    """Turn the client's errors into ``TrackerError``."""
    try:
        yield
    except (MlflowException, OSError) as error:
        raise TrackerError(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}") from error
