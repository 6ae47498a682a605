"""One recorded forward pass: its layers, the edges that give their gradients, and the weights left out with reasons.

``record`` runs a network under ``Interception`` and turns the products that were seen into calls of layers. On the way
it decides four things: products with a constant count only if the constant has a row for each sample (a learned initial
state has, a table of positions has not); a product that is query, key and value becomes three layers; a product from
which no path leads to the outputs is left out; and every weight of two or more dimensions without a call gets a reason.
``reverse`` then gives d <outputs, direction> / d h for all wanted layers in one pass of autograd.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge

from nfa.alignment.network.attention import PARTS, packed_rows
from nfa.alignment.network.heads import NO_HEADS, by_head, first_row, rows_of_heads, several
from nfa.alignment.network.interception import EVERYTHING, InputWritten, Interception, Seen, Span, decomposed
from nfa.alignment.network.layers import Layer, owner, parameters_of
from nfa.alignment.network.memory_labels import dense
from nfa.alignment.network.naming import Names
from nfa.alignment.network.operations import (
    COMPLEX,
    COMPUTED,
    ENTRYWISE,
    JOINED,
    JOINT,
    NORMALISATION,
    SPARSE,
    STORED,
    TRANSPOSED,
    UNTRAINED,
    Reading,
)
from nfa.errors import nearest

NO_PATH = "no differentiable path from its product to the output"
DETACHED = f"{NO_PATH}, and the network detaches a tensor from autograd"
NO_AUTOGRAD = "its product runs where autograd is off (torch.no_grad, a reentrant checkpoint, a detached weight)"
CONSTANT = "what it multiplies does not depend on the samples"
UNTOLD = (
    "it multiplies a constant, and it is not known whether the constant has a row for each sample: the network does "
    "not run in the same way on another number of samples"
)
UNUSED = "not used in the forward pass"
CHANGED = "the forward pass changes its values: change them before, and measure the network that has them"
OVERWRITTEN = (
    "the network changes in place a tensor that its own gradient needs, so autograd cannot differentiate it: replace "
    "the operation that does so (x += y, x.mul_(y), x[...] = y) by one that makes a new tensor"
)
LAZY = "not initialised: run the network once on a batch first"

# Reasons that do not hide how the layers follow each other: such a weight is in no chain, or its product is seen.
_NO_LAYER = {UNUSED, LAZY, CHANGED, NO_PATH, ENTRYWISE, JOINED, NORMALISATION, TRANSPOSED, COMPUTED, UNTRAINED}


@dataclass(frozen=True)
class Call:
    """One product with one layer's matrix in one forward pass.

    Attributes:
        layer: The layer.
        product: Index of the product; parts of one weight (query, key, value) share it.
        rows: Number of rows of J: one for each sample and position that is multiplied.
        read: Gradient of the product -> rows of J, (g, rows, k).
    """

    layer: Layer
    product: int
    rows: int
    read: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Recording:
    """The result of one forward pass.

    Attributes:
        inputs: The leaf of autograd's graph that stands for the samples, with their memory.
        outputs: (n, T): all outputs of each sample, flattened.
        output_shape: Shape of one sample's output, e.g. (C,) or (positions, C).
        products: The graph edge that gives the gradient of each product, in order; None where autograd is off.
        calls: Every call of a layer, in forward order.
        left_out: Owner of a weight of two or more dimensions -> why it is not measured.
        one_row_each: Whether every call of a layer gives one row of J for each sample: there are no positions.
        opaque: Whether the graph hides how the layers follow each other: because of a use of a left-out weight, or
            because samples of whole numbers skip a layer.
        writes: Whether the network changes its input in place, and so needs a copy.
        uses: Parameter -> reason -> entries: the uses of weights that are not measured.
        together: Layer -> the ones of query, key and value that it gives as one matrix.
        elements: How many numbers autograd may keep until the last reverse pass: those computed from the samples, and
            the copy of the input where one is needed.
    """

    inputs: Tensor
    outputs: Tensor
    output_shape: tuple[int, ...]
    products: list[GradientEdge | None]
    calls: list[Call]
    left_out: dict[str, str]
    one_row_each: bool
    opaque: bool
    writes: bool
    uses: dict[str, dict[str, Span]]
    together: dict[str, str]
    elements: int

    @property
    def layers(self) -> dict[str, Layer]:
        """Layers by name, in forward order of first calls."""
        return {call.layer.name: call.layer for call in self.calls}

    def chosen(self, names: Sequence[str] | None) -> list[str]:
        """Select layers by name, all when None, in forward order.

        Raises:
            ValueError: The network has no layer, or a name is unknown or that of a weight that is left out.
        """
        layers = list(self.layers)
        if names is not None and not list(names):
            raise ValueError("layers: the list is empty; name at least one layer, or pass None for all")
        for name in names or []:
            if name not in layers:
                raise ValueError(f"layer {name!r} is not measured: {self.left_out.get(name) or nearest(name, layers)}")
        if not layers:
            reasons = "; ".join(f"{name!r}: {reason}" for name, reason in self.left_out.items())
            raise ValueError(f"the network has no layer to measure ({reasons or 'it has no weight matrix'})")
        return [name for name in layers if names is None or name in names]


def record(
    model: nn.Module,
    inputs: Tensor,
    *,
    heads: bool = False,
    copied: bool = True,
    watching: Callable[..., Interception] = Interception,
    names: Names | None = None,
) -> Recording:
    """Run one batch and find the products of its samples with the network's weights.

    Args:
        model: Network in eval mode, its floating-point parameters requiring gradients, with autograd on.
        inputs: (n, *input shape); never changed.
        heads: Take query, key and value projections apart by head, see ``nfa.alignment.network.heads``.
        copied: Give the network a copy of the inputs; else it gets one only if it is about to change them in place.
        watching: Class of the mode that watches the pass.
        names: Names from earlier passes over the same network, so that a matrix keeps its name.

    Raises:
        ValueError: The output is not a tensor of n samples, or carries no gradient; or ``heads`` is asked for, and the
            network has no attention heads, or they cannot be told apart.
    """
    names = Names() if names is None else names
    leaf = inputs.detach().requires_grad_(inputs.is_floating_point())
    everything = names.own(parameters_of(model))
    parameters = {name: p for name, p in everything.items() if not nn.parameter.is_lazy(p)}
    watch, result = _watched(model, leaf, parameters, names, watching, copied=copied)
    if any(name not in parameters and not nn.parameter.is_lazy(p) for name, p in everything.items()):
        # The pass has initialised lazy modules, whose products it did not recognise.
        return record(model, inputs, heads=heads, copied=copied, watching=watching, names=names)
    outputs, shape = _flattened(result, len(inputs))
    _leave_out_constants(watch, model, inputs, parameters)
    reached = _reached(outputs)
    _decide_parts(names, watch, model, parameters, heads=heads)
    calls: list[Call] = []
    together: dict[str, str] = {}
    for index, seen in enumerate(watch.seen):
        if seen.view is None or seen.reading is None:
            continue
        parameter = seen.view.parameter
        never = CHANGED if parameter in watch.changed else STORED if parameter in watch.stored else None
        if never is not None:
            watch.uses[parameter] = {never: EVERYTHING}
            continue
        reason = NO_AUTOGRAD if seen.edge is None else NO_PATH if seen.edge.node not in reached else None
        if reason is not None:
            watch.uses.setdefault(parameter, {})[reason] = seen.view.span
            continue
        parts = names.parts.get(parameter)
        for layer, read in _calls(seen, parts, names, parameters[parameter]):
            calls.append(Call(layer, index, seen.rows, read))
            if parts is None and index in watch.attending.together:
                together[layer.name] = watch.attending.together[index]
    names.stored.update(watch.still_held())
    for name in watch.stored:
        watch.uses[name] = {STORED: EVERYTHING}
    measured = {call.layer.view.parameter for call in calls}
    for parameter in measured & watch.uses.keys() if watch.detaches else ():
        uses = watch.uses[parameter]
        watch.uses[parameter] = {DETACHED if use == NO_PATH else use: span for use, span in uses.items()}
    left_out = _left_out(everything, measured, watch)
    products = [seen.edge for seen in watch.seen]
    opaque = watch.skips or any(reason not in _NO_LAYER for reason in left_out.values())
    one_row_each = all(call.rows == len(inputs) for call in calls)
    elements = watch.elements + (leaf.numel() if watch.writes else 0)
    return Recording(
        leaf,
        outputs,
        shape,
        products,
        calls,
        left_out,
        one_row_each,
        opaque,
        watch.writes,
        watch.uses,
        together,
        elements,
    )


def _watched(
    model: nn.Module,
    leaf: Tensor,
    parameters: dict[str, nn.Parameter],
    names: Names,
    watching: Callable[..., Interception] = Interception,
    *,
    copied: bool = True,
) -> tuple[Interception, Any]:
    """Run the network on samples under a watching mode; return the mode, and the network's result."""
    # The memory of the input is the caller's: a network that changes its input in place gets a copy.
    fed = leaf.clone() if copied else _Same.apply(leaf)  # type: ignore[no-untyped-call]
    watch = watching(parameters, fed, owned=copied, untrained=_untrained(model), stored=names.stored)
    torch.clear_autocast_cache()  # casts of an earlier pass would not be recognised as weights
    try:
        with decomposed(model), watch:
            result = model(fed)
    except InputWritten:
        return _watched(model, leaf, parameters, names, watching)
    watch.settle()
    return watch, result


def _untrained(model: nn.Module) -> dict[str, Tensor]:
    """Map names to the buffers of a network, and to the tensors that are plain attributes of its modules."""
    found = dict(model.named_buffers())
    for prefix, module in model.named_modules():
        held = ((name, value) for name, value in vars(module).items() if isinstance(value, Tensor))
        found |= {f"{prefix}.{name}".lstrip("."): value for name, value in held}
    return found


class _Same(torch.autograd.Function):
    """Identity that shares memory: another tensor, which autograd knows to come from the leaf."""

    @staticmethod
    def forward(ctx: Any, leaf: Tensor) -> Tensor:
        return leaf.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0]


def _leave_out_constants(
    watch: Interception, model: nn.Module, inputs: Tensor, parameters: dict[str, nn.Parameter]
) -> None:
    """Leave out products of a weight with a constant that has no row for each sample, such as a table of positions.

    The initial state of a recurrent network is a constant, too, but has such rows. The difference is that it grows with
    the number of samples: the network runs once more, on two samples (on three, if it ran on two).
    """
    if all(seen.constant is None for seen in watch.seen):
        return
    n = len(inputs)
    others = inputs[:2] if n > 2 else torch.cat([inputs, inputs[:1]])
    try:
        again, _ = _watched(model, others.detach().requires_grad_(inputs.is_floating_point()), parameters, Names())
    except Exception:  # whatever a network raises that is written for one number of samples
        again = None
    known = {} if again is None else _constants(again)
    for parameter, products in _constants(watch).items():
        there = known.get(parameter, [])
        if again is not None and not there and all(seen.alternative for seen in products):
            watch.uses[parameter] = again.uses.get(parameter, {CONSTANT: EVERYTHING})
            for seen in products:
                seen.leave_out()  # not W: with a single sample, a state that is repeated for each sample looks like W
            continue
        grows = _grow([seen.constant for seen in products], [seen.constant for seen in there], len(others) / n)
        if grows is None:
            watch.uses.setdefault(parameter, {})[UNTOLD] = EVERYTHING
            for seen in watch.seen:
                if seen.view is not None and seen.view.parameter == parameter:
                    seen.view = None  # K of some calls without the others would be wrong; it still counts in a chain
            continue
        for seen, kept in zip(products, grows, strict=True):
            if not kept:
                if seen.alternative < 2 and seen.view is not None:  # else another weight multiplies it, and says so
                    watch.uses.setdefault(parameter, {})[CONSTANT] = seen.view.span
                seen.leave_out()
    for first, second in itertools.pairwise(watch.seen):
        if second.alternative == 2 and (second.view is None or first.view is not None):
            second.leave_out()


def _constants(watch: Interception) -> dict[str, list[Seen]]:
    """Map parameters to their products with constants, in order."""
    found: dict[str, list[Seen]] = {}
    for seen in watch.seen:
        if seen.view is not None and seen.constant is not None:
            found.setdefault(seen.view.parameter, []).append(seen)
    return found


def _grow(sizes: list[int | None], others: list[int | None], ratio: float) -> list[bool] | None:
    """Tell which constants grow with the number of samples.

    Args:
        sizes: Sizes of the constants that a weight multiplies, in order.
        others: The sizes in a pass over ``ratio`` times as many samples.
        ratio: Any number but 1.

    Returns:
        Whether each one grows; None where the two passes do not match.
    """
    if len(sizes) == len(others):
        return [size is not None and other == round(size * ratio) for size, other in zip(sizes, others, strict=True)]
    alike = set(sizes) == set(others) and len(others) == round(len(sizes) * ratio)
    return [True] * len(sizes) if alike else None  # the network takes its samples one by one


def _calls(
    seen: Seen, parts: dict[str, tuple[int, ...]] | None, names: Names, parameter: Tensor
) -> list[tuple[Layer, Callable[[Tensor], Tensor]]]:
    """Make the layers of one product, each with the function that reads its rows; several if it is in parts."""
    view, reading = seen.view, seen.reading
    assert view is not None
    assert reading is not None
    if parts is None or view.shape[0] != 1 or (view.row_axes and view.offset):
        return [(Layer(names.of(view, parameter), view), reading.rows)]
    start = first_row(view)
    whole = view if view.row_axes else replace(view, offset=0, shape=(1, start + view.shape[1], *view.shape[2:]))
    calls: list[tuple[Layer, Callable[[Tensor], Tensor]]] = []
    for name, rows in parts.items():
        if start <= min(rows) and max(rows) < start + view.shape[1]:
            columns = [row - start for row in rows]
            contiguous = columns == list(range(columns[0], columns[0] + len(columns)))
            index = slice(columns[0], columns[0] + len(columns)) if contiguous else columns
            part = replace(whole, rows=rows)
            if contiguous and not view.row_axes:
                part = replace(whole, shape=(1, len(rows), *view.shape[2:]), offset=rows[0] * view.strides[1])
            calls.append((Layer(name, part), _columns(reading, index)))
    return calls


def _columns(reading: Reading, index: slice | list[int]) -> Callable[[Tensor], Tensor]:
    """Make a function that reads some columns of the rows of J."""
    return lambda gradient: reading.rows(gradient)[..., index]


def _fused_rows(watch: Interception, parameters: dict[str, nn.Parameter]) -> dict[str, dict[str, tuple[int, ...]]]:
    """Find the rows of query, key and value where attention cut the result of one product into three."""
    fused: dict[str, dict[str, tuple[int, ...]]] = {}
    if watch.attends:
        roles = watch.attending.roles()
        for product, seen in enumerate(watch.seen):
            if seen.view is not None and seen.view.numel == parameters[seen.view.parameter].numel():
                thirds = seen.parts.thirds(seen.view.shape[1])
                # Queries alone are in three parts, too, where each of three heads is computed by itself.
                if thirds and len(roles.get(product, PARTS)) > 1:
                    prefix = owner(seen.view.parameter)
                    fused[seen.view.parameter] = {f"{prefix}.{p}": rows for p, rows in zip(PARTS, thirds, strict=True)}
    return fused


def _decide_parts(
    names: Names, watch: Interception, model: nn.Module, parameters: dict[str, nn.Parameter], *, heads: bool
) -> None:
    """Decide for each weight that was not multiplied in an earlier pass whether it is measured in parts.

    Raises:
        ValueError: Heads are asked for, and there are none or they cannot be told apart.
    """
    packed = packed_rows(model)
    fused = _fused_rows(watch, parameters)
    undecided = {seen.view.parameter for seen in watch.seen if seen.view is not None} - set(names.parts)
    rows_by_head = rows_of_heads(watch) if heads and undecided else {}
    names.with_heads = names.with_heads or any(map(several, rows_by_head.values()))
    if heads and not names.with_heads:
        raise ValueError(NO_HEADS)
    for name in undecided:
        rows = fused.get(name, packed.get(name))
        names.parts[name] = by_head(rows, name, rows_by_head[name]) if name in rows_by_head else rows


def _left_out(parameters: dict[str, nn.Parameter], measured: set[str], watch: Interception) -> dict[str, str]:
    """Map the owner of each weight of two or more dimensions that is not measured to the reason."""
    reasons = {}
    for name, parameter in parameters.items():
        if nn.parameter.is_lazy(parameter):
            reasons[owner(name)] = LAZY
        elif parameter.dim() >= 2 and name not in measured:
            known = dict.fromkeys(watch.uses.get(name, {UNUSED: EVERYTHING}))
            if not dense(parameter):
                known = dict.fromkeys([SPARSE])
            elif parameter.is_complex():
                known = dict.fromkeys([COMPLEX])
            elif name in watch.joint and all(reason in (CONSTANT, JOINT) for reason in known):
                known = dict.fromkeys([JOINT])
            reasons[owner(name)] = "; ".join(known)
    return reasons | dict.fromkeys(watch.fixed, UNTRAINED)


def _reached(outputs: Tensor) -> set[Any]:
    """Find the nodes of the autograd graph from which the outputs are computed."""
    node = outputs.grad_fn
    seen = {node}
    stack = [node]
    while stack:
        current = stack.pop()
        for child, _ in current.next_functions if current is not None else ():
            if child is not None and child not in seen:
                seen.add(child)
                stack.append(child)
    return seen


def _flattened(outputs: Any, n: int) -> tuple[Tensor, tuple[int, ...]]:
    """Bring the network's outputs to (n, T); also return the shape of one sample's outputs."""
    if not isinstance(outputs, Tensor):
        raise ValueError(
            f"the network returns {type(outputs).__name__}, not a tensor: "
            "wrap it in a module that returns the tensor to be differentiated"
        )
    if outputs.dim() == 0 or len(outputs) != n or outputs[0].numel() == 0:
        raise ValueError(
            f"the network's output has shape {tuple(outputs.shape)} for {n} samples, not (n, ...): "
            "wrap it in a module that puts the samples first"
        )
    if not outputs.requires_grad:
        raise ValueError("the network's output carries no gradient: it is detached, or made of integers")
    if outputs.is_complex():  # real and imaginary parts are two outputs
        outputs = torch.view_as_real(outputs.resolve_conj())
    return outputs.reshape(n, -1), tuple(outputs.shape[1:])


def wanted(recording: Recording, chosen: Iterable[str]) -> tuple[list[Call], list[GradientEdge]]:
    """Select the calls of some layers, and the distinct edges that give their gradients.

    Returns:
        The calls, with ``product`` renumbered to an index into the edges; and the edges.
    """
    names = set(chosen)
    calls = [call for call in recording.calls if call.layer.name in names]
    products = sorted({call.product for call in calls})
    edges = [recording.products[product] for product in products]
    place = {product: index for index, product in enumerate(products)}
    assert all(edge is not None for edge in edges)  # a product without an edge has no call
    return [replace(call, product=place[call.product]) for call in calls], [e for e in edges if e is not None]


def reverse(recording: Recording, edges: Sequence[GradientEdge], direction: Tensor, *, last: bool) -> tuple[Any, ...]:
    """Differentiate <outputs, direction> at the edges; None where the outputs do not depend on an edge.

    Args:
        recording: The recorded pass.
        edges: From ``wanted``.
        direction: (n, T).
        last: Whether this is the last reverse pass, after which the graph is freed.

    Raises:
        ValueError: The network has overwritten a tensor that its own gradient needs.
    """
    return differentiated(recording.outputs, edges, direction, retain_graph=not last)


def differentiated(
    outputs: Tensor, targets: Sequence[Any], direction: Tensor, *, retain_graph: bool
) -> tuple[Tensor | None, ...]:
    """Differentiate <outputs, direction> at edges or leaves; None where the outputs do not depend on one.

    Raises:
        ValueError: The network has overwritten a tensor that its own gradient needs.
    """
    try:
        return torch.autograd.grad(outputs, targets, direction, retain_graph=retain_graph, allow_unused=True)
    except RuntimeError as error:
        if "modified by an inplace operation" not in str(error):
            raise
        raise ValueError(OVERWRITTEN) from error
