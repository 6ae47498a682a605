"""The gradients of a run at initialisation, and the first full-batch step of its optimizer."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nfa.alignment import Gradients, loss_gradients
from nfa.alignment.network.layers import parameters_of
from nfa.sweep.cells import Cell
from nfa.theory.limit import step_of
from nfa.training.materials import Materials, build_rule, training_loss


@dataclass(frozen=True)
class Start:
    """The first changes of the layers of a run: layer name -> (k, d) or (g, k, d) float64.

    Attributes:
        gradients: dL/dW of the whole training loss.
        instead: The learning rule's substitute for dL/dW; None for backpropagation.
        updates: First step of the optimizer, clipped and decayed as in training, on the whole training set.
    """

    gradients: dict[str, Tensor]
    instead: dict[str, Tensor] | None
    updates: dict[str, Tensor]


@dataclass(frozen=True)
class StartGradients:
    """The gradients of a network at initialisation, which several optimizers may start from.

    Attributes:
        true: Gradients of the whole training loss.
        taken: Gradients that training uses: the substitutes of the learning rule, or the true ones.
    """

    true: Gradients
    taken: Gradients

    @classmethod
    def of(
        cls, cell: Cell, seed: int, model: nn.Module, materials: Materials, *, heads: bool = False
    ) -> "StartGradients":
        """Compute the gradients.

        Args:
            cell: The cell; its data, model, loss and learning rule are used.
            seed: Seed of the run.
            model: The network at initialisation; it is left unchanged.
            materials: The data of the run.
            heads: Take query, key and value projections apart by head.
        """
        loss = training_loss(cell)
        true = loss_gradients(model, materials.x_train, materials.y_train, loss, heads=heads)
        if cell.train.rule == "backpropagation":
            return cls(true, true)
        model.zero_grad(set_to_none=True)
        build_rule(cell, seed, model).backward(materials.x_train, materials.y_train, loss)
        ruled = {name: p.grad for name, p in parameters_of(model).items()}
        found = {
            name: torch.zeros_like(true.parameters[name]) if g is None else g.double() for name, g in ruled.items()
        }
        model.zero_grad(set_to_none=True)
        return cls(true, Gradients(found, true.layers))

    def start(self, cell: Cell, model: nn.Module) -> Start:
        """Let the optimizer of a cell take its first step on copies of the parameters."""
        layers = [layer.name for layer in cell.layers]
        factors = cell.model_entry.lr_factors(cell.model, cell.shape)
        step = step_of(cell.optimizer, model, self.taken.parameters, layers, factors)
        return Start(
            gradients=self.true.matrices(),
            instead=None if self.taken is self.true else self.taken.matrices(),
            updates=self.taken.matrices(step),
        )
