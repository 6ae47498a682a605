"""Learning rules: what stands in for the gradient. To add one: write a file with its class, and name it here.

Does the ansatz survive without true gradients? Rules after Bordelon & Pehlevan (arXiv 2210.02157).
"""

from collections.abc import Callable

import torch
from torch import nn

from nfa.rules.backpropagation import Backpropagation
from nfa.rules.direct_feedback import DirectFeedback
from nfa.rules.feedback import Feedback
from nfa.rules.hebb import Hebb
from nfa.rules.rule import Rule

# (network at initialisation, another drawn alike, rho, generator, outputs) -> rule
RULES: dict[str, Callable[[nn.Module, Callable[[], nn.Module], float, torch.Generator, int], Rule]] = {
    "backpropagation": lambda model, again, rho, generator, outputs: Backpropagation(model),
    "feedback_alignment": lambda model, again, rho, generator, outputs: Feedback(model, again(), rho),
    "direct_feedback_alignment": lambda model, again, rho, generator, outputs: DirectFeedback(
        model, generator, outputs
    ),
    "hebb": lambda model, again, rho, generator, outputs: Hebb(model),
}

__all__ = ["RULES", "Rule"]
