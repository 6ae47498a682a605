# One job probes every layer at every checkpoint of all seeds of a cell.
rule probe:
    input:
        cell=CELL.cell,
        history=CELL.history,
    output:
        probes=CELL.probes,
    log:
        str(PATHS.folder / "logs/probe/{cell}.log"),
    conda:
        "../envs/nfa.yaml"
    threads: seeds_at_once
    resources:
        mem_mb=memory(2000),  # the default sweep needs less than 600
        runtime=cell_minutes,
    params:
        plan=str(PATHS.plan),
        hash=lambda wildcards: stage_hash(wildcards.cell, "probe"),
        seeds=" ".join(map(str, SWEEP.seeds)),
    message:
        "probe {wildcards.cell}"
    shell:
        "nfa probe {params.plan} --cells {wildcards.cell} --cores {threads} > {log} 2>&1"
