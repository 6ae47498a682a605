"""Why C-NFC lies below its own control in MLPs at He's initial scale: the same training with one thing changed at a time.

``python benchmarks/centred_below_control.py``: 150 Fashion-MNIST images, two hidden layers of 128 ReLU units, full-batch
gradient descent, float64, 3 seeds, about 3 minutes on one core. For each case and hidden layer, at several steps: C-NFC (cosine, power 1), its
control with K turned at random, the share of the squared change in its first singular direction, and the C-NFC of the linearised
network (lazy regime, derived), whose change is known in closed form: with the tangent kernel Theta and the initial
residuals r, gradient descent on squared error has added up the residuals sum_s (I - eta Theta)^s r after t steps, and
the change of a matrix is their sum with its tangent features and inputs.
"""

import numpy as np
import torch
from torch import Tensor

from nfa.data.fashion_mini import FashionMini, load

SAMPLES, WIDTH, CLASSES, SEEDS, ROTATIONS = 150, 128, 10, 3, 10
CASES = {  # learning rate, steps, factor on the initial readout, steps before the change is counted
    "as it is": (0.1, 2000, 1.0, 0),
    "change counted from step 13": (0.1, 2000, 1.0, 13),
    "a fifth of the learning rate": (0.02, 10_000, 1.0, 0),
    "readout at a tenth": (0.1, 2000, 0.1, 0),
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


def summed(kappa: Tensor, residuals: Tensor, inputs: Tensor) -> Tensor:
    """The gradient (k, d) that residuals (n, C) give a matrix, up to the loss's factor."""
    return torch.einsum("nck,nc,nd->kd", kappa, residuals, inputs)


def cosine(change: Tensor, covariance: Tensor) -> float:
    """Correlation of the change's NFM and AGOP, both (d, d), from their k x k algebra."""
    gram = change @ change.T
    product = covariance @ gram
    return float((product * gram).sum() / ((product * product.T).sum().sqrt() * gram.norm()))


def turned(change: Tensor, covariance: Tensor) -> float:
    """The same with K turned at random, mean over rotations."""
    values = []
    for _ in range(ROTATIONS):
        q, r = torch.linalg.qr(torch.randn(*covariance.shape, dtype=torch.float64))
        q = q * r.diagonal().sign()
        values.append(cosine(change, q @ covariance @ q.T))
    return float(np.mean(values))


def covariances(weights: Weights, x: Tensor) -> list[Tensor]:
    """K (k, k) of every layer."""
    return [torch.einsum("nck,ncl->kl", k, k) / len(x) for k in tangent_features(weights, forward(weights, x))]


class Linearised:
    """The network's first-order expansion at its initial weights, trained by the same gradient descent."""

    def __init__(self, weights: Weights, x: Tensor, y: Tensor, rate: float) -> None:
        inputs = forward(weights, x)
        self.kappas, self.inputs, self.rate = tangent_features(weights, inputs), inputs[:-1], rate
        kernel = torch.zeros(x.shape[0] * CLASSES, x.shape[0] * CLASSES, dtype=torch.float64)
        for kappa, given in zip(self.kappas, self.inputs, strict=True):
            flat = kappa.flatten(0, 1)
            kernel += flat @ flat.T * (given @ given.T).repeat_interleave(CLASSES, 0).repeat_interleave(CLASSES, 1)
        self.values, self.vectors = torch.linalg.eigh(kernel)
        self.residuals = self.vectors.T @ (inputs[-1] - y).flatten()
        self.covariances = covariances(weights, x)

    def correlations(self, steps: int) -> list[float]:
        """C-NFC of the hidden layers after so many steps, with the K of the initial weights."""
        step = self.rate * 2 / (len(self.inputs[0]) * CLASSES) * self.values.clamp(min=0)
        gains = torch.where(step > 1e-12, (1 - (1 - step) ** steps) / step.clamp(min=1e-12), float(steps))
        added = (self.vectors @ (gains * self.residuals)).view(-1, CLASSES)
        changes = [summed(kappa, added, given) for kappa, given in zip(self.kappas, self.inputs, strict=True)]
        return [cosine(change, k) for change, k in zip(changes[:-1], self.covariances, strict=False)]


def train(case: str, seed: int) -> dict[int, list[list[float]]]:
    """Train once; return what is said of each hidden layer, by step."""
    rate, steps, readout, ignored = CASES[case]
    data = load(FashionMini(n_train=SAMPLES), np.random.default_rng(0))
    x, y = (torch.as_tensor(part).flatten(1).double() for part in (data.x_train, data.y_train))
    torch.manual_seed(seed)
    sizes = [x.shape[1], WIDTH, WIDTH, CLASSES]
    weights = [
        torch.randn(k, d, dtype=torch.float64) * ((1 if k == CLASSES else 2) / d) ** 0.5
        for d, k in zip(sizes, sizes[1:], strict=False)
    ]
    weights[-1] *= readout
    initial, found = [w.clone() for w in weights], {}
    lazy = Linearised(weights, x, y, rate)
    shown = {round(steps / 2000 * step) for step in (20, 200, 2000)}
    for step in range(1, steps + 1):
        inputs = forward(weights, x)
        residuals = (inputs[-1] - y) * 2 / y.numel()
        kappas = tangent_features(weights, inputs)
        weights = [
            w - rate * summed(k, residuals, i) for w, k, i in zip(weights, kappas, inputs[:-1], strict=True)
        ]
        if step == ignored:
            initial = [w.clone() for w in weights]
        if step in shown:
            loss = float(((forward(weights, x)[-1] - y) ** 2).mean())
            linear = lazy.correlations(step) if not ignored else [float("nan")] * 2
            found[step] = []
            for index, k in enumerate(covariances(weights, x)[:-1]):
                change = weights[index] - initial[index]
                values = torch.linalg.svdvals(change) ** 2
                row = [loss, cosine(change, k), turned(change, k), linear[index], float(values[0] / values.sum())]
                found[step].append(row)
    return found


def main() -> None:
    """Print a table of all cases: means over seeds."""
    torch.set_num_threads(1)
    print("| case | step | train loss | layer | C-NFC | c_haar_nfc | linearised | first direction |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for case in CASES:
        runs = [train(case, seed) for seed in range(SEEDS)]
        for step in runs[0]:
            for layer in range(2):
                rows = np.array([run[step][layer] for run in runs])
                mean, spread = rows.mean(0), rows.std(0, ddof=1)
                cells = [f"{m:.2f} ± {s:.2f}" for m, s in zip(mean[1:], spread[1:], strict=True)]
                print(f"| {case} | {step} | {mean[0]:.4f} | hidden{layer} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
