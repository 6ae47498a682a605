"""One run (a cell and a seed) as plain data, ready for any tracker.

    record = build_record(sweep, cell, seed, read_results(paths.cell(cell.id)))

Only values of the headline convention (cosine correlation, power 1) are metrics, each quantity beside its control.
Their names give a hidden layer by its index (``alignment/uc_nfc/0``), so that runs of different networks share metric
names, and the readout as ``readout``; ``layers`` in the config maps them to the layers. All other values are in tables.
Means over layers leave out undefined values and the readout, whose correlation is 1 by definition because no layer
follows it (K = I).
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from nfa.conventions import HEADLINE, READOUT, layer_keys
from nfa.digests import digest
from nfa.sweep.cells import Cell, Sweep
from nfa.tracking.record.bundle import Bundle
from nfa.tracking.record.cell_files import CellResults
from nfa.tracking.record.pictures import RunPicture, pictures_of
from nfa.tracking.record.series import Series, all_series
from nfa.tracking.record.summary import summary_of
from nfa.tracking.record.tables import RunTable, tables_of

# Raise this number when the layout of a run changes: then every run gets a new id and is published again.
LAYOUT = 6
NAME_LIMIT = 128  # most characters that W&B accepts for the name and the group of a run
TAG_LIMIT = 64  # most characters that W&B accepts for a tag
UNCOUNTED_CONFIG = ("sweep", "provenance", "artifacts")  # keys that may differ between runs of equal content
UNCOUNTED_SUMMARY = "seconds/"


@dataclass(frozen=True)
class RunRecord:
    """Everything that is published of one run.

    Attributes:
        key: Identifies the run, whatever its content: ``<cell id>/seed-<seed>``.
        name: Name of the run for people.
        group: Name that the runs of one cell share.
        job_type: ``train``, or ``sweep`` for the summary run.
        tags: Names of the sweep, data, model and optimizer.
        config: Settings, nested by axis.
        summary: Name -> value at the end of the run.
        series: Groups of metrics, each over its own steps.
        tables: Name -> table; together they hold all other values.
        pictures: First layer's NFM beside its AGOP; spectra.
        pages: Name -> HTML page.
        stem: First part of the id, which identifies the run: the cell's hash and the seed.
        live_id: Id under which the run is begun while it trains, made from its settings; None for the summary run.
        uses: File bundles from which the run was made.
        makes: File bundles that the run made.
        begun_as: Id under which this run was begun while it trained; None if it was not.
        replaces: Ids of runs of earlier content, which are tagged as superseded on the server.
    """

    key: str
    name: str
    group: str
    job_type: str
    tags: tuple[str, ...]
    config: dict[str, Any]
    summary: dict[str, Any]
    series: tuple[Series, ...]
    tables: dict[str, RunTable]
    pictures: tuple[RunPicture, ...]
    pages: dict[str, str] = field(default_factory=dict)
    stem: str = ""
    live_id: str | None = None
    uses: tuple[Bundle, ...] = ()
    makes: tuple[Bundle, ...] = ()
    begun_as: str | None = None
    replaces: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """Hash of the content without the sweep's name, the machine and the duration."""
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
        """Id made of the cell's hash, the seed and the content's hash, so that changed content is another run."""
        return self.begun_as or f"{self.stem}-{self.digest[:8]}"


def run_key(cell: Cell, seed: int) -> str:
    """Return the key of a run, which does not depend on its content."""
    return f"{cell.id}/seed-{seed}"


def _stem(cell: Cell, seed: int) -> str:
    return f"{cell.id.rpartition('.')[2]}-s{seed}"


def _live_id(sweep: Sweep, cell: Cell, seed: int) -> str:
    """Return the id of a run whose content is not known yet, made from the settings of all stages."""
    return f"{_stem(cell, seed)}-{digest({'layout': LAYOUT, **sweep.hashes(cell)})[:8]}"


def build_record(
    sweep: Sweep,
    cell: Cell,
    seed: int,
    results: CellResults,
    uses: tuple[Bundle, ...] = (),
    makes: tuple[Bundle, ...] = (),
) -> RunRecord:
    """Lay out one run from a cell's results. A pure function.

    Args:
        sweep: The sweep.
        cell: One of its cells.
        seed: One of its seeds.
        results: The content of the cell's files.
        uses: File bundles from which the run was made.
        makes: File bundles that the run made.
    """
    layers = [layer["name"] for layer in results.document["layers"]]
    history, alignment, probes = (
        frame[frame["seed"] == seed] for frame in (results.history, results.alignment, results.probes)
    )
    matrices = {
        key.partition("/")[2]: array for key, array in results.matrices.items() if key.partition("/")[0] == str(seed)
    }
    names = _layer_keys(cell, layers, alignment)
    series = all_series(history, alignment, probes, names)
    return RunRecord(
        key=run_key(cell, seed),
        name=run_name(cell, seed),
        group=fit_name(cell.id),
        job_type="train",
        tags=_tags(sweep, results.document),
        config=_config(sweep, cell, seed, results.document, names)
        | ({"artifacts": {bundle.name: bundle.digest for bundle in (*uses, *makes)}} if uses or makes else {}),
        summary=summary_of(seed, results, series, cell.shape.n_test),
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
    """Lay out the series, as far as they go, of a run whose stages are not all finished."""
    names = _layer_keys(cell, [layer["name"] for layer in document["layers"]], alignment)
    return RunRecord(
        key=run_key(cell, seed),
        name=run_name(cell, seed),
        group=fit_name(cell.id),
        job_type="train",
        tags=_tags(sweep, document),
        config=_config(sweep, cell, seed, document, names),
        summary={},
        series=all_series(history, alignment, probes, names),
        tables={},
        pictures=(),
        begun_as=_live_id(sweep, cell, seed),
    )


def _layer_keys(cell: Cell, layers: Sequence[str], alignment: pd.DataFrame) -> dict[str, str]:
    """Map a network's layers, in forward order, to their names in metrics.

    The measurement says which layers are readouts; before it, the plan of the network does, so that the metrics of a
    run that is begun while it trains keep their names.
    """
    if len(alignment):
        readouts = set(alignment.loc[alignment["depth_from_output"] == READOUT, "layer"].unique())
    else:
        readouts = {layer.name for layer in cell.layers if layer.readout}
    return layer_keys({name: index for index, name in enumerate(layers)}, readouts)


def run_name(cell: Cell, seed: int) -> str:
    """Name a run for people: settings and seed first, the hash of the cell last."""
    readable, _, code = cell.id.rpartition(".")
    return fit_name(f"{readable} seed {seed} {code}")


def fit_name(name: str) -> str:
    """Shorten a name at its front, because its end (seed and hash) distinguishes it from others."""
    return name if len(name) <= NAME_LIMIT else "…" + name[1 - NAME_LIMIT :]


def _tags(sweep: Sweep, document: dict[str, Any]) -> tuple[str, ...]:
    names = [document["parameters"][axis]["name"] for axis in ("data", "model", "optimizer")]
    return tuple(dict.fromkeys(tag[:TAG_LIMIT] for tag in (sweep.name, *names)))


def _config(sweep: Sweep, cell: Cell, seed: int, document: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """Nest the settings by axis, so that W&B shows ``model.depth`` and ``optimizer.name`` as columns."""
    parameters = document["parameters"]
    return {
        **parameters,
        "data": {**parameters["data"], **document["data"]},
        "measure": sweep.measure.model_dump(mode="json"),
        "probe": sweep.probe.model_dump(mode="json"),
        "cell": cell.id,
        "seed": seed,
        "sweep": sweep.name,
        "layers": {names[layer["name"]]: layer for layer in document["layers"]},
        "convention": HEADLINE._asdict(),
        "provenance": document["provenance"],
    }
