"""Settings that several model families share: activations and initial weights. This file imports no torch."""

from typing import Literal

from pydantic import model_validator

from nfa.entries import Settings, setting

ActivationName = Literal["relu", "gelu", "tanh", "erf", "quadratic", "linear"]
Initialisation = Literal["he", "pytorch", "lecun", "xavier", "orthogonal", "normal", "vgg"]

INIT = (
    "he: normal, variance 2/fan-in; pytorch: its uniform default; lecun: normal, 1/fan-in; xavier: normal, "
    "2/(fan-in + fan-out); orthogonal: orthonormal rows or columns; normal: standard deviation init_std; vgg: normal, "
    "2/fan-out for convolutions, standard deviation .01 for linear layers"
)
DEFAULT_STD = 0.02


class Drawn(Settings):
    """Settings of the initial weights of a network.

    Sources: he: He et al., arXiv 1502.01852; lecun: LeCun et al., *Efficient BackProp* (1998); xavier: Glorot & Bengio
    (AISTATS 2010); orthogonal: Saxe et al., arXiv 1312.6120; vgg: the initialisation of torchvision's VGG networks.
    """

    name: str
    init: Initialisation = setting("he", INIT)
    init_scale: float = setting(1.0, "factor on every initial weight", gt=0, le=1e6)
    init_std: float = setting(DEFAULT_STD, "with init: normal, the standard deviation of every weight", gt=0, le=1e6)

    @model_validator(mode="after")
    def _std_is_used(self) -> "Drawn":
        if self.init != "normal" and self.init_std != DEFAULT_STD:
            raise ValueError(f"init_std: init is {self.init}, which does not use it; use init: normal")
        return self
