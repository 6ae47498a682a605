# What several rules need.
from functools import cache
from math import ceil

from nfa.sweep.estimate import estimate


@cache
def stage_hash(cell, stage):
    """Hash of what a cell's stage depends on: asked for several times a job."""
    return SWEEP.hashes(SWEEP.cell(cell))[stage]


# Files that are there and are not of the sweep file as it is: this Snakemake's own question, not that of the jobs that
# it sends elsewhere.
STALE = stale_outputs(SWEEP, PATHS) if workflow.is_main_process else []


def made_again(wildcards):
    """Have the jobs of stale files run again, as by `--forcerun`; return no input.

    The option itself is out of reach of a Snakefile, and an input function of the first rules is called for every
    plan, when its jobs are known and before it is decided which of them run. Nothing is written.
    """
    workflow.dag.forcefiles.update(STALE)
    return []


def cell_files(*names):
    """Files of every cell, by their names in nfa/storage/paths.py."""
    cells = [PATHS.cell(cell.id) for cell in SWEEP.cells]
    return [getattr(cell, name) for name in names for cell in cells]


# What a job asks a scheduler for; on one machine it limits nothing. Whatever did not suffice is doubled with each attempt.


def memory(mebibytes):
    """Memory of a stage in MiB, at the first attempt."""
    return lambda wildcards, attempt: mebibytes * 2 ** (attempt - 1)


def cell_minutes(wildcards, attempt):
    """Time of one stage of a cell: twice what `nfa expand` shows for all of them, as it may be wrong by a factor of two.

    Not below ten minutes: a node may be slow to read torch from a shared disk.
    """
    seconds = estimate(SWEEP, SWEEP.cell(wildcards.cell)).seconds
    return max(10, ceil(2 * seconds / 60)) * 2 ** (attempt - 1)


def sweep_minutes(wildcards, attempt):
    """Time of a stage that reads every run once: half an hour, and a second for each."""
    return ceil(30 + len(SWEEP.cells) * len(SWEEP.seeds) / 60) * 2 ** (attempt - 1)
