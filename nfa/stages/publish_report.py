"""The W&B Report of a sweep: it is made from the aggregated table, created on the server once and updated later."""

import json
from contextlib import closing

from nfa.report.statistics.runs import over_learned_runs
from nfa.storage.atomic import write_text
from nfa.storage.paths import SweepPaths
from nfa.storage.tables import read_written
from nfa.sweep.cells import Sweep
from nfa.tracking.destinations import open_wandb
from nfa.tracking.record.sweep_files import sweep_is_aggregated, table_path
from nfa.tracking.tracker import TrackerError


def publish_report(sweep: Sweep, paths: SweepPaths) -> str:
    """Make or update the report on the server.

    Returns:
        The address of the report.

    Raises:
        TrackerError: The report could not be saved, or the sweep is not aggregated.
        UserError: A setting is wrong.
    """
    if not sweep_is_aggregated(sweep, paths):
        raise TrackerError("the sweep is not aggregated; run `nfa aggregate`, then `nfa publish --report`")
    record = paths.wandb / ".state" / "report.json"
    with closing(open_wandb(sweep, paths.wandb)) as tracker:
        from nfa.tracking.weights_and_biases.report import build_report, save_report

        entity = tracker.account()
        cells, runs = (read_written(table_path(paths, name)) for name in ("cells_summary", "runs"))
        report = build_report(sweep, over_learned_runs(cells, runs), entity, sweep.wandb.project)
        known = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
        identifier, address = save_report(report, known.get("id"))
    write_text(record, json.dumps({"id": identifier, "address": address}))
    return address
