"""One split of a data set as tensors, checked for shapes that would be broadcast and values that would spoil scores."""

from dataclasses import dataclass

from torch import Tensor

from nfa.alignment.network.layers import finite
from nfa.features.split import Split


@dataclass(frozen=True)
class SamplesWithTargets:
    """One split of a data set, as tensors.

    Attributes:
        inputs: (n, *input_shape). The order of training samples must be random, because the last fifth validates.
        targets: (n, C), or (n,) for one target; of classes their code.
        labels: (n,) int64, or None for a regression.

    Raises:
        ValueError: A shape does not fit, or inputs or targets are not finite.
    """

    inputs: Tensor
    targets: Tensor
    labels: Tensor | None = None

    def __post_init__(self) -> None:
        """Give a single target its axis of outputs, and check all tensors."""
        n = len(self.inputs)
        if self.targets.dim() == 1:
            object.__setattr__(self, "targets", self.targets[:, None])
        if self.targets.dim() != 2 or len(self.targets) != n:
            raise ValueError(f"targets: shape {tuple(self.targets.shape)} for {n} inputs: give ({n}, outputs)")
        for name, values in (("inputs", self.inputs), ("targets", self.targets)):
            if not finite(values):
                raise ValueError(f"{name} hold NaN or infinity: no probe can be fitted to them")
        if self.labels is not None:
            _check_labels(self.labels, n, self.targets.shape[1])

    def first(self, n: int) -> "SamplesWithTargets":
        """Return the first n samples."""
        return SamplesWithTargets(self.inputs[:n], self.targets[:n], None if self.labels is None else self.labels[:n])

    def split(self, features: Tensor) -> Split:
        """Combine features (n, ...) of these samples with their targets, as float64 arrays."""
        labels = None if self.labels is None else self.labels.cpu().numpy()
        return Split(features.flatten(1).double().cpu().numpy(), self.targets.double().cpu().numpy(), labels)

    @property
    def metric(self) -> str:
        """Name of the score of predictions: ``r2`` or ``accuracy``."""
        return "r2" if self.labels is None else "accuracy"


def check_pair(train: SamplesWithTargets, test: SamplesWithTargets) -> None:
    """Refuse training and test samples that do not match.

    Raises:
        ValueError: Shapes of inputs or targets differ, or only one of the two has labels.
    """
    for name, pair in (("inputs", (train.inputs, test.inputs)), ("targets", (train.targets, test.targets))):
        if pair[0].shape[1:] != pair[1].shape[1:]:
            shapes = f"{tuple(pair[0].shape[1:])} in training and {tuple(pair[1].shape[1:])} in test"
            raise ValueError(f"{name}: samples of shape {shapes}: make them agree")
    if (train.labels is None) != (test.labels is None):
        raise ValueError("labels: only one of the training and test samples has labels: give both or neither")


def _check_labels(labels: Tensor, n: int, outputs: int) -> None:
    """Refuse labels that do not name one of the outputs for each sample.

    Raises:
        ValueError: The shape does not fit, numbers are not whole, or a class has no output.
    """
    if labels.shape != (n,) or labels.is_floating_point():
        raise ValueError(f"labels: {labels.dtype} of shape {tuple(labels.shape)}: give one whole number per sample")
    if n and not 0 <= int(labels.min()) <= int(labels.max()) < outputs:
        found = f"{int(labels.min())} to {int(labels.max())}"
        raise ValueError(f"labels: classes {found} for {outputs} outputs: give targets a column for each class")
