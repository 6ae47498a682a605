# One job trains all seeds of a cell. One thread, here and in the next two stages: sums are split over threads, so their
# number fixes the bits, and small networks gain more from two cells at once. (`--set-threads train=4` for large ones.)
# Checkpoints and finished seeds are declared nowhere: Snakemake deletes what it declares.
rule train:
    input:
        made_again,
    output:
        cell=CELL.cell,
        history=CELL.history,
    log:
        str(PATHS.folder / "logs/train/{cell}.log"),
    conda:
        "../envs/nfa.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),  # the default sweep peaks below 600
        runtime=cell_minutes,
    params:
        plan=str(PATHS.plan),
        # Changed parameters make a job run again: what the stage depends on, and the seeds.
        hash=lambda wildcards: stage_hash(wildcards.cell, "train"),
        seeds=" ".join(map(str, SWEEP.seeds)),
    message:
        "train {wildcards.cell}"
    shell:
        "nfa train {params.plan} --cells {wildcards.cell} --threads {threads} > {log} 2>&1"
