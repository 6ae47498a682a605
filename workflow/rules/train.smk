# One job trains all seeds of a cell. This stage and the next two work on seeds side by side, one thread each: sums are
# split over threads, so their number determines the last bits, and small networks gain more from two seeds at once. (A
# single seed uses the threads of `--set-threads train=4`, which helps large networks.)
# Checkpoints and finished seeds are not declared as outputs, because Snakemake deletes the outputs of
# a failed job. `update()` would not keep them either: docs/results.md.
rule train:
    input:
        made_again,
        tuned_values,
    output:
        cell=CELL.cell,
        history=CELL.history,
    log:
        str(PATHS.folder / "logs/train/{cell}.log"),
    conda:
        "../envs/nfa.yaml"
    threads: seeds_at_once
    resources:
        mem_mb=memory(2000),  # the default sweep needs less than 600
        runtime=cell_minutes,
    params:
        plan=str(PATHS.plan),
        # Changed params make a job run again: the settings that the stage depends on, and the seeds.
        hash=lambda wildcards: stage_hash(wildcards.cell, "train"),
        seeds=" ".join(map(str, SWEEP.seeds)),
    message:
        "train {wildcards.cell}"
    shell:
        "nfa train {params.plan} --cells {wildcards.cell} --cores {threads} > {log} 2>&1"
