"""Training of several seeds of one cell together, with their weights stacked along axis 0.

A training step of a small network consists mostly of overhead: Python, kernel starts, the optimizer's loop. Stacking
the weights of S seeds along a new axis 0, which indexes independent networks (seeds), pays this overhead once for all
of them, and the products become batched products. Only chains of linear layers and entrywise functions are stacked,
such as the MLPs of ``nfa.models``. For them stacking was never slower than training one by one (docs/training.md),
while ``torch.func.vmap``, which would stack any network, was slower, because it copies weights.

The bits of a seed do not depend on the seeds that it is trained with, so that runs may join and leave between two
steps. This holds if every matrix begins at a multiple of 64 bytes, because products round differently at other
addresses; shapes that break this rule are trained one by one. (The rule was found by comparing 4,392 combinations of
shapes, each with 1, 2, 3, 5 and 8 seeds, with 1 and 2 threads.)
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nfa.optim.algorithms.clip import clip_
from nfa.training.run import TrainingRun

EXACT = (nn.ReLU, nn.Identity)  # without rounding, so that they can be applied to all runs at once
ENTRYWISE = (*EXACT, nn.GELU, nn.Tanh, nn.SiLU, nn.Sigmoid, nn.Softplus)
ALIGNED = 16  # number of float32 values in 64 bytes


def stackable(run: TrainingRun) -> bool:
    """Return True if a run can be trained together with other runs of its cell."""
    model = run.model
    if run.cell.train.rule != "backpropagation" or not plain_chain(model, len(run.materials.x_train.shape) - 1):
        return False
    if run.speeds is not None and run.speeds.following:
        return False
    n = len(run.materials.x_train)
    batches = {run.batch, n % run.batch} - {0}
    shapes = [(module.in_features, module.out_features) for module in model.children() if isinstance(module, nn.Linear)]
    return all(a * b % ALIGNED == 0 for d, k in shapes for size in batches for a, b in ((size, d), (size, k), (d, k)))


def plain_chain(model: nn.Module, axes: int) -> bool:
    """Return True if a network only applies its children one after the other, and trains all of their parameters.

    Args:
        model: The network.
        axes: Number of axes of one sample.
    """
    if type(model) is not nn.Sequential or list(model.buffers()):
        return False
    children = [module for module in model._modules.values() if module is not None]  # one used twice is listed twice
    if not all(type(module) in (nn.Linear, nn.Flatten, *ENTRYWISE) for module in children):
        return False
    flat = [(module.start_dim, module.end_dim) == (1, -1) for module in children if isinstance(module, nn.Flatten)]
    if not all(flat) or (axes > 1 and not isinstance(children[0], nn.Flatten)):
        return False
    parameters = [parameter for module in children for parameter in module.parameters()]
    if len({id(parameter) for parameter in parameters}) < len(parameters) or not parameters:
        return False
    attributes = [vars(module) for module in (model, *children)]
    if any("forward" in held or any(v for name, v in held.items() if name.endswith("_hooks")) for held in attributes):
        return False
    hooks = ("_backward_hooks", "_post_accumulate_grad_hooks")
    return all(p.requires_grad and not any(getattr(p, name, None) for name in hooks) for p in parameters)


class Together:
    """Several runs of one cell, all at the same step, trained as one."""

    def __init__(self, runs: Sequence[TrainingRun]) -> None:
        """Stack the weights and the optimizer states; from now on the weights of each run are a view of the stack.

        Args:
            runs: Runs for which ``stackable`` holds.
        """
        self.runs = list(runs)
        first = self.runs[0]
        self._modules = list(first.model) if isinstance(first.model, nn.Sequential) else []
        named = [dict(run.model.named_parameters()) for run in self.runs]
        self._stacked = {name: torch.stack([own[name].detach() for own in named]).requires_grad_() for name in named[0]}
        for name, stacked in self._stacked.items():
            for index, own in enumerate(named):
                own[name].data = stacked.detach()[index]
        self._by_module = {
            module: (self._stacked[f"{name}.weight"], self._stacked.get(f"{name}.bias"))
            for name, module in first.model.named_children()
            if isinstance(module, nn.Linear)
        }
        self._optimizer = first.make_optimizer(self._stacked, stacked=True)
        self._take_states()

    @property
    def step(self) -> int:
        """Number of steps that each run has taken."""
        return self.runs[0].step

    def advance(self) -> bool:
        """Take one step of every run.

        Returns:
            True if the step was taken; False if a loss is not finite: those runs are marked as diverged, and no run
            has moved.
        """
        rows = [run.rows() for run in self.runs]
        for stacked in self._stacked.values():
            stacked.grad = None
        outputs, targets = self._forward(self._batch("x_train", rows)), self._batch("y_train", rows)
        pairs = zip(outputs.unbind(0), targets.unbind(0), strict=True)
        losses = torch.stack([self.runs[0].loss(own, target) for own, target in pairs])
        finite = [math.isfinite(loss) for loss in losses.tolist()]
        if not all(finite):
            for run, well in zip(self.runs, finite, strict=True):
                if not well:
                    run.mark_diverged()
            return False
        losses.sum().backward()
        first = self.runs[0]
        clip_(self._stacked.values(), first.cell.optimizer.clip, stacked=True)
        for run in self.runs:
            run.set_step_options(self._optimizer)
        self._optimizer.step()
        for run in self.runs:
            run.step += 1
        return True

    def hand_back(self) -> None:
        """Copy the optimizer state of each run back to the run, so that it can be saved."""
        for stacked, own in self._pairs():
            for index, (run, parameter) in enumerate(zip(self.runs, own, strict=True)):
                run.optimizer.state[parameter] = {
                    key: value[index].clone() if _per_run(value, stacked) else _copied(value)
                    for key, value in self._optimizer.state[stacked].items()
                }

    def part(self) -> None:
        """Give each run weights and optimizer state of its own, so that the runs can go on alone or with others."""
        self.hand_back()
        for run in self.runs:
            for parameter in run.model.parameters():
                parameter.data = parameter.data.clone()

    def _take_states(self) -> None:
        for stacked, own in self._pairs():
            states = [run.optimizer.state[parameter] for run, parameter in zip(self.runs, own, strict=True)]
            for key, value in states[0].items():
                whole = isinstance(value, Tensor) and value.shape == own[0].shape
                self._optimizer.state[stacked][key] = (
                    torch.stack([state[key] for state in states]) if whole else _copied(value)
                )

    def _pairs(self) -> list[tuple[Tensor, list[Tensor]]]:
        """Return each stacked parameter with the parameters of the runs, in the order of the optimizers' groups."""
        orders = [_parameters(run.optimizer) for run in self.runs]
        return [(stacked, list(own)) for stacked, *own in zip(_parameters(self._optimizer), *orders, strict=True)]

    def _forward(self, x: Tensor) -> Tensor:
        """Apply the networks of all runs: (S, batch, *input shape) -> (S, batch, C)."""
        for module in self._modules:
            if isinstance(module, nn.Flatten):
                x = x.flatten(2)
            elif module in self._by_module:
                weight, bias = self._by_module[module]
                x = _Product.apply(x, weight)  # type: ignore[no-untyped-call]
                x = x if bias is None else x + bias[:, None]
            else:
                x = module(x) if isinstance(module, EXACT) else torch.stack([module(x_run) for x_run in x.unbind(0)])
        return x

    def _batch(self, name: str, rows: Sequence[Tensor | slice]) -> Tensor:
        """Return inputs or targets of the coming batch of every run, (S, batch, ...)."""
        sources = [getattr(run.materials, name) for run in self.runs]
        if any(isinstance(own, slice) for own in rows):  # the whole training set
            shared = all(source is sources[0] for source in sources)
            return sources[0].expand(len(rows), *sources[0].shape) if shared else torch.stack(sources)
        chosen = [own for own in rows if isinstance(own, Tensor)]
        if all(source is sources[0] for source in sources):
            return sources[0].index_select(0, torch.cat(chosen)).view(len(rows), -1, *sources[0].shape[1:])  # type: ignore[no-any-return]
        return torch.stack([source.index_select(0, own) for source, own in zip(sources, chosen, strict=True)])


class _Product(torch.autograd.Function):
    """The product x W^T of every run, whose gradients are contiguous, as optimizers need them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        """Multiply: (S, n, d), (S, k, d) -> (S, n, k)."""
        ctx.save_for_backward(x, weight)
        return _products(x, weight.mT)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor]:
        """Return the gradients with respect to x, if needed, and to the weights."""
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        by_x = _products(gradient, weight) if ctx.needs_input_grad[0] else None
        return by_x, _products(gradient.mT, x)


def _products(left: Tensor, right: Tensor) -> Tensor:
    """Multiply (S, a, b), (S, b, c) -> (S, a, c) by a routine that does not depend on S."""
    if 1 in (*left.shape[1:], right.shape[2]):  # products with vectors
        return torch.stack([a @ b for a, b in zip(left, right, strict=True)])
    if len(left) == 1:
        return torch.bmm(left.expand(2, -1, -1), right.expand(2, -1, -1))[:1]
    return torch.bmm(left, right)


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _per_run(value: Any, stacked: Tensor) -> bool:
    """Return True if a state tensor has an axis of runs, as all but step counters have."""
    return isinstance(value, Tensor) and value.dim() > 0 and len(value) == len(stacked)


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value
