"""The verbs that run a stage of a sweep: train, measure, probe, aggregate and publish."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nfa.cli.own_network_arguments import is_network, refuse_network_options, run_measure
from nfa.errors import UserError
from nfa.jobs.exit_codes import UNPUBLISHED
from nfa.jobs.preemption import leave_at_once

if TYPE_CHECKING:
    from nfa.sweep.cells import Sweep


CELL_STAGES = {
    "tune": "find the values of settings that are tuned, such as `lr: {tune: [1e-3, 1]}`: tuned.json, trials.parquet",
    "train": "train all seeds of cells: checkpoints, history.parquet, cell.json",
    "measure": "measure a network of your own, or every checkpoint of a sweep: alignment.parquet, matrices.npz",
    "probe": "probe every layer's features at every checkpoint: probes.parquet",
}


def seconds_argument(text: str) -> float:
    """Parse a time in seconds, 0 or more."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, 0 or more")
    return seconds


def cell_stage_command(options: argparse.Namespace) -> int | None:
    """Run one stage of some cells, or measure a network of the user's own."""
    if options.stage == "measure":
        if is_network(str(options.config)):
            return run_measure(options)
        refuse_network_options(options)
    leave_at_once()
    threads = options.threads or 1
    # BLAS and OpenMP read these variables when numpy and torch are imported, which happens below.
    os.environ.update({f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "MKL", "OPENBLAS")})
    from importlib import import_module

    from nfa.external.users_code import of_users_code
    from nfa.jobs.environment import choose_device, set_threads
    from nfa.jobs.memory import enough_memory
    from nfa.stages.options import StageOptions
    from nfa.storage.partial_table import SAVE_SECONDS
    from nfa.storage.paths import SweepPaths
    from nfa.storage.tuned import with_tuned
    from nfa.sweep.grid import load_cells
    from nfa.sweep.origin import PLAN
    from nfa.tracking.follower import followed

    if options.cells and options.config.name == PLAN:
        sweep = load_cells(options.config, options.cells)
        sweep = with_tuned(sweep, SweepPaths(options.results / sweep.name))
    else:
        sweep = _load_sweep(options)
    cells = [sweep.cell(name) for name in options.cells] if options.cells else list(sweep.cells)
    device = choose_device(options.device)
    side_by_side = sweep.tune.points if options.stage == "tune" else len(sweep.seeds)
    processes, threads = shared_out(options.cores, options.threads, side_by_side, on_cpu=device.type == "cpu")
    set_threads(threads)
    stage = getattr(import_module(f"nfa.stages.{options.stage}"), options.stage)  # each stage imports what it uses
    every = SAVE_SECONDS if options.save_every is None else options.save_every
    how = StageOptions(options.results, device, every, processes)
    with followed(sweep, cells, options.results):
        for cell in cells:
            with of_users_code(f"{options.stage} {cell.id}"), enough_memory(options.stage, sweep, cell):
                stage(sweep, cell, how)
    return None


def shared_out(cores: int | None, threads: int | None, seeds: int, *, on_cpu: bool) -> tuple[int, int]:
    """Share the cores of a stage out to processes, which work on one seed each, and to threads.

    Several processes have one thread each, so that the results have the bits of one core. Only a single seed uses
    several threads.

    Args:
        cores: Number of cores; None for one.
        threads: Number of threads that the user asks for; None where it is open.
        seeds: Number of seeds of a cell.
        on_cpu: False if the stage computes on an accelerator, which forks cannot share.

    Returns:
        Numbers of processes and of threads.
    """
    cores = cores or 1
    processes = min(cores, seeds) if on_cpu and (threads or 1) == 1 else 1
    return processes, threads or (cores if processes == 1 else 1)


def aggregate_command(options: argparse.Namespace) -> None:
    """Join the tables of all cells, write the report, and print the summary."""
    from nfa.report.terminal.summary import print_summary
    from nfa.stages.aggregate import aggregate
    from nfa.storage.documents import write_cells, write_provenance
    from nfa.storage.locks import waiting_lock
    from nfa.storage.paths import SweepPaths

    sweep = _load_sweep(options)
    paths = SweepPaths(_existing(options.results / sweep.name))
    # A job of a killed Snakemake may still be writing.
    with waiting_lock(paths.folder / ".aggregate.lock", f"aggregate: another process works on {paths.folder}"):
        aggregate(sweep, options.results)
        write_cells(sweep, paths)
        write_provenance(sweep, paths, sys.argv)
    print_summary(paths.folder)


def _load_sweep(options: argparse.Namespace) -> "Sweep":
    """Read the sweep file or the plan that a stage is given.

    Raises:
        UserError: The file is wrong, or the results of its name come from another sweep file.
    """
    from nfa.storage.paths import SweepPaths
    from nfa.storage.stale import check_name
    from nfa.storage.tuned import with_tuned
    from nfa.sweep.grid import load

    sweep = load(options.config, options.size)
    paths = SweepPaths(options.results / sweep.name)
    check_name(sweep, paths)
    return with_tuned(sweep, paths)


def _existing(folder: Path) -> Path:
    """Return the folder of a sweep's results, which must exist: a mistyped ``--results`` creates no folder.

    Raises:
        UserError: There is no such folder.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such folder; run the sweep first, or give the folder of all results with --results"
        )
    return folder


def publish_command(options: argparse.Namespace) -> int:
    """Publish the runs of a sweep; return ``UNPUBLISHED`` if a run, or a requested report, could not be published."""
    from nfa.stages.publish import publish
    from nfa.tracking.destinations import mlflow_place, wandb_place

    place = mlflow_place if options.tracker == "mlflow" else wandb_place
    sweep = _load_sweep(options)
    _existing(options.results / sweep.name)
    return 0 if publish(sweep, options.results, place, options.report, options.runs_only).complete else UNPUBLISHED
