# Publishes one run per cell and seed to Weights & Biases. The folders of offline runs are not declared as outputs,
# because Snakemake would delete them when the job fails. This job runs at the same time as aggregate, since the two
# take most of the time at the end of a small sweep. For many runs it uses two processes, because each waits half of its
# time for W&B. Status 69 says that runs could not be published, which stops no sweep: the file names them.
rule publish_runs:
    input:
        cell_files("cell", "history", "alignment", "matrices", "probes"),
    output:
        published=PATHS.published_runs,
    log:
        str(PATHS.folder / "logs/publish_runs.log"),
    conda:
        "../envs/nfa.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=sweep_minutes,
    params:
        plan=str(PATHS.plan),
        hash=digest(SWEEP.document),
    message:
        "publish_runs: one W&B run per cell and seed"
    shell:
        "nfa publish {params.plan} --runs-only > {log} 2>&1 || test $? -eq 69"


# Publishes the run of the sweep itself, and again the runs that could not be sent or have changed since.
rule publish:
    input:
        PATHS.published_runs,
        PATHS.report,
    output:
        published=PATHS.published,
    log:
        str(PATHS.folder / "logs/publish.log"),
    conda:
        "../envs/nfa.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=sweep_minutes,
    params:
        plan=str(PATHS.plan),
        hash=digest(SWEEP.document),
    message:
        "publish: the sweep's own W&B run"
    shell:
        "nfa publish {params.plan} > {log} 2>&1 || test $? -eq 69"
