"""Networks of every kind, each with its layers marked so that K can be computed the plain way.

Where a module hides its pre-activations (attention, recurrent networks) a plain version of the same function, from the
same parameters, has the marks.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.checkpoint import checkpoint

from tests.alignment import plain
from tests.alignment.jacobians import computing_reference, tap, tap_parts

Forward = Callable[[Any, Tensor], Tensor]

INDEXED = "embedding: its weight is indexed, not multiplied"
ENTRYWISE = "added or multiplied entry by entry: no matrix product"
TRANSPOSED = "transposed convolution: one position is mapped to a patch, and patches overlap before any pre-activation"
CONSTANT = "what it multiplies does not depend on the samples"
NORMALISED = "weight normalisation: the matrix is computed from it"


class Net(nn.Module):
    """Parts, and a function of the network and its input that runs them."""

    def __init__(self, run: Forward, **parts: Any) -> None:
        """Keep modules, parameters and plain values under their names."""
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        """Run it."""
        return self.run(self, x)


@dataclass(frozen=True)
class Architecture:
    """A network in float64.

    Attributes:
        name: What it is called.
        build: Makes it.
        shape: Of one sample; None for a sequence of ``tokens`` token numbers.
        plain: The same function with its layers marked; the network itself where None.
        left_out: Owner of a weight -> why it is not measured.
        heads: Whether attention is measured by head.
        tokens: Length of a sequence of token numbers.
    """

    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...] | None
    plain: Forward | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    heads: bool = False
    tokens: int = 4

    def network(self) -> nn.Module:
        """Build it with fixed weights, in train mode; the global random state is left alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self.build().double()

    def inputs(self, n: int = 4) -> Tensor:
        """Draw n samples."""
        generator = torch.Generator().manual_seed(1)
        if self.shape is None:
            return torch.randint(VOCABULARY, (n, self.tokens), generator=generator)
        return torch.randn(n, *self.shape, dtype=torch.float64, generator=generator)


VOCABULARY = 6


def draw(*shape: int) -> nn.Parameter:
    """A plain parameter."""
    return nn.Parameter(torch.randn(*shape) / 2)


def on_top(body: nn.Module, features: int) -> nn.Sequential:
    """A readout after a body."""
    return nn.Sequential(body, nn.Tanh(), nn.Flatten(), nn.Linear(features, 2))


def heads_apart(h: Tensor, heads: int) -> Tensor:
    """(n, t, heads * size) -> (n, heads, t, size)."""
    return h.unflatten(-1, (heads, -1)).transpose(1, 2)  # type: ignore[no-any-return]


def softmax_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention (n, heads, t, size) written out."""
    return torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, -1) @ v


def fused(m: Any, x: Tensor, layout: str, attend: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
    """Attention whose query, key and value come from one linear layer, side by side or head by head."""
    h = functional.linear(x, m.qkv.weight, m.qkv.bias)
    size = len(m.qkv.weight) // 3 // m.heads
    rows = torch.arange(len(m.qkv.weight))
    grouped = rows.view(m.heads, 3, size).transpose(0, 1) if layout == "heads first" else rows.view(3, m.heads, size)
    parts: dict[str, list[int]] = {}
    for part, by_head in zip("qkv", grouped, strict=True):
        if m.by_head:
            parts |= {f"qkv.{part}.{head}": rows.tolist() for head, rows in enumerate(by_head)}
        else:
            parts[f"qkv.{part}"] = by_head.flatten().tolist()
    h = tap_parts(h, m.qkv.weight, parts)
    n, t, _ = h.shape
    if layout == "parts first":
        q, k, v = h.view(n, t, 3, m.heads, size).permute(2, 0, 3, 1, 4).unbind(0)
    elif layout == "chunks":
        q, k, v = (heads_apart(part, m.heads) for part in h.chunk(3, -1))
    else:
        q, k, v = h.view(n, t, m.heads, 3, size).permute(3, 0, 2, 1, 4).unbind(0)
    return m.out(attend(q, k, v).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def fused_net(layout: str, attend: Callable[[Tensor, Tensor, Tensor], Tensor], *, by_head: bool = False) -> Net:
    """Fused attention of two heads over 4 channels."""
    return Net(
        lambda m, x: fused(m, x, layout, attend),
        qkv=nn.Linear(4, 12),
        out=nn.Linear(4, 2),
        heads=2,
        by_head=by_head,
    )


SDPA = functional.scaled_dot_product_attention


def separate(m: Any, x: Tensor, project: Callable[[str, Tensor, int], Tensor]) -> Tensor:
    """Attention whose query, key and value come from layers of their own; pairs of query heads share key and value."""
    q, k, v = (heads_apart(project(name, x, heads), heads) for name, heads in (("q", 4), ("k", 2), ("v", 2)))
    q, k = rotated(q), rotated(functional.layer_norm(k, k.shape[-1:]))
    k, v = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
    return m.out(m.attend(q, k, v).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def rotated(h: Tensor) -> Tensor:
    """Rotate halves of heads (n, heads, t, size) by the position."""
    angles = torch.arange(h.shape[-2], dtype=h.dtype)[:, None]
    first, second = h.chunk(2, -1)
    return torch.cat([first * angles.cos() - second * angles.sin(), first * angles.sin() + second * angles.cos()], -1)


def separate_net(attend: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Net:
    """Four heads over 5 channels; key and value are normalised and have two heads."""
    return Net(
        lambda m, x: separate(m, x, lambda name, x, heads: getattr(m, name)(x)),
        q=nn.Linear(5, 16),
        k=nn.Linear(5, 8),
        v=nn.Linear(5, 8, bias=False),
        out=nn.Linear(16, 2),
        attend=attend,
    )


def plain_separate(m: Any, x: Tensor) -> Tensor:
    """The same with each head marked."""

    def project(name: str, x: Tensor, heads: int) -> Tensor:
        layer = getattr(m, name)
        return plain.project(name, x, layer.weight, layer.bias, heads)

    return separate(m, x, project)


def recurrent(m: Any, x: Tensor) -> Tensor:
    """A gated cell written with linear layers, over time."""
    h = x.new_zeros(len(x), 3)
    for step in x.unbind(1):
        gate = torch.sigmoid(m.gate(torch.cat([step, h], 1)))
        h = gate * h + (1 - gate) * torch.tanh(m.input(step) + m.hidden(h))
    return m.readout(h)  # type: ignore[no-any-return]


def state_by_state(m: Any, x: Tensor, initial: Tensor) -> Iterator[Tensor]:
    """States of a recurrent cell of plain parameters, from an initial one (n, 3)."""
    h = initial
    for step in x.unbind(1):
        h = torch.tanh(tap("u", functional.linear(h, m.u), m.u) + tap("w", functional.linear(step, m.w), m.w))
        yield h


def into_buffer(m: Any, x: Tensor) -> Tensor:
    """Samples first: every state is written where the readout finds it."""
    out = torch.zeros(len(x), x.shape[1], 3, dtype=x.dtype)
    for t, h in enumerate(state_by_state(m, x, torch.zeros(len(x), 3, dtype=x.dtype))):
        out[:, t] = h
    return m.readout(out)  # type: ignore[no-any-return]


def into_buffer_by_step(m: Any, x: Tensor) -> Tensor:
    """Steps first: each state is read back from the buffer, whose first entry is the initial one."""
    out = x.new_zeros(x.shape[1] + 1, len(x), 3)
    for t in range(x.shape[1]):
        out[t + 1] = next(state_by_state(m, x[:, t : t + 1], out[t].clone()))
    return m.readout(out[1:].transpose(0, 1))  # type: ignore[no-any-return]


def in_columns(m: Any, x: Tensor) -> Tensor:
    """W @ h with samples as columns, from a learned state."""
    h = m.initial[:, None].expand(-1, len(x))
    for step in x.unbind(1):
        h = torch.tanh(tap("u", (m.u @ h).T, m.u) + tap("w", functional.linear(step, m.w), m.w)).T
    return m.readout(h.T)  # type: ignore[no-any-return]


def one_by_one(m: Any, x: Tensor) -> Tensor:
    """A loop over the samples and over time; no product has more than one column."""
    states = []
    for sample in x:
        h = torch.zeros(3, dtype=x.dtype)
        for step in sample:
            h = torch.tanh(tap("u", m.u @ h, m.u) + tap("w", torch.addmv(m.b, m.w, step), m.w))
        states.append(h)
    return m.readout(torch.stack(states))  # type: ignore[no-any-return]


def cell(run: Forward, **more: Any) -> Net:
    """A recurrent network of plain parameters."""
    return Net(run, u=draw(3, 3), w=draw(3, 2), readout=nn.Linear(3, 2), **more)


def counted(x: Tensor) -> Tensor:
    """A table (4, 1) of positions."""
    return torch.arange(4, dtype=x.dtype)[:, None]


def in_place(m: Any, x: Tensor) -> Tensor:
    """Everything that can be done to a pre-activation in place."""
    h = functional.relu(m.first(x), inplace=True)
    h = m.second(h)
    h += 1
    h.tanh_()
    h = m.third(h)
    h[:, 0] = 0
    h.mul_(2)
    return m.readout(functional.leaky_relu_(h))  # type: ignore[no-any-return]


def branching(m: Any, x: Tensor) -> Tensor:
    """Two branches, one gating the other, and a skip from the input."""
    left, right = m.left(x), m.right(x)
    return m.readout(torch.cat([left * torch.sigmoid(right), right.square(), x], 1))  # type: ignore[no-any-return]


def tied(m: Any, x: Tensor) -> Tensor:
    """A language model whose readout is its embedding."""
    return m.decode(torch.tanh(m.mix(m.embed(x))))  # type: ignore[no-any-return]


def tie(model: Net, first: str, second: str) -> Net:
    """Give one module the weight of another."""
    model.get_submodule(second).weight = model.get_submodule(first).weight
    return model


def autoencoder(m: Any, x: Tensor) -> Tensor:
    """W^T tanh(W x), W a linear module's."""
    code = torch.tanh(m.encode(x))
    weight = m.encode.weight.T
    return tap("encode^T", functional.linear(code, weight), weight)


def checkpointed(m: Any, x: Tensor) -> Tensor:
    """A part whose activations are thrown away and computed anew."""
    run = m.body if computing_reference() else partial(checkpoint, m.body, use_reentrant=False)
    return m.readout(run(m.first(x)))  # type: ignore[no-any-return]


def frozen(model: nn.Module) -> nn.Module:
    """A network none of whose parameters requires gradients, some of which hold one."""
    return model.requires_grad_(False)


MODULES = [
    Architecture("linear", lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), (4,)),
    Architecture(
        "no bias", lambda: nn.Sequential(nn.Linear(4, 5, bias=False), nn.Tanh(), nn.Linear(5, 3, bias=False)), (4,)
    ),
    Architecture("one output", lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1)), (4,)),
    Architecture("conv1d", lambda: on_top(nn.Conv1d(2, 3, 3, stride=2, padding=1, dilation=2), 12), (2, 9)),
    Architecture("conv2d", lambda: on_top(nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 0)), 27), (2, 5, 4)),
    Architecture("conv3d", lambda: on_top(nn.Conv3d(2, 3, 2, padding=1, stride=2), 24), (2, 3, 3, 2)),
    Architecture("conv same", lambda: on_top(nn.Conv1d(2, 3, 4, padding="same"), 18), (2, 6)),
    Architecture(
        "conv circular", lambda: on_top(nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), 36), (2, 3, 4)
    ),
    Architecture("conv reflect", lambda: on_top(nn.Conv1d(2, 3, 3, padding=2, padding_mode="reflect"), 24), (2, 6)),
    Architecture("conv grouped", lambda: on_top(nn.Conv2d(4, 6, 2, groups=2, stride=2), 24), (4, 4, 4)),
    Architecture("conv depthwise", lambda: on_top(nn.Conv2d(3, 3, 3, groups=3, padding=1), 27), (3, 3, 3)),
    Architecture("conv depthwise, two each", lambda: on_top(nn.Conv1d(3, 6, 3, groups=3, dilation=2), 18), (3, 7)),
    Architecture(
        "conv of functional",
        lambda: Net(
            lambda m, x: m.readout(
                tap("kernel", functional.conv1d(x, m.kernel, padding=1), m.kernel, (1,)).tanh().flatten(1)
            ),
            kernel=draw(3, 2, 3),
            readout=nn.Linear(12, 2),
        ),
        (2, 4),
    ),
    Architecture(
        "residual",
        lambda: Net(
            lambda m, x: m.readout(m.first(x) + torch.tanh(m.block(m.first(x)))),
            first=nn.Linear(4, 5),
            block=nn.Linear(5, 5),
            readout=nn.Linear(5, 3),
        ),
        (4,),
    ),
    Architecture(
        "branching",
        lambda: Net(branching, left=nn.Linear(4, 3), right=nn.Linear(4, 3), readout=nn.Linear(10, 2)),
        (4,),
    ),
    Architecture(
        "module used twice",
        lambda: Net(
            lambda m, x: m.readout(torch.tanh(m.shared(torch.tanh(m.shared(x))))),
            shared=nn.Linear(4, 4),
            readout=nn.Linear(4, 2),
        ),
        (4,),
    ),
    Architecture(
        "weight of two modules",
        lambda: tie(
            Net(
                lambda m, x: m.readout(torch.tanh(m.second(torch.tanh(m.first(x))))),
                first=nn.Linear(4, 4),
                second=nn.Linear(4, 4),
                readout=nn.Linear(4, 2),
            ),
            "first",
            "second",
        ),
        (4,),
    ),
    Architecture(
        "embedding is readout",
        lambda: tie(
            Net(tied, embed=nn.Embedding(VOCABULARY, 4), mix=nn.Linear(4, 4), decode=nn.Linear(4, VOCABULARY)),
            "embed",
            "decode",
        ),
        None,
    ),
    Architecture("autoencoder", lambda: Net(autoencoder, encode=nn.Linear(5, 3)), (5,)),
    Architecture(
        "in place",
        lambda: Net(
            in_place,
            first=nn.Linear(4, 5),
            second=nn.Linear(5, 4),
            third=nn.Linear(4, 4, bias=False),
            readout=nn.Linear(4, 2),
        ),
        (4,),
    ),
    Architecture(
        "normalisation and dropout",
        lambda: nn.Sequential(
            nn.Conv1d(2, 4, 2),
            nn.BatchNorm1d(4),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.GroupNorm(2, 4),
            nn.Flatten(),
            nn.LayerNorm(16),
            nn.Linear(16, 5),
            nn.RMSNorm(5),
            nn.GELU(),
            nn.AlphaDropout(0.5),
            nn.Linear(5, 2),
        ),
        (2, 5),
    ),
    Architecture(
        "norm of two axes",
        lambda: nn.Sequential(nn.LayerNorm((3, 4)), nn.Linear(4, 2)),
        (3, 4),
        left_out={
            "0": "normalisation: its weight multiplies entry by entry",
            "0.bias": "normalisation: its weight multiplies entry by entry",
        },
    ),
    Architecture(
        "embedding",
        lambda: Net(
            lambda m, x: m.readout(torch.tanh(m.mix(m.embed(x) + m.position))),
            embed=nn.Embedding(VOCABULARY, 3),
            position=draw(1, 4, 3),
            mix=nn.Linear(3, 4),
            readout=nn.Linear(4, 2),
        ),
        None,
        left_out={"position": ENTRYWISE, "embed": INDEXED},
    ),
    Architecture("per token", lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), (3, 3)),
    Architecture(
        "per pixel", lambda: nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Tanh(), nn.Conv2d(3, 2, 1)), (2, 2, 3)
    ),
    Architecture(
        "upsampled",
        lambda: nn.Sequential(nn.Conv1d(2, 3, 2), nn.Upsample(scale_factor=2, mode="linear"), nn.Conv1d(3, 2, 1)),
        (2, 4),
    ),
]

PLAIN_PARAMETERS = [
    Architecture(
        "x @ W",
        lambda: Net(
            lambda m, x: m.readout(torch.tanh(tap("w", x @ m.w, m.w.T))), w=draw(4, 5), readout=nn.Linear(5, 2)
        ),
        (4,),
    ),
    Architecture(
        "x @ W of tokens",
        lambda: Net(
            lambda m, x: m.readout(torch.tanh(tap("w", x @ m.w, m.w.T))), w=draw(4, 5), readout=nn.Linear(5, 2)
        ),
        (3, 4),
    ),
    Architecture(
        "W @ x",
        lambda: Net(
            lambda m, x: m.readout(torch.tanh(tap("w", m.w @ x, m.w, (1,))).flatten(1)),
            w=draw(5, 4),
            readout=nn.Linear(15, 2),
        ),
        (4, 3),
    ),
    Architecture(
        "W @ x.T",
        lambda: Net(
            lambda m, x: m.readout(torch.tanh(tap("w", (m.w @ x.T).T, m.w))), w=draw(5, 4), readout=nn.Linear(5, 2)
        ),
        (4,),
    ),
    Architecture(
        "addmm",
        lambda: Net(
            lambda m, x: m.readout(torch.tanh(tap("w", torch.addmm(m.b, x, m.w), m.w.T))),
            w=draw(4, 5),
            b=draw(5),
            readout=nn.Linear(5, 2),
        ),
        (4,),
    ),
    Architecture(
        "rows of W",
        lambda: Net(
            lambda m, x: m.readout(
                torch.tanh(
                    tap("w[0:2]", functional.linear(x, m.w[:2]), m.w[:2])
                    * tap("w[2:4]", functional.linear(x, m.w[2:]), m.w[2:])
                )
            ),
            w=draw(4, 3),
            readout=nn.Linear(2, 2),
        ),
        (3,),
    ),
    Architecture(
        "einsum nd,kd->nk",
        lambda: Net(
            lambda m, x: m.readout(torch.tanh(tap("w", torch.einsum("nd,kd->nk", x, m.w), m.w))),
            w=draw(5, 4),
            readout=nn.Linear(5, 2),
        ),
        (4,),
    ),
    Architecture(
        "einsum ntd,dk->ntk",
        lambda: Net(
            lambda m, x: m.readout(torch.tanh(tap("w", torch.einsum("ntd,dk->ntk", x, m.w), m.w.T))),
            w=draw(4, 5),
            readout=nn.Linear(5, 2),
        ),
        (3, 4),
    ),
    Architecture(
        "einsum nhd,hdk->nhk",
        lambda: Net(
            lambda m, x: m.readout(
                torch.tanh(tap("w", torch.einsum("nhd,hdk->nhk", x, m.w), m.w.mT, (1, 2))).flatten(1)
            ),
            w=draw(3, 4, 2),
            readout=nn.Linear(6, 2),
        ),
        (3, 4),
    ),
    Architecture(
        "einsum nthd,hkd->nthk",
        lambda: Net(
            lambda m, x: m.readout(
                torch.tanh(tap("w", torch.einsum("nthd,hkd->nthk", x, m.w), m.w, (2, 3))).flatten(1)
            ),
            w=draw(3, 2, 4),
            readout=nn.Linear(12, 2),
        ),
        (2, 3, 4),
    ),
    Architecture(
        "einsum ntd,dhk->nthk",
        lambda: Net(
            lambda m, x: m.readout(
                torch.tanh(tap("w", torch.einsum("ntd,dhk->nthk", x, m.w).flatten(2), m.w.flatten(1).T)).flatten(1)
            ),
            w=draw(4, 3, 2),
            readout=nn.Linear(12, 2),
        ),
        (2, 4),
    ),
    Architecture(
        "bmm",
        lambda: Net(
            lambda m, x: m.readout(torch.tanh(tap("w", torch.bmm(x, m.w.expand(len(x), 4, 3)), m.w.T)).flatten(1)),
            w=draw(4, 3),
            readout=nn.Linear(6, 2),
        ),
        (2, 4),
    ),
]

# What an operation multiplies by alpha, and what it copies before it multiplies.
SCALED_AND_COPIED = [
    Architecture(
        "addmm with alpha",
        lambda: Net(
            lambda m, x: m.readout(
                torch.tanh(
                    m.b / 2 + 3 * tap("w", x @ m.w, m.w.T)
                    if computing_reference()
                    else torch.addmm(m.b, x, m.w, beta=0.5, alpha=3)
                )
            ),
            w=draw(4, 5),
            b=draw(5),
            readout=nn.Linear(5, 2),
        ),
        (4,),
    ),
    Architecture(
        "baddbmm with alpha",
        lambda: Net(
            lambda m, x: m.readout(
                torch.tanh(
                    3 * m.b + 0.5 * tap("w", x @ m.w, m.w.T)
                    if computing_reference()
                    else torch.baddbmm(m.b, x, m.w.expand(len(x), -1, -1), beta=3, alpha=0.5)
                )
            ).flatten(1),
            w=draw(4, 3),
            b=draw(3),
            readout=nn.Linear(3, 2),
        ),
        (2, 4),
    ),
    Architecture(
        "addmv with alpha, sample by sample",
        lambda: Net(
            lambda m, x: m.readout(
                torch.tanh(
                    torch.stack(
                        [
                            m.b - 2 * tap("w", m.w @ one, m.w)
                            if computing_reference()
                            else torch.addmv(m.b, m.w, one, alpha=-2)
                            for one in x
                        ]
                    )
                )
            ),
            w=draw(5, 4),
            b=draw(5),
            readout=nn.Linear(5, 2),
        ),
        (4,),
    ),
    Architecture(
        "addbmm with alpha, sample by sample",
        lambda: Net(
            lambda m, x: m.readout(
                torch.tanh(
                    torch.stack(
                        [
                            m.b + 2 * tap("w", torch.einsum("bti,bij->tj", one, m.w), m.w.permute(2, 0, 1).flatten(1))
                            if computing_reference()
                            else torch.addbmm(m.b, one, m.w, alpha=2)
                            for one in x
                        ]
                    )
                )
            ),
            w=draw(3, 4, 2),
            b=draw(2),
            readout=nn.Linear(2, 2),
        ),
        (3, 2, 4),
    ),
    Architecture(
        "one weight with two alphas",
        lambda: Net(
            lambda m, x: m.readout(
                torch.tanh(m.b - 3 * tap("w", torch.tanh(2 * tap("w", x @ m.w, m.w.T)) @ m.w, m.w.T))
                if computing_reference()
                else torch.tanh(torch.addmm(m.b, torch.tanh(torch.addmm(m.b, x, m.w, beta=0, alpha=2)), m.w, alpha=-3))
            ),
            w=draw(4, 4),
            b=draw(4),
            readout=nn.Linear(4, 2),
        ),
        (4,),
    ),
    Architecture(
        "einsum btd,hde->bhte",
        lambda: Net(
            lambda m, x: m.readout(
                torch.tanh(
                    tap(
                        "w",
                        torch.einsum("btd,hde->bthe", x, m.w).flatten(2),
                        m.w.permute(0, 2, 1).flatten(0, 1),
                    )
                    .unflatten(-1, (3, 2))
                    .transpose(1, 2)
                    if computing_reference()
                    else torch.einsum("btd,hde->bhte", x, m.w)
                )
            ).flatten(1),
            w=draw(3, 4, 2),
            readout=nn.Linear(2, 2),
        ),
        (2, 4),
    ),
    Architecture(
        "x[:, None] @ W",
        lambda: Net(
            lambda m, x: m.readout(torch.tanh(tap("w", x[:, None] @ m.w, m.w.mT, (1, 3)))).flatten(1),
            w=draw(3, 4, 2),
            readout=nn.Linear(2, 2),
        ),
        (2, 4),
    ),
    Architecture(
        "a copy in another layout",
        lambda: Net(
            lambda m, x: m.readout(torch.tanh(tap("w", x @ m.w.T.contiguous(), m.w))),
            w=draw(5, 4),
            readout=nn.Linear(5, 2),
        ),
        (4,),
    ),
    Architecture(
        "columns and blocks of W",
        lambda: Net(
            lambda m, x: m.readout(
                torch.tanh(
                    tap("w[:,0:2]", functional.linear(x[:, :2], m.w[:, :2]), m.w[:, :2])
                    + tap("v[1]", functional.linear(x, m.v[1]), m.v[1])
                    + tap("v[0,:,2:4]", functional.linear(x[:, 2:], m.v[0, :, 2:]), m.v[0, :, 2:])
                )
            ),
            w=draw(3, 4),
            v=draw(2, 3, 4),
            readout=nn.Linear(3, 2),
        ),
        (4,),
    ),
]

VECTORS = [
    Architecture(
        "x @ a",
        lambda: Net(
            lambda m, x: tap("a", (torch.relu(m.first(x)) @ m.a)[:, None], m.a[None]), first=nn.Linear(4, 5), a=draw(5)
        ),
        (4,),
    ),
    Architecture(
        "x @ a of tokens",
        lambda: Net(
            lambda m, x: tap("a", (torch.tanh(m.first(x)) @ m.a)[..., None], m.a[None]),
            first=nn.Linear(4, 5),
            a=draw(5),
        ),
        (3, 4),
    ),
    Architecture(
        "x @ a and a @ x",
        lambda: Net(
            lambda m, x: torch.sin(tap("a", (x @ m.a)[:, None], m.a[None])) * tap("a", (m.a @ x.T)[:, None], m.a[None]),
            a=draw(5),
        ),
        (5,),
    ),
    Architecture(
        "W @ x, sample by sample",
        lambda: Net(
            lambda m, x: torch.stack(
                [tap("a", (m.a @ torch.tanh(tap("w", m.w @ one, m.w)))[None], m.a[None]) for one in x]
            ),
            w=draw(5, 4),
            a=draw(5),
        ),
        (4,),
    ),
    Architecture(
        "rows of W, sample by sample",
        lambda: Net(
            lambda m, x: m.readout(torch.tanh(torch.stack([tap("w[0:2]", m.w[:2] @ one, m.w[:2]) for one in x]))),
            w=draw(4, 3),
            readout=nn.Linear(2, 2),
        ),
        (3,),
    ),
]

LEFT_OUT = [
    Architecture(
        "table of as many rows as samples",
        lambda: Net(
            lambda m, x: m.mix(torch.tanh(m.first(x + counted(x) @ m.p))),
            p=draw(1, 3),
            first=nn.Linear(3, 4),
            mix=nn.Linear(4, 2),
        ),
        (4, 3),
        left_out={"p": CONSTANT},
    ),
    Architecture(
        "matrix of as many rows as samples",
        lambda: Net(
            lambda m, x: m.readout(torch.tanh(x @ (torch.eye(4, dtype=x.dtype) @ m.p))),
            p=draw(4, 3),
            readout=nn.Linear(3, 2),
        ),
        (4,),
        left_out={"p": CONSTANT},
    ),
    Architecture(
        "transposed convolution",
        lambda: on_top(nn.Sequential(nn.Conv1d(2, 3, 2), nn.Tanh(), nn.ConvTranspose1d(3, 2, 2, stride=2)), 16),
        (2, 5),
        left_out={"0.2": TRANSPOSED},
    ),
    Architecture(
        "weight norm",
        lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), weight_norm(nn.Linear(5, 4)), nn.Tanh(), nn.Linear(4, 2)),
        (4,),
        left_out={
            "2.parametrizations.weight.original0": NORMALISED,
            "2.parametrizations.weight.original1": NORMALISED,
        },
    ),
    Architecture(
        "bilinear",
        lambda: Net(
            lambda m, x: m.readout(torch.tanh(m.pair(m.first(x), x))),
            first=nn.Linear(4, 3),
            pair=nn.Bilinear(3, 4, 5),
            readout=nn.Linear(5, 2),
        ),
        (4,),
        left_out={"pair": "bilinear: its weight multiplies two inputs"},
    ),
]

ATTENTION = [
    *(
        Architecture(
            f"multihead self, {'batch' if batch_first else 'sequence'} first{', by head' if heads else ''}",
            partial(
                lambda batch_first, heads: Net(
                    plain.self_attention,
                    attention=nn.MultiheadAttention(4, 2, batch_first=batch_first),
                    readout=nn.Linear(4, 2),
                    by_head=heads,
                ),
                batch_first,
                heads,
            ),
            (3, 4),
            plain=plain.plain_self_attention,
            heads=heads,
        )
        for batch_first in (True, False)
        for heads in (False, True)
    ),
    *(
        Architecture(
            f"multihead cross, {name}",
            partial(
                lambda options: Net(
                    plain.cross_attention,
                    attention=nn.MultiheadAttention(4, 2, batch_first=True, **options),
                    key=nn.Linear(4, options.get("kdim", 4)),
                    value=nn.Linear(options["kdim"], options["vdim"]) if "vdim" in options else None,
                    readout=nn.Linear(4, 2),
                    by_head=False,
                ),
                options,
            ),
            (3, 4),
            plain=plain.plain_cross_attention,
        )
        for name, options in (
            ("one dimension", {}),
            ("kdim and vdim", {"kdim": 5, "vdim": 3}),
            ("no bias", {"bias": False}),
        )
    ),
    *(
        Architecture(
            f"fused qkv, {layout}, {name}{', by head' if heads else ''}",
            partial(fused_net, layout, attend, by_head=heads),
            (3, 4),
            heads=heads,
        )
        for layout in ("parts first", "heads first", "chunks")
        for name, attend in (("sdpa", SDPA), ("softmax", softmax_attention))
        for heads in (False, True)
    ),
    *(
        Architecture(
            f"separate projections, grouped heads, {name}, by head",
            partial(separate_net, attend),
            (3, 5),
            plain=plain_separate,
            heads=True,
        )
        for name, attend in (("sdpa", SDPA), ("softmax", softmax_attention))
    ),
    *(
        Architecture(
            f"transformer encoder, norm {'first' if norm_first else 'last'}",
            partial(
                lambda norm_first: Net(
                    lambda m, x: m.readout(m.encoder(x)).mean(1),
                    encoder=nn.TransformerEncoder(
                        nn.TransformerEncoderLayer(
                            4, 2, 6, 0.1, batch_first=True, norm_first=norm_first, activation="gelu"
                        ),
                        2,
                        enable_nested_tensor=False,
                    ),
                    readout=nn.Linear(4, 2),
                ),
                norm_first,
            ),
            (3, 4),
            plain=plain.plain_encoder,
        )
        for norm_first in (False, True)
    ),
]

RECURRENT = [
    Architecture("states written into a buffer", lambda: cell(into_buffer), (4, 2)),
    Architecture("states read from a buffer", lambda: cell(into_buffer_by_step), (4, 2)),
    Architecture(
        "learned initial state",
        lambda: cell(
            lambda m, x: m.readout(list(state_by_state(m, x, m.initial.expand(len(x), -1)))[-1]), initial=draw(3)
        ),
        (4, 2),
    ),
    Architecture(
        "one step",
        lambda: cell(lambda m, x: m.readout(next(state_by_state(m, x, torch.ones(len(x), 3, dtype=x.dtype))))),
        (1, 2),
    ),
    Architecture("learned initial state in columns", lambda: cell(in_columns, initial=draw(3)), (4, 2)),
    Architecture("cell, sample by sample", lambda: cell(one_by_one, b=draw(3)), (4, 2)),
    Architecture(
        "cell of linear layers",
        lambda: Net(
            recurrent, input=nn.Linear(2, 3), hidden=nn.Linear(3, 3), gate=nn.Linear(5, 3), readout=nn.Linear(3, 2)
        ),
        (4, 2),
    ),
    *(
        Architecture(
            f"{kind.__name__}, {name}",
            partial(
                lambda kind, options: Net(
                    lambda m, x: m.readout(m.body(x)[0]).mean(1),
                    body=kind(2, 3, batch_first=True, **options),
                    readout=nn.Linear(options.get("proj_size", 3) * (2 if options.get("bidirectional") else 1), 2),
                ),
                kind,
                options,
            ),
            (3, 2),
            plain=plain.plain_recurrent,
        )
        for kind in (nn.RNN, nn.LSTM, nn.GRU)
        for name, options in (
            ("1 layer", {}),
            ("2 layers", {"num_layers": 2, "dropout": 0.5}),
            ("bidirectional", {"num_layers": 2, "bidirectional": True, "bias": False}),
        )
    ),
    *(
        Architecture(
            f"{kind.__name__}",
            partial(
                lambda kind: Net(plain.cells, cell=kind(2, 3), readout=nn.Linear(3, 2)),
                kind,
            ),
            (3, 2),
            plain=plain.plain_cells,
        )
        for kind in (nn.RNNCell, nn.LSTMCell, nn.GRUCell)
    ),
]

READOUTS = [
    Architecture("readout of pixels", lambda: nn.Conv2d(2, 3, 2), (2, 3, 4)),
    Architecture("readout of groups", lambda: nn.Conv1d(4, 4, 2, groups=2), (4, 4)),
    Architecture("readout of tokens", lambda: nn.Linear(4, 3), (2, 4)),
    Architecture(
        "readout called twice",
        lambda: Net(lambda m, x: m.readout(torch.tanh(x)) + m.readout(x.square()), readout=nn.Linear(4, 3)),
        (4,),
    ),
    Architecture(
        "readout beside another",
        lambda: Net(lambda m, x: m.readout(x) + m.other(x), readout=nn.Linear(4, 3), other=nn.Linear(4, 3, bias=False)),
        (4,),
    ),
    Architecture(
        "attention is the readout",
        lambda: Net(
            lambda m, x: tap_parts(functional.linear(x, m.qkv.weight), m.qkv.weight, {"qkv": list(range(6))}),
            qkv=nn.Linear(4, 6, bias=False),
        ),
        (3, 4),
    ),
    Architecture(
        "readout with the samples last",
        lambda: Net(lambda m, x: tap("w", (m.w @ x.T).T, m.w), w=draw(3, 4)),
        (4,),
    ),
]

CIRCUMSTANCES = [
    Architecture(
        "checkpoint",
        lambda: Net(
            checkpointed,
            first=nn.Linear(4, 5),
            body=nn.Sequential(nn.Tanh(), nn.Linear(5, 4), nn.ReLU(inplace=True), nn.Linear(4, 4), nn.Tanh()),
            readout=nn.Linear(4, 2),
        ),
        (4,),
    ),
    Architecture("frozen", lambda: frozen(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))), (4,)),
    Architecture(
        "frozen in part",
        lambda: nn.Sequential(nn.Linear(4, 5).requires_grad_(False), nn.Tanh(), nn.Linear(5, 2)),
        (4,),
    ),
]

ARCHITECTURES = [
    *MODULES,
    *PLAIN_PARAMETERS,
    *SCALED_AND_COPIED,
    *VECTORS,
    *LEFT_OUT,
    *ATTENTION,
    *RECURRENT,
    *READOUTS,
    *CIRCUMSTANCES,
]
