"""The stratified rank correlation: against scipy where there is one block, by hand where there are more, coverage."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nfa.report.statistics.pooled_settings import Pooling
from nfa.report.statistics.stratified_ranks import QUANTITIES, RANKED, make_features_ranks

# Cells of the default sweep: data set, family, and depths of their hidden layers from the output.
CELLS = [("fashion", "mlp", 2)] * 3 + [("fashion", "mlp", 4)] * 3 + [("fashion", "conv", 3)] * 3
CELLS += [("chain", "mlp", 2)] * 3 + [("chain", "mlp", 4)] * 3


def joined(draw: np.random.Generator, rho: float = 0.0, seeds: int = 3) -> pd.DataFrame:
    """A joined table with effects of cells, of layers and of chance, whose correlation is rho on each level."""

    def pair(size: float) -> np.ndarray:
        a, b = draw.standard_normal(2)
        return size * np.array([a, rho * a + np.sqrt(1 - rho**2) * b])

    rows = []
    for number, (data, family, depths) in enumerate(CELLS):
        cell = pair(0.8)
        for depth in range(depths + 1):
            layer = cell + pair(0.5) + 5 * depth  # depth raises both: strata must take it out
            rows += [(data, family, f"cell{number}", seed, depth, *(layer + pair(0.3))) for seed in range(seeds)]
    table = pd.DataFrame(rows, columns=["data", "family", "cell", "seed", "depth_from_output", "uc_nfc", "probe"])
    table = table.assign(last=True, finished=True, correlation="cosine", power="1")
    return table.assign(**{name: np.nan for name in (*QUANTITIES, *RANKED) if name not in table})


def row(table: pd.DataFrame, data: str, depth: int | None = None, score: str = "probe") -> pd.Series:
    """One row of the result."""
    ranks = make_features_ranks(table, Pooling(table[["cell"]].drop_duplicates()))
    place = ranks["depth_from_output"].isna() if depth is None else ranks["depth_from_output"] == depth
    found = ranks[(ranks["data"] == data) & place & (ranks["quantity"] == "uc_nfc") & (ranks["score"] == score)]
    assert len(found) == 1
    return found.iloc[0]


def test_one_block_is_spearmans_correlation_and_its_jackknife() -> None:
    table = joined(np.random.default_rng(5), 0.5)
    table = table.query("family == 'mlp'")
    block = table.query("seed == 0 and data == 'fashion' and depth_from_output == 2").copy()
    block["uc_nfc"] = block["uc_nfc"].round(0)  # ties
    found = row(table.query("seed == 0 and data == 'fashion'").assign(uc_nfc=table["uc_nfc"].round(0)), "fashion", 2)
    x, y = block["uc_nfc"].to_numpy(), block["probe"].to_numpy()
    rho = stats.spearmanr(x, y).statistic
    z = np.arctanh([stats.spearmanr(np.delete(x, i), np.delete(y, i)).statistic for i in range(6)])
    half = stats.t.ppf(0.975, 5) * np.sqrt(5 / 6 * np.square(z - z.mean()).sum())
    assert (found["n_cells"], found["n_points"]) == (6, 6)
    assert found["rho"] == pytest.approx(rho)
    np.testing.assert_allclose([found["ci_low"], found["ci_high"]], np.tanh(np.arctanh(rho) + np.array([-half, half])))


def test_blocks_are_pooled_by_their_centred_ranks() -> None:
    table = joined(np.random.default_rng(1), 0.5)
    products = np.zeros(3)
    for _, block in table.query("depth_from_output > 0").groupby(["data", "family", "depth_from_output", "seed"]):
        a, b = (stats.rankdata(block[name]) - (len(block) + 1) / 2 for name in ("uc_nfc", "probe"))
        products += [a @ b, a @ a, b @ b]
    found = row(table, "all")
    assert found["rho"] == pytest.approx(products[0] / np.sqrt(products[1] * products[2]))
    assert (found["n_cells"], found["n_points"]) == (15, 3 * sum(depths for *_, depths in CELLS))


def test_what_differs_between_strata_alone_is_no_correlation() -> None:
    """Depth, data set, family and seed may raise both: only order within a block counts."""
    table = joined(np.random.default_rng(2))
    shift = 100.0 * table["seed"] + 1000.0 * (table["data"] == "chain") - 50.0 * table["depth_from_output"]
    shift += 500.0 * (table["family"] == "conv")
    moved = table.assign(uc_nfc=table["uc_nfc"] + shift, probe=np.exp(table["probe"] / 50) + shift)
    columns = ["rho", "ci_low", "ci_high"]
    np.testing.assert_allclose(row(moved, "all")[columns].tolist(), row(table, "all")[columns].tolist())
    pooled = table.query("depth_from_output > 0")
    assert abs(stats.spearmanr(pooled["uc_nfc"], pooled["probe"]).statistic) > 0.7  # what pooling would have said
    assert row(table, "all")["ci_low"] < 0 < row(table, "all")["ci_high"]


def test_where_there_is_no_interval_the_note_says_why() -> None:
    table = joined(np.random.default_rng(3))
    perfect = row(table.assign(probe=table["uc_nfc"]), "all")
    assert perfect["rho"] == pytest.approx(1)
    assert np.isnan(perfect["ci_low"])
    assert "perfect" in perfect["note"]
    tied = row(table.assign(probe=1.0), "all")
    assert np.isnan(tied["rho"])
    assert "tied" in tied["note"]
    few = row(table[table["cell"].isin(["cell0", "cell1"])], "fashion")
    assert np.isnan(few["rho"])
    assert "fewer than 3 cells" in few["note"]
    four = row(table[table["cell"].isin([f"cell{i}" for i in range(4)])], "fashion")
    assert np.isfinite(four["rho"])
    assert np.isnan(four["ci_low"])
    assert "fewer than 5 cells" in four["note"]
    assert row(table, "all", score="kernel_nfm")["n_cells"] == 0


def test_many_cells_are_left_out_in_groups() -> None:
    draw = np.random.default_rng(4)
    tables = [joined(draw, 0.5, seeds=1) for _ in range(8)]
    parts = [table.assign(cell=table["cell"] + f"-{i}") for i, table in enumerate(tables)]
    found = row(pd.concat(parts, ignore_index=True), "all")
    assert found["n_cells"] == 8 * len(CELLS)
    assert found["ci_low"] < found["rho"] < found["ci_high"]
    assert found["ci_high"] - found["ci_low"] < 0.4


def sweeps(count: int, rho: float) -> Iterator[pd.Series]:
    """The pooled row of many simulated sweeps; one table holds independent ones, each in a quantity and a score."""
    draw = np.random.default_rng(5)
    names = list(zip(QUANTITIES, RANKED, strict=False))
    for _ in range(count // len(names)):
        table = joined(draw, rho)
        for quantity, score in names:
            values = joined(draw, rho)
            table[quantity], table[score] = values["uc_nfc"], values["probe"]
        ranks = make_features_ranks(table, Pooling(table[["cell"]].drop_duplicates()))
        ranks = ranks[(ranks["data"] == "all") & ranks["depth_from_output"].isna() & ranks["correlation"].eq("cosine")]
        ranks = ranks[ranks["power"] == "1"]
        for quantity, score in names:
            yield ranks[(ranks["quantity"] == quantity) & (ranks["score"] == score)].iloc[0]


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.0, 0.8])
def test_intervals_hold_the_truth(rho: float) -> None:
    """Nominal 95%; of 300 sweeps, 3 standard errors below 95% is 91.2%. The truth: the mean over the sweeps."""
    rows = pd.DataFrame(list(sweeps(300, rho)))
    assert len(rows) == 300
    truth = rows["rho"].mean()
    covered = (rows["ci_low"] <= truth) & (truth <= rows["ci_high"])
    assert covered.mean() > 0.912
