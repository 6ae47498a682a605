"""Networks whose layers only building can tell: torchvision's and the user's. Imports torch where it is used."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from nfa.data.shape import DataShape
from nfa.errors import UserError
from nfa.external.users_code import users_code
from nfa.models.entry import LayerShape

if TYPE_CHECKING:
    import torch

Build = Callable[[Any, DataShape, "torch.Generator"], "torch.nn.Module"]


@contextmanager
def seeded(generator: torch.Generator, device: torch.device | None = None) -> Iterator[None]:
    """Let code that draws from global generators draw from this one: all are seeded by it, and restored after.

    Args:
        generator: What seeds them.
        device: Where the code computes, if not on the CPU alone.
    """
    import torch

    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the user's code may draw from it
    try:
        gpus = [device] if device is not None and device.type == "cuda" else []
        with torch.random.fork_rng(devices=gpus):
            torch.default_generator.manual_seed(seed)
            for gpu in gpus:
                with torch.cuda.device(gpu):
                    torch.cuda.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002


_known: dict[tuple[str, DataShape], tuple[LayerShape, ...]] = {}


def layers_of(build: Build) -> Callable[[Any, DataShape], tuple[LayerShape, ...]]:
    """Make an entry's ``layers`` from its ``build``: what a forward pass of one sample shows; kept for the process."""

    def layers(settings: Any, data: DataShape) -> tuple[LayerShape, ...]:
        key = (settings.model_dump_json(), data)
        if key not in _known:
            import torch

            _known[key] = seen(build(settings, data, torch.Generator().manual_seed(0)), data, settings.name)
        return _known[key]

    return layers


def sample(data: DataShape) -> torch.Tensor:
    """One sample of zeros."""
    import torch

    return torch.zeros(1, *data.input_shape, dtype=torch.float32 if data.vocabulary is None else torch.int64)


def seen(model: torch.nn.Module, data: DataShape, name: str) -> tuple[LayerShape, ...]:
    """List the matrices that a measurement would find, under its names, in forward order.

    Raises:
        UserError: The network cannot read such samples, gives anything but one row of outputs for each, has no layer to
            measure, or nothing to train.
    """
    from nfa.alignment.network.interception import Interception
    from nfa.alignment.network.recording import record
    from nfa.alignment.network.undisturbed import undisturbed

    watches: list[Interception] = []

    def watching(*args: Any, **keywords: Any) -> Interception:
        watches.append(Interception(*args, **keywords))
        return watches[-1]

    shape = " x ".join(map(str, data.input_shape))
    with users_code(name, f", on {data.kind} of {shape}"), undisturbed(model):
        recording = record(model, sample(data), watching=watching)
    if not recording.calls:
        why = "; ".join(f"{layer}: {reason}" for layer, reason in recording.left_out.items()) or "no weight matrix"
        raise UserError(f"{name} has no layer to measure ({why})")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UserError(f"{name}: no parameter requires a gradient, so there is nothing to train")
    if recording.output_shape != (data.outputs,):
        shape = " x ".join(map(str, recording.output_shape)) or "no axis"
        raise UserError(f"{name} gives outputs of {shape} for a sample; the data have {data.outputs} target columns")
    positions: dict[str, int] = {}
    for call in recording.calls:
        positions[call.layer.name] = positions.get(call.layer.name, 0) + watches[0].seen[call.product].rows
    return tuple(
        LayerShape(layer, found.blocks * found.fan_out, math.prod(found.view.shape[2:]), positions[layer])
        for layer, found in recording.layers.items()
    )
