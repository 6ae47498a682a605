"""Is a C-NFC more than its spectra? UC-NFC and C-NFC of the MLPs of a sweep again, in float64, and C-NFC's own control.

``python benchmarks/centred_control.py config/sweeps/learning_rules.yaml``, after that sweep has run: for each cell and
hidden layer at the last step of one seed, cosine, power 1: both values from plain Jacobians, how far the sweep's own
table is from them, and rho(Wb^T Wb, Wb^T Q K Q^T Wb), mean and standard deviation over random orthogonal Q (derived:
what ``haar_nfc`` is to UC-NFC).
"""

import argparse
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file
from torch import Tensor

from nfa.storage.paths import SweepPaths
from nfa.sweep.cells import Cell
from nfa.sweep.grid import load
from nfa.training.materials import load_data

ROTATIONS = 20


def weights_at(folder: Path, step: int) -> list[Tensor]:
    """Read a checkpoint's matrices, float64, in forward order: the readout is the last by name too."""
    found = load_file(folder / f"step-{step}.safetensors")
    return [found[name].double() for name in sorted(found)]


def tangent_covariances(weights: list[Tensor], x: Tensor) -> list[Tensor]:
    """Compute K (k, k) of every hidden layer of a bias-free ReLU MLP on inputs (n, d)."""
    covariances = []
    for index in range(len(weights) - 1):
        h = x
        for weight in weights[:index]:
            h = torch.relu(h @ weight.T)

        def rest(pre: Tensor, after: list[Tensor] = weights[index + 1 :]) -> Tensor:
            for weight in after:
                pre = weight @ torch.relu(pre)
            return pre

        jacobians = torch.func.vmap(torch.func.jacrev(rest))(h @ weights[index].T)
        covariances.append(torch.einsum("nck,ncl->kl", jacobians, jacobians) / len(x))
    return covariances


def correlation(weight: Tensor, covariance: Tensor) -> float:
    """Cosine of W^T W and W^T K W, in the k x k algebra."""
    gram = weight @ weight.T
    product = covariance @ gram
    norm: Tensor = (product * product.T).sum().sqrt() * gram.norm()
    return float((product * gram).sum() / norm)


def rotation(k: int, generator: torch.Generator) -> Tensor:
    """Draw an orthogonal matrix (k, k) uniformly."""
    q, r = torch.linalg.qr(torch.randn(k, k, dtype=torch.float64, generator=generator))
    return q * r.diagonal().sign()


def report(cell: Cell, folder: Path, samples: int, seed: int) -> None:
    """Print a line for each hidden layer of a cell."""
    table = pd.read_parquet(folder / "alignment.parquet")
    last = int(table["step"].max())
    table = table[(table["seed"] == seed) & (table["step"] == last) & (table["correlation"] == "cosine")]
    known = table[table["power"] == "1"].set_index(["layer_index", "quantity"])["value"]
    checkpoints = folder / f"checkpoints/seed-{seed}"
    initial, final = weights_at(checkpoints, 0), weights_at(checkpoints, last)
    data = load_data(cell, seed, torch.device("cpu"))
    x = data.x_train[data.order[:samples]].double().flatten(1)
    generator = torch.Generator().manual_seed(0)
    print(f"{cell.id}\n{'layer':>8} {'UC-NFC':>7} {'C-NFC':>7} {'off by':>8} {'K turned':>9} {'sd':>6}")
    for index, k in enumerate(tangent_covariances(final, x)):
        change = final[index] - initial[index]
        uc, c = correlation(final[index], k), correlation(change, k)
        off = max(abs(uc - known[index, "uc_nfc"]), abs(c - known[index, "c_nfc"]))
        turns = (rotation(len(k), generator) for _ in range(ROTATIONS))
        turned = torch.tensor([correlation(change, q @ k @ q.T) for q in turns])
        print(f"{cell.layers[index].name:>8} {uc:7.3f} {c:7.3f} {off:8.0e} {turned.mean():9.3f} {turned.std():6.3f}")


def main() -> None:
    """Check every cell of a sweep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="sweep file of bias-free ReLU MLPs that has run")
    parser.add_argument("--seed", type=int, default=0, help="the run to check (default: 0)")
    arguments = parser.parse_args()
    sweep = load(arguments.config)
    paths = SweepPaths(Path("results") / sweep.name)
    for cell in sweep.cells:
        report(cell, paths.cell(cell.id).cell.parent, sweep.measure.samples, arguments.seed)


if __name__ == "__main__":
    main()
