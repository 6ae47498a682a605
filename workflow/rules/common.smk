# Functions that several rules use.
from functools import cache
from math import ceil

from nfa.sweep.estimate import estimate


@cache
def stage_hash(cell, stage):
    """Return the hash of the settings that a stage of a cell depends on. Snakemake asks for it several times per job."""
    return SWEEP.hashes(SWEEP.cell(cell))[stage]


# Existing files that were not made from the sweep file as it is. Only the main Snakemake looks for them; the Snakemakes
# that run single jobs do not.
STALE = stale_outputs(SWEEP, PATHS) if workflow.is_main_process else []


def made_again(wildcards):
    """Make Snakemake run the jobs of stale files again, as `--forcerun` does, and return no input file.

    A Snakefile cannot set that option. But Snakemake calls the input functions of the first rule of every cell while it
    plans, after it knows the jobs and before it decides which of them run. Nothing is written.
    """
    workflow.dag.forcefiles.update(STALE)
    return []


def cell_files(*names):
    """Return the files of all cells that have these names in nfa/storage/paths.py."""
    cells = [PATHS.cell(cell.id) for cell in SWEEP.cells]
    return [getattr(cell, name) for name in names for cell in cells]


def seeds_at_once(wildcards):
    """Return the number of cores of a stage: more than one where the sweep has fewer cells than there are cores.

    A scheduler gives a job one core, unless `set-threads` says otherwise.
    """
    cores = 1 if workflow.remote_exec else int(workflow.cores or 1)
    return max(1, min(len(SWEEP.seeds), cores // len(SWEEP.cells)))


def trials_at_once(wildcards):
    """Return the number of cores of a search: more than one where fewer cells are tuned than there are cores."""
    cores = 1 if workflow.remote_exec else int(workflow.cores or 1)
    return max(1, cores // sum(bool(cell.searches) for cell in SWEEP.cells))


def tuned_values(wildcards):
    """Return the file with the values that a cell's tuned settings get, if it has such settings."""
    return CELL.tuned if SWEEP.cell(wildcards.cell).searches else []


# Memory and time that a job requests from a scheduler; on one machine they limit nothing. They double with each
# attempt.


def memory(mebibytes):
    """Return the memory of a stage: so many MiB at the first attempt, for each process."""
    return lambda wildcards, attempt, threads: mebibytes * threads * 2 ** (attempt - 1)


def cell_minutes(wildcards, attempt):
    """Return the minutes for one stage of a cell: twice the estimate of `nfa expand` for all of its stages.

    The estimate may be wrong by a factor of two. Ten minutes are the least, because a node may be slow to read torch
    from a shared disk.
    """
    seconds = estimate(SWEEP, SWEEP.cell(wildcards.cell)).seconds
    return max(10, ceil(2 * seconds / 60)) * 2 ** (attempt - 1)


def sweep_minutes(wildcards, attempt):
    """Return the minutes for a stage that reads every run once: half an hour, and a second for each run."""
    return ceil(30 + len(SWEEP.cells) * len(SWEEP.seeds) / 60) * 2 ** (attempt - 1)
