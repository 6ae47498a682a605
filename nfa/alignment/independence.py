"""Whether a network treats its samples apart, as K, a mean over samples, takes for granted."""

import torch
from torch import Tensor, nn

# Relative. The same product of the same shapes gives the same bits, on a GPU nearly; mixing changes per cents.
TOLERANCE, HALF_TOLERANCE = 1e-3, 0.01
MIXED = (
    "the network's output for a sample depends on the samples beside it, so there is no gradient of one sample; is the "
    "first axis that of the samples (batch_first=True), and does normalisation use running statistics?"
)


def refuse_mixed_samples(model: nn.Module, inputs: Tensor, outputs: Tensor) -> None:
    """Run two samples among copies of one of them, in their places and in as many, and compare.

    As many, because the last bits depend on the number of samples, and outputs may consist of them (a network that
    starts at 0 as the difference of two halves). Not the first ones: a recurrent network that takes its samples for
    time steps does not see later ones. A network that draws random numbers, or gives other outputs in the same pass
    done again, is let through.

    Args:
        model: Network in eval mode.
        inputs: (n, *input shape).
        outputs: (n, T), what the network gave for them.

    Raises:
        ValueError: The outputs of the two differ from what they were among the others, by more than rounding.
    """
    if len(inputs) < 2:
        return
    few = slice(1, 3)
    others = inputs[1:2].expand_as(inputs).clone()
    others[few] = inputs[few]
    random = _random_states(inputs.device)
    apart = _differ(_again(model, others), outputs, few)
    draws = any(not torch.equal(*states) for states in zip(random, _random_states(inputs.device), strict=True))
    if apart and not draws and not _differ(_again(model, inputs), outputs, few):
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
    except Exception:  # whatever a network raises to which such samples make no sense
        return None


def _differ(one: Tensor | None, other: Tensor, rows: slice) -> bool:
    """Whether two passes gave other outputs for some of the samples."""
    if one is None or one.shape != other.shape:
        return False
    tolerance = TOLERANCE
    if torch.finfo(other.dtype).bits < 32 or torch.is_autocast_enabled(other.device.type):
        tolerance = HALF_TOLERANCE
    one, other = one[rows].double(), other[rows].detach().double()
    return bool((one - other).norm() > tolerance * torch.maximum(one.norm(), other.norm()))
