"""A sample that would come alone is given to the network twice, and the outputs of the first are differentiated.

Some operations are wrong, or others, on a batch of one: BatchNorm of torch 2.13 in eval mode turns a transposed
gradient into a wrong one, and ``squeeze()`` takes the axis of the samples away. The gradients of the second copy are
exactly zero, so that they add nothing to K.
"""

from typing import Any

import torch
from torch import Tensor, nn

from nfa.alignment.network.recording import Recording, record


def doubled(batch: Tensor) -> Tensor:
    """Repeat a sample that comes alone; more than one are given back as they are."""
    return torch.cat([batch, batch]) if len(batch) == 1 else batch


def record_paired(model: nn.Module, batch: Tensor, *, alone: bool = False, **options: Any) -> Recording:
    """Record a forward pass as ``record`` does, but with a single sample twice.

    A network that does not run on two samples, or gives something else for them, runs on the one.

    Args:
        model: As in ``record``.
        batch: (n, *input shape).
        alone: Never repeat a sample.
        **options: As in ``record``.
    """
    if len(batch) > 1 or alone:
        return record(model, batch, **options)
    try:
        return record(model, doubled(batch), **options)
    except Exception:  # whatever a network raises that is written for one sample; its own is raised by the next line
        return record(model, batch, **options)
