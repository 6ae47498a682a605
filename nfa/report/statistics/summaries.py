"""All tables of a sweep: joined over cells, and summarised over seeds, with fixed dtypes and a fixed order of rows."""

import pandas as pd

from nfa.report.statistics.collected import Collected
from nfa.report.statistics.common_steps import at_common_steps, make_loss_checkpoints
from nfa.report.statistics.early_dynamics import make_departure
from nfa.report.statistics.features_alignment import make_features_alignment
from nfa.report.statistics.intervals import SPREAD, over_seeds
from nfa.report.statistics.predictions import make_predictions, prediction_points
from nfa.report.statistics.runs import make_cells_summary, make_runs
from nfa.report.statistics.speed_limited import make_speed_limited
from nfa.report.statistics.stratified_ranks import make_features_ranks

PLACE = ["cell", "step", "layer", "layer_index", "depth_from_output", "quantity", "correlation", "power"]


def make_tables(collected: Collected) -> dict[str, pd.DataFrame]:
    """Compute every table of a sweep: name -> table."""
    tables = make_cell_tables(collected)
    return tables | make_grid_tables(collected, tables["runs"], tables["features_alignment"])


def make_cell_tables(collected: Collected) -> dict[str, pd.DataFrame]:
    """Compute the tables whose rows are about one cell each, so that they can be made from a part of the cells."""
    runs = make_runs(collected)
    return {
        "runs": runs,
        "cells_summary": make_cells_summary(collected, runs),
        "loss_checkpoints": make_loss_checkpoints(collected),
        "history_summary": make_history_summary(collected),
        "alignment": make_alignment(collected),
        "alignment_summary": make_alignment_summary(collected),
        "probes": _plain(collected.probes),
        "probes_summary": make_scores_summary(at_common_steps(collected, collected.probes)),
        "tuning": collected.tuning,
        "tuning_trials": collected.trials,
        "early_dynamics": collected.early,
        "early_departure": make_departure(collected.early),
        "features": _plain(collected.features),
        "features_summary": make_scores_summary(at_common_steps(collected, collected.features)),
        "features_alignment": make_features_alignment(collected),
    }


def make_grid_tables(
    collected: Collected, runs: pd.DataFrame, features_alignment: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """Compute the tables that compare cells with one another.

    Args:
        collected: What the cells wrote; of cells that the page does not show, the rows that
            ``nfa.report.statistics.large_sweeps`` keeps are enough.
        runs: The table of that name.
        features_alignment: The table of that name; its rows of last checkpoints are enough.
    """
    return {
        "predictions": make_predictions(prediction_points(collected), collected.pooling),
        "features_ranks": make_features_ranks(features_alignment, collected.pooling),
        "speed_limited": make_speed_limited(collected, runs),
    }


def make_history_summary(collected: Collected) -> pd.DataFrame:
    """Summarise loss, accuracy, learning rate and norms over the seeds that reached each step."""
    return _plain(
        over_seeds(at_common_steps(collected, collected.history), ["cell", "step", "epoch", "split", "metric"])
    )


def make_alignment(collected: Collected) -> pd.DataFrame:
    """Join all alignment rows with the settings in which their cells differ; see ``Collected.settings``."""
    parameters = collected.settings.set_index("cell").reindex(collected.alignment["cell"].cat.categories)
    codes = collected.alignment["cell"].cat.codes.to_numpy()
    joined = [_plain(collected.alignment[["cell"]]), parameters.take(codes).reset_index(drop=True)]
    return pd.concat([*joined, _plain(collected.alignment.drop(columns="cell"))], axis=1)


def make_alignment_summary(collected: Collected) -> pd.DataFrame:
    """Summarise every quantity over seeds; keep the first note of any seed (a limit, or why a value is NaN)."""
    frame = at_common_steps(collected, collected.alignment)
    table = over_seeds(frame, PLACE)
    constant = frame.drop_duplicates(PLACE)[[*PLACE, "exponent", "estimator", "n"]]
    notes = frame.loc[frame["note"] != "", [*PLACE, "note"]].drop_duplicates(PLACE)
    table = table.merge(constant, on=PLACE, how="left", validate="1:1")
    table = table.merge(notes, on=PLACE, how="left", validate="1:1")
    table["note"] = table["note"].astype("string").fillna("")
    return _plain(table[[*PLACE, "exponent", *SPREAD, "estimator", "n", "note"]])


def make_scores_summary(scores: pd.DataFrame) -> pd.DataFrame:
    """Summarise scores of features over seeds."""
    place = ["cell", "step", "layer", "layer_index", "depth_from_output", "probe", "features", "split", "metric"]
    table = over_seeds(scores, place)
    order = table["layer_index"].fillna(-1)  # the raw input comes first
    table = table.assign(order=order).sort_values(["cell", "step", "order"], kind="stable")
    return _plain(table.drop(columns="order").reset_index(drop=True))


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Turn categorical and object columns of text into strings, so that files hold text whatever sorted the rows."""
    texts = {
        column: "string"
        for column, dtype in frame.dtypes.items()
        if isinstance(dtype, pd.CategoricalDtype) or pd.api.types.is_string_dtype(dtype)
    }
    return frame.astype(texts).reset_index(drop=True)
