"""The model axis. To add a network: write one file with its settings, ``layers`` and ``build``, and name it here."""

from nfa.models import conv, mlp
from nfa.models.entry import LayerShape, ModelEntry

MODELS: dict[str, ModelEntry] = {
    "mlp": mlp.ENTRY,
    "conv": conv.ENTRY,
}

__all__ = ["MODELS", "LayerShape", "ModelEntry"]
