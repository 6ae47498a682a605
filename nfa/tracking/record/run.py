"""One run (cell x seed) as plain data, ready for any tracker.

    record = build_record(sweep, cell, seed, read_results(paths.cell(cell.id)))

The headline convention is cosine at power 1: only its numbers are metrics of their own, with layers named by index
(``alignment/uc_nfc/layer_0``), so that runs of different networks share metric names. All else is in tables. A mean
over layers leaves out undefined values, and the readout, whose correlation is 1 by definition (nothing comes after it:
K = I).
"""

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from nfa.conventions import HEADLINE
from nfa.digests import digest
from nfa.sweep.cells import Cell, Sweep
from nfa.tracking.record.bundle import Bundle
from nfa.tracking.record.cell import CellResults
from nfa.tracking.record.pictures import Picture, pictures_of
from nfa.tracking.record.series import Series, all_series, layer_keys
from nfa.tracking.record.summary import summary_of
from nfa.tracking.record.tables import Table, tables_of

# Raised when the same files are laid out as another run: every run gets a new id, and is published anew.
LAYOUT = 2
NAME_LIMIT = 128  # characters W&B takes for a run's name and its group
TAG_LIMIT = 64  # characters W&B takes for a tag
UNCOUNTED_CONFIG = ("sweep", "provenance", "artifacts")  # what may differ between runs of the same content
UNCOUNTED_SUMMARY = "seconds/"


@dataclass(frozen=True)
class RunRecord:
    """Everything that is published of one run.

    Attributes:
        key: ``<cell id>/seed-<seed>``: which run this is, whatever its content.
        name: What people read.
        group: What runs of the same cell share.
        job_type: What kind of run it is.
        tags: Sweep, data, model, optimizer.
        config: Settings, nested by axis.
        summary: One value per run.
        series: Groups of metrics, each over steps of its own.
        tables: Every other number.
        pictures: NFM beside AGOP, spectra.
        pages: HTML pages by name.
        stem: First part of the id: which run this is. By default the cell's hash and the seed.
        live_id: Id of a run that is begun while it trains, from its settings; none for the summary of a sweep.
        uses: Bundles of files it was made from.
        makes: Bundles of files it made.
        begun_as: Id of the run that was begun while it trained; None if none was.
        replaces: Ids of runs of earlier content, to be tagged where a server has them.
    """

    key: str
    name: str
    group: str
    job_type: str
    tags: tuple[str, ...]
    config: dict[str, Any]
    summary: dict[str, Any]
    series: tuple[Series, ...]
    tables: dict[str, Table]
    pictures: tuple[Picture, ...]
    pages: dict[str, str] = field(default_factory=dict)
    stem: str = ""
    live_id: str | None = None
    uses: tuple[Bundle, ...] = ()
    makes: tuple[Bundle, ...] = ()
    begun_as: str | None = None
    replaces: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """Hash of the content: not of the sweep's name, where it was computed, or how long it took."""
        content = {
            "layout": LAYOUT,
            "config": {key: value for key, value in self.config.items() if key not in UNCOUNTED_CONFIG},
            "summary": {key: value for key, value in self.summary.items() if not key.startswith(UNCOUNTED_SUMMARY)},
            "series": [[series.name, series.rows] for series in self.series],
            "tables": {name: [table.names, table.rows] for name, table in self.tables.items()},
            "pictures": [
                [p.name, p.step, p.caption, hashlib.sha256(p.pixels.tobytes()).hexdigest()] for p in self.pictures
            ],
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    @cached_property
    def id(self) -> str:
        """Stable id: hash of the cell, seed, and hash of the content, so that other content is another run."""
        return self.begun_as or f"{self.stem}-{self.digest[:8]}"


def run_key(cell: Cell, seed: int) -> str:
    """Name a run, whatever its content."""
    return f"{cell.id}/seed-{seed}"


def _stem(cell: Cell, seed: int) -> str:
    return f"{cell.id.rpartition('.')[2]}-s{seed}"


def _live_id(sweep: Sweep, cell: Cell, seed: int) -> str:
    """Id of a run whose content is not known yet: of what it will be made from, the settings of every stage."""
    return f"{_stem(cell, seed)}-{digest({'layout': LAYOUT, **sweep.hashes(cell)})[:8]}"


def build_record(
    sweep: Sweep,
    cell: Cell,
    seed: int,
    results: CellResults,
    uses: tuple[Bundle, ...] = (),
    makes: tuple[Bundle, ...] = (),
) -> RunRecord:
    """Lay out one run from a cell's files and name what it was made from. Changes nothing, reads nothing."""
    layers = [layer["name"] for layer in results.document["layers"]]
    history, alignment, probes = (
        frame[frame["seed"] == seed] for frame in (results.history, results.alignment, results.probes)
    )
    matrices = {
        key.partition("/")[2]: array for key, array in results.matrices.items() if key.partition("/")[0] == str(seed)
    }
    series = all_series(history, alignment, probes, layers)
    return RunRecord(
        key=run_key(cell, seed),
        name=_fit(f"{cell.id} seed {seed}"),
        group=_fit(cell.id),
        job_type="run",
        tags=_tags(sweep, results.document),
        config=_config(sweep, cell, seed, results.document)
        | ({"artifacts": {bundle.name: bundle.digest for bundle in (*uses, *makes)}} if uses or makes else {}),
        summary=summary_of(seed, results, series),
        series=series,
        tables=tables_of(alignment, probes, matrices, layers),
        pictures=pictures_of(matrices, layers, results.document["data"]["input_shape"]),
        stem=_stem(cell, seed),
        live_id=_live_id(sweep, cell, seed),
        uses=uses,
        makes=makes,
    )


def begun_record(
    sweep: Sweep,
    cell: Cell,
    seed: int,
    document: dict[str, Any],
    history: pd.DataFrame,
    alignment: pd.DataFrame,
    probes: pd.DataFrame,
) -> RunRecord:
    """Lay out what there is of a run whose stages are not all done: its series, as far as they go."""
    layers = [layer["name"] for layer in document["layers"]]
    return RunRecord(
        key=run_key(cell, seed),
        name=_fit(f"{cell.id} seed {seed}"),
        group=_fit(cell.id),
        job_type="run",
        tags=_tags(sweep, document),
        config=_config(sweep, cell, seed, document),
        summary={},
        series=all_series(history, alignment, probes, layers),
        tables={},
        pictures=(),
        begun_as=_live_id(sweep, cell, seed),
    )


def _fit(name: str) -> str:
    """Shorten a name from the front: its end, hash and seed, is what tells it from others."""
    return name if len(name) <= NAME_LIMIT else "…" + name[1 - NAME_LIMIT :]


def _tags(sweep: Sweep, document: dict[str, Any]) -> tuple[str, ...]:
    names = [document["parameters"][axis]["name"] for axis in ("data", "model", "optimizer")]
    return tuple(dict.fromkeys(tag[:TAG_LIMIT] for tag in (sweep.name, *names)))


def _config(sweep: Sweep, cell: Cell, seed: int, document: dict[str, Any]) -> dict[str, Any]:
    """Settings by axis, so that W&B shows ``model.depth`` or ``optimizer.name`` as one column each."""
    parameters = document["parameters"]
    return {
        **parameters,
        "data": {**parameters["data"], **document["data"]},
        "measure": sweep.measure.model_dump(mode="json"),
        "probe": sweep.probe.model_dump(mode="json"),
        "cell": cell.id,
        "seed": seed,
        "sweep": sweep.name,
        "layers": dict(zip(layer_keys(len(document["layers"])), document["layers"], strict=True)),
        "convention": HEADLINE._asdict(),
        "provenance": document["provenance"],
    }


__all__ = ["LAYOUT", "Picture", "RunRecord", "Series", "Table", "build_record", "run_key"]
