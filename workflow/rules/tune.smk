# One job searches for the values of those settings of a cell that are tuned (`lr: {tune: [1e-3, 1]}`); other cells have
# no such job. Sweeps share searches below results/.tuned, so the job may find its answer there.
rule tune:
    input:
        made_again,
    output:
        tuned=CELL.tuned,
        trials=CELL.trials,
    log:
        str(PATHS.folder / "logs/tune/{cell}.log"),
    conda:
        "../envs/nfa.yaml"
    threads: trials_at_once
    resources:
        mem_mb=memory(2000),
        runtime=cell_minutes,
    params:
        plan=str(PATHS.plan),
        hash=lambda wildcards: SWEEP.tune_hash(SWEEP.cell(wildcards.cell)),
    message:
        "tune {wildcards.cell}"
    shell:
        "nfa tune {params.plan} --cells {wildcards.cell} --cores {threads} > {log} 2>&1"
