"""One training run, a cell at a seed, which advances one optimizer step at a time and can be stopped and resumed."""

import json
import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor, nn

from nfa.models.discover import seeded
from nfa.optim.algorithms.clip import clip_
from nfa.optim.entry import set_learning_rate
from nfa.random import torch_generator
from nfa.sweep.cells import Cell
from nfa.sweep.stage_settings import GLANCE
from nfa.training.changing_speeds import SAMPLES, ChangingSpeeds
from nfa.training.evaluate import evaluate
from nfa.training.materials import Materials, build_model, build_rule, training_loss

# All training samples are looked at once the loss of some is so near to one that is waited for, or their accuracy.
NEAR_LOSS, NEAR_ACCURACY = 1.1, 0.03

HistoryRow = tuple[int, float, str, str, float]  # step, epoch, split, metric, value


class TrainingRun:
    """The state of one run: network, optimizer, step, and the history so far.

    Nothing depends on wall time or on earlier runs of the process. The order of batches is drawn for each epoch from a
    generator of its own, so the state consists of the weights, the optimizer's tensors, and the step.
    """

    def __init__(self, cell: Cell, seed: int, materials: Materials) -> None:
        """Build the network and the optimizer at step 0."""
        self.cell, self.seed, self.materials = cell, seed, materials
        self.model = build_model(cell, seed, materials.x_train.device)
        self.optimizer = self.make_optimizer(self.model)
        self.loss = training_loss(cell)
        self.rule = build_rule(cell, seed, self.model)
        self.initial = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.step = 0
        self.diverged = False
        self.history: list[HistoryRow] = []
        self.kept: list[int] = []  # steps whose weights are on disk
        samples = len(materials.x_train)
        self.batch = cell.train.batch(samples)
        self.steps_per_epoch = cell.train.steps_per_epoch(samples)
        self.total = cell.train.total_steps(samples)
        self.speeds = ChangingSpeeds.of(cell, self.total)
        self.checkpoints = cell.train.checkpoint_steps(samples)
        self.evaluations = cell.train.evaluation_steps(samples)
        self.observed = self.evaluations | cell.train.look_steps(samples)
        self.reached = False  # whether the run has come to the loss or the accuracy at which it stops
        self.at_loss: dict[float, int] = {}  # each of `checkpoints_at_loss` that was reached -> step of its checkpoint
        self._order: tuple[int, Tensor] | None = None

    @property
    def done(self) -> bool:
        """True if no step is left to take."""
        return self.step >= self.total or self.diverged or self.reached

    def learning_rate(self) -> float:
        """Return the learning rate of the coming step."""
        return self.cell.optimizer.lr_at(self.step, self.total, self.steps_per_epoch)

    def set_step_options(self, optimizer: torch.optim.Optimizer) -> None:
        """Set the learning rate of the coming step, and the speeds of the layers if they change.

        Args:
            optimizer: The optimizer of this run, or of several runs of its cell at the same step.
        """
        set_learning_rate(optimizer, self.learning_rate())
        if self.speeds is not None:
            samples = self.materials.x_train[self.materials.order[:SAMPLES]]
            self.speeds.set_for(self.step, optimizer, self.model, samples)

    def make_optimizer(
        self, parameters: nn.Module | Mapping[str, Tensor], *, stacked: bool = False
    ) -> torch.optim.Optimizer:
        """Make the optimizer of the cell for a network, or for the stacked weights of several networks."""
        entry = self.cell.optimizer_entry
        layers = [layer.name for layer in self.cell.layers]
        factors = self.cell.model_entry.lr_factors(self.cell.model, self.cell.shape)
        return entry.build(self.cell.optimizer, parameters, stacked=stacked, layers=layers, lr_factors=factors)

    def advance(self) -> None:
        """Take one optimizer step. If the loss is not finite, mark the run as diverged and change no weight."""
        rows = self.rows()
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        inputs = self.materials.x_train[rows]
        if isinstance(rows, slice) and self.cell.model_entry.draws:
            inputs = inputs.clone()  # unknown code may change its input in place, and a slice is a view of the data
        with self._drawing("draws in training"):
            loss = self.rule.backward(inputs, self.materials.y_train[rows], self.loss)
        if not math.isfinite(loss.item()):
            self.mark_diverged()
            return
        clip_(self.model.parameters(), self.cell.optimizer.clip)
        self.set_step_options(self.optimizer)
        self.optimizer.step()
        self.step += 1

    def _drawing(self, purpose: str) -> AbstractContextManager[None]:
        """Seed the random numbers of the network for this step, so that they are the same after a run was resumed."""
        if not self.cell.model_entry.draws:
            return nullcontext()
        depends = {"data": self.cell.content["data"], "model": self.cell.content["model"], "step": self.step}
        return seeded(torch_generator(purpose, self.seed, **depends), self.materials.x_train.device)

    def mark_diverged(self) -> None:
        """Record that the loss is not finite at this step, which is a result and not an error."""
        self.diverged = True
        self.history.append((self.step, self.step / self.steps_per_epoch, "train", "diverged", 1.0))

    def observe(self) -> bool:
        """Record the run if that is due at this step, and look whether its training loss or accuracy ends it.

        To be called at each step of ``observed``.

        Returns:
            True if the weights of this step are to be kept.
        """
        plan = self.cell.train
        due = self.step in self.evaluations
        found = False
        if plan.events and (due or self._near()):
            scores = self._scores("train")
            fallen = [loss for loss in plan.checkpoints_at_loss or () if scores["loss"] <= loss]
            new = dict.fromkeys((loss for loss in fallen if loss not in self.at_loss), self.step)
            self.at_loss |= new
            self.reached = plan.until is not None and plan.until.is_met(scores)
            found = bool(new) or self.reached
        if due or found:
            self.record()
        return (self.step in self.checkpoints or found) and (self.step == 0 or not self.diverged)

    def _near(self) -> bool:
        """Tell whether some training samples are near the next loss or accuracy that is waited for."""
        if self._glance is self.materials:
            return True
        plan = self.cell.train
        with self._drawing("draws in evaluation"):
            scores = evaluate(self.model, self._glance, "train", self.loss)
        waited = [loss for loss in plan.checkpoints_at_loss or () if loss not in self.at_loss]
        if plan.until is not None:
            waited += [plan.until.train_loss] if plan.until.train_loss is not None else []
            wanted = plan.until.train_accuracy
            if wanted is not None and scores["accuracy"] >= wanted - NEAR_ACCURACY:
                return True
        return scores["loss"] <= NEAR_LOSS * max(waited, default=-math.inf)

    @cached_property
    def _glance(self) -> Materials:
        """The first samples of the fixed permutation of the training set, as training set."""
        data = self.materials
        if len(data.order) <= GLANCE:
            return data
        rows, labels = data.order[:GLANCE], data.labels_train
        labels = None if labels is None else labels[rows]
        return replace(data, x_train=data.x_train[rows], y_train=data.y_train[rows], labels_train=labels)

    def _scores(self, split: str) -> dict[str, float]:
        with self._drawing("draws in evaluation"):
            return evaluate(self.model, self.materials, split, self.loss)

    def record(self) -> None:
        """Add loss, accuracy, learning rate, speeds and norms at this step to the history."""
        epoch = self.step / self.steps_per_epoch
        for split in ("train", "test"):
            for metric, value in self._scores(split).items():
                self.history.append((self.step, epoch, split, metric, value))
                if metric == "loss" and not math.isfinite(value) and not self.diverged:
                    self.mark_diverged()
        self.history.append((self.step, epoch, "train", "lr", self.learning_rate()))
        if self.speeds is not None:
            for name, speed in self.speeds.now.items():
                self.history.append((self.step, epoch, "train", f"speed/{name}", speed))
        weights = self.model.state_dict()
        for layer in self.cell.layers:
            parameter = f"{layer.name}.weight" if f"{layer.name}.weight" in weights else layer.name
            if parameter not in weights:  # the layer is a part of a weight, for which no norm is recorded
                continue
            weight, start = weights[parameter].double(), self.initial[parameter].double()
            norms = {"weight_norm": weight, "change_norm": weight - start}
            for metric, matrix in norms.items():
                value = torch.linalg.vector_norm(matrix).item()
                self.history.append((self.step, epoch, "train", f"{metric}/{layer.name}", value))

    def state(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Return everything that a resumed run needs: tensors, and text."""
        tensors = {f"model/{name}": value for name, value in self.model.state_dict().items()}
        for index, entry in self.optimizer.state_dict()["state"].items():
            for key, value in entry.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer/{index}/{key}"] = value
        plain = {"step": self.step, "diverged": self.diverged, "history": self.history, "kept": self.kept}
        if self.cell.train.events:
            plain |= {"reached": self.reached, "at_loss": list(self.at_loss.items())}
        if self.speeds is not None:
            plain["speeds"] = self.speeds.now
        return tensors, {"state": json.dumps(plain)}

    def restore(self, tensors: dict[str, Tensor], text: dict[str, str]) -> None:
        """Load a saved state; the run then goes on as if it had never stopped."""
        self.model.load_state_dict({name[6:]: value for name, value in tensors.items() if name.startswith("model/")})
        optimizer = self.optimizer.state_dict()
        for name, value in tensors.items():
            if name.startswith("optimizer/"):
                _, index, key = name.split("/")
                optimizer["state"].setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict(optimizer)
        plain = json.loads(text["state"])
        self.step, self.diverged = plain["step"], plain["diverged"]
        self.kept = plain["kept"]
        if self.cell.train.events:
            self.reached, self.at_loss = plain["reached"], dict(plain["at_loss"])
        if self.speeds is not None:
            self.speeds.restore(plain["speeds"])
        self.history = [tuple(row) for row in plain["history"]]

    def rows(self) -> Tensor | slice:
        """Return the indices of the batch of the coming step."""
        if self.batch >= len(self.materials.x_train):
            return slice(None)
        epoch, place = divmod(self.step, self.steps_per_epoch)
        if self._order is None or self._order[0] != epoch:
            depends = {"data": self.cell.content["data"], "batch": self.batch, "epoch": epoch}
            generator = torch_generator("batches", self.seed, **depends)
            order = torch.randperm(len(self.materials.x_train), generator=generator)
            self._order = (epoch, order.to(self.materials.x_train.device))
        return self._order[1][place * self.batch : (place + 1) * self.batch]
