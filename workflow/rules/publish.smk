# Every run goes to Weights & Biases; the offline runs themselves are declared nowhere, so that they survive.
# The cells' runs first, in one job, while another aggregates: together the two are most of a small sweep's end. Of many
# runs it makes two processes: each waits half of its time for W&B's service or server.
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
        "nfa publish {params.plan} --runs-only > {log} 2>&1"


# Then the run that stands for the sweep; and once more those that could not be sent, or have changed since.
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
        "nfa publish {params.plan} > {log} 2>&1"
