"""The text documents of a sweep: cell.json, cells.tsv, provenance.json, and the plan that jobs read."""

import json
from typing import Any

import pandas as pd

from nfa.digests import sealed
from nfa.jobs.environment import provenance
from nfa.storage.atomic import replacing, write_text
from nfa.storage.paths import SweepPaths
from nfa.sweep.cells import Cell, Sweep
from nfa.sweep.origin import plan_text


def cell_document(sweep: Sweep, cell: Cell, runs: dict[str, Any], made_with: dict[str, Any]) -> dict[str, Any]:
    """Return the content of cell.json, with a digest of itself.

    The hashes of the later stages are in the metadata of their own tables, so that a new setting of theirs does not
    change cell.json.

    Args:
        sweep: The sweep.
        cell: The cell.
        runs: Seed -> record of its run.
        made_with: Provenance of the training of the first seed.
    """
    shape = cell.shape
    document = {
        "id": cell.id,
        "parameters": cell.values(),
        "hashes": {"train": sweep.hashes(cell)["train"]},
        "data": {
            "input_shape": list(shape.input_shape),
            "outputs": shape.outputs,
            "classes": shape.classes,
            "relevant": shape.relevant,
        },
        "layers": [{"name": layer.name, "fan_out": layer.fan_out, "fan_in": layer.fan_in} for layer in cell.layers],
        "runs": runs,
        "provenance": made_with,
    }
    return sealed(json.loads(json.dumps(document)))


def cells_frame(sweep: Sweep) -> pd.DataFrame:
    """Return a table of the cells: one row each, with its id and every parameter as ``axis.setting``."""
    return pd.DataFrame([{"cell": cell.id, **cell.flat_values()} for cell in sweep.cells])


def write_cells(sweep: Sweep, paths: SweepPaths) -> None:
    """Write cells.tsv."""
    with replacing(paths.cells) as temporary:
        cells_frame(sweep).to_csv(temporary, sep="\t", index=False)


def write_provenance(sweep: Sweep, paths: SweepPaths, command: list[str]) -> None:
    """Write provenance.json: command, sweep file, configuration, versions, git commit, machine."""
    origin = sweep.origin and sweep.origin.document(paths.folder)
    document = {"command": command, "config_file": origin["file"] if origin else sweep.source, "origin": origin}
    document |= {"config": sweep.document, **provenance()}
    write_text(paths.provenance, json.dumps(sealed(json.loads(json.dumps(document))), indent=1) + "\n")


def write_plan(sweep: Sweep, paths: SweepPaths) -> None:
    """Write the plan: the sweep as its jobs will read it.

    Because of the plan, an edit of the sweep file does not affect jobs that run already, and ``snakemake --config``
    reaches the jobs.
    """
    write_text(paths.plan, plan_text(sweep.document, sweep.origin, paths.folder))
