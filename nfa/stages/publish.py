"""Stage 5: publish every run of a sweep to Weights & Biases or to MLflow. A failure here never affects a result.

A run whose content is published already is left as it is. Every published run is recorded at once, so that the stage
can be stopped and started again.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nfa.digests import digest
from nfa.errors import UserError
from nfa.jobs.progress import event
from nfa.stages.publish_report import publish_report
from nfa.storage.atomic import write_text
from nfa.storage.paths import SweepPaths
from nfa.sweep.cells import Sweep
from nfa.tracking.destinations import Place, wandb_place
from nfa.tracking.ledger import Ledger, LedgerEntry
from nfa.tracking.publication import Publication, PublishSummary, keys_of_runs
from nfa.tracking.record.sweep_run import SUMMARY_KEY
from nfa.tracking.tracker import TrackerError


def publish(
    sweep: Sweep,
    results: Path,
    place: Callable[[Sweep, SweepPaths], Place] = wandb_place,
    report: bool = False,
    runs_only: bool = False,
) -> PublishSummary:
    """Publish every run of a sweep that is new or has changed, then record what is published.

    Args:
        sweep: The sweep.
        results: Folder of all results.
        place: Makes the place to publish to; by default W&B, with the settings of the sweep file.
        report: Also make or update the report on the W&B server.
        runs_only: Publish the runs of cells only, not the run of the sweep, and record them in published_runs.json.

    Raises:
        UserError: A setting is wrong: the project, the account, the key.
    """
    paths = SweepPaths(results / sweep.name)
    summary = PublishSummary(place(sweep, paths))
    ledger = Ledger(summary.place.folder)
    if report and summary.place.how != "online":
        raise UserError("--report: a report lies on a W&B server; set `wandb: {mode: online}` in the sweep file")
    if summary.place.how != "disabled":
        with ledger.locked():
            ledger.remove_unrecorded()
            try:
                Publication(sweep, paths, ledger, summary).run(runs_only)
            finally:
                ledger.remove_unrecorded()
            if report:
                _add_report(sweep, paths, summary)
            write_published(sweep, paths, ledger, summary, runs_only)
    else:
        write_published(sweep, paths, ledger, summary, runs_only)
    for line in summary.lines():
        event(line)
    return summary


def _add_report(sweep: Sweep, paths: SweepPaths, summary: PublishSummary) -> None:
    """Make or update the report; a failure is recorded and not raised."""
    try:
        summary.report = publish_report(sweep, paths)
    except TrackerError as error:
        summary.no_report = str(error)


def write_published(sweep: Sweep, paths: SweepPaths, ledger: Ledger, summary: PublishSummary, runs_only: bool) -> None:
    """Write published.json or published_runs.json: the published runs, and the reasons why others are not published."""
    file = summary.place.published
    if runs_only:
        file = file.with_name(paths.published_runs.name)
    keys = [key for cell in sweep.cells for key in keys_of_runs(sweep, cell)]
    keys += [] if runs_only else [SUMMARY_KEY]
    entries = {key: ledger.read(key) for key in keys}
    runs = {key: _public(entry) for key, entry in entries.items() if entry}
    unpublished = {"unsent": summary.unsent, "incomplete": summary.incomplete}
    document = {"mode": summary.place.how, "sweep": digest(sweep.document), "runs": runs, **unpublished}
    write_text(file, json.dumps(document, indent=1) + "\n")


def _public(entry: LedgerEntry) -> dict[str, Any]:
    return {name: value for name, value in asdict(entry).items() if name != "inputs"}
