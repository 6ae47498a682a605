# One job joins all cells: tables, figures, report.
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
    params:
        plan=str(PATHS.plan),
        hash=digest(SWEEP.document),
    message:
        "aggregate: tables, figures and report of all cells"
    shell:
        "nfa aggregate {params.plan} > {log} 2>&1"
