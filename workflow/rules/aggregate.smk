# One job reads all cells and writes the tables, the figures and the report.
rule aggregate:
    input:
        cell_files("cell", "history", "alignment", "matrices", "probes"),
    output:
        report=PATHS.report,
        cells=PATHS.cells,
        provenance=PATHS.provenance,
        tables=directory(PATHS.tables),
        figures=directory(PATHS.figures),
    log:
        str(PATHS.folder / "logs/aggregate.log"),
    conda:
        "../envs/nfa.yaml"
    resources:
        mem_mb=memory(4000),  # enough for 10,000 cells
        runtime=sweep_minutes,
    params:
        plan=str(PATHS.plan),
        hash=digest(SWEEP.document),
    message:
        "aggregate: tables, figures and report of all cells"
    shell:
        "nfa aggregate {params.plan} > {log} 2>&1"
