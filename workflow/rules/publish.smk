# One job publishes every run to Weights & Biases; the offline runs themselves are declared nowhere, so that they survive.
rule publish:
    input:
        cell_files("cell", "history", "alignment", "matrices", "probes"),
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
        "publish: one W&B run per cell and seed"
    shell:
        "nfa publish {params.plan} > {log} 2>&1"
