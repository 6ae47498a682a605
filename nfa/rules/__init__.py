"""Learning rules, which fill the parameters' ``grad`` with the true gradient or with a substitute for it.

They show if the neural feature ansatz holds without true gradients; the rules follow Bordelon & Pehlevan (arXiv
2210.02157). ``rule.py`` defines the protocol ``Rule``, each other file holds one rule, and ``chain.py`` takes a network
apart into layers for rules that give each layer its own error.

To add a rule, write a file with its class, and name it in ``RULES``.
"""

from collections.abc import Callable

import torch
from torch import nn

from nfa.rules.backpropagation import Backpropagation
from nfa.rules.direct_feedback import DirectFeedback
from nfa.rules.feedback import Feedback
from nfa.rules.hebb import Hebb
from nfa.rules.rule import Rule

# Name -> (network at initialisation, function that draws another one, rho, generator, number of outputs) -> rule.
RULES: dict[str, Callable[[nn.Module, Callable[[], nn.Module], float, torch.Generator, int], Rule]] = {
    "backpropagation": lambda model, again, rho, generator, outputs: Backpropagation(model),
    "feedback_alignment": lambda model, again, rho, generator, outputs: Feedback(model, again(), rho),
    "direct_feedback_alignment": lambda model, again, rho, generator, outputs: DirectFeedback(
        model, generator, outputs
    ),
    "hebb": lambda model, again, rho, generator, outputs: Hebb(model),
}

__all__ = ["RULES", "Rule"]
