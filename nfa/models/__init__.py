"""The model axis. To add a network: write one file with its settings, ``layers`` and ``build``, and name it here."""

from nfa.entries import USERS_OWN
from nfa.models import conv, deep_linear, mlp, recurrent, resnet, torchvision_model, transformer, vgg11
from nfa.models import function as own
from nfa.models.entry import LayerShape, ModelEntry

MODELS: dict[str, ModelEntry] = {
    "mlp": mlp.ENTRY,
    "deep_linear": deep_linear.ENTRY,
    "conv": conv.ENTRY,
    "vgg11": vgg11.ENTRY,
    "resnet": resnet.ENTRY,
    "transformer": transformer.ENTRY,
    "recurrent": recurrent.ENTRY,
    "torchvision:NAME": torchvision_model.ENTRY,
    USERS_OWN: own.ENTRY,
}

__all__ = ["MODELS", "LayerShape", "ModelEntry"]
