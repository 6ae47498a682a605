"""Networks of transformers: K of every layer against the oracle, and every reason against the uses of the weight."""

from dataclasses import replace

import pytest

import nfa
from nfa.alignment.network.layers import owner
from nfa.external.torchvision_import import torchvision
from tests.alignment.comparing import assert_matrix_close
from tests.foreign.checking import CONSTANT, assert_measured, assert_theory_holds, randomised
from tests.foreign.oracle import ask
from tests.foreign.transformers_families import FAMILIES, MIXED, Family

torchvision()  # first: transformers imports it, and may find one that does not load
transformers = pytest.importorskip("transformers", reason="pip install -c constraints.txt transformers")
transformers.logging.set_verbosity_error()
pytestmark = pytest.mark.slow


def network(family: Family) -> nfa.Wrapped:
    """Make a family's network, wrapped so that it takes and returns one tensor."""
    return nfa.Wrapped(randomised(family.build()), family.forward)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_layer_of(family: Family) -> None:
    model = network(family)
    assert_measured(model, family.inputs(5, 0), family.inputs(6, 1), family.tolerance, family.products)
    assert_theory_holds(model, family.inputs(4, 2))


def named(name: str) -> Family:
    """Find a family by its name."""
    (found,) = [family for family in FAMILIES if family.name == name]
    return found


TOGETHER = "query, key and value are measured as one matrix"
APART = {"GPT2": "c_attn", "Bloom": "query_key_value"}
# Query, key and value of these are not three column blocks, or are rotated by position first.
WHOLE = {
    "GPTNeoX": "query_key_value",
    "Falcon": "query_key_value",
    "Mpt": "Wqkv",
    "CodeGen": "qkv_proj",
    "Phi3": "qkv_proj",
}


@pytest.mark.parametrize("name", [*APART, *WHOLE])
def test_the_table_says_whether_query_key_and_value_were_taken_apart(name: str) -> None:
    family = named(name)
    table = nfa.measure(network(family), family.inputs(4, 0))
    layer = {**APART, **WHOLE}[name]
    whole = table[table.layer.str.endswith(layer)]
    parts = table[table.layer.str.contains(rf"{layer}\.[qkv]$")]
    assert len(whole) + len(parts)
    assert whole.note.str.contains(TOGETHER).all()
    assert not parts.note.str.contains(TOGETHER).any()
    if name in APART:
        assert not len(whole)


def test_a_projection_that_also_multiplies_positions_says_so() -> None:
    family = named("DebertaV2")
    model = network(family)
    answer = ask(model, family.inputs(4, 0), family.inputs(5, 1))
    both = {place[0] for place, matrix in answer.matrices.items() if matrix.of_samples and matrix.of_constants}
    assert {name.split(".")[-2] for name in both} == {"query_proj", "key_proj"}
    table = nfa.measure(model, family.inputs(4, 0))
    noted = set(table[table.note.str.contains("K leaves out a use of the weight")].layer)
    assert noted == {owner(name) for name in both}
    rows = table[table.layer.isin(noted) & (table.quantity == "uc_nfc")]
    assert rows.note.str.contains(CONSTANT).all()


@pytest.mark.parametrize("name", ["Mixtral", "Qwen2Moe", "Olmoe", "DeepseekV3"])
def test_experts_multiplied_in_one_grouped_product_are_those_multiplied_one_by_one(name: str) -> None:
    family = named(name)
    tokens = family.inputs(40, 0)
    one_by_one = nfa.covariances(network(family), tokens)
    grouped = randomised(family.build(experts_implementation="grouped_mm")).float()
    model = nfa.Wrapped(grouped, family.forward)
    found = nfa.covariances(model, tokens)
    experts = [layer for layer in one_by_one if ".experts." in layer]
    assert len(experts) >= 16, "two matrices of eight experts"
    assert set(found) == set(one_by_one)
    for layer, value in one_by_one.items():
        assert_matrix_close(found[layer], value, 1e-3, layer)
    assert nfa.check(model, tokens).passed.all()


def test_all_of_64_experts_are_layers_or_said_to_be_unused() -> None:
    settings = {**named("Mixtral").settings, "num_local_experts": 64, "num_hidden_layers": 1}
    family = replace(named("Mixtral"), settings=settings)
    model = network(family)
    tokens = family.inputs(60, 0)
    answer = ask(model, tokens, family.inputs(61, 1))
    experts = [place for place in answer.matrices if ".experts." in place[0]]
    assert len(experts) > 80, "of 128 matrices"
    found = {size: nfa.covariances(model, tokens, batch_size=size) for size in (60, 7)}
    assert set(found[60]) == set(found[7])
    assert sum(".experts." in layer for layer in found[60]) == len(experts)
    for layer, value in found[60].items():
        assert_matrix_close(found[7][layer], value, 1e-9, layer)
    unused = [reason for name, reason in nfa.left_out(model, tokens).items() if ".experts." in name]
    assert len(unused) == 128 - len(experts)
    assert all("no sample was sent to it" in reason for reason in unused)


def test_a_state_that_is_changed_in_place_is_told_in_a_sentence_and_is_not_needed() -> None:
    family = named("Rwkv")
    model = randomised(family.build())
    kept = nfa.Wrapped(model, lambda model, tokens: model(input_ids=tokens, use_cache=True).logits[:, -1, :3])
    tokens = family.inputs(4, 0)
    before = [parameter.requires_grad for parameter in model.parameters()]
    with pytest.raises(ValueError, match="in place") as told:
        nfa.measure(kept, tokens)
    assert "\n" not in str(told.value)
    assert [parameter.requires_grad for parameter in model.parameters()] == before
    assert nfa.covariances(network(family), tokens)


def test_one_position_left_has_no_gradient_of_query_and_key() -> None:
    settings = {**named("Segformer").settings, "strides": [4, 4]}
    family = replace(named("Segformer"), settings=settings)
    model = network(family).float()
    answer = ask(network(family), family.inputs(8, 0), family.inputs(9, 1))
    exact = {place[0]: matrix.covariance.norm() for place, matrix in answer.matrices.items()}
    zero = {owner(name) for name, size in exact.items() if size < 1e-20}
    assert {name.split(".")[-1] for name in zero} >= {"q_proj", "k_proj"}
    table = nfa.measure(model, family.inputs(8, 0).float())
    rows = table[table.layer.isin(zero) & table.quantity.isin(["uc_nfc", "haar_nfc", "subspace_overlap"])]
    assert len(rows)
    assert rows.value.isna().all()
    assert rows.note.str.len().all()
    others = table[~table.layer.isin(zero) & (table.quantity == "uc_nfc") & (table.power == "1")]
    assert others.value.notna().all()


def test_samples_that_share_a_scale_are_refused() -> None:
    with pytest.raises(ValueError, match="depends on the samples beside it"):
        nfa.measure(network(MIXED), MIXED.inputs(5, 0))


# Rows of each projection of the first layer, by head; keys and values of two heads serve four heads of queries.
HEADS = {
    "Bert": {f"encoder.layer.0.attention.self.{part}": [8, 8] for part in ("query", "key", "value")},
    "Llama": {f"model.layers.0.self_attn.{part}_proj": [4] * heads for part, heads in (("q", 4), ("k", 2), ("v", 2))},
    "Qwen3": {f"model.layers.0.self_attn.{part}_proj": [4] * heads for part, heads in (("q", 4), ("k", 2), ("v", 2))},
    "T5": {f"encoder.block.0.layer.0.SelfAttention.{part}": [8, 8] for part in "qkv"},
    "DeepseekV3": {
        "model.layers.0.self_attn.q_b_proj": [8, 8],
        "model.layers.0.self_attn.kv_b_proj.k": [4, 4],
        "model.layers.0.self_attn.kv_b_proj.v": [4, 4],
    },
    "GPTNeoX": {f"gpt_neox.layers.0.attention.query_key_value.{part}": [8, 8] for part in "qkv"},
}


@pytest.mark.parametrize("name", HEADS)
def test_heads_are_those_of_the_configuration(name: str) -> None:
    family = named(name)
    model, inputs = network(family), family.inputs(4, 0)
    found = nfa.covariances(model, inputs, heads=True)
    for layer, rows in HEADS[name].items():
        heads = [found[head] for head in found if head.rpartition(".")[0] == layer]
        assert [len(k) for k in heads] == rows, layer
        assert layer not in found
    assert nfa.check(model, inputs, heads=True).passed.all()
    whole = nfa.covariances(model, inputs)
    for layer in HEADS[name].keys() & whole.keys():
        start = 0
        for head in (k for name, k in found.items() if name.rpartition(".")[0] == layer):
            own = slice(start, start := start + len(head))
            assert_matrix_close(head, whole[layer][own, own], 1e-9, layer)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Olmo2", "layer 'model.layers.0.self_attn.q_proj': a head of 4 entries depends on 16 of its 16 rows"),
        ("Mamba", "no attention, .* of several heads was found"),
        ("SqueezeBert", "layer 'encoder.layers.0.attention.query': its 4 groups are not the heads"),
    ],
)
def test_heads_that_cannot_be_told_apart_are_refused(name: str, message: str) -> None:
    family = named(name)
    with pytest.raises(ValueError, match=message):
        nfa.covariances(network(family), family.inputs(4, 0), heads=True)
