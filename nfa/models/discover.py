"""Find the layers of networks that must be built to be known: those of torchvision and of the user.

Torch is imported inside functions, because a sweep over other networks is planned without it.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from nfa.conventions import READOUT
from nfa.data.shape import DataShape
from nfa.errors import UserError
from nfa.external.users_code import users_code
from nfa.models.entry import LayerShape

if TYPE_CHECKING:
    import torch

PLANNING_SAMPLES = 32  # as many as a measurement tries a network on
Build = Callable[[Any, DataShape, "torch.Generator"], "torch.nn.Module"]


@contextmanager
def seeded(generator: torch.Generator, device: torch.device | None = None) -> Iterator[None]:
    """Seed the global random generators of Python, numpy and torch from ``generator``; restore their states afterwards.

    Args:
        generator: Source of the seed.
        device: Device of the code that draws, if it draws on a GPU too.
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
    """Make an entry's function ``layers`` from its ``build``; results are remembered for the life of the process."""

    def layers(settings: Any, data: DataShape) -> tuple[LayerShape, ...]:
        key = (settings.model_dump_json(), data)
        if key not in _known:
            import torch

            _known[key] = discovered_layers(
                build(settings, data, torch.Generator().manual_seed(0)), data, settings.name
            )
        return _known[key]

    return layers


def sample(data: DataShape) -> torch.Tensor:
    """Make one sample of zeros: (1, *input shape)."""
    import torch

    return torch.zeros(1, *data.input_shape, dtype=torch.float32 if data.vocabulary is None else torch.int64)


def drawn_samples(data: DataShape) -> torch.Tensor:
    """Draw samples, always the same ones: (32, *input shape), standard normal numbers or uniform tokens."""
    import torch

    generator, shape = torch.Generator().manual_seed(0), (PLANNING_SAMPLES, *data.input_shape)
    if data.vocabulary is None:
        return torch.randn(shape, generator=generator)
    return torch.randint(data.vocabulary, shape, generator=generator)


def discovered_layers(model: torch.nn.Module, data: DataShape, name: str) -> tuple[LayerShape, ...]:
    """List the matrices that a measurement would find, under the measurement's names, in forward order.

    One sample of zeros shows the layers of most networks. Where some weights are not used by it, for example because
    each sample goes to one of several experts, the network is run on 32 drawn samples too.

    Args:
        model: Network, left as it was.
        data: Shape of the data that the network is to read.
        name: The beginning of an error message.

    Raises:
        UserError: The network cannot read such samples, does not give one row of outputs for each sample, has no layer
            to measure, or has nothing to train.
    """
    from nfa.alignment.network.measuring_mode import measuring_mode
    from nfa.alignment.network.recording import Recording, record
    from nfa.alignment.network.survey import Survey

    shape = " x ".join(map(str, data.input_shape))
    survey, recordings = Survey(model), list[Recording]()
    with users_code(name, f", on {data.kind} of {shape}"), measuring_mode(model):
        for make in (sample, drawn_samples):
            if not survey.complete or not recordings:
                recordings.append(record(model, make(data), names=survey.names))
                survey.add(recordings[-1])
    if not survey.layers:
        why = "; ".join(f"{layer}: {reason}" for layer, reason in survey.left_out().items()) or "no weight matrix"
        raise UserError(f"{name} has no layer to measure ({why})")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UserError(f"{name}: no parameter requires a gradient, so there is nothing to train")
    if recordings[0].output_shape != (data.outputs,):
        shape = " x ".join(map(str, recordings[0].output_shape)) or "no axis"
        raise UserError(f"{name} gives outputs of {shape} for a sample; the data have {data.outputs} target columns")
    positions: dict[str, int] = {}
    for recording in recordings:
        rows = Counter[str]()
        for call in recording.calls:
            rows[call.layer.name] += call.rows
        for layer, count in rows.items():
            positions.setdefault(layer, math.ceil(count / len(recording.inputs)))
    return tuple(
        LayerShape(
            layer,
            found.blocks * found.fan_out,
            math.prod(found.view.shape[2:]),
            positions[layer],
            readout=survey.depths[layer] == READOUT,
        )
        for layer, found in ((layer, survey.layers[layer]) for layer in survey.order)
    )
