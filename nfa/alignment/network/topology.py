"""Where each layer stands: what comes after it, and whether the network is a chain of layers.

Read off the autograd graph of one forward pass. Paths through parameters end at parameters and so lead to no layer.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from torch.autograd.graph import Node, get_gradient_edge

from nfa.alignment.network.recording import Call, Recording

_INPUT = -1


@dataclass(frozen=True)
class Topology:
    """Places of the layers.

    Attributes:
        depth_from_output: Layer -> number of products with a matrix after it on the longest path to the output; 0 =
            readout. For a layer called more than once, counted from the call that is farthest from the output.
        chain_length: Number L of layers when they follow each other in a chain, each called once; else None.
    """

    depth_from_output: dict[str, int]
    chain_length: int | None


def topology(recording: Recording) -> Topology:
    """Find the places of all layers.

    A network is a chain when one layer (or the input) and no other comes directly before each layer and before the
    output. A connection that skips a layer makes it none; an activation written with several operations does not. A
    product with a weight that is left out counts as a layer.
    """
    first = _grouped(recording) | _one_by_one(recording)
    products = enumerate(recording.products)
    places = {edge.node: first.get(index, index) for index, edge in products if edge is not None}
    if recording.inputs.requires_grad:
        places[get_gradient_edge(recording.inputs).node] = _INPUT
    output = get_gradient_edge(recording.outputs).node
    order = list(_postorder(output))
    before = _directly_before(order, places)
    depth = dict.fromkeys(_front(output, places, before), 0)
    for node in reversed(order):  # from the output backwards: what comes after a product is done before it
        if node in places:
            for product in before[node]:
                depth[product] = max(depth.get(product, 0), depth[places[node]] + 1)
    depth.pop(_INPUT, None)
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
    return Topology(longest, len(depth) if chain else None)


def _one_by_one(recording: Recording) -> dict[int, int]:
    """Take the products of a layer for one where the network multiplies each sample by itself, in a loop over them.

    Returns:
        Product -> first product of its layer, for such layers.
    """
    by_layer: dict[str, list[Call]] = {}
    for call in recording.calls:
        by_layer.setdefault(call.layer.name, []).append(call)
    loops = (calls for calls in by_layer.values() if len(calls) == len(recording.outputs))
    return {c.product: calls[0].product for calls in loops if all(call.rows == 1 for call in calls) for c in calls}


def _grouped(recording: Recording) -> dict[int, int]:
    """Take the products of one operation, by a matrix for each group of rows, for one.

    Returns:
        Product -> first product of its operation.
    """
    by_node: dict[Node, int] = {}
    for index, edge in enumerate(recording.products):
        if edge is not None:
            by_node.setdefault(edge.node, index)
    return {index: by_node[edge.node] for index, edge in enumerate(recording.products) if edge is not None}


def _postorder(root: Node) -> Iterator[Node]:
    """Yield every node of an autograd graph after all that it is computed from; a loop, because graphs are deep."""
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
    """Products first met going backwards from a node, itself included."""
    return frozenset({places[node]}) if node in places else before[node]


def _directly_before(order: list[Node], places: dict[Node, int]) -> dict[Node, frozenset[int]]:
    """For every node, the products that lead to it without passing another."""
    before: dict[Node, frozenset[int]] = {}
    for node in order:
        fronts = {_front(child, places, before) for child, _ in node.next_functions if child is not None}
        before[node] = frozenset().union(*fronts)
    return before
