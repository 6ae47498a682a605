"""Attention and recurrent networks written out, from the parameters of torch's modules, with their layers marked."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.alignment.jacobians import tap


def project(name: str, x: Tensor, weight: Tensor, bias: Tensor | None, heads: int | None) -> Tensor:
    """W x + b, one layer or one for each head; (n, t, d) -> (n, t, k)."""
    h = functional.linear(x, weight, bias)
    if heads is None:
        return tap(name, h, weight)
    parts = zip(h.chunk(heads, -1), weight.chunk(heads), strict=True)
    return torch.cat([tap(f"{name}.{head}", part, rows) for head, (part, rows) in enumerate(parts)], -1)


def attention(
    module: nn.MultiheadAttention, name: str, query: Tensor, key: Tensor, value: Tensor, *, by_head: bool = False
) -> Tensor:
    """The same as the module on (n, t, d), whatever its ``batch_first``."""
    heads = module.num_heads
    if module.in_proj_weight is not None:
        weights = module.in_proj_weight.chunk(3)
    else:
        weights = (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
    biases = (None,) * 3 if module.in_proj_bias is None else module.in_proj_bias.chunk(3)
    q, k, v = (
        project(f"{name}.{part}", x, weight, bias, heads if by_head else None)
        .unflatten(-1, (heads, -1))
        .transpose(1, 2)
        for part, x, weight, bias in zip("qkv", (query, key, value), weights, biases, strict=True)
    )
    mixed = torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, -1) @ v
    return module.out_proj(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def self_attention(m: Any, x: Tensor) -> Tensor:
    """Self-attention and a readout, by torch's module."""
    if not m.attention.batch_first:
        x = x.transpose(0, 1)
    h = m.attention(x, x, x, need_weights=False)[0]
    return m.readout(h if m.attention.batch_first else h.transpose(0, 1))  # type: ignore[no-any-return]


def plain_self_attention(m: Any, x: Tensor) -> Tensor:
    """The same written out."""
    return m.readout(attention(m.attention, "attention", x, x, x, by_head=m.by_head))  # type: ignore[no-any-return]


def _keys_and_values(m: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    key = torch.tanh(m.key(x))
    return key, key if m.value is None else torch.tanh(m.value(key))


def cross_attention(m: Any, x: Tensor) -> Tensor:
    """Attention over keys and values computed from the queries, by torch's module."""
    return m.readout(m.attention(x, *_keys_and_values(m, x))[0])  # type: ignore[no-any-return]


def plain_cross_attention(m: Any, x: Tensor) -> Tensor:
    """The same written out."""
    return m.readout(attention(m.attention, "attention", x, *_keys_and_values(m, x)))  # type: ignore[no-any-return]


def plain_encoder(m: Any, x: Tensor) -> Tensor:
    """A transformer encoder without dropout, and a readout."""
    for i, layer in enumerate(m.encoder.layers):
        name = f"encoder.layers.{i}.self_attn"
        if layer.norm_first:
            h = layer.norm1(x)
            x = x + attention(layer.self_attn, name, h, h, h)
            x = x + layer.linear2(functional.gelu(layer.linear1(layer.norm2(x))))
        else:
            x = layer.norm1(x + attention(layer.self_attn, name, x, x, x))
            x = layer.norm2(x + layer.linear2(functional.gelu(layer.linear1(x))))
    return m.readout(x).mean(1)  # type: ignore[no-any-return]


def _step(kind: str, from_input: Tensor, from_hidden: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """One step of a cell from its two products; (h, c) after it."""
    if kind.startswith("LSTM"):
        i, f, g, o = (from_input + from_hidden).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c
    if kind.startswith("GRU"):
        (ri, zi, ni), (rh, zh, nh) = from_input.chunk(3, -1), from_hidden.chunk(3, -1)
        z = torch.sigmoid(zi + zh)
        return (1 - z) * torch.tanh(ni + torch.sigmoid(ri + rh) * nh) + z * h, c
    return torch.tanh(from_input + from_hidden), c


def _direction(module: nn.RNNBase, suffix: str, x: Tensor) -> Tensor:
    """One layer in one direction; (n, t, d) -> (n, t, hidden)."""
    w_ih, w_hh = (getattr(module, f"weight_{kind}_{suffix}") for kind in ("ih", "hh"))
    b_ih, b_hh = (getattr(module, f"bias_{kind}_{suffix}", None) for kind in ("ih", "hh"))
    inputs = tap(f"body.weight_ih_{suffix}", functional.linear(x, w_ih, b_ih), w_ih)
    h = c = x.new_zeros(len(x), module.hidden_size)
    outputs = []
    steps = list(inputs.unbind(1))
    for step in reversed(steps) if suffix.endswith("reverse") else steps:
        hidden = tap(f"body.weight_hh_{suffix}", functional.linear(h, w_hh, b_hh), w_hh)
        h, c = _step(module.mode, step, hidden, h, c)
        outputs.append(h)
    return torch.stack(outputs[::-1] if suffix.endswith("reverse") else outputs, 1)


def _directions(module: nn.RNNBase, layer: int) -> Iterator[str]:
    yield f"l{layer}"
    if module.bidirectional:
        yield f"l{layer}_reverse"


def plain_recurrent(m: Any, x: Tensor) -> Tensor:
    """A recurrent module without dropout, and a readout."""
    for layer in range(m.body.num_layers):
        x = torch.cat([_direction(m.body, suffix, x) for suffix in _directions(m.body, layer)], -1)
    return m.readout(x).mean(1)  # type: ignore[no-any-return]


def cells(m: Any, x: Tensor) -> Tensor:
    """A cell of torch over time, from a state that is not given, and a readout."""
    state = None
    for step in x.unbind(1):
        state = m.cell(step, state)
    return m.readout(state[0] if isinstance(state, tuple) else state)  # type: ignore[no-any-return]


def plain_cells(m: Any, x: Tensor) -> Tensor:
    """The same written out."""
    h = c = x.new_zeros(len(x), m.cell.hidden_size)
    for step in x.unbind(1):
        products = {}
        for kind in ("ih", "hh") if isinstance(m.cell, nn.GRUCell) else ("hh", "ih"):  # the order of torch's own
            weight, bias = getattr(m.cell, f"weight_{kind}"), getattr(m.cell, f"bias_{kind}")
            h_or_x = step if kind == "ih" else h
            products[kind] = tap(f"cell.weight_{kind}", functional.linear(h_or_x, weight, bias), weight)
        h, c = _step(type(m.cell).__name__, products["ih"], products["hh"], h, c)
    return m.readout(h)  # type: ignore[no-any-return]
