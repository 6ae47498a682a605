"""The settings of a sweep file besides data, model and optimizer: train, measure, probe and wandb."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import field_validator, model_validator

from nfa.entries import Settings, setting
from nfa.errors import one_line

MAX_CHECKPOINTS = 1000
LOOK_RATIO = 1.05  # of the steps of two looks at the training loss
GLANCE = 500  # training samples whose loss decides at a look whether that of all samples is computed
EVALUATIONS = 10  # evenly spaced evaluations on all data after the one at step 0, in addition to those at checkpoints


class Until(Settings):
    """When a run stops before its last step: one of two scores over the whole training set."""

    train_loss: float | None = setting(None, "stop once the training loss is at most this", gt=0, le=1e9)
    train_accuracy: float | None = setting(None, "stop once the training accuracy is at least this", gt=0, le=1)

    @model_validator(mode="after")
    def _one_score(self) -> Until:
        if (self.train_loss is None) == (self.train_accuracy is None):
            raise ValueError("train_loss: give either this or train_accuracy")
        return self

    def is_met(self, scores: Mapping[str, float]) -> bool:
        """Return True if a run with these scores (``loss``, and of classes ``accuracy``) is to stop.

        Example:
            >>> Until(train_loss=0.1).is_met({"loss": 0.1})
            True
        """
        if self.train_loss is not None:
            return scores["loss"] <= self.train_loss
        return self.train_accuracy is not None and scores["accuracy"] >= self.train_accuracy


class Train(Settings):
    """How a cell is trained: the fourth axis."""

    steps: int | None = setting(None, "optimizer steps; 1000 if neither steps nor epochs is given", ge=1, le=10**9)
    epochs: int | None = setting(None, "passes over the training set, in place of steps", ge=1, le=10**6)
    until: Until | None = setting(None, "stop early, at a training loss or accuracy; steps or epochs are then the most")
    batch_size: int | Literal["full"] = setting(128, "samples per step, or `full` for the whole training set")
    loss: Literal["mse", "cross_entropy", "logistic"] = setting(
        "mse", "mse: mean over samples and outputs, without a half; logistic: each output against the target's sign"
    )
    decoupling: float = setting(0.0, "spectral decoupling: the loss plus half of this times mean f^2", ge=0, le=1e6)
    rule: Literal["backpropagation", "feedback_alignment", "direct_feedback_alignment", "hebb"] = setting(
        "backpropagation", "how the updates are computed; the last two need a chain of layers"
    )
    rho: float = setting(0.0, "feedback_alignment: cosine between feedback and initial weights", ge=0, le=1)
    checkpoints: int | Literal["every_epoch"] = setting(
        8, "checkpoints after step 0, at most 1000, or `every_epoch`; the last step is one"
    )
    spacing: Literal["log", "linear"] = setting("log", "how checkpoints are spaced in steps: log, or linear")
    checkpoints_at_loss: tuple[float, ...] | None = setting(
        None, "training losses at which a run also keeps its weights, when it first falls to them: [0.5, 0.1]"
    )

    lists: ClassVar[frozenset[str]] = frozenset({"checkpoints_at_loss"})

    @model_validator(mode="before")
    @classmethod
    def _losses_in_falling_order(cls, content: Any) -> Any:
        """Sort ``checkpoints_at_loss``, so that another order in the file is the same setting."""
        losses = content.get("checkpoints_at_loss") if isinstance(content, Mapping) else None
        if not isinstance(losses, list | tuple):
            return content
        if not losses:
            raise ValueError("checkpoints_at_loss: the list is empty; give at least one training loss, or leave it out")
        for loss in losses:
            if type(loss) not in (int, float) or not 0 < loss < math.inf:
                raise ValueError(f"checkpoints_at_loss: {one_line(loss)} is no training loss; use numbers above 0")
        return {**content, "checkpoints_at_loss": tuple(sorted({float(loss) for loss in losses}, reverse=True))}

    @model_validator(mode="after")
    def _one_length(self) -> Train:
        if self.steps is not None and self.epochs is not None:
            raise ValueError("steps and epochs are both given; keep one of them")
        if self.batch_size != "full" and self.batch_size < 1:
            raise ValueError(f"batch_size: {self.batch_size} is too small; use 1 or more, or full")
        if self.checkpoints != "every_epoch" and not 1 <= self.checkpoints <= MAX_CHECKPOINTS:
            raise ValueError(
                f"checkpoints: {self.checkpoints} is too {'small' if self.checkpoints < 1 else 'large'}; "
                f"use 1 to {MAX_CHECKPOINTS}, or every_epoch"
            )
        if self.rho and self.rule != "feedback_alignment":
            raise ValueError(f"rho: {self.rho:g} is for feedback_alignment; leave it out with {self.rule}")
        if self.checkpoints == "every_epoch" and self.spacing != "log":
            raise ValueError(f"spacing: {self.spacing} has no effect with checkpoints: every_epoch; leave it out")
        stop = self.until.train_loss if self.until else None
        if stop is not None and self.checkpoints_at_loss and self.checkpoints_at_loss[-1] < stop:
            raise ValueError(
                f"checkpoints_at_loss: {self.checkpoints_at_loss[-1]:g} is below {stop:g}, the loss at which until "
                f"stops the run; use losses of at least {stop:g}"
            )
        return self

    def batch(self, n_train: int) -> int:
        """Return the samples per step for a training set of n_train samples."""
        return n_train if self.batch_size == "full" else min(self.batch_size, n_train)

    def steps_per_epoch(self, n_train: int) -> int:
        """Return the steps of one pass over n_train samples; the last batch may be smaller than the others."""
        return math.ceil(n_train / self.batch(n_train))

    @property
    def evenly_spaced(self) -> bool:
        """True if the planned checkpoints are spaced evenly in steps."""
        return self.spacing == "linear" or self.checkpoints == "every_epoch"

    def total_steps(self, n_train: int) -> int:
        """Return the optimizer steps of a run, at most."""
        if self.epochs is not None:
            return self.epochs * self.steps_per_epoch(n_train)
        return 1000 if self.steps is None else self.steps

    def checkpoint_steps(self, n_train: int) -> list[int]:
        """Return the steps at which weights are kept: 0, the last step, and steps between that are spaced as chosen."""
        total = self.total_steps(n_train)
        if self.checkpoints == "every_epoch":
            return [*range(0, total, self.steps_per_epoch(n_train)), total]
        if self.spacing == "linear":
            return sorted({round(total * i / self.checkpoints) for i in range(self.checkpoints + 1)})
        spaced = (total ** (i / max(self.checkpoints - 1, 1)) for i in range(self.checkpoints))
        return sorted({0, total} | {min(round(step), total) for step in spaced if self.checkpoints > 1})

    @property
    def events(self) -> int:
        """The largest number of checkpoints at steps that follow from the training loss or accuracy."""
        return len(self.checkpoints_at_loss or ()) + (self.until is not None)

    def most_checkpoints(self, n_train: int) -> int:
        """Return the number of checkpoints of a run that keeps all of them, step 0 among them."""
        return len(self.checkpoint_steps(n_train)) + self.events

    def evaluation_steps(self, n_train: int) -> set[int]:
        """Return the steps at which a run records its scores: planned checkpoints, and steps that are evenly spaced."""
        total = self.total_steps(n_train)
        return {round(total * i / EVALUATIONS) for i in range(EVALUATIONS + 1)} | set(self.checkpoint_steps(n_train))

    def look_steps(self, n_train: int) -> set[int]:
        """Return the steps, beside evaluations, at which the training loss is looked at if it decides anything.

        Each is 5% later than the one before, because a loss falls about as a power of the step. At a look the loss of
        ``GLANCE`` training samples decides whether that of all is computed.
        """
        if not self.events:
            return set()
        total = self.total_steps(n_train)
        looks = int(math.log(total) / math.log(LOOK_RATIO)) + 1
        steps = {round(LOOK_RATIO**i) for i in range(looks)}
        return {step for step in steps if step < total} - self.evaluation_steps(n_train)


class Measure(Settings):
    """How alignment is measured."""

    estimator: Literal["auto", "exact", "sketched"] = setting(
        "auto", "exact: a reverse pass per output; sketched: random, with standard errors; auto: exact up to 64 outputs"
    )
    probes: int = setting(1, "probes in each of the two sketches", ge=1, le=1000)
    samples: int = setting(
        1000,
        "training samples to measure on: the first ones of a fixed permutation of the training set",
        ge=1,
        le=10**7,
    )
    heads: bool = setting(
        False, "for networks with attention: split query, key and value weights by head, each head a layer of its own"
    )
    early: int = setting(
        0,
        "for cells of plain sgd: follow gradient flow on this many of those samples, predicted and measured; 0: do not",
        ge=0,
        le=10**7,
    )
    quantities: list[str] | None = setting(
        None, "names of the quantities to compute, controls among them; all if not given: nfa.quantities() lists them"
    )

    @model_validator(mode="after")
    def _known(self) -> Measure:
        """Refuse unknown quantities; their registry imports torch, so it is read only where a file names some."""
        if self.quantities is not None:
            from nfa.alignment.quantities.catalogue import chosen

            chosen(self.quantities)
        return self

    @field_validator("quantities")
    @classmethod
    def _in_one_order(cls, names: list[str] | None) -> list[str] | None:
        """Sort the names, so that another order in the file is the same setting."""
        return None if names is None else sorted(set(names))


class Probe(Settings):
    """How features are probed."""

    kind: Literal["ridge", "logistic"] = setting(
        "ridge", "linear probe; logistic costs 10 to 50 times more, for classes only"
    )
    samples: int = setting(5000, "at most this many training samples", ge=10, le=10**7)
    max_features: int = setting(256, "larger feature maps are averaged over positions", ge=1, le=10**5)
    kernel: Literal["none", "first", "all"] = setting(
        "first", "layers whose learned metrics (NFM, AGOP) are compared with the metric I in kernel machines"
    )
    kernel_samples: int = setting(1000, "at most this many training samples in kernel machines", ge=10, le=20_000)
    kernel_at: Literal["ends", "all"] = setting("ends", "checkpoints of the kernel machines: first and last, or all")
    rfm: int = setting(3, "iterations of the recursive feature machine on the raw input; 0: none", ge=0, le=100)


class Wandb(Settings):
    """Where runs are published."""

    mode: Literal["offline", "online", "disabled"] = setting(
        "offline", "offline: local files, for `wandb sync`; online: upload"
    )
    project: str = setting("nfa", "W&B project", min_length=1, max_length=128)
    entity: str | None = setting(None, "W&B team or user; your own account if not given", min_length=1, max_length=128)
    artifacts: bool = setting(True, "online: link the sweep file, tables and report to the runs as artifacts")
    checkpoints_mb: float = setting(
        0.0, "online: upload a run's checkpoints as an artifact if they are at most this many MB", ge=0, le=10**6
    )

    @model_validator(mode="after")
    def _names(self) -> Wandb:
        """Refuse names that W&B would refuse only after the training, when the first run is published."""
        for key, name in (("project", self.project), ("entity", self.entity)):
            if name is not None and (name != name.strip() or not name.isprintable() or set(name) & set("/\\#?%:")):
                raise ValueError(f"{key}: {one_line(name)} is no name; use letters and digits, none of / \\ # ? % :")
        return self
