"""The model axis of a sweep: network families, torchvision's networks, and the user's own.

Each entry of the registry ``MODELS`` has one file with its settings, ``layers`` (the weight matrices, known without
building the network) and ``build``. ``entry.py`` defines an entry and a layer's shape. ``blocks.py`` holds modules,
``common.py`` settings and ``initialise.py`` activations and random weights that several families share.
``discover.py`` finds the layers of networks that must be built to be known: torchvision's and the user's.

To add a network, write one file with its settings, ``layers``, ``build`` and ``ENTRY``, and name it in ``MODELS``.
``docs/extend.md`` shows the steps.
"""

from nfa.entries import USERS_OWN
from nfa.models import conv, deep_linear, mlp, recurrent, resnet, torchvision_model, transformer, user_function, vgg11
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
    USERS_OWN: user_function.ENTRY,
}

__all__ = ["MODELS", "LayerShape", "ModelEntry"]
