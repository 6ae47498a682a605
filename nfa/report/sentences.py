"""One honest sentence per question: numbers, intervals over seeds, and the convention they are in."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd

from nfa.report.conventions import HEADLINE, LEARNED_RULE, READOUT, Convention
from nfa.report.labels import name_list
from nfa.report.markup import UNDEFINED, interval, number
from nfa.report.ranks import POOLED
from nfa.report.runs import RUN, at_convention
from nfa.report.statistics import over_seeds
from nfa.report.study import Study

SMALLEST_CHANGE = 0.05  # a run whose UC-NFC moved less has no "half of its change"
DEPTHS_LISTED, FEW = 8, 3  # a sentence with more layers than these names the first and the last few
NOTHING = "No run finished, so there is no answer."


@dataclass(frozen=True)
class Answer:
    """An answer.

    Attributes:
        short: A few words, for the glance.
        sentence: With numbers, intervals and convention.
    """

    short: str
    sentence: str


def plural(count: int, noun: str) -> str:
    """Count things: ``1 cell``, ``3 cells``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def trained(study: Study) -> Answer:
    """Did the sweep train?"""
    cells, runs = study.cells, study.tables["runs"]
    learned = int(cells["learned"].sum())
    sentence = (
        f"{learned} of {plural(len(cells), 'cell')} learned, {int(runs['learned'].sum())} of "
        f"{plural(len(runs), 'run')}. "
        f"A run learned if it finished and {LEARNED_RULE}."
    )
    finished = runs[runs["status"] == "finished"]
    ratio = (finished["test_loss"] / finished["constant_test_loss"]).groupby(finished["cell"], sort=False).mean()
    if len(ratio):
        sentence += (
            f" The final test loss is {number(ratio.median())} x the constant predictor's in the median cell"
            f" ({number(ratio.min())} to {number(ratio.max())})"
        )
        accuracy = cells.dropna(subset=["test_accuracy"]).groupby("data", sort=False)
        sentence += "".join(
            f"; test accuracy on {data} is {number(part['test_accuracy'].min(), 3)} to "
            f"{number(part['test_accuracy'].max(), 3)}"
            f" (constant: {number(part['constant_test_accuracy'].mean(), 3)})"
            for data, part in accuracy
        )
        sentence += f".{pooled(study, finished['cell'])}"
    sentence += _named("Diverged", cells[cells["n_diverged"] > 0], "n_diverged")
    weak = cells.assign(n_weak=cells["n_seeds"] - cells["n_learned"] - cells["n_diverged"])
    sentence += _named("Did not learn", weak[weak["n_weak"] > 0], "n_weak")
    counts = {"with a run that diverged": cells["n_diverged"] > 0, "with a run that did not learn": weak["n_weak"] > 0}
    failed = "".join(f"; {int(which.sum())} {what}" for what, which in counts.items() if which.any())
    return Answer(f"{learned} of {plural(len(cells), 'cell')} learned{failed}", sentence)


def _named(what: str, cells: pd.DataFrame, count: str) -> str:
    """Name the cells to which something happened, with the number of their runs."""
    if cells.empty:
        return ""
    rows: list[dict[Any, Any]] = cells.to_dict("records")
    names = (f"{row['label']} ({row[count]} of {plural(row['n_seeds'], 'run')})" for row in rows)
    return f" {what}: {name_list(names)}."


def holds(study: Study, convention: Convention) -> Answer:
    """Does the ansatz hold here?"""
    means = _at(study, study.run_means, convention)
    if means.empty:
        return Answer(UNDEFINED, NOTHING)
    final, initial = seed_mean(study, means, "uc_nfc"), seed_mean(study, means, "initial")
    cells = means.groupby("cell")["uc_nfc"].mean()
    text = (
        f"{stated(study, convention)}: UC-NFC, averaged over hidden layers and {_counted(study, len(cells))}, "
        "went from "
        f"{initial} at initialisation to {final} at the last step (cells: {number(cells.min())} to "
        f"{number(cells.max())}).{pooled(study, means['cell'])}"
    )
    controls = _against_controls(study, convention, means)
    short = f"UC-NFC {_short(initial)} → {_short(final)}; {controls.short}"
    return Answer(short, f"{text} {controls.sentence}")


def _against_controls(study: Study, convention: Convention, means: pd.DataFrame) -> Answer:
    """Compare with the controls, cell by cell."""
    if means[["w0_nfc", "haar_nfc"]].isna().all(axis=None):
        sentence = "Its controls are not defined at this power, so this number says little by itself; see power 1."
        return Answer("no controls at this power", sentence)
    low = "ci_low" if study.n_seeds > 1 else "mean"
    gaps = study.cell_means[convention][low].unstack("measure").loc[means["cell"].unique(), ["above_w0", "above_haar"]]
    above = f"above both in {int((gaps > 0).all(axis=1).sum())} of {plural(len(gaps), 'cell')}"
    reason = (
        "the 95% interval of each difference over seeds is above 0" if study.n_seeds > 1 else "one seed, no interval"
    )
    w0, haar = seed_mean(study, means, "w0_nfc"), seed_mean(study, means, "haar_nfc")
    sentence = (
        f"Its controls at the same step are {w0} for the initial weights (w0_nfc) and {haar} for K turned at "
        f"random (haar_nfc). UC-NFC is {above} ({reason})."
    )
    return Answer(f"controls {_short(w0)} (W₀) and {_short(haar)} (K turned); {above}", sentence)


def which_layer(study: Study, convention: Convention) -> Answer:
    """At which layer?"""
    layers = _at(study, study.layer_finals, convention)
    layers = layers[layers["depth_from_output"] != READOUT]
    if layers.empty:
        return Answer(UNDEFINED, NOTHING)
    by_depth = {depth: layers[layers["depth_from_output"] == depth] for depth in set(layers["depth_from_output"])}
    means = {depth: float(part["uc_nfc"].mean()) for depth, part in by_depth.items()}
    per_cell = layers.groupby(["cell", "depth_from_output"], observed=True)["uc_nfc"].mean().dropna()
    if per_cell.empty:
        return Answer(UNDEFINED, f"{stated(study, convention)}: UC-NFC is undefined at every hidden layer.")
    best = per_cell.unstack("depth_from_output").idxmax(axis=1).astype(int).tolist()
    counts = {depth: best.count(depth) for depth in set(best)}
    ranked = sorted(counts, key=lambda depth: (-counts[depth], depth))

    def listed(depths: list[int], place: Callable[[int], str]) -> str:
        return ", ".join(
            f"{seed_mean(study, by_depth[depth], 'uc_nfc')} {place(depth)} "
            f"({plural(by_depth[depth]['cell'].nunique(), 'cell')})"
            for depth in depths
        )

    if len(means) <= DEPTHS_LISTED:
        by_layer = f"is {listed(sorted(means, reverse=True), _place)}"
    else:
        order = sorted((depth for depth in means if np.isfinite(means[depth])), key=lambda depth: means[depth])
        least, most = order[:FEW], order[: -FEW - 1 : -1]
        named = partial(_named_place, study)
        by_layer = f"of {len(means)} is highest, {listed(most, named)}, and lowest, {listed(least, named)}"
    total = plural(sum(counts.values()), "cell")
    first, *others = (f"{_place(depth)} in {counts[depth]}" for depth in ranked)
    majority = 2 * counts[ranked[0]] > sum(counts.values())
    lead = (
        "The best-aligned hidden layer is the one"
        if majority
        else "No hidden layer is the best-aligned one in most cells: it is the one"
    )
    sentence = (
        f"{stated(study, convention)}: final UC-NFC by hidden layer {by_layer}. "
        f"{lead} {', '.join([f'{first} of {total}', *others])}.{pooled(study, layers['cell'])}"
    )
    return Answer(f"{'best' if majority else 'no one layer'}: {first} of {total}", sentence)


def _place(depth: int) -> str:
    return "just before the readout" if depth == 1 else f"{depth} from the output"


def _named_place(study: Study, depth: int) -> str:
    """Place of a layer in a deep network, where its distance alone tells little."""
    name = study.name_at(depth)
    return f"at {name}" if name else _place(depth)


def when(study: Study, convention: Convention) -> Answer:
    """When in training?"""
    halves = half_way(study, convention)
    runs = int((study.tables["runs"]["status"] == "finished").sum())
    if not runs:
        return Answer(UNDEFINED, NOTHING)
    start = f"{stated(study, convention)}: "
    if halves.empty:
        text = (
            f"no run's UC-NFC (mean over hidden layers) changed by {SMALLEST_CHANGE} or more between step 0 and "
            "its last step."
        )
        return Answer("hardly changes", start + text)
    low, middle, high = (f"{int(value):,}" for value in np.quantile(halves, [0.25, 0.5, 0.75], method="nearest"))
    left_out = (
        f"; {plural(runs - len(halves), 'run')} that changed by less than {SMALLEST_CHANGE} left out"
        if runs > len(halves)
        else ""
    )
    sentence = (
        f"{start}half of the change in UC-NFC (mean over hidden layers) from step 0 to the last step was there by "
        f"the checkpoint at step {middle} in the "
        f"median of {plural(len(halves), 'run')} (quartiles {low} and {high}; last step "
        f"{_last_steps(study)}{left_out}).{pooled(study, halves.index.get_level_values('cell'))} "
        f"C-NFC at step 0 is its limit t → 0+ along gradient flow, drawn as a hollow marker."
    )
    return Answer(f"half-way by step {middle}", sentence)


def half_way(study: Study, convention: Convention) -> pd.Series:
    """Return, for each finished run that changed, the first checkpoint with half of its change in UC-NFC."""
    alignment = study.collected.alignment
    rows = alignment[(alignment["quantity"] == "uc_nfc") & at_convention(alignment, convention)]
    rows = rows[rows["depth_from_output"] != READOUT]
    runs = study.tables["runs"]
    finished = runs.loc[runs["status"] == "finished", RUN].astype({"cell": rows["cell"].dtype})
    means = rows.merge(finished, on=RUN).groupby([*RUN, "step"], observed=True)["value"].mean().dropna().reset_index()
    groups = means.groupby(RUN, observed=True)["value"]
    change = means["value"] - groups.transform("first")
    total = groups.transform("last") - groups.transform("first")
    reached = means[(total.abs() >= SMALLEST_CHANGE) & (change * np.sign(total) >= total.abs() / 2)]
    return reached.groupby(RUN, observed=True)["step"].min()


def _last_steps(study: Study) -> str:
    runs = study.tables["runs"]
    steps = runs.loc[runs["status"] == "finished", "last_step"]
    return f"{steps.min():,}" if steps.nunique() == 1 else f"{steps.min():,} to {steps.max():,}"


def for_whom(study: Study, convention: Convention) -> Answer:
    """For which optimizer and depth?"""
    means = _at(study, study.run_means, convention)
    if means.empty:
        return Answer(UNDEFINED, NOTHING)
    present = set(means["optimizer"])
    optimizers = [name for name in study.optimizers if name in present]

    @cache
    def mean(axis: str, name: str, quantity: str) -> str:
        return seed_mean(study, means[means[axis] == name], quantity)

    def told(axis: str, name: str) -> str:
        here = means.loc[means[axis] == name, "cell"]
        return f"{name} {mean(axis, name, 'uc_nfc')} / {mean(axis, name, 'c_nfc')} ({counted(study, here)})"

    def short(name: str) -> str:
        return f"{name} {_short(mean('optimizer', name, 'uc_nfc'))}"

    sentence = (
        f"{stated(study, convention)}: final UC-NFC / C-NFC, averaged over hidden layers and cells: "
        f"{name_list(optimizers, 8, lambda name: told('optimizer', name))}. "
        f"By model: {name_list(means['model'].unique(), 8, lambda name: told('model', name))}."
        f"{pooled(study, means['cell'])} "
        f"At one seed all optimizers share data, initial weights and batches."
    )
    return Answer(f"UC-NFC: {name_list(optimizers, 4, short)}", sentence)


def probes_better(study: Study) -> Answer:
    """Do better-aligned layers probe better?"""
    table = study.tables["rank_correlation"]
    table = table[(table["layers"] == POOLED) & at_convention(table, HEADLINE)]
    if table.empty:
        return Answer(UNDEFINED, "No finished run has both alignment and probes, so there is no answer.")
    sentences, shorts = [], []
    for data in dict.fromkeys(study.cells["data"]):
        records: list[dict[Any, Any]] = table[table["data"] == data].to_dict("records")
        rows = {(row["quantity"], row["score"]): row for row in records}
        probe, gain = rows.get(("uc_nfc", "probe")), rows.get(("uc_nfc", "gain"))
        if probe:
            points = "; over ".join(filter(None, (f"n = {probe['n']} points per seed", probe["pooled_over"])))
            sentences.append(
                f"on {data} ({points}) {_rank_words(probe)} with the probe's test score and "
                f"{_rank_words(gain) if gain else UNDEFINED} with its gain over the same layer untrained"
            )
            shorts.append(f"{data} ρ = {interval(probe['mean'], probe['ci_low'], probe['ci_high'], bound=1)}")
    lead = f"{stated(study, HEADLINE)}: over cells and hidden layers, Spearman's ρ of final UC-NFC is "
    end = ". Mean and 95% interval over seeds, cut at ±1; points of one network are not independent."
    return Answer("; ".join(shorts) or UNDEFINED, lead + "; ".join(sentences) + end)


def _rank_words(row: Mapping[Any, Any]) -> str:
    """Say a rank correlation and whether its interval excludes 0."""
    if not np.isfinite(row["mean"]):
        return f"{UNDEFINED} ({row['note']})"
    shown = interval(row["mean"], row["ci_low"], row["ci_high"], bound=1)
    if not np.isfinite(row["ci_low"]):
        return f"{shown} (no interval with one seed)"
    if row["ci_low"] <= 0 <= row["ci_high"]:
        return f"{shown} (the interval contains 0: no evidence either way)"
    return f"{shown} (better-aligned layers score {'higher' if row['mean'] > 0 else 'lower'})"


def counted(study: Study, cells: "pd.Series[Any]") -> str:
    """Count cells and name the settings that vary among them: ``3 cells that differ in model.init_scale``."""
    names = study.collected.pooling.names(cells)
    return plural(cells.nunique(), "cell") + (f" that differ in {names}" if names else "")


def pooled(study: Study, cells: Iterable[object]) -> str:
    """Name the settings that vary among the cells that a number is made of; see ``nfa.report.pooled``."""
    return study.collected.pooling.sentence(cells)


def pictured(study: Study, correlations: Sequence[tuple[float, float]]) -> Answer:
    """NFM beside AGOP: the first layers that are shown, at the first and the last checkpoint."""
    if not correlations:
        return Answer(UNDEFINED, "No matrices were kept.")
    first, last = (np.array(values, dtype=float) for values in zip(*correlations, strict=True))
    over = pooled(study, [album.cell for album in study.albums])
    text = (
        f"First layer of one run per cell ({HEADLINE}; {study.measured_with}): UC-NFC of the whole matrices "
        f"is {_range(first)} at step 0 and "
        f"{_range(last)} at the last checkpoint, over {plural(len(last), 'run')}.{over} Each picture has its own scale."
    )
    medians = [number(pd.Series(values).median()) for values in (first, last)]
    return Answer(f"first layer {' → '.join(medians)}", text)


def _range(values: np.ndarray) -> str:
    values = values[np.isfinite(values)]
    if not len(values):
        return UNDEFINED
    return f"{number(values.min())} to {number(values.max())} (median {number(float(np.median(values)))})"


def seed_mean(study: Study, frame: pd.DataFrame, column: str) -> str:
    """Average over cells (and layers) within each seed, then show mean and interval over seeds.

    Only cells in which every seed finished: so that all seeds average over the same cells.
    """
    frame = frame.dropna(subset=[column])
    complete = frame.groupby("cell", observed=True)["seed"].transform("nunique") == study.n_seeds
    per_seed = frame[complete].groupby("seed")[column].mean()
    if per_seed.empty:
        return number(frame[column].mean()) if len(frame) else UNDEFINED
    row = over_seeds(per_seed.reset_index().assign(all=0), ["all"], column).iloc[0]
    return interval(row["mean"], row["ci_low"], row["ci_high"])


def _counted(study: Study, cells: int) -> str:
    """Count the cells that an average is over, and say which they are where it is not all."""
    return plural(cells, "cell") + ("" if cells == len(study.cells) else " in which every run finished")


def _short(shown: str) -> str:
    return shown.split(" [")[0]


def _at(study: Study, frame: pd.DataFrame, convention: Convention) -> pd.DataFrame:
    """Keep a convention and, where there are any, the cells in which every run finished: the same at every seed."""
    frame = frame[at_convention(frame, convention)]
    complete = frame["cell"].astype(str).isin(study.cells.index[study.cells["n_finished"] == study.n_seeds])
    return frame[complete] if complete.any() else frame


def stated(study: Study, convention: Convention) -> str:
    """State the convention, the estimator, the samples and the seeds."""
    seeds = plural(study.n_seeds, "seed") + ("" if study.n_seeds > 1 else ", so no intervals")
    return f"{convention.correlation.capitalize()}, power {convention.power} ({study.measured_with}; {seeds})"
