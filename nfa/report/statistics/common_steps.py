"""Checkpoints that follow from a run's training, and the steps at which means over seeds place them.

With ``train.until`` and ``train.checkpoints_at_loss`` each seed has its last checkpoint, and those at given losses, at
a step of its own. A mean over seeds is about the same event in all of them, so it is placed at the largest of these
steps: the last checkpoints of all seeds are one point, at the step of the seed that was trained longest.
"""

import pandas as pd

from nfa.report.statistics.collected import Collected
from nfa.report.statistics.runs import RUN


def make_loss_checkpoints(collected: Collected) -> pd.DataFrame:
    """Tabulate the checkpoints at given training losses: ``cell``, ``seed``, ``train_loss``, ``step``.

    ``step`` is null where a run did not reach the loss.
    """
    rows = [
        (cell.id, seed, loss, dict(map(tuple, collected.documents[cell.id]["runs"][str(seed)]["at_loss"])).get(loss))
        for cell in collected.sweep.cells
        for seed in collected.sweep.seeds
        for loss in cell.train.checkpoints_at_loss or ()
    ]
    dtypes = {"cell": "string", "seed": "int64", "train_loss": "float64", "step": "Int64"}
    return pd.DataFrame(rows, columns=list(dtypes)).astype(dtypes)


def at_common_steps(collected: Collected, frame: pd.DataFrame) -> pd.DataFrame:
    """Place a table's rows at the steps that the seeds of a cell have in common.

    Args:
        collected: What the cells wrote.
        frame: Rows with ``cell``, ``seed``, ``step`` and perhaps ``epoch``.

    Returns:
        The table itself where no cell has such checkpoints. Otherwise its rows with other steps: a checkpoint that
        stands for two events is there twice, and of two rows of one run at one step the one of the event is kept.
    """
    moved = _moved(collected)
    if moved.empty:
        return frame
    moved = moved.astype({"cell": frame["cell"].dtype})
    joined = frame.merge(moved, on=[*RUN, "step"], how="left", suffixes=("", "_common"))
    event = joined["common"].notna()
    joined["step"] = joined["common"].where(event, joined["step"]).astype("int64")
    if "epoch" in frame:
        joined["epoch"] = joined["epoch_common"].where(event, joined["epoch"])
    places = pd.MultiIndex.from_frame(joined[[*RUN, "step"]])
    kept = event | ~places.isin(places[event.to_numpy()])
    return joined.loc[kept, frame.columns].reset_index(drop=True)


def _moved(collected: Collected) -> pd.DataFrame:
    """List the events of all runs: ``cell``, ``seed``, ``step``, and ``common`` and ``epoch``, where it is placed."""
    rows: list[tuple[str, int, int, int, float]] = []
    for cell in collected.sweep.cells:
        if not cell.train.events:
            continue
        runs = collected.documents[cell.id]["runs"]
        events: dict[float | str, dict[int, int]] = {}
        for seed in collected.sweep.seeds:
            run = runs[str(seed)]
            for loss, step in run.get("at_loss", ()):
                events.setdefault(loss, {})[seed] = step
            if "reached" in run and run["status"] == "finished":
                events.setdefault("last", {})[seed] = run["last_step"]
        steps_per_epoch = cell.train.steps_per_epoch(cell.shape.n_train)
        for steps in events.values():
            common = max(steps.values())
            rows += [(cell.id, seed, step, common, common / steps_per_epoch) for seed, step in steps.items()]
    found = pd.DataFrame(rows, columns=[*RUN, "step", "common", "epoch"]).sort_values("step", kind="stable")
    return found.drop_duplicates([*RUN, "common"], keep="last")
