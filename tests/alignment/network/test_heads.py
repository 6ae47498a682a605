"""``heads=True``: which projections are cut, into which rows, and what is refused."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import nfa
from nfa.alignment import weight_gradients
from nfa.models.blocks import EncoderBlock
from tests.alignment.architectures import Net, heads_apart, rotated, softmax_attention
from tests.alignment.comparing import assert_matrix_close

Projections = tuple[Tensor, ...]  # query, key and value
N, T, D, HEADS, SIZE = 6, 3, 5, 2, 4
WIDTH = HEADS * SIZE


def samples() -> Tensor:
    """Draw sequences (N, T, D)."""
    return torch.randn(N, T, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def usual(m: Any, x: Tensor) -> Projections:
    """Query, key and value (N, heads, T, size) from linear layers."""
    return tuple(heads_apart(layer(x), HEADS) for layer in (m.q, m.k, m.v))


def linear() -> nn.Module:
    return nn.Linear(D, WIDTH)


def matrix(*shape: int) -> Callable[[], nn.Parameter]:
    return lambda: nn.Parameter(torch.randn(*shape) / 2)


def network(
    project: Any = usual,
    attend: Any = softmax_attention,
    **parts: Any,
) -> Any:
    """Attention over projections, and a readout; ``parts`` make linear layers, or what is used in their place."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = {name: make() for name, make in {"q": linear, "k": linear, "v": linear, **parts}.items()}
        return Net(
            lambda m, x: m.out(attend(*project(m, x)).transpose(1, 2).flatten(2)), **made, out=nn.Linear(WIDTH, 2)
        ).double()


def of_query(change: Callable[[Any, Tensor, Tensor], Tensor]) -> Callable[[Any, Tensor], Projections]:
    """The usual projections with the query changed: (network, x, q (N, heads, T, size)) -> q."""
    return lambda m, x: (change(m, x, (found := usual(m, x))[0]), *found[1:])


def axes(equation: str, *shape: int) -> Any:
    """Projections by weights with an axis for the heads."""
    return network(
        lambda m, x: tuple(torch.einsum(equation, x, w) for w in (m.q, m.k, m.v)),
        **dict.fromkeys("qkv", matrix(*shape)),
    )


def one_by_one(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend head by head."""
    heads = zip(q.unbind(1), k.unbind(1), v.unbind(1), strict=True)
    return torch.stack([torch.softmax(a @ b.mT, -1) @ c for a, b, c in heads], 1)


def heads_first(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend with the axis of heads before that of samples."""
    return softmax_attention(q.transpose(0, 1), k.transpose(0, 1), v.transpose(0, 1)).transpose(0, 1)


CUT: dict[str, Callable[[], nn.Module]] = {
    "linear layers": network,
    "head by head": lambda: network(attend=one_by_one),
    "heads first": lambda: network(attend=heads_first),
    "rotated by position": lambda: network(of_query(lambda m, x, q: rotated(q))),
    "normalised head by head": lambda: network(of_query(lambda m, x, q: functional.layer_norm(q, q.shape[-1:]))),
    "with an adapter of low rank": lambda: network(
        of_query(lambda m, x, q: q + heads_apart(m.up(m.down(x)), HEADS)),
        down=lambda: nn.Linear(D, 2),
        up=lambda: nn.Linear(2, WIDTH),
    ),
    "read by another weight, too": lambda: network(
        lambda m, x: ((found := usual(m, x))[0], found[1], found[2] + m.other(found[0])),
        other=lambda: nn.Linear(SIZE, 1),
    ),
    "convolutions": lambda: network(
        lambda m, x: tuple(layer(x.mT).unflatten(1, (HEADS, SIZE)).mT for layer in (m.q, m.k, m.v)),
        **dict.fromkeys("qkv", lambda: nn.Conv1d(D, WIDTH, 1)),
    ),
    "weights (head, input, entry)": lambda: axes("btd,hdk->bhtk", HEADS, D, SIZE),
    "weights (input, head, entry)": lambda: axes("btd,dhk->bhtk", D, HEADS, SIZE),
    "weights (head, entry, input)": lambda: axes("btd,hkd->bhtk", HEADS, SIZE, D),
}


@pytest.mark.parametrize("make", CUT.values(), ids=CUT)
def test_every_head_is_a_block_of_rows(make: Callable[[], nn.Module]) -> None:
    model, inputs = make(), samples()
    whole = nfa.covariances(model, inputs)
    by_head = nfa.covariances(model, inputs, heads=True)
    cut = {*"qkv", "up"} & set(whole)
    assert set(by_head) == {name for name in whole if name not in cut} | {f"{name}.{i}" for name in cut for i in (0, 1)}
    for name in cut:
        for head in range(HEADS):
            rows = slice(head * SIZE, (head + 1) * SIZE)
            assert_matrix_close(by_head[f"{name}.{head}"], whole[name][rows, rows], what=f"{name}.{head}")
    assert nfa.check(model, inputs, heads=True).passed.all()


def test_three_heads_one_by_one_are_no_query_key_and_value() -> None:
    """Each projection is used in three thirds, as a joint projection of query, key and value is."""
    parts = {name: nn.Linear(D, 12) for name in "qkv"}
    model = Net(
        lambda m, x: m.out(
            one_by_one(*(heads_apart(layer(x), 3) for layer in (m.q, m.k, m.v))).transpose(1, 2).flatten(2)
        ),
        **parts,
        out=nn.Linear(12, 2),
    ).double()
    assert list(nfa.covariances(model, samples())) == [*"qkv", "out"]
    by_head = nfa.covariances(model, samples(), heads=True)
    assert list(by_head) == [*(f"{name}.{head}" for name in "qkv" for head in range(3)), "out"]


def test_separate_and_joint_projections_give_the_same_numbers() -> None:
    model, inputs = network(), samples()
    joint = nn.Linear(D, 3 * WIDTH).double()
    with torch.no_grad():
        joint.weight.copy_(torch.cat([layer.weight for layer in (model.q, model.k, model.v)]))
        joint.bias.copy_(torch.cat([layer.bias for layer in (model.q, model.k, model.v)]))
    fused = Net(
        lambda m, x: m.out(
            softmax_attention(*(heads_apart(h, HEADS) for h in m.qkv(x).chunk(3, -1))).transpose(1, 2).flatten(2)
        ),
        qkv=joint,
        out=model.out,
    )
    separate = nfa.measure(model, inputs, heads=True).drop(columns="layer_index")
    together = nfa.measure(fused, inputs, heads=True).drop(columns="layer_index")
    together.layer = together.layer.str.removeprefix("qkv.")
    keys = ["layer", "quantity", "correlation", "power"]
    assert set(separate.layer) == {"q.0", "q.1", "k.0", "k.1", "v.0", "v.1", "out"}
    found, expected = (table.set_index(keys).value.sort_index() for table in (separate, together))
    assert found.index.equals(expected.index)
    # Random rotations of K are drawn for each layer by its name, so controls differ.
    same = found[~found.index.get_level_values("quantity").str.contains("haar")]
    assert len(same) > 50
    assert (same - expected[same.index]).abs().max() < 1e-9


def test_heads_that_share_keys_and_values() -> None:
    """Four heads of the query, two of key and value; with all rows of the two in one product."""
    model = Net(
        lambda m, x: m.out(
            softmax_attention(
                heads_apart(m.q(x), 4), *(heads_apart(h, 2).repeat_interleave(2, 1) for h in m.kv(x).chunk(2, -1))
            )
            .transpose(1, 2)
            .flatten(2)
        ),
        q=nn.Linear(D, 12),
        kv=nn.Linear(D, 12),
        out=nn.Linear(12, 2),
    ).double()
    whole, by_head = nfa.covariances(model, samples()), nfa.covariances(model, samples(), heads=True)
    places = {f"q.{i}": ("q", 3 * i) for i in range(4)} | {
        f"kv.{part}.{i}": ("kv", 3 * i + start) for part, start in (("k", 0), ("v", 6)) for i in range(2)
    }
    assert list(by_head) == [*places, "out"]
    for name, (layer, row) in places.items():
        assert_matrix_close(by_head[name], whole[layer][row : row + 3, row : row + 3], what=name)


def test_the_projections_of_the_transformer_of_sweeps() -> None:
    model = Net(
        lambda m, x: m.readout(m.block(x).mean(1)),
        block=EncoderBlock(D * 2, 5, 4, "gelu", bias=True),
        readout=nn.Linear(D * 2, 2),
    ).double()
    found = nfa.covariances(model, torch.cat([samples(), samples().flip(0)], -1), heads=True)
    heads = [f"block.{part}.{head}" for part in ("query", "key", "value") for head in range(5)]
    assert list(found) == [*heads, "block.output", "block.up", "block.down", "readout"]
    assert all(found[name].shape == (2, 2) for name in heads)


def test_a_part_of_a_query_that_all_heads_share_stays_whole() -> None:
    """The residual stream is no projection, even where it is added to a query."""
    model = network(
        lambda m, x: usual(m, m.embed(x)), embed=lambda: nn.Linear(D, WIDTH), **dict.fromkeys("qkv", lambda: Skip())
    )
    assert set(nfa.covariances(model, samples(), heads=True)) == {
        "embed",
        "out",
        *(f"{name}.layer.{head}" for name in "qkv" for head in range(HEADS)),
    }


class Skip(nn.Module):
    """x + W x."""

    def __init__(self) -> None:
        """Make W."""
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, t, width) to the same shape."""
        result: Tensor = x + self.layer(x)
        return result


def in_rows(m: Any, x: Tensor) -> Projections:
    """Both heads of the query, one below the other in one matrix, meet one key and value."""
    q, k, v = usual(m, x)
    return q.flatten(1, 2)[:, None], k[:, :1], v[:, :1]


def overlapping(m: Any, x: Tensor) -> Projections:
    """The heads of the query share two of six rows."""
    h = m.q(x)
    return torch.stack([h[..., :4], h[..., 2:]], 1), *usual(m, x)[1:]


def usual_but(query: Callable[[Any, Tensor], Tensor]) -> Callable[[Any, Tensor], Projections]:
    """The usual projections with another query."""
    return lambda m, x: (query(m, x), heads_apart(m.k(x), HEADS), heads_apart(m.v(x), HEADS))


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "no attention": (
        lambda: Net(lambda m, x: m.out(torch.tanh(m.first(x))), first=nn.Linear(D, 4), out=nn.Linear(4, 2)).double(),
        "no attention, softmax(q k^T) v, of several heads was found in the forward pass, so no layer can be split by "
        "head: leave heads out",
    ),
    "one head": (
        lambda: network(lambda m, x: tuple(layer(x)[:, None] for layer in (m.q, m.k, m.v))),
        "no attention, softmax(q k^T) v, of several heads was found",
    ),
    "normalised across heads": (
        lambda: network(usual_but(lambda m, x: heads_apart(functional.layer_norm(m.q(x), (WIDTH,)), HEADS))),
        "layer 'q': a head of 4 entries depends on 8 of its 8 rows, so its weight cannot be split by head: leave heads "
        "out",
    ),
    "heads in the rows of one matrix": (
        lambda: network(in_rows, lambda q, k, v: softmax_attention(q, k, v).unflatten(2, (HEADS, T))[:, 0]),
        "layer 'q': a head of 4 entries depends on 8 of its 8 rows",
    ),
    "rows that no head uses": (
        lambda: network(
            usual_but(lambda m, x: heads_apart(m.q(x)[..., :WIDTH], HEADS)), q=lambda: nn.Linear(D, WIDTH + 1)
        ),
        "layer 'q': its heads use 8 of its 9 rows, and 0 rows belong to several heads",
    ),
    "rows that two heads use": (
        lambda: network(overlapping, q=lambda: nn.Linear(D, 6), k=linear, v=linear),
        "layer 'q': its heads use 6 of its 6 rows, and 2 rows belong to several heads",
    ),
    "groups that are no heads": (
        lambda: network(
            usual_but(lambda m, x: heads_apart(m.q(functional.pad(x, (0, 3)).mT).mT, HEADS)),
            q=lambda: nn.Conv1d(D + 3, WIDTH, 1, groups=4),
        ),
        "layer 'q': its 4 groups are not the heads",
    ),
    "one parameter for three projections": (
        lambda: network(
            lambda m, x: tuple(torch.einsum("btd,hdk->bhtk", x, w) for w in m.w),
            w=matrix(3, HEADS, D, SIZE),
        ),
        "layer 'w': it is a part of a parameter whose rows run over several axes",
    ),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_a_network_that_cannot_be_split_by_head_is_refused_in_one_line(
    make: Callable[[], nn.Module], message: str
) -> None:
    model, inputs = make(), samples()
    nfa.covariances(model, inputs)
    for call in (
        lambda: nfa.covariances(model, inputs, heads=True),
        lambda: weight_gradients(
            model, inputs, torch.zeros(N, T, 2).double(), lambda f, y: (f - y).square().mean(), heads=True
        ),
    ):
        with pytest.raises(ValueError, match=r"^heads: ") as told:
            call()
        assert message in str(told.value)
        assert "\n" not in str(told.value)
