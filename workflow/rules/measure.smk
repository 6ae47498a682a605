# One job measures every checkpoint of all seeds of a cell.
rule measure:
    input:
        cell=CELL.cell,
        history=CELL.history,
    output:
        alignment=CELL.alignment,
        matrices=CELL.matrices,
    log:
        str(PATHS.folder / "logs/measure/{cell}.log"),
    conda:
        "../envs/nfa.yaml"
    threads: seeds_at_once
    resources:
        mem_mb=memory(2000),  # the default sweep needs less than 600
        runtime=cell_minutes,
    params:
        plan=str(PATHS.plan),
        hash=lambda wildcards: stage_hash(wildcards.cell, "measure"),
        seeds=" ".join(map(str, SWEEP.seeds)),
    message:
        "measure {wildcards.cell}"
    shell:
        "nfa measure {params.plan} --cells {wildcards.cell} --cores {threads} > {log} 2>&1"
