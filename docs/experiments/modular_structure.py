"""Measure the structure of NFM and AGOP after modular arithmetic: in which order of the numbers are they circulant?

    python docs/experiments/modular_structure.py

Reads results/modular_arithmetic and results/modular_arithmetic-operations, prints a table and draws
docs/experiments/modular_arithmetic-structure.png. For the block (p, p) between a and b of each matrix, the table gives
the energy of the means along wrapped diagonals (i - j or i + j constant) as a share of the block's energy beyond its
mean (derived; 1/p by chance). In the order of discrete logarithms, a = g^i with a generator g of the residues other
than 0, multiplication is addition of the exponents i. Therefore the structure of products is visible in that order.
"""

import json
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

MODULUS, OPERATIONS = 61, 4
SHOWN = 0.2  # smallest share that counts as structure
SWEEPS = ("modular_arithmetic", "modular_arithmetic-operations")
PICTURE = Path("docs/experiments/modular_arithmetic-structure.png")


def logarithms() -> np.ndarray:
    """Return the residues g^0, g^1, ... for the smallest generator g."""
    powers = ([pow(g, i, MODULUS) for i in range(MODULUS - 1)] for g in range(2, MODULUS))
    return np.array(next(residues for residues in powers if len(set(residues)) == MODULUS - 1))


ORDERS = {"as numbers": np.arange(MODULUS), "as logarithms": logarithms()}


def share(block: np.ndarray, sign: int) -> float:
    """Return the energy of the means along wrapped diagonals (i + sign j constant) over all energy beyond the mean."""
    side = len(block)
    rest = block - block.mean()
    rows, columns = np.indices(block.shape)
    means = np.bincount(((rows + sign * columns) % side).ravel(), rest.ravel(), side) / side
    return float((means**2).sum() * side / (rest**2).sum())


def between(matrix: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return the block (p, p) between the one-hot codes of a and b, in the given order of residues."""
    block: np.ndarray = matrix[:MODULUS, MODULUS : 2 * MODULUS]
    return block[np.ix_(order, order)]


def main() -> None:
    """Print the table and draw the picture."""
    print("| operation | step | matrix | order | i - j | i + j |\n| --- | --- | --- | --- | --- | --- |")
    drawn: dict[str, np.ndarray] = {}
    paths = sorted(path for sweep in SWEEPS for path in Path("results", sweep).glob("*/matrices.npz"))
    if len(paths) != OPERATIONS:
        sys.exit(
            f"results: {len(paths)} of {OPERATIONS} operations; run docs/experiments/run.sh modular_arithmetic first"
        )
    for path in paths:
        cell = json.loads(path.with_name("cell.json").read_text())
        operation = cell["parameters"]["data"]["operation"]
        with np.load(path, allow_pickle=False) as arrays:
            found = {tuple(name.split("/")): arrays[name] for name in arrays.files if "hidden0/" in name}
        for step in sorted({int(step) for _, step, *_ in found}):
            for kind in ("nfm", "agop"):
                seeds = [a for (_, s, _, k), a in found.items() if (int(s), k) == (step, kind)]
                for name, order in ORDERS.items():
                    shares = np.array([[share(between(a, order), sign) for sign in (-1, 1)] for a in seeds])
                    text = " | ".join(f"{part.min():.2f} to {part.max():.2f}" for part in shares.T)
                    print(f"| {operation} | {step:,} | {kind.upper()} | {name} | {text} |")
                    if kind == "agop" and step and shares.max() > SHOWN:
                        drawn[f"{operation}, {name}"] = between(seeds[0], order)
    with mpl.rc_context({"font.size": 9}):
        figure = Figure(figsize=(2.6 * len(drawn), 2.9), dpi=150, layout="constrained")
        for index, (title, block) in enumerate(drawn.items()):
            axes = figure.add_subplot(1, len(drawn), index + 1)
            limit = np.abs(block - block.mean()).max()
            axes.imshow(block - block.mean(), cmap="RdBu_r", vmin=-limit, vmax=limit)
            axes.set_title(title)
            axes.set_xticks([])
            axes.set_yticks([])
        figure.savefig(PICTURE)


if __name__ == "__main__":
    main()
