"""How were the tuned settings chosen?"""

import pandas as pd

from nfa.report.figures import tuning
from nfa.report.numbers import plural, significant
from nfa.report.page.html import Safe, el
from nfa.report.page.sections.section import Answer, Material, Section, optimizer_legend, panel_row
from nfa.report.page.tables import row_head, table, text_cell, text_head
from nfa.report.statistics.labels import name_list
from nfa.report.statistics.study import Study


def chosen(study: Study) -> Answer:
    """Say what was tuned at which budget, and name the values that are at an end of their range."""
    tuned = study.tables["tuning"]
    settings = study.collected.sweep.tune
    searches = tuned.drop_duplicates("cell")
    names = name_list(dict.fromkeys(name.partition(".")[2] for name in tuned["setting"]))
    verdict = f"{names} of {plural(len(searches), 'cell')} was tuned on validation samples."
    edge = tuned[tuned["at_edge"] != ""]
    if len(edge):
        cells = [study.row(cell)["label"] for cell in dict.fromkeys(edge["cell"])]
        verdict += f" The best value is at an end of its range in {name_list(cells)}: widen the range there."
    else:
        verdict += " No best value is at an end of its range."
    least, most = int(searches["steps"].min()), int(searches["steps"].max())
    steps = f"{least:,} optimizer steps" if least == most else f"{least:,} to {most:,} optimizer steps"
    numbers = (
        f"A search took {steps} in {_range(searches['trials'])} trials, {plural(settings.seeds, 'seed')} each, which "
        "are not seeds of the sweep; trials that diverge take fewer steps. Trials train without "
        f"{settings.validation:.0%} of the training samples and are compared on these; the test set is not used. The "
        "better half of the trials goes on, and the values halfway between the best one and its neighbours are trained "
        "at the end."
    )
    short = f"{plural(len(searches), 'cell')} tuned" + (f"; {len(edge)} at an end of the range" if len(edge) else "")
    return Answer(short, verdict, numbers)


def _range(counts: pd.Series) -> str:
    least, most = int(counts.min()), int(counts.max())
    return f"{least}" if least == most else f"{least} to {most}"


def tuning_table(study: Study) -> Safe:
    """Tabulate the values that were found."""
    rows = [
        el(
            "tr",
            row_head(study, row["cell"]),
            text_cell(row["setting"]),
            el(
                "td", significant(row["value"]), el("b", f" {row['at_edge']} end", cls="flag") if row["at_edge"] else ""
            ),
            el("td", f"{row['low']:g} to {row['high']:g}, {row['scale']}"),
            el("td", significant(row["validation_loss"])),
            el("td", f"{row['trials']}"),
            el("td", f"{row['diverged']}"),
            el("td", f"{row['steps']:,}"),
        )
        for row in study.tables["tuning"].to_dict("records")
        if row["cell"] in study.shown
    ]
    head = ("cell", text_head("setting"), "value", "range", "validation loss", "trials", "diverged", "steps")
    return table(
        head, rows, "Values found for tuned settings; steps: of all trials and seeds of a search", cls="numbers"
    )


def body(material: Material) -> list[object]:
    """Make the figure of all trials, and the table of what was found."""
    study = material.study
    note = (
        "● a trial that was trained to its end  ○ a trial that stopped early, at its last loss  × a trial that "
        "diverged  ◯ the chosen value. Mean over the seeds of the search; losses above twice the largest one before "
        "training are drawn at the upper edge."
    )
    return [
        optimizer_legend(study),
        panel_row("tuning", tuning.panels(study), material.live),
        el("p", note, cls="note"),
        tuning_table(study),
    ]


SECTION = Section(
    anchor="tuning",
    name="tuned settings",
    question="How were the tuned settings chosen?",
    answer=lambda material, _: chosen(material.study),
    fixed=True,
    body=body,
    asked=lambda material: not material.study.tables["tuning"].empty,
)
