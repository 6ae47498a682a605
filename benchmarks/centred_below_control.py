"""Why is C-NFC below its own control in MLPs at He's initial scale? The same training with one thing changed at a time.

``python benchmarks/centred_below_control.py``: Fashion-MNIST images, two hidden layers of 128 ReLU units, squared
error, full batches, float64, 3 seeds. For each case and hidden layer at several steps: C-NFC (cosine, power 1), its
control with K turned at random, both of the linearised network, and the share of the squared change that lies in its
first singular direction.

The linearised network (lazy regime, derived) needs no training: with its tangent kernel Theta and the initial residuals
r, gradient descent of rate eta has added up sum over s < t of (I - eta Theta)^s r after t steps, and the change of a
matrix is that sum times its tangent features and inputs. Where eta Theta exceeds 2 the sum diverges.
"""

from dataclasses import dataclass

import numpy as np
import torch
from centred_control import correlation, rotation
from scipy import stats
from torch import Tensor

from nfa.data.fashion_mini import FashionMini, load

WIDTH, CLASSES, SEEDS, ROTATIONS = 128, 10, 3, 10


@dataclass(frozen=True)
class Case:
    """One way to train.

    Attributes:
        rate: Learning rate.
        steps: Steps of training.
        adam: Adam in place of gradient descent.
        readout: Factor on the initial readout.
        ignored: Steps before the change is counted.
        samples: Images.
    """

    rate: float
    steps: int
    adam: bool = False
    readout: float = 1.0
    ignored: int = 0
    samples: int = 150


CASES = {
    "as it is": Case(0.1, 2000),
    "change counted from step 13": Case(0.1, 2000, ignored=13),
    "readout at a tenth": Case(0.1, 2000, readout=0.1),
    "a fifth of the rate": Case(0.02, 10_000),
    "a fifth of the rate, 600 images": Case(0.02, 2000, samples=600),
    "Adam": Case(0.0005, 2000, adam=True),
    "Adam, readout at a tenth": Case(0.0005, 2000, adam=True, readout=0.1),
}
Weights = list[Tensor]


def forward(weights: Weights, x: Tensor) -> list[Tensor]:
    """Inputs (n, d) of every layer, and last the outputs (n, C)."""
    inputs = [x]
    for index, weight in enumerate(weights):
        h = inputs[-1] @ weight.T
        inputs.append(torch.relu(h) if index < len(weights) - 1 else h)
    return inputs


def tangent_features(weights: Weights, inputs: list[Tensor]) -> list[Tensor]:
    """Derivatives (n, C, k) of the outputs by every layer's pre-activations."""
    kappa = torch.eye(CLASSES, dtype=torch.float64).expand(len(inputs[0]), -1, -1)
    found = [kappa]
    for index in range(len(weights) - 1, 0, -1):
        kappa = kappa @ weights[index] * (inputs[index] > 0)[:, None]
        found.insert(0, kappa)
    return found


def gradients(weights: Weights, inputs: list[Tensor], residuals: Tensor) -> list[Tensor]:
    """Gradients (k, d) of every matrix, given those of the outputs (n, C)."""
    found: list[Tensor] = []
    for index in range(len(weights) - 1, -1, -1):
        found.insert(0, residuals.T @ inputs[index])
        residuals = residuals @ weights[index] * (inputs[index] > 0)
    return found


def summed(kappa: Tensor, residuals: Tensor, inputs: Tensor) -> Tensor:
    """The gradient (k, d) of a matrix from its tangent features (n, C, k), given those of the outputs (n, C)."""
    return torch.einsum("nck,nc,nd->kd", kappa, residuals, inputs)


def turned(change: Tensor, covariance: Tensor) -> float:
    """Correlation with K turned at random, mean over rotations."""
    turns = (rotation(len(covariance), torch.default_generator) for _ in range(ROTATIONS))
    return float(np.mean([correlation(change, q @ covariance @ q.T) for q in turns]))


def covariances(weights: Weights, x: Tensor) -> list[Tensor]:
    """K (k, k) of every layer."""
    return [torch.einsum("nck,ncl->kl", k, k) / len(x) for k in tangent_features(weights, forward(weights, x))]


class Linearised:
    """The network's first-order expansion at its initial weights, trained by the same gradient descent."""

    def __init__(self, weights: Weights, x: Tensor, y: Tensor, rate: float) -> None:
        """Expand at ``weights`` for inputs (n, d) and targets (n, C), and diagonalise the tangent kernel (n C, n C)."""
        inputs = forward(weights, x)
        self.kappas, self.inputs, self.rate = tangent_features(weights, inputs), inputs[:-1], rate
        kernel = torch.zeros(x.shape[0] * CLASSES, x.shape[0] * CLASSES, dtype=torch.float64)
        for kappa, given in zip(self.kappas, self.inputs, strict=True):
            flat = kappa.flatten(0, 1)
            kernel += flat @ flat.T * (given @ given.T).repeat_interleave(CLASSES, 0).repeat_interleave(CLASSES, 1)
        self.values, self.vectors = torch.linalg.eigh(kernel)
        self.residuals = self.vectors.T @ (inputs[-1] - y).flatten()
        self.covariances = covariances(weights, x)

    def correlations(self, steps: int) -> list[list[float]]:
        """C-NFC and its control of the hidden layers after so many steps, with the K of the initial weights."""
        step = self.rate * 2 / (len(self.inputs[0]) * CLASSES) * self.values.clamp(min=0)
        gains = torch.where(step > 1e-12, (1 - (1 - step) ** steps) / step.clamp(min=1e-12), float(steps))
        added = (self.vectors @ (gains * self.residuals)).view(-1, CLASSES)
        changes = [summed(kappa, added, given) for kappa, given in zip(self.kappas, self.inputs, strict=True)]
        pairs = zip(changes[:-1], self.covariances, strict=False)
        return [[correlation(change, k), turned(change, k)] for change, k in pairs]


def train(case: Case, seed: int) -> dict[int, list[list[float]]]:
    """Train once; return what is said of each hidden layer, by step."""
    data = load(FashionMini(n_train=case.samples), np.random.default_rng(0))
    x, y = (torch.as_tensor(part).flatten(1).double() for part in (data.x_train, data.y_train))
    torch.manual_seed(seed)
    sizes = [x.shape[1], WIDTH, WIDTH, CLASSES]
    shapes = list(zip(sizes[1:], sizes[:-1], strict=True))
    weights = [torch.randn(k, d, dtype=torch.float64) * ((1 if k == CLASSES else 2) / d) ** 0.5 for k, d in shapes]
    weights[-1] *= case.readout
    lazy = Linearised(weights, x, y, case.rate) if not (case.ignored or case.adam) else None
    optimizer = (torch.optim.Adam if case.adam else torch.optim.SGD)(weights, lr=case.rate)
    initial = [w.clone() for w in weights]
    found: dict[int, list[list[float]]] = {}
    for step in range(1, case.steps + 1):
        inputs = forward(weights, x)
        for weight, gradient in zip(weights, gradients(weights, inputs, (inputs[-1] - y) * 2 / y.numel()), strict=True):
            weight.grad = gradient
        optimizer.step()
        if step == case.ignored:
            initial = [w.clone() for w in weights]
        if step * 100 in (case.steps, case.steps * 10, case.steps * 100):
            loss = float(((forward(weights, x)[-1] - y) ** 2).mean())
            linear = lazy.correlations(step) if lazy else [[float("nan")] * 2] * 2
            found[step] = []
            for index, k in enumerate(covariances(weights, x)[:-1]):
                change = weights[index] - initial[index]
                values = torch.linalg.svdvals(change) ** 2
                row = [loss, correlation(change, k), turned(change, k), *linear[index], float(values[0] / values.sum())]
                found[step].append(row)
    return found


def main() -> None:
    """Print a table of all cases: means over seeds and 95% intervals (Student t)."""
    torch.set_num_threads(1)
    print("| case | step | train loss | layer | C-NFC | c_haar_nfc | linearised | its c_haar_nfc | first direction |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, case in CASES.items():
        runs = [train(case, seed) for seed in range(SEEDS)]
        for step in runs[0]:
            for layer in range(2):
                rows = np.array([run[step][layer] for run in runs])
                mean, half = rows.mean(0), rows.std(0, ddof=1) * stats.t.ppf(0.975, SEEDS - 1) / SEEDS**0.5
                cells = [f"{m:.2f} ± {h:.2f}" if m == m else "-" for m, h in zip(mean[1:], half[1:], strict=True)]
                print(f"| {name} | {step} | {mean[0]:.4f} | hidden{layer} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
