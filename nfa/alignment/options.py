"""The options of ``nfa.measure``, validated once, where a public function is entered, and then handed on as one object.

Public functions have keyword arguments, which ``nfa.measure`` explains; inside the package these travel together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from nfa.alignment.covariance.gradients import Loss
from nfa.alignment.network.arguments import CovarianceOptions
from nfa.alignment.quantities.catalogue import chosen
from nfa.alignment.targets import find_loss
from nfa.losses import LOSSES


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasureOptions(CovarianceOptions):
    """How a network is measured: all keyword arguments of ``nfa.measure``, which explains them, but ``initial``.

    Raises:
        ValueError: An option that cannot be used, an unknown loss or quantity, or targets without a loss.
    """

    quantities: Sequence[str] | None = None
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
        if self.quantities is not None:
            object.__setattr__(self, "quantities", [quantity.name for quantity in chosen(self.quantities)])

    @property
    def loss_function(self) -> Loss | None:
        """The loss as a function of outputs and targets; None where none is given."""
        return None if self.loss is None else find_loss(self.loss)
