"""Modules that the model families are made of; every weight matrix is an ``nn.Linear`` or ``nn.Conv2d`` of its own."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from nfa.models.initialise import activation


class ScaledLinear(nn.Linear):
    """Linear layer h = a W x + c b with fixed numbers a and c.

    Attributes:
        multiplier: a.
        bias_multiplier: c.
    """

    def __init__(self, fan_in: int, fan_out: int, *, bias: bool, multiplier: float, bias_multiplier: float) -> None:
        """Make the layer."""
        super().__init__(fan_in, fan_out, bias=bias)
        self.multiplier, self.bias_multiplier = multiplier, bias_multiplier

    def forward(self, values: Tensor) -> Tensor:
        """Map (..., fan-in) to (..., fan-out)."""
        result = functional.linear(values, self.weight) * self.multiplier
        return result if self.bias is None else result + self.bias * self.bias_multiplier


class OneHot(nn.Module):
    """Encode tokens (n, T) as one-hot vectors (n, T, vocabulary), scaled to mean square 1 like standardised inputs.

    A linear layer after this module is an embedding, and its matrix and AGOP are measured like those of other layers.
    """

    def __init__(self, vocabulary: int) -> None:
        """Accept tokens below ``vocabulary``."""
        super().__init__()
        self.vocabulary = vocabulary
        self.norm: Tensor  # a buffer has the number type of the network
        self.register_buffer("norm", torch.tensor(math.sqrt(vocabulary)), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Encode tokens."""
        return functional.one_hot(tokens, self.vocabulary).to(self.norm.dtype) * self.norm


class Patches(nn.Module):
    """Cut images (n, c, h, w) into patches (n, T, c * size * size), row by row; patches at the edge end in zeros."""

    def __init__(self, size: int) -> None:
        """Set the size of a patch: ``size`` x ``size`` pixels."""
        super().__init__()
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        """Cut the inputs."""
        height, width = images.shape[2:]
        padded = functional.pad(images, (0, -width % self.size, 0, -height % self.size))
        patches = padded.unfold(2, self.size, self.size).unfold(3, self.size, self.size)  # (n, c, rows, columns, s, s)
        return patches.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)


class Rows(nn.Module):
    """Turn images (n, c, h, w) into sequences of their rows (n, h, c * w)."""

    def forward(self, images: Tensor) -> Tensor:
        """Rearrange images."""
        return images.transpose(1, 2).flatten(2)


class Chunks(nn.Module):
    """Cut vectors (n, d) into sequences of chunks (n, T, size); the last chunk ends in zeros."""

    def __init__(self, size: int) -> None:
        """Set the number of coordinates in a chunk."""
        super().__init__()
        self.size = size

    def forward(self, vectors: Tensor) -> Tensor:
        """Cut the inputs."""
        flat = vectors.flatten(1)
        return functional.pad(flat, (0, -flat.shape[1] % self.size)).reshape(len(flat), -1, self.size)


class Positions(nn.Module):
    """Add fixed sines and cosines of the position (Vaswani et al., arXiv 1706.03762) to (n, T, width)."""

    def __init__(self, positions: int, width: int) -> None:
        """Compute the waves for T = ``positions``."""
        super().__init__()
        pairs = torch.arange((width + 1) // 2, dtype=torch.float64)
        angles = torch.arange(positions, dtype=torch.float64)[:, None] * 10000.0 ** (-2 * pairs / width)
        waves = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width]
        self.waves: Tensor
        self.register_buffer("waves", waves.to(torch.get_default_dtype()), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        """Add the waves to (n, T, width)."""
        return values + self.waves


class EncoderBlock(nn.Module):
    """Pre-norm block of a transformer: x + attention(norm(x)), then x + MLP(norm(x)) (Xiong et al., arXiv 2002.04745).

    Query, key, value and output are separate matrices.
    """

    def __init__(self, width: int, heads: int, hidden: int, name: str, *, bias: bool) -> None:
        """Make the block; ``hidden`` is the width of the MLP, ``name`` the name of its activation."""
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.query = nn.Linear(width, width, bias=bias)
        self.key = nn.Linear(width, width, bias=bias)
        self.value = nn.Linear(width, width, bias=bias)
        self.output = nn.Linear(width, width, bias=bias)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, hidden, bias=bias)
        self.activation = activation(name)
        self.down = nn.Linear(hidden, width, bias=bias)

    def forward(self, values: Tensor) -> Tensor:
        """Map (n, T, width) to (n, T, width)."""
        values = values + self.output(self._attend(self.norm1(values)))
        result: Tensor = values + self.down(self.activation(self.up(self.norm2(values))))
        return result

    def _attend(self, values: Tensor) -> Tensor:
        query, key, value = (
            projection(values).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (n, heads, T, width of a head)
            for projection in (self.query, self.key, self.value)
        )
        weights = (query @ key.mT * query.shape[-1] ** -0.5).softmax(-1)
        attended: Tensor = (weights @ value).transpose(1, 2).flatten(2)
        return attended


class Encoder(nn.Module):
    """Transformer encoder: sequence, linear embedding, positions, blocks, norm, mean over positions, linear readout."""

    def __init__(
        self, sequence: nn.Module, embed: nn.Linear, positions: int, blocks: list[EncoderBlock], readout: nn.Linear
    ) -> None:
        """Hold the parts."""
        super().__init__()
        self.sequence, self.embed = sequence, embed
        self.position = Positions(positions, embed.out_features)
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(embed.out_features)
        self.readout = readout

    def forward(self, inputs: Tensor) -> Tensor:
        """Map a batch of inputs to outputs (n, C)."""
        values = self.position(self.embed(self.sequence(inputs)))
        for block in self.blocks:
            values = block(values)
        outputs: Tensor = self.readout(self.norm(values).mean(1))
        return outputs


class RecurrentLayer(nn.Module):
    """Recurrent layer h_t = activation(input x_t + recurrent h_(t-1)), h_0 = 0 (Elman, 1990)."""

    def __init__(self, fan_in: int, width: int, name: str, *, bias: bool) -> None:
        """Make the layer; ``name`` is the name of the activation."""
        super().__init__()
        self.input = nn.Linear(fan_in, width, bias=bias)
        self.recurrent = nn.Linear(width, width, bias=False)
        self.activation = activation(name)

    def forward(self, values: Tensor) -> Tensor:
        """Map inputs (n, T, fan-in) to all states (n, T, width)."""
        driven = self.input(values)
        state = torch.zeros_like(driven[:, 0])
        states = []
        for step in driven.unbind(1):
            state = self.activation(step + self.recurrent(state))
            states.append(state)
        return torch.stack(states, dim=1)


class Recurrent(nn.Module):
    """Recurrent network: sequence, stacked recurrent layers, linear readout of the last state."""

    def __init__(self, sequence: nn.Module, cells: list[RecurrentLayer], readout: nn.Linear) -> None:
        """Hold the parts."""
        super().__init__()
        self.sequence, self.cells, self.readout = sequence, nn.ModuleList(cells), readout

    def forward(self, inputs: Tensor) -> Tensor:
        """Map a batch of inputs to outputs (n, C)."""
        values = self.sequence(inputs)
        for cell in self.cells:
            values = cell(values)
        outputs: Tensor = self.readout(values[:, -1])
        return outputs


def normalisation(name: str, channels: int) -> nn.Module:
    """Make the normalisation of a residual network: batch, group (one group: each sample by itself), or none."""
    if name == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(1, channels) if name == "group" else nn.Identity()


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions F and a shortcut: activation(shortcut(x) + scale * F(x)) (He et al., arXiv 1512.03385).

    The shortcut is a 1 x 1 convolution if the shape changes, else the identity.
    """

    def __init__(
        self, channels: int, width: int, stride: int, name: str, norm: str, *, bias: bool, scale: float
    ) -> None:
        """Make the block; ``name`` is the name of the activation."""
        super().__init__()
        changes = stride > 1 or channels != width
        self.shortcut = nn.Conv2d(channels, width, 1, stride=stride, bias=bias) if changes else nn.Identity()
        self.shortcut_norm = normalisation(norm, width) if changes else nn.Identity()
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=bias)
        self.norm1 = normalisation(norm, width)
        self.activation1 = activation(name)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=bias)
        self.norm2 = normalisation(norm, width)
        self.activation2 = activation(name)
        self.scale = scale

    def forward(self, images: Tensor) -> Tensor:
        """Map (n, channels, h, w) to (n, width, h / stride, w / stride)."""
        shortcut = self.shortcut_norm(self.shortcut(images))
        branch = self.norm2(self.conv2(self.activation1(self.norm1(self.conv1(images)))))
        result: Tensor = self.activation2(shortcut + self.scale * branch)
        return result
