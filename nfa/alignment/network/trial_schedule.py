"""When a measurement tries the network out: before the first batch, and again when later samples reach new layers.

One trial (``trial.py``) runs a few samples and refuses a network that mixes them. This file decides on which samples
and when. The first trial takes up to 32 samples: of a tensor evenly spaced ones, because samples may be sorted by
class, of an iterable the first ones. Three things can hide from it. Layers that only some samples go through (experts)
may not be among the first samples' layers: they are tried again on later samples that reach them. Outputs that depend
on the number of samples show when a batch gives other outputs for the tried samples than the trial did. And an expert
that takes only so many samples of a batch leaves out the last ones: the last 32 of a long batch are run by themselves
and compared.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nfa.alignment.network.draws import Draws
from nfa.alignment.network.independence import MIXED, numbers_again
from nfa.alignment.network.recording import CHANGED, Recording
from nfa.alignment.network.samples import Inputs, Pair
from nfa.alignment.network.single_sample import record_doubled
from nfa.alignment.network.survey import Survey
from nfa.alignment.network.trial import Trial, run_trial

BLOCK = 32  # most samples of a trial
LONG = 8 * BLOCK  # a batch of so many samples takes long enough for one more forward pass over BLOCK of them
# A layer that only some samples go through is tried again on samples that do, until one of these is reached.
ROWS, TRIALS = 32, 8


@dataclass
class _Pooled:
    """The trials of one layer that not all samples go through, taken together.

    Attributes:
        rounding: Sum over the samples of all trials of the part of tr K that is rounding.
        trace: Sum over them of tr K.
        rows: Products of a sample with the layer's weight.
        trials: Number of trials.
    """

    rounding: float = 0.0
    trace: float = 0.0
    rows: int = 0
    trials: int = 0

    @property
    def enough(self) -> bool:
        return self.rows >= ROWS or self.trials >= TRIALS


def choose_for_trial(inputs: Inputs, stream: Iterator[Pair]) -> tuple[list[Tensor], Tensor]:
    """Read as many batches as the samples of a trial need, and choose these samples.

    Args:
        inputs: The samples as the caller gave them.
        stream: Their batches; the first ones are taken from it.

    Returns:
        The batches that were read, and the places of the chosen samples among all samples.
    """
    held = [next(stream)[0]]
    if isinstance(inputs, Tensor):
        n = len(inputs)
        return held, torch.linspace(0, n - 1, min(n, BLOCK), dtype=torch.float64).round().long()
    while sum(map(len, held)) < BLOCK and (pair := next(stream, None)) is not None:
        held.append(pair[0])
    return held, torch.arange(min(sum(map(len, held)), BLOCK))


def chosen_samples(inputs: Inputs, held: Sequence[Tensor], places: Tensor) -> Tensor:
    """Return the samples that ``choose_for_trial`` chose."""
    if isinstance(inputs, Tensor):
        return inputs[places.to(inputs.device)] if len(places) < len(inputs) else inputs.detach().clone()
    return (held[0] if len(held) == 1 else torch.cat(list(held)))[: len(places)]


class TrialSchedule:
    """When one measurement tries its network out, on which samples, and the results of all of its trials.

    Attributes:
        alone: Whether a single sample has to be measured as a batch of one.
        rounding: Layer name -> the part of tr K that is rounding, for one sample.
        remarks: Notes for every value that depends on K.
    """

    def __init__(self, model: nn.Module, survey: Survey, layers: Sequence[str] | None, *, heads: bool) -> None:
        """Make a schedule of which no trial has run yet.

        Args:
            model: Network in eval mode.
            survey: Collects the layers of all passes.
            layers: Names of the layers to measure; all when None.
            heads: Take query, key and value projections apart by head.
        """
        self._model, self._survey, self._layers, self._heads = model, survey, layers, heads
        self._device = next((p.device for p in model.parameters()), torch.device("cpu"))
        self._known: set[str] = set()
        self._first: tuple[Trial, Tensor] | None = None
        self.alone = False
        self.rounding: dict[str, float] = {}
        self._pooled: dict[str, _Pooled] = {}
        self._waiting: list[Tensor] = []
        self.remarks: dict[str, None] = {}
        self._last_compared = False

    def begin(self, samples: Tensor, places: Tensor, fewer: Tensor) -> Recording:
        """Run the samples of the first trial, and try the network out on them.

        Args:
            samples: The samples chosen for the trial.
            places: Their places among all samples.
            fewer: The first batch, for a network that does not run on samples of several batches together.

        Returns:
            The recorded pass over them.

        Raises:
            ValueError: The network mixes its samples, or a layer that was asked for cannot be measured.
        """
        before = Draws.now(self._device)
        try:
            recording = self._record(samples)
        except Exception:  # whatever a network raises that is written for one number of samples
            if len(fewer) == len(samples):
                raise
            before.restore()
            samples, places = fewer[:BLOCK], torch.empty(0, dtype=torch.long)
            recording = self._record(samples)
        self._survey.add(recording)
        self._survey.refuse_unknown(self._layers, recording)
        trial = self._try(samples, recording, before, self._wanted(recording))
        self.alone = trial.alone
        self.rounding = {name: rounding for name, rounding in trial.rounding.items() if name in self._known}
        self._first = (trial, places)
        return recording

    def _record(self, samples: Tensor) -> Recording:
        return record_doubled(self._model, samples, heads=self._heads, names=self._survey.names)

    def _wanted(self, recording: Recording) -> list[str]:
        never = self._survey.never
        names = [name for name in recording.layers if name not in self._known and name not in never]
        return [name for name in names if self._layers is None or name in self._layers]

    def _try(self, samples: Tensor, recording: Recording, before: Draws, layers: list[str]) -> Trial:
        trial = run_trial(self._model, samples, recording, before, layers, heads=self._heads)
        self.remarks |= dict.fromkeys(trial.remarks)
        rows = Counter[str]()
        for call in recording.calls:
            rows[call.layer.name] += call.rows
        for name in layers:
            if self._first is None and rows[name] >= len(recording.outputs):
                self._known.add(name)
                continue
            pooled = self._pooled.setdefault(name, _Pooled())
            pooled.rounding += trial.rounding.get(name, 0.0) * len(samples)
            pooled.trace += trial.traces.get(name, 0.0) * len(samples)
            pooled.rows, pooled.trials = pooled.rows + rows[name], pooled.trials + 1
            if pooled.enough:
                self._known.add(name)
        return trial

    @property
    def relative(self) -> dict[str, float]:
        """Layer name -> share of tr K that is rounding, for layers that only some samples go through."""
        return {name: pooled.rounding / pooled.trace for name, pooled in self._pooled.items() if pooled.trace > 0}

    def watch(self, batch: Tensor, recording: Recording, start: int) -> None:
        """Compare a batch with the first trial, and try the network out again if the batch reaches new layers.

        Args:
            batch: (n, *input shape).
            recording: The pass over it.
            start: Number of samples before this batch.

        Raises:
            ValueError: The network mixes its samples.
        """
        if CHANGED not in recording.left_out.values():  # else outputs differ for another reason, which is reported
            self._compare(recording, start, start + len(batch))
            self._compare_last(batch, recording)
        if self.alone or not self._wanted(recording):
            return
        if len(batch) <= BLOCK:
            self._await(batch)
            return
        before = Draws.now(self._device)
        for samples in batch.split(BLOCK):
            if self._wanted(self._record(samples)):
                self._await(samples)
                if not self._wanted(recording):
                    break
        before.restore()

    def _await(self, samples: Tensor) -> None:
        """Collect samples that go through an untried layer, and try them once there are enough."""
        self._waiting.append(samples)
        if sum(map(len, self._waiting)) >= BLOCK:
            self.finish()

    def finish(self) -> None:
        """Try the network out on the samples that were collected.

        Raises:
            ValueError: The network mixes its samples.
        """
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        joined = torch.cat(waiting)[:BLOCK]
        before = Draws.now(self._device)
        for samples in (joined, *waiting):
            try:
                part = self._record(samples)
            except Exception:  # whatever a network raises that is written for one number of samples
                before.restore()
                continue
            if layers := self._wanted(part):
                self._try(samples, part, before, layers)
            before.restore()
            if samples is joined:
                break

    def _compare_last(self, batch: Tensor, recording: Recording) -> None:
        """Compare the outputs of the last samples of a batch with those that they give by themselves.

        An expert with a capacity takes the samples in order until it is full, so the last ones miss it. This is done
        for the first batch that is longer than a trial, and for every batch so long that the time does not count.
        """
        repeats = None if self._first is None else self._first[0].repeats
        if repeats is None or self.alone or len(batch) <= (LONG if self._last_compared else BLOCK):
            return
        self._last_compared = True
        before = Draws.now(self._device)
        outputs = numbers_again(self._model, batch[-BLOCK:], None)
        before.restore()
        if outputs is not None and repeats.unlike(outputs, recording.outputs[-BLOCK:].detach()):
            raise ValueError(MIXED)

    def _compare(self, recording: Recording, start: int, stop: int) -> None:
        """Compare the outputs of tried samples with those that they gave in the trial, beside other samples."""
        if self._first is None or self._first[0].repeats is None or self.alone:
            return
        trial, places = self._first
        rows = ((places >= start) & (places < stop)).nonzero().flatten()
        if len(rows) and trial.repeats is not None:
            outputs = recording.outputs.detach()
            here = (places[rows] - start).to(outputs.device)
            if trial.repeats.other(outputs[here], rows.to(outputs.device)):
                raise ValueError(MIXED)
