"""The data of a run as tensors on the device, its network at initialisation, its loss and its learning rule."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from nfa.data import Data
from nfa.errors import UserError
from nfa.losses import LOSSES, Loss, decoupled
from nfa.random import numpy_generator, torch_generator
from nfa.rules import RULES, Rule
from nfa.sweep.cells import Cell


@dataclass(frozen=True)
class Materials:
    """A data set as tensors on one device.

    Attributes:
        x_train: (n_train, *input_shape) float32.
        y_train: (n_train, C) float32.
        x_test: (n_test, *input_shape) float32.
        y_test: (n_test, C) float32.
        labels_train: (n_train,) int64, or None for regression.
        labels_test: (n_test,) int64, or None for regression.
        directions: (d, r) float32 with orthonormal columns that alone determine the target; None if unknown.
        target_agop: (r, r) float64, the target's average gradient outer product in the basis of the directions; None
            if unknown.
        order: (n_train,) int64, a permutation of the training set that is the same for every seed; measurements and
            probes use the samples at its beginning.
    """

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    labels_train: Tensor | None
    labels_test: Tensor | None
    directions: Tensor | None
    target_agop: Tensor | None
    order: Tensor

    def split(self, name: str) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return inputs, targets and labels of the split ``train`` or ``test``."""
        if name == "train":
            return self.x_train, self.y_train, self.labels_train
        return self.x_test, self.y_test, self.labels_test


def load_data(cell: Cell, seed: int, device: torch.device) -> Materials:
    """Load or draw the data of a cell at a seed, and move them to the device.

    Raises:
        UserError: The loss is not defined for the targets, or the data's entry refuses its settings or files.
    """
    return next(iter(load_all(cell, [seed], device).values()))


def load_all(cell: Cell, seeds: Sequence[int], device: torch.device) -> dict[int, Materials]:
    """Load or draw the data of a cell at several seeds: seed -> data, shared if loading draws no random number.

    Raises:
        UserError: As for ``load_data``.
    """
    loaded: dict[int, Materials] = {}
    for seed in seeds:
        generator = numpy_generator("data", seed, data=cell.content["data"])
        before = generator.bit_generator.state
        materials = _load(cell, generator, device)
        if generator.bit_generator.state == before:
            return dict.fromkeys(seeds, materials)
        loaded[seed] = materials
    return loaded


def _load(cell: Cell, generator: np.random.Generator, device: torch.device) -> Materials:
    content = cell.content["data"]
    data = cell.data_entry.load(cell.data, generator)
    _check_signs(cell, data)
    order = torch.randperm(len(data.x_train), generator=torch_generator("measured samples", 0, data=content))

    def tensor(array: np.ndarray | None) -> Tensor | None:
        return None if array is None else torch.from_numpy(array).to(device)

    def floats(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(device)

    return Materials(
        floats(data.x_train),
        floats(data.y_train),
        floats(data.x_test),
        floats(data.y_test),
        tensor(data.labels_train),
        tensor(data.labels_test),
        tensor(data.directions),
        tensor(data.target_agop),
        order.to(device),
    )


def _check_signs(cell: Cell, data: Data) -> None:
    """Refuse targets that are 0 if the loss uses their signs; planning detects this for one-hot codes only.

    Raises:
        UserError: A target is 0.
    """
    if cell.train.loss != "logistic":
        return
    zeros = sum(int((targets == 0).sum()) for targets in (data.y_train, data.y_test))
    if zeros:
        entries = data.y_train.size + data.y_test.size
        raise UserError(
            f"train.loss: logistic takes the sign of a target, and {zeros:,} of the {entries:,} of "
            f"{cell.content['data']['name']} are 0; code them as -1 and 1, or use mse"
        )


def training_loss(cell: Cell) -> Loss:
    """Return the loss that a cell is trained with: (outputs, targets) -> scalar."""
    return decoupled(LOSSES[cell.train.loss], cell.train.decoupling)


def build_rule(cell: Cell, seed: int, model: nn.Module) -> Rule:
    """Build the learning rule of a cell for a network at initialisation.

    Its random numbers are determined by data, model and seed.

    Raises:
        UserError: The rule needs a chain of layers, which the network is not.
    """
    device = next(model.parameters()).device
    content = {axis: cell.content[axis] for axis in ("data", "model")}
    generator = torch_generator("feedback", seed, **content)

    def build_again() -> nn.Module:
        return cell.model_entry.build(cell.model, cell.shape, generator).to(device)

    try:
        return RULES[cell.train.rule](model, build_again, cell.train.rho, generator, cell.shape.outputs)
    except ValueError as error:
        raise UserError(f"train.rule: {cell.train.rule} with {cell.content['model']['name']}: {error}") from None


def build_model(cell: Cell, seed: int, device: torch.device) -> nn.Module:
    """Build the network of a cell with the initial weights of a seed."""
    content = {axis: cell.content[axis] for axis in ("data", "model")}
    generator = torch_generator("weights", seed, **content)
    return cell.model_entry.build(cell.model, cell.shape, generator).to(device)
