"""What is predicted of a network's alignment before it is trained: tensors in, tables out.

limit        C-NFC(0+) of any network, loss and optimizer, from its gradient and K at initialisation
data_space   the same from inputs, residuals and the tangent kernel's Gram matrix
depth_law    the power of the AGOP that fits each layer's NFM best, beside 1/(L - l + 1)
"""

from nfa.theory.depth_law import depth_law, law
from nfa.theory.limit import limit

__all__ = ["depth_law", "law", "limit"]
