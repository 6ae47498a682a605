"""What a run starts from: its data as tensors on the device, and its network at initialisation."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from nfa.random import numpy_generator, torch_generator
from nfa.sweep import Cell, data_entry, model_entry


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
        order: (n_train,) int64, a fixed permutation of the training set, the same for every seed: measurements and
            probes take its first samples.
    """

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    labels_train: Tensor | None
    labels_test: Tensor | None
    order: Tensor

    def split(self, name: str) -> tuple[Tensor, Tensor, Tensor | None]:
        """Inputs, targets and labels of ``train`` or ``test``."""
        if name == "train":
            return self.x_train, self.y_train, self.labels_train
        return self.x_test, self.y_test, self.labels_test


def load_data(cell: Cell, seed: int, device: torch.device) -> Materials:
    """Load or draw the data of a cell at a seed, and move them to the device."""
    content = cell.content["data"]
    data = data_entry(cell.data).load(cell.data, numpy_generator("data", seed, data=content))
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
        order.to(device),
    )


def build_model(cell: Cell, seed: int, device: torch.device) -> nn.Module:
    """Build a cell's network with the initial weights of a seed."""
    content = {axis: cell.content[axis] for axis in ("data", "model")}
    generator = torch_generator("weights", seed, **content)
    return model_entry(cell.model).build(cell.model, cell.shape, generator).to(device)
