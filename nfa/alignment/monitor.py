"""Measure a network while it trains, in the user's own training loop.

monitor = nfa.Monitor(model, images)          # before the first step: remembers W0
for step, (x, y) in enumerate(loader):
    ...                                       # the training step
    if step % 100 == 0:
        wandb.log(monitor(step))
monitor.frame.to_parquet("alignment.parquet")
"""

from inspect import signature
from typing import Any

import pandas as pd
import torch
from torch import nn

from nfa.alignment.measure import COLUMNS, measure, measured_table
from nfa.alignment.network.arguments import check_options, checked_layers
from nfa.alignment.network.copies import deep_copy
from nfa.alignment.network.fitting import explained
from nfa.alignment.network.layers import checked_device, plain
from nfa.alignment.network.samples import Inputs, batches, kept, random_states_kept
from nfa.alignment.network.survey import Survey
from nfa.alignment.network.undisturbed import undisturbed
from nfa.alignment.quantities.values import CORRELATIONS, POWERS
from nfa.errors import nearest

_OPTIONS = tuple(name for name in signature(measure).parameters if name not in ("model", "inputs", "initial", "step"))
LOGGED = ("uc_nfc", "c_nfc", "haar_nfc", "relative_change")


class Monitor:
    """Measures a network on the same samples whenever it is called.

    Attributes:
        frame: All rows so far, with the columns of ``measure``.
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
        """Remember the network as it is now: the centred quantities are relative to this moment.

        Args:
            model: The network that will be trained.
            inputs: (n, *input shape), or an iterable of such batches; read once, and kept in memory.
            correlation: Convention of the numbers that are logged; the frame holds all.
            power: The same.
            prefix: First part of the names of what is logged.
            **options: As ``measure``: targets, loss, layers, estimator, samples, probes, seed, weight_decay, ...

        Raises:
            ValueError: An unknown correlation, power or option, an option that cannot be used, or samples that the
                network does not take.
        """
        for what, value, valid in (("correlation", correlation, CORRELATIONS), ("power", power, POWERS)):
            if value not in valid:
                raise ValueError(f"{what}: {value!r}: {nearest(value, valid)}")
        for name in options:
            if name not in _OPTIONS:
                raise ValueError(f"{name}: no such option; {nearest(name, _OPTIONS)}")
        check_options(**options)
        if "layers" in options:
            options["layers"] = checked_layers(options["layers"])
        model = plain(model)
        inputs = kept(inputs)
        _try_out(model, inputs)
        self._model, self._inputs, self._options = model, inputs, options
        self._initial = deep_copy(model)
        self._convention, self._prefix = (correlation, power), prefix
        self._frames: list[pd.DataFrame] = []
        self._like: Survey | None = None
        self._numbers: dict[str, int] = {}

    def __call__(self, step: int) -> dict[str, float]:
        """Measure now.

        Returns:
            Ready for ``wandb.log``: ``<prefix>/step``, and for UC-NFC, C-NFC, the control and the relative change
            ``<prefix>/<quantity>/<layer index>`` and ``<prefix>/<quantity>/mean`` over all layers but the readout.
            Undefined values are not there.
        """
        table, measured = measured_table(
            self._model, self._inputs, initial=self._initial, step=step, like=self._like, **self._options
        )
        self._frames.append(table)
        self._like = measured.survey
        for name, index in zip(table.layer, table.layer_index, strict=True):
            if name not in self._numbers:  # a layer keeps its number, whichever layers later steps have besides
                taken = set(self._numbers.values())
                self._numbers[name] = index if index not in taken else max(taken) + 1
        logged: dict[str, float] = {f"{self._prefix}/step": step}
        correlation, power = self._convention
        for quantity in LOGGED:
            rows = table[(table.quantity == quantity) & table.value.notna()]
            if quantity != "relative_change":
                rows = rows[(rows.correlation == correlation) & (rows.power == power)]
            for name, value in zip(rows.layer, rows.value, strict=True):
                logged[f"{self._prefix}/{quantity}/{self._numbers[name]}"] = float(value)
            hidden = rows[rows.depth_from_output > 0]
            if len(hidden):
                logged[f"{self._prefix}/{quantity}/mean"] = float(hidden.value.mean())
        return logged

    @property
    def frame(self) -> pd.DataFrame:
        """All rows so far."""
        if not self._frames:
            return pd.DataFrame(columns=list(COLUMNS))
        return pd.concat(self._frames, ignore_index=True)


@random_states_kept()
def _try_out(model: nn.Module, inputs: Inputs) -> None:
    """Run the network on two samples: what it does not take is found now, and not after hours of training."""
    device = checked_device(model)
    batch = next(part for part, _ in batches(inputs, 2, device))
    with explained(model, batch), undisturbed(model), torch.no_grad():
        model(batch.clone())
