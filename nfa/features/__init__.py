"""What a network's layers hold: their features, and linear probes of them."""

from nfa.features.capture import layer_features
from nfa.features.probe import linear_probe

__all__ = ["layer_features", "linear_probe"]
