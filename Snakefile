# train -> measure -> probe -> aggregate -> publish (the cells' runs beside aggregate), over the cells of one sweep file:
#     snakemake --cores 2                                            the default sweep, config/config.yaml
#     snakemake --cores 2 --configfile config/sweeps/X.yaml          another one
# Each rule only calls the `nfa` command; what a sweep file may say is in workflow/schemas/sweep.schema.json.
import os
import sys
from pathlib import Path

from nfa.errors import UserError
from nfa.storage.paths import SweepPaths
from nfa.stages.plan import begin, read_sweep
from nfa.storage.stale import check_name, stale_outputs
from nfa.digests import digest
from nfa.import_server.hand_over import VARIABLE

# `configfile:` would be merged with --configfile; a given file is to replace the default.
if not workflow.configfiles:

    configfile: "config/config.yaml"


try:
    SWEEP = read_sweep(config, workflow.configfiles)
    PATHS = SweepPaths(Path("results") / SWEEP.name)
    check_name(SWEEP, PATHS)
except UserError as error:
    print(f"nfa: {error}", file=sys.stderr)
    sys.exit(2)
CELL = PATHS.cell("{cell}")
# Jobs of this Snakemake on this machine share one process that has imported everything. A scheduler's jobs do not: the
# shared process would escape their limits.
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
include: "workflow/rules/train.smk"
include: "workflow/rules/measure.smk"
include: "workflow/rules/probe.smk"
include: "workflow/rules/aggregate.smk"
include: "workflow/rules/publish.smk"


# Not above: only here is it known that this is no dry run, and that there is something to do.
onstart:
    try:
        begin(SWEEP, PATHS)
    except UserError as error:
        print(f"nfa: {error}", file=sys.stderr)
        sys.exit(2)


onsuccess:
    if PATHS.report.exists():
        shell("nfa show {PATHS.folder}")
