# One job for all stages of a cell with little work: what a job costs is paid once. Which cells these are, their settings
# tell alone (nfa/sweep/estimate.py). A job that failed finds its finished stages and seeds again.
rule small_cell:
    input:
        made_again,
    output:
        cell=CELL.cell,
        history=CELL.history,
        alignment=CELL.alignment,
        matrices=CELL.matrices,
        probes=CELL.probes,
    log:
        str(PATHS.folder / "logs/small_cell/{cell}.log"),
    wildcard_constraints:
        cell=SMALL,
    conda:
        "../envs/nfa.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),  # the default sweep peaks below 600
        runtime=cell_minutes,
    params:
        plan=str(PATHS.plan),
        hash=lambda wildcards: " ".join(
            stage_hash(wildcards.cell, stage) for stage in STAGES
        ),
        seeds=" ".join(map(str, SWEEP.seeds)),
    message:
        "train, measure, probe {wildcards.cell}"
    shell:
        "nfa stages {params.plan} --cells {wildcards.cell} --threads {threads} > {log} 2>&1"
