"""The options of a measurement, validated once, where a public function is entered, and then handed on as one object.

The public functions keep their keyword arguments, with their explanations in ``nfa.measure``; inside the package these
travel together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor

from nfa.alignment.covariance.gradients import Loss
from nfa.alignment.network.arguments import check_options, checked_layers
from nfa.alignment.targets import find_loss
from nfa.losses import LOSSES


@dataclass(frozen=True, kw_only=True, eq=False)
class CovarianceOptions:
    """How K of every layer is measured; the keyword arguments of ``measure_covariances``, which explains them.

    Raises:
        ValueError: An option that cannot be used.
    """

    layers: Sequence[str] | None = None
    estimator: str = "auto"
    samples: int | None = None
    probes: int = 1
    seed: int = 0
    heads: bool = False
    batch_size: int | None = None

    def __post_init__(self) -> None:
        """Validate, and read the names of layers once: an iterator is empty when it is read a second time."""
        check_options(**vars(self))
        object.__setattr__(self, "layers", checked_layers(self.layers))

    @property
    def of_covariance(self) -> dict[str, Any]:
        """The keyword arguments of ``measure_covariances``."""
        return {field.name: getattr(self, field.name) for field in fields(CovarianceOptions)}


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasureOptions(CovarianceOptions):
    """How a network is measured: all keyword arguments of ``nfa.measure``, which explains them, but ``initial``.

    Raises:
        ValueError: An option that cannot be used, an unknown loss, or targets without a loss.
    """

    targets: Tensor | None = None
    loss: Loss | str | None = None
    step: int = 0
    updates: Mapping[str, Tensor] | None = None
    weight_decay: float = 0.0
    decoupled_decay: float = 0.0

    def __post_init__(self) -> None:
        """Validate."""
        super().__post_init__()
        if self.loss is None and self.targets is not None:
            raise ValueError(f"targets without a loss: pass loss=..., a function or one of {', '.join(LOSSES)}")
        if not isinstance(self.updates, Mapping | None):
            kind = type(self.updates).__name__
            raise ValueError(f"updates: a {kind} is no mapping of layers' names to tensors")
        if self.loss is not None:
            find_loss(self.loss)

    @property
    def loss_function(self) -> Loss | None:
        """The loss as a function of outputs and targets; None where none is given."""
        return None if self.loss is None else find_loss(self.loss)
