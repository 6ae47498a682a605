"""A batch of one sample is run as two copies of it, and only the outputs of the first copy are differentiated.

Some operations are wrong on a batch of one, or do something else. In torch 2.13, BatchNorm2d in eval mode returns a
wrong gradient for a batch of one image if the gradient of its output is transposed in memory, as after
``flatten(2).transpose(1, 2)``; for two images it is right. ``squeeze()`` removes the axis of a single sample. Gradients
of the second copy are exactly zero, so it adds nothing to K.
"""

from typing import Any

import torch
from torch import Tensor, nn

from nfa.alignment.network.recording import Recording, record


def doubled(batch: Tensor) -> Tensor:
    """Repeat a single sample; return several samples as they are."""
    return torch.cat([batch, batch]) if len(batch) == 1 else batch


def record_doubled(model: nn.Module, batch: Tensor, *, alone: bool = False, **options: Any) -> Recording:
    """Record a forward pass as ``record`` does, but run a single sample as two copies.

    A network that does not run on two samples, or does not give two outputs for them, runs on the one.

    Args:
        model: As in ``record``.
        batch: (n, *input shape).
        alone: Run a single sample as a batch of one.
        **options: As in ``record``.
    """
    if len(batch) > 1 or alone:
        return record(model, batch, **options)
    try:
        return record(model, doubled(batch), **options)
    except Exception:  # a network that is written for one sample can raise anything; the next line raises its own error
        return record(model, batch, **options)
