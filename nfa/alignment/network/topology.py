"""The place of each layer: its depth from the output, and whether the network is a chain of layers.

Both are read off the autograd graph of one recorded forward pass, whose nodes include one for each product. Going from
the outputs backwards, the first products met are the readouts (depth 0), those met next have depth 1, and so on; the
longest path counts. The network is a chain if exactly one product is met each time. Paths into parameters end there and
lead to no product.

A readout is a product that the outputs hold as it is, up to scale and to means over positions, so that K = c I. Where
another map follows the last product (a softmax, a mean over hidden units), K is no such multiple, and that map counts
as one more product: the last layer has depth 1.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.autograd.graph import Node, get_gradient_edge

from nfa.alignment.network.recording import Call, Recording, reverse

_INPUT = -1
_ROUNDING = 16  # roundings of its number type by which entries of a gradient may differ that are equal


@dataclass(frozen=True)
class Topology:
    """Places of the layers.

    Attributes:
        depth_from_output: Layer -> number of products with a matrix after it on the longest path to the output; 0 =
            readout. A map between the last product and the output counts as a product, unless it leaves K = c I. A
            layer that is called more than once has the depth of the call farthest from the output.
        chain_length: Number L of layers when they follow each other in a chain, each called once; else None. Such a map
            counts here, too.
    """

    depth_from_output: dict[str, int]
    chain_length: int | None


def topology(recording: Recording) -> Topology:
    """Find the places of all layers.

    A network is a chain if exactly one layer (or the input) comes directly before each layer and before the output.
    With a connection that skips a layer it is no chain; an activation of several operations does not matter. A product
    with a weight that is left out counts as a layer.
    """
    first = _grouped(recording) | _one_by_one(recording)
    products = [(index, edge) for index, edge in enumerate(recording.products) if edge is not None]
    places = {edge.node: first.get(index, index) for index, edge in products}
    if recording.inputs.requires_grad:
        places[get_gradient_edge(recording.inputs).node] = _INPUT
    output = get_gradient_edge(recording.outputs).node
    order = list(_postorder(output))
    before = _directly_before(order, places)
    last = _front(output, places, before) - {_INPUT}
    mapped = _mapped(recording, {index for index, _ in products if first.get(index, index) in last})
    depth = dict.fromkeys(last, 0) | {first.get(index, index): 1 for index in mapped}
    for node in reversed(order):  # from the output backwards, so that later products have their depth already
        if node in places:
            for product in before[node]:
                depth[product] = max(depth.get(product, 0), depth[places[node]] + 1)
    depth.pop(_INPUT, None)
    length = len(depth) + max((depth[place] for place in last), default=0)
    longest: dict[str, int] = {}
    for call in recording.calls:
        place = first.get(call.product, call.product)
        longest[call.layer.name] = max(longest.get(call.layer.name, 0), depth[place])
    direct = [_front(output, places, before), *(before[node] for node in order if node in places)]
    calls = {(call.layer.name, first.get(call.product, call.product)) for call in recording.calls}
    chain = (
        not recording.opaque
        and all(len(before_it) <= 1 for before_it in direct)
        and len(longest) == len(calls)  # no layer twice
        and max(Counter(place for _, place in calls).values(), default=1) == 1  # no product in parts
    )
    return Topology(longest, length if chain else None)


def _mapped(recording: Recording, last: set[int]) -> set[int]:
    """Find the last products that another map follows, so that K is not c I.

    With random signs v for directions, J = c I gives rows of J^T v whose entries all have the same size |c|.

    Args:
        recording: The pass.
        last: Products that no other product follows.
    """
    calls = [call for call in recording.calls if call.product in last]
    signs = torch.randint(2, recording.outputs.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    edges = [edge for edge in (recording.products[call.product] for call in calls) if edge is not None]
    mapped = set()
    gradients = reverse(recording, edges, signs.to(recording.outputs), last=False) if edges else ()
    for call, gradient in zip(calls, gradients, strict=True):
        if gradient is not None:
            low, high = call.read(gradient).abs().transpose(0, 1).flatten(1).aminmax(dim=1)
            if not ((high - low) <= _ROUNDING * torch.finfo(high.dtype).eps * high).all() or not high.any():
                mapped.add(call.product)
    return mapped


def _one_by_one(recording: Recording) -> dict[int, int]:
    """Count the products of a layer as one where the network multiplies sample by sample in a loop.

    Returns:
        Product -> first product of its layer, for such layers.
    """
    by_layer: dict[str, list[Call]] = {}
    for call in recording.calls:
        by_layer.setdefault(call.layer.name, []).append(call)
    loops = (calls for calls in by_layer.values() if len(calls) == len(recording.outputs))
    return {c.product: calls[0].product for calls in loops if all(call.rows == 1 for call in calls) for c in calls}


def _grouped(recording: Recording) -> dict[int, int]:
    """Count the products of one grouped operation (a matrix for each group of rows) as one.

    Returns:
        Product -> first product of its operation.
    """
    by_node: dict[Node, int] = {}
    for index, edge in enumerate(recording.products):
        if edge is not None:
            by_node.setdefault(edge.node, index)
    return {index: by_node[edge.node] for index, edge in enumerate(recording.products) if edge is not None}


def _postorder(root: Node) -> Iterator[Node]:
    """Yield every node of an autograd graph after its inputs; without recursion, because graphs are deep."""
    seen = {root}
    stack = [(root, iter(root.next_functions))]
    while stack:
        node, following = stack[-1]
        for child, _ in following:
            if child is not None and child not in seen:
                seen.add(child)
                stack.append((child, iter(child.next_functions)))
                break
        else:
            stack.pop()
            yield node


def _front(node: Node, places: dict[Node, int], before: dict[Node, frozenset[int]]) -> frozenset[int]:
    """Find the first products on the way backwards from a node, the node itself included."""
    return frozenset({places[node]}) if node in places else before[node]


def _directly_before(order: list[Node], places: dict[Node, int]) -> dict[Node, frozenset[int]]:
    """Map every node to the products that lead to it without another product in between."""
    before: dict[Node, frozenset[int]] = {}
    for node in order:
        fronts = {_front(child, places, before) for child, _ in node.next_functions if child is not None}
        before[node] = frozenset().union(*fronts)
    return before
