# Computes the cells of one sweep file: train -> measure -> probe for each cell, then aggregate and publish for all of
# them.
#     snakemake --cores 2                                            the default sweep, config/config.yaml
#     snakemake --cores 2 --configfile config/sweeps/X.yaml          another sweep
# Each rule only calls the `nfa` command. workflow/schemas/sweep.schema.json describes a sweep file.
import os
import sys
from pathlib import Path

from nfa.errors import UserError
from nfa.storage.paths import SweepPaths
from nfa.stages.plan import begin, read_sweep
from nfa.storage.stale import check_name, stale_outputs
from nfa.digests import digest
from nfa.import_server.hand_over import VARIABLE

# Snakemake merges `configfile:` with --configfile, but a given file should replace the default.
if not workflow.configfiles:

    configfile: "config/config.yaml"


try:
    SWEEP = read_sweep(config, workflow.configfiles)
    PATHS = SweepPaths(Path("results") / SWEEP.name)
    check_name(SWEEP, PATHS, snakemake=True)
except UserError as error:
    # A WorkflowError would end with status 1 and print two more lines about this file.
    print(f"nfa: {error}", file=sys.stderr)
    sys.exit(2)
CELL = PATHS.cell("{cell}")
# Jobs of this Snakemake on this machine share one import server (nfa/import_server). The jobs of a scheduler do not,
# because the server would escape their limits of time and memory.
if workflow.remote_exec:
    os.environ.pop(VARIABLE, None)
else:
    os.environ[VARIABLE] = str(os.getpid())


wildcard_constraints:
    cell="[^/]+",  # a cell's id is the name of one folder


rule all:
    default_target: True
    input:
        PATHS.report,
        PATHS.published,


include: "workflow/rules/common.smk"
include: "workflow/rules/tune.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/measure.smk"
include: "workflow/rules/probe.smk"
include: "workflow/rules/aggregate.smk"
include: "workflow/rules/publish.smk"


# `begin` takes the lock and writes the plan. Only here is it known that this is not a dry run and that there are jobs
# to run.
onstart:
    try:
        begin(SWEEP, PATHS)
    except UserError as error:
        print(f"nfa: {error}", file=sys.stderr)
        sys.exit(2)


onsuccess:
    if PATHS.report.exists():
        shell("nfa show {PATHS.folder}")
