"""Whether a network treats its samples apart, as K, a mean over samples, takes for granted."""

import torch
from torch import Tensor, nn

# Relative. Rounding differs with the number of samples: by 1e-6 in float32, by a hundredth in half precision.
TOLERANCE, HALF_TOLERANCE = 1e-3, 0.1
MIXED = (
    "the network's output for a sample depends on the samples beside it, so there is no gradient of one sample; is the "
    "first axis that of the samples (batch_first=True), and does normalisation use running statistics?"
)


def refuse_mixed_samples(model: nn.Module, inputs: Tensor, outputs: Tensor) -> None:
    """Run two samples without the others, and compare.

    They are not the first ones: a recurrent network that takes its samples for time steps does not see later ones. A
    network that draws random numbers, or gives other outputs in the same pass done again, is let through, as is one
    that runs on one number of samples only.

    Args:
        model: Network in eval mode.
        inputs: (n, *input shape).
        outputs: (n, T), what the network gave for them.

    Raises:
        ValueError: The outputs of the two differ from what they were among the others, by more than rounding.
    """
    few = slice(1, 3)
    if len(inputs) < 2:
        return
    random = _random_states(inputs.device)
    apart = _differ(_again(model, inputs[few]), outputs[few])
    draws = any(not torch.equal(*states) for states in zip(random, _random_states(inputs.device), strict=True))
    if apart and not draws and not _differ(_again(model, inputs), outputs):
        raise ValueError(MIXED)


def _random_states(device: torch.device) -> list[Tensor]:
    """States that a network on a device draws from."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def _again(model: nn.Module, inputs: Tensor) -> Tensor | None:
    """Outputs (n, T) for some samples; None where the network does not run on them."""
    try:
        outputs: Tensor = model(inputs.detach().clone()).detach()
        return outputs.reshape(len(inputs), -1)
    except Exception:  # whatever a network raises that is written for one number of samples
        return None


def _differ(one: Tensor | None, other: Tensor) -> bool:
    if one is None or one.shape != other.shape:
        return False
    tolerance = TOLERANCE
    if torch.finfo(other.dtype).bits < 32 or torch.is_autocast_enabled(other.device.type):
        tolerance = HALF_TOLERANCE
    one, other = one.double(), other.detach().double()
    return bool((one - other).norm() > tolerance * torch.maximum(one.norm(), other.norm()))
