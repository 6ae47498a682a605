"""Where each layer stands: what comes after it, and whether the network is a chain of layers.

Read off the autograd graph of one forward pass. Paths through parameters end at parameters and so lead to no layer.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from torch.autograd.graph import Node, get_gradient_edge

from nfa.alignment.capture import Recording

Call = tuple[str, int]  # layer name, which of its calls
_INPUT: Call = ("", -1)


@dataclass(frozen=True)
class Topology:
    """Places of the layers.

    Attributes:
        depth_from_output: Layer -> number of layer calls after it on the longest path to the output; 0 = readout. For a
            module called more than once, counted from the call that is farthest from the output.
        chain_length: Number L of layers when they follow each other in a chain, each called once; else None.
    """

    depth_from_output: dict[str, int]
    chain_length: int | None


def topology(recording: Recording, owners: set[str]) -> Topology:
    """Find the places of all layers that reach the output.

    A network is a chain when one layer (or the input) and no other comes directly before each layer and before the
    output. A connection that skips a layer makes it none; an activation written with several operations does not.

    Args:
        recording: One forward pass.
        owners: Names of all modules that own a weight, measured or not: one that was not seen as a call of its own
            could stand anywhere, and then the network is not known to be a chain.
    """
    calls = recording.calls | recording.unmeasured
    places = {
        get_gradient_edge(tensor).node: (name, index)
        for name, tensors in calls.items()
        for index, tensor in enumerate(tensors)
    }
    if recording.inputs.requires_grad:
        places[get_gradient_edge(recording.inputs).node] = _INPUT
    output = get_gradient_edge(recording.outputs).node
    order = list(_postorder(output))
    before = _directly_before(order, places)
    depth = dict.fromkeys(_front(output, places, before), 0)
    for node in reversed(order):  # from the output backwards: what comes after a call is done before it
        if node in places:
            for call in before[node]:
                depth[call] = max(depth.get(call, 0), depth[places[node]] + 1)
    depth.pop(_INPUT, None)
    longest: dict[str, int] = {}
    for (name, _), after in depth.items():
        longest[name] = max(longest.get(name, 0), after)
    direct = [_front(output, places, before), *(before[node] for node in order if node in places)]
    chain = (
        all(len(calls_before) <= 1 for calls_before in direct)
        and all(len(tensors) == 1 for tensors in calls.values())
        and longest.keys() == owners
    )
    return Topology(longest, len(longest) if chain else None)


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


def _front(node: Node, places: dict[Node, Call], before: dict[Node, frozenset[Call]]) -> frozenset[Call]:
    """Calls first met going backwards from a node, itself included."""
    return frozenset({places[node]}) if node in places else before[node]


def _directly_before(order: list[Node], places: dict[Node, Call]) -> dict[Node, frozenset[Call]]:
    """For every node, the calls that lead to it without passing another call."""
    before: dict[Node, frozenset[Call]] = {}
    for node in order:
        fronts = {_front(child, places, before) for child, _ in node.next_functions if child is not None}
        before[node] = frozenset().union(*fronts)
    return before
