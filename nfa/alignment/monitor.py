"""Measure a network while it trains, in the user's own training loop.

    monitor = nfa.Monitor(model, images)          # before the first step: remembers W0
    monitor.define_metrics(run)                   # run = wandb.init(...): its numbers have their own steps
    for step, (x, y) in enumerate(loader):
        train_one_step(model, x, y)
        if step % 100 == 0:
            run.log(monitor(step), commit=False)
    monitor.frame.to_parquet("alignment.parquet")

Each call measures all layers on the same samples and adds their rows to ``monitor.frame``. The network before training
is measured once.

``commit=False`` adds the numbers to the row that the loop's next ``run.log`` completes, whether that gives a step or
not. Without it each call would count as a step of the run, and W&B drops rows of the loop whose ``step=`` is below.
"""

from dataclasses import fields, replace
from math import log10
from typing import Any

import pandas as pd
import torch
from torch import nn

from nfa.alignment.initial import Initial
from nfa.alignment.measure import COLUMNS, measured_table
from nfa.alignment.network.copies import deep_copy
from nfa.alignment.network.fitting import explained
from nfa.alignment.network.layers import checked_device, plain
from nfa.alignment.network.measuring_mode import measuring_mode
from nfa.alignment.network.samples import Inputs, batches, kept, random_states_kept
from nfa.alignment.network.survey import Survey
from nfa.alignment.options import MeasureOptions
from nfa.conventions import CORRELATIONS, LOG_STEP, LOGGED, POWERS, READOUT, layer_keys
from nfa.errors import nearest

_OPTIONS = tuple(field.name for field in fields(MeasureOptions) if field.name != "step")  # a call gives the step


class Monitor:
    """Measures a network on the same samples whenever it is called.

    Attributes:
        frame: All rows so far, with the columns of ``measure``.

    Example:
        >>> import nfa, torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> monitor = nfa.Monitor(model, torch.randn(20, 6))
        >>> [name for name in monitor(step=0) if "uc_nfc" in name]
        ['alignment/uc_nfc/0', 'alignment/uc_nfc/readout', 'alignment/uc_nfc/mean']
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Inputs,
        *,
        correlation: str = "cosine",
        power: str = "1",
        prefix: str = "alignment",
        **options: Any,
    ) -> None:
        """Remember the weights of this moment as the initial ones of the centred quantities.

        Args:
            model: The network that will be trained.
            inputs: (n, *input shape), or an iterable of such batches; read once, and kept in memory.
            correlation: Correlation of the numbers that are logged; the frame holds all.
            power: Power of G in the numbers that are logged; the frame holds all.
            prefix: First part of the names under which numbers are logged.
            **options: Those of ``measure``, except initial and step: targets, loss, layers, quantities, estimator,
                samples, probes, seed, updates, weight_decay, decoupled_decay, heads, batch_size. Numbers of quantities
                that are not named in ``quantities`` are not logged.

        Raises:
            ValueError: A correlation, power or option is unknown, an option cannot be used, or the network does not run
                on the samples.
        """
        for what, value, valid in (("correlation", correlation, CORRELATIONS), ("power", power, POWERS)):
            if value not in valid:
                raise ValueError(f"{what}: {value!r}: {nearest(value, valid)}")
        for name in options:
            if name not in _OPTIONS:
                raise ValueError(f"{name}: no such option; {nearest(name, _OPTIONS)}")
        model, checked = plain(model), MeasureOptions(**options)
        inputs = kept(inputs)
        _try_out(model, inputs)
        self._model, self._inputs, self._options = model, inputs, checked
        self._initial = Initial(deep_copy(model))
        self._convention, self._prefix = (correlation, power), prefix
        self._frames: list[pd.DataFrame] = []
        self._like: Survey | None = None
        self._numbers: dict[str, int] = {}
        self._readouts: list[str] = []

    def __call__(self, step: int) -> dict[str, float]:
        """Measure the network as it is now.

        Args:
            step: Value of the column ``step``.

        Returns:
            Numbers by name, for ``run.log(..., commit=False)``: ``<prefix>/step``;
            ``<prefix>/log10_of_step_plus_1``, an axis on which step 0 is seen; and numbers of every quantity of
            ``nfa.conventions.LOGGED`` (UC-NFC, C-NFC, their factors, each with its control, the NFC of W0, and the
            relative change). These are ``<prefix>/<quantity>/<layer index>``, ``<prefix>/<quantity>/readout``, and
            ``<prefix>/<quantity>/mean`` over all layers except the readout, at which K = I, so that the correlations
            are 1 by definition. Further readouts are named ``readout_<layer index>``. An undefined value is NaN,
            because a tracker would show an earlier value in place of one that is left out; means leave it out.
        """
        table, measured = measured_table(
            self._model, self._inputs, replace(self._options, step=step), initial=self._initial, like=self._like
        )
        self._frames.append(table)
        self._like = measured.survey
        places = table.drop_duplicates("layer")
        for name, index, depth in zip(places.layer, places.layer_index, places.depth_from_output, strict=True):
            if name not in self._numbers:  # a layer keeps its number when later steps go through other layers, too
                taken = set(self._numbers.values())
                self._numbers[name] = index if index not in taken else max(taken) + 1
                self._readouts += [name] if depth == READOUT else []
        keys = self._keys
        logged: dict[str, float] = {f"{self._prefix}/step": step, f"{self._prefix}/{LOG_STEP}": log10(max(step, 0) + 1)}
        correlation, power = self._convention
        for quantity in LOGGED:
            rows = table[table.quantity == quantity]
            rows = rows[rows.correlation.isna() | (rows.correlation == correlation)]
            rows = rows[rows.power.isna() | (rows.power == power)]
            for name, value in zip(rows.layer, rows.value, strict=True):
                logged[f"{self._prefix}/{quantity}/{keys[name]}"] = float(value)
            if len(rows):  # the quantity is asked for
                logged[f"{self._prefix}/{quantity}/mean"] = float(rows.value[rows.depth_from_output != READOUT].mean())
        return logged

    @property
    def layer_names(self) -> dict[str, str]:
        """Name of each layer in logged numbers -> the layer, for the run's config; empty before the first call."""
        return {key: layer for layer, key in self._keys.items()}

    def define_metrics(self, run: Any) -> None:
        """Tell a W&B run that the numbers of this monitor are over their own steps.

        Args:
            run: What ``wandb.init`` returned. Monitors with different prefixes can share a run.
        """
        run.define_metric(f"{self._prefix}/step", hidden=True)
        run.define_metric(f"{self._prefix}/*", step_metric=f"{self._prefix}/step")

    @property
    def _keys(self) -> dict[str, str]:
        """Layer -> its name in logged numbers."""
        return layer_keys(self._numbers, self._readouts)

    @property
    def frame(self) -> pd.DataFrame:
        """All rows so far."""
        if not self._frames:
            return pd.DataFrame(columns=list(COLUMNS))
        return pd.concat(self._frames, ignore_index=True)


@random_states_kept()
def _try_out(model: nn.Module, inputs: Inputs) -> None:
    """Run the network on two samples, so that samples that do not fit are refused now, not after hours of training."""
    device = checked_device(model)
    batch = next(part for part, _ in batches(inputs, 2, device))
    with explained(model, batch), measuring_mode(model), torch.no_grad():
        model(batch.clone())
