"""Find every product with one of the network's weights in a forward pass, whoever multiplies.

Hooks on modules would miss products in functions, attention, recurrent modules and with plain parameters. torch offers
a lower place to watch from. Every call of a torch function ends in a few basic operations ("aten": ``mm``, ``bmm``,
``convolution``, ...), and a ``TorchDispatchMode`` receives each of them with its tensors, below autograd.
``Interception`` is such a mode. It runs each operation unchanged and asks three questions:

*Is an operand a weight?* It is when its memory lies in the memory of a parameter. Views, row ranges and transposes
share the memory of their parameter, so the address of the first element gives the parameter and the offset in it, and
shape and strides give the rest. Copies in another number type or order are remembered as further memory of the
parameter.

*Are the samples the other operand?* All that is computed from the inputs is marked by its memory; likewise all that is
computed from parameters alone. A product of two weights, or of a weight with a constant, is no layer.

*Where does the gradient come from?* Autograd gives the result of a product its node in the graph as soon as the
operation is done. The edge to that node is asked for at the beginning of the next operation, before an in-place
activation could move the tensor to another node, and ``torch.autograd.grad`` later gives d outputs / d h there.

Nothing in the pass is replaced, so its outputs are the network's own to the last bit.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from nfa.alignment.network.attention import Attending, Consumption
from nfa.alignment.network.layers import WeightView
from nfa.alignment.network.layouts import EntryOrder, Translated, translated
from nfa.alignment.network.memory_labels import Labels, dense
from nfa.alignment.network.operations import (
    BIAS,
    COMPLEX,
    JOINT,
    NO_PRODUCT,
    REASON_OF,
    REORDERED,
    ROUNDED,
    WITH_BIAS,
    Product,
    Reading,
    read,
)

_COPIES = ("_to_copy", "clone")
_VIEWS = ("_unsafe_view", "_reshape_alias", "lift_fresh")  # views that their schema does not mark as such
# Operations that read the shape and number type of a tensor, not its values.
_FACTORIES = {f"new_{kind}" for kind in ("empty", "empty_strided", "full", "ones", "zeros")}
_FACTORIES |= {f"{kind}_like" for kind in ("empty", "full", "ones", "zeros", "rand", "randn", "randint")}
EVERYTHING = (0, 2**62)  # a span that covers every parameter
REWRITTEN = "copied, and the copy changed: the matrix is computed from it"
_WATCHED_FOR_PARTS = 3  # query, key and value


@dataclass
class Seen:
    """A product of the samples with a matrix.

    Attributes:
        view: Place of the matrix; None when it is no view of a parameter.
        reading: How the gradient of the product becomes rows of J; without the operand itself, which is not kept.
        edge: Where autograd gives the gradient of the product; None where autograd is off.
        rows: Number of rows of J that the gradient gives.
        parts: Column sets of h that the network used separately, to find query, key and value.
        constant: Number of entries of the tensor that the matrix multiplies, if that is not computed from the samples;
            else None.
        alternative: 1 or 2 for the two readings of a product of two weights, one of which may be an initial state that
            is repeated for each sample; 0 where there is one reading.
        regroup: Brings blocks of rows of the operation's operands to the blocks of the view; None if they are the same.
    """

    view: WeightView | None
    reading: Reading | None
    edge: GradientEdge | None = None
    rows: int = 0
    parts: Consumption = field(default_factory=Consumption)
    constant: int | None = None
    alternative: int = 0
    regroup: Callable[[Tensor], Tensor] | None = None

    def leave_out(self) -> None:
        """Make it a product that counts for nothing."""
        self.view = self.reading = self.edge = None


class _Memory:
    """A set of tensors by their memory: with a tensor it contains its base, its views, and views made later."""

    def __init__(self) -> None:
        self._storages: set[StorageWeakRef] = set()  # while a weak reference lives, no other storage has its key
        self._without = WeakTensorKeyDictionary()  # sparse tensors, which have no storage

    def add(self, tensor: Tensor) -> None:
        if tensor.layout == torch.strided:
            self._storages.add(StorageWeakRef(tensor.untyped_storage()))
        else:
            self._without[tensor] = True

    def __contains__(self, tensor: Tensor) -> bool:
        if tensor.layout == torch.strided:
            return StorageWeakRef(tensor.untyped_storage()) in self._storages
        return tensor in self._without


@dataclass(frozen=True)
class _Range:
    """Memory of a parameter, or of a copy of one."""

    start: int
    stop: int
    parameter: str
    offset: int  # elements from the parameter's first to the first of this memory
    keep: Tensor
    order: EntryOrder | None = None  # order of the entries of a copy, where it is not the parameter's


Span: TypeAlias = tuple[int, int]  # entries of a parameter: the first, and the one past the last


class InputWritten(BaseException):
    """The network is about to change its input in place; a BaseException, which networks do not catch."""


class Interception(TorchDispatchMode):
    """Watches one forward pass; the module's docstring says how.

    Attributes:
        writes: Whether the network changed its input in place.
        seen: Products in order: of the samples with a matrix, and of constants with a weight. ``recording`` leaves out
            those constants that have no row for each sample.
        uses: Parameter -> reason -> entries: the uses of a parameter other than as W, and the entries that went into
            each.
        joint: Parameters that another weight multiplied before the product met the samples.
        fixed: Untrained tensors that multiplied the samples.
        detaches: Whether the network detached a tensor, computed from the samples, from autograd and went on with it.
        stored: Parameters that were met only in tensors that an earlier pass computed from them.
        attending: Finds products that became query, key and value.
        changed: Parameters whose values the network changed.
        attends: Whether the pass contains attention.
        elements: How many numbers were computed from the samples, all of which autograd may keep.
        skips: Whether samples of whole numbers, which autograd does not follow, are combined with a layer's result: a
            connection that the graph does not show.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        inputs: Tensor,
        *,
        untrained: Mapping[str, Tensor] | None = None,
        stored: Mapping[StorageWeakRef, frozenset[str]] | None = None,
        owned: bool = True,
    ) -> None:
        """Prepare to watch a pass; enter the mode to watch.

        Args:
            parameters: The network's parameters by name.
            inputs: The tensor that the network is given.
            untrained: Tensors that the network holds and that are no parameters, by name.
            stored: Memory that earlier passes computed from parameters -> those parameters.
            owned: Whether the network may change the inputs; else ``InputWritten`` is raised before it does.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self.writes = False
        self._owned = owned
        self._input = _Memory()
        self._input.add(inputs)
        self.seen: list[Seen] = []
        self.uses: dict[str, dict[str, Span]] = {}
        self.joint: set[str] = set()
        self.fixed: dict[str, None] = {}
        self.detaches = False
        self._detached = WeakTensorKeyDictionary()
        self.stored: set[str] = set()
        self.attending = Attending()
        self._ranges = [
            _Range(p.data_ptr(), p.data_ptr() + _extent(p), name, 0, p)
            for name, p in parameters.items()
            if dense(p) and p.numel()
        ]
        self._untrained = {
            StorageWeakRef(held.untyped_storage()): name
            for name, held in (untrained or {}).items()
            if dense(held) and held.dim() >= 2 and held.is_floating_point()
        }
        self._stored = stored or {}
        self._computed = Labels()  # tensors computed from parameters alone -> the parameters
        self._multiplied: set[str] = set()  # parameters that another one multiplied
        self._copies: list[_Range] = []
        self._from_samples = _Memory()
        self._from_samples.add(inputs)
        self.changed: set[str] = set()
        self.attends = False
        self.elements = 0
        self.skips = False
        self._followed = inputs.is_floating_point() or inputs.is_complex()
        self._pending: tuple[list[Seen], Tensor] | None = None
        self._split: list[tuple[int, int, int, Seen, Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation, and note its products and uses of weights."""
        self.settle()
        written = _written(func, args, kwargs or {})
        if any(tensor in self._input for tensor in written):
            self.writes = True
            if not self._owned:
                raise InputWritten
        self._forget_copies(written)
        weights = [(tensor, found.parameter, tensor.clone()) for tensor in written if (found := self._range_of(tensor))]
        result = func(*args, **(kwargs or {}))
        self.changed |= {name for tensor, name, before in weights if _differs(tensor, before)}
        tensors = [*_tensors(args), *_tensors((kwargs or {}).values())]
        name = func._schema.name.partition("::")[2]
        dependent = name not in _FACTORIES and any(tensor in self._from_samples for tensor in tensors)
        if dependent:
            for output in (*_tensors((result,)), *written):
                self._from_samples.add(output)
        if dependent and not self._followed:
            numbers = [t for t in tensors if t.is_floating_point() and t in self._from_samples]
            self.skips |= len({t.requires_grad for t in numbers}) == 2
        if name == "detach":
            if dependent and (tensors[0].requires_grad or tensors[0] in self._detached):
                self._detached[result] = True  # autograd detaches what it saves, too, and attaches it again
        else:
            self.detaches |= any(tensor in self._detached and not tensor.requires_grad for tensor in tensors)
        returns = func._schema.returns
        if returns and returns[0].alias_info is not None and not returns[0].alias_info.is_write:
            return result  # a view: its memory identifies it
        if name in _VIEWS:
            return result
        if dependent:
            self.attending.note(name, args, tensors, (*_tensors((result,)), *written))
        elif name not in _FACTORIES:
            self._note_computed(tensors, (*_tensors((result,)), *written))
        self.elements += sum(output.numel() for output in _tensors((result,)) if output in self._from_samples)
        self.attends |= name == "_softmax" or "scaled_dot_product" in name
        if name in _COPIES:
            self._note_copy(tensors[0], result)
        else:
            self._note_use(
                read(func, args, kwargs or {}, result) if _all_dense(tensors) else None, name, tensors, result
            )
        return result

    def settle(self) -> None:
        """Ask for the graph edge of the last product, before another operation changes its result in place."""
        if self._pending is not None:
            products, result = self._pending
            self._pending = None
            for seen in products:
                seen.edge = get_gradient_edge(result) if result.grad_fn is not None else None

    def _note_copy(self, source: Tensor, copy: Tensor) -> None:
        """Remember a copy of a weight (in another number type, place or order of the entries) as the weight."""
        known = self._range_of(source)
        if known is not None:
            offset = known.offset + (source.data_ptr() - known.start) // source.element_size()
            same = dense(copy) and copy.stride() == source.stride()
            order = (
                known.order if same else EntryOrder.of(copy, source) if dense(copy) and known.order is None else None
            )
            if not copy.is_floating_point():
                self._note_reason(source, COMPLEX if copy.is_complex() else ROUNDED)
            elif order is not None and known.order is not None and offset != known.offset:
                self._note_reason(source, REORDERED)
            elif same or order is not None:
                start = copy.data_ptr()
                found = _Range(start, start + _extent(copy), known.parameter, offset, copy, order)
                self._copies.append(found)
            else:
                self._note_reason(source, REORDERED)
        self._note_parts(source)

    def _note_computed(self, tensors: Iterable[Tensor], outputs: Iterable[Tensor]) -> None:
        """Note tensors that are computed from parameters and from no sample."""
        parameters = self._parameters_in(tensors)
        if parameters:
            for output in outputs:
                self._computed.add(output, parameters)

    def _parameters_in(self, tensors: Iterable[Tensor]) -> frozenset[Any]:
        """Find the parameters that tensors are, or are computed from."""
        found: set[Any] = set()
        for tensor in tensors:
            known = self._range_of(tensor)
            found |= {known.parameter} if known is not None else self._computed.of(tensor)
            if dense(tensor):
                found |= self._earlier(tensor)
        return frozenset(found)

    def _earlier(self, tensor: Tensor) -> set[Any]:
        """Find the parameters that an earlier pass computed a tensor from; each in a tuple, which marks it as such."""
        if not self._stored or self._computed.of(tensor) or self._range_of(tensor) is not None:
            return set()
        return {(name,) for name in self._stored.get(StorageWeakRef(tensor.untyped_storage()), ())}

    def still_held(self) -> dict[StorageWeakRef, frozenset[str]]:
        """Map memory that this pass computed from parameters, and that something still holds, to those parameters."""
        return {
            key: frozenset(name for name in labels if isinstance(name, str))
            for key, labels in self._computed.items()
            if not key.expired()
        }

    def _forget_copies(self, written: list[Tensor]) -> None:
        """Forget copies of weights that an operation writes to: they are copies no more."""
        for tensor in written:
            if tensor.layout == torch.strided and tensor.numel():
                address = tensor.data_ptr()
                for copy in [known for known in self._copies if known.start <= address < known.stop]:
                    self._copies.remove(copy)
                    self._add_reason(copy.parameter, REWRITTEN, EVERYTHING)

    def _note_use(self, product: Product | None, name: str, tensors: list[Tensor], result: Any) -> None:
        weights = self._read(product) if product is not None else {}
        for tensor in tensors:
            found = self._range_of(tensor)
            idle = name in _FACTORIES or self._refused(product, tensor)
            if found is not None and found.parameter not in weights and not idle:
                self._note_reason(
                    tensor, self._why_not(product, name, is_bias=name in WITH_BIAS and tensor is tensors[0])
                )
            self._note_parts(tensor)
        if product is None and name == "convolution":  # transposed: seen, so that it counts in a chain
            self._append([Seen(None, None)], result)

    def _why_not(self, product: Product | None, name: str, *, is_bias: bool) -> str:
        """Say why a weight that an operation takes is not measured there."""
        if product is None:
            return REASON_OF.get(name, NO_PRODUCT.format(operation=name))
        if is_bias:
            return BIAS
        of_weights = all(self._parameters_in([operand]) for operand in _operands(product))
        return JOINT if of_weights else NO_PRODUCT.format(operation=name)

    def _refused(self, product: Product | None, tensor: Tensor) -> bool:
        """Tell whether it is noted already why an operand of a product is not a matrix of a parameter."""
        known = self._range_of(tensor) if product is not None else None
        return known is not None and REORDERED in self.uses.get(known.parameter, {})

    def _read(self, product: Product) -> dict[str, None]:
        """Note a product with a matrix; return the parameters that were read as the matrix.

        Where both operands are parameters, either may be the one that is repeated for each sample, as a learned initial
        state is: both readings are noted.
        """
        products = [seen for reading, other in product.readings if (seen := self._matrix(reading, other, product))]
        if products:
            self._append(products, product.result)
            for place, seen in enumerate(products, start=1):
                seen.alternative = place if len(products) > 1 and not product.grouped else 0
                self._watch_parts(seen, product.result)
            self.attending.start(product.result, len(self.seen) - 1, _operands(product))
        dependent = [tensor in self._from_samples for tensor in _operands(product)]
        if len(dependent) == 2 and dependent[0] != dependent[1]:
            if not products:
                self._append([Seen(None, None)], product.result)  # with a computed matrix: counts as a layer in a chain
            for constant, of_samples in zip(_operands(product), dependent, strict=True):
                if not of_samples:
                    self._note_constant(constant)
                    if not products and self._parameters_in([constant]):
                        self.attending.end(product.result)
        elif len(dependent) == 2 and not any(dependent):
            parameters = [self._parameters_in([tensor]) for tensor in _operands(product)]
            if all(parameters):
                self._multiplied |= frozenset().union(*parameters)
        return {seen.view.parameter: None for seen in products[: 1 if not product.grouped else None] if seen.view}

    def _matrix(self, reading: Reading, other: Tensor, product: Product) -> Seen | None:
        """Read one operand of a product as a matrix of a parameter; None if it is not one."""
        found = None if reading.weight in self._from_samples else self._range_of(reading.weight)
        if found is None or product.result.is_complex():
            return None
        size = reading.weight.element_size()
        elements = (reading.weight.data_ptr() - found.start) // size + reading.start
        place, lies = found.offset + elements, Translated(reading.shape, reading.strides)
        if found.order is not None:
            within = found.order.offset(elements)
            there = translated(found.order, reading.shape, reading.strides)
            if within is None or there is None:
                self._note_reason(reading.weight, REORDERED)
                return None
            place, lies = found.offset + within, there
        view = WeightView(found.parameter, place, lies.shape, lies.strides, row_axes=lies.row_axes)
        rows = reading.rows if lies.regroup is None else _both(reading.rows, lies.regroup)
        seen = Seen(view, replace(reading, weight=reading.weight.new_empty(0), rows=rows), regroup=lies.regroup)
        seen.rows = product.result.numel() // (lies.shape[0] * lies.shape[1])
        if reading.between is not None:
            seen.rows = reading.between[1] - reading.between[0]
        seen.constant = None if other in self._from_samples else other.numel()
        return seen

    def _note_constant(self, matrix: Tensor) -> None:
        """Note a matrix that multiplies the samples and is no parameter: untrained, or computed from parameters."""
        if self._range_of(matrix) is not None or not dense(matrix):
            return
        parameters = self._parameters_in([matrix])
        self.joint |= {name for name in parameters if name in self._multiplied}
        self.stored |= {name[0] for name in parameters if not isinstance(name, str)}
        untrained = self._untrained.get(StorageWeakRef(matrix.untyped_storage()))
        if untrained is not None and not parameters:
            self.fixed[untrained] = None

    def _append(self, products: list[Seen], result: Tensor) -> None:
        """Note the readings of one product."""
        self.seen += products
        self._pending = (products, result)

    def _watch_parts(self, seen: Seen, result: Tensor) -> None:
        """Follow the uses of h if it could hold query, key and value side by side."""
        k = seen.reading.shape[1] if seen.reading is not None else 0
        if k % _WATCHED_FOR_PARTS == 0 and result.is_contiguous() and result.shape[-1] == k:
            start = result.data_ptr()
            self._split.append((start, start + _extent(result), k, seen, result.detach()))

    def _note_parts(self, tensor: Tensor) -> None:
        if not self._split or not dense(tensor):
            return
        for start, stop, k, seen, kept in self._split:
            if start <= tensor.data_ptr() < stop:
                offset = (tensor.data_ptr() - start) // tensor.element_size()
                seen.parts.note(tensor, offset, k, whole=tensor.numel() == kept.numel())

    def _find(self, tensor: Tensor) -> tuple[str, int] | None:
        """Find the parameter that holds a tensor's first element, and the offset of that element in it."""
        known = self._range_of(tensor)
        if known is None:
            return None
        elements: int | None = (tensor.data_ptr() - known.start) // tensor.element_size()
        if known.order is not None and elements is not None:
            elements = known.order.offset(elements)
        return None if elements is None else (known.parameter, known.offset + elements)

    def _range_of(self, tensor: Tensor) -> _Range | None:
        """Find the memory, of a parameter or of a copy of one, that holds a tensor's first element."""
        if not dense(tensor) or tensor.numel() == 0:
            return None
        address = tensor.data_ptr()
        for known in (*self._ranges, *self._copies):
            if known.start <= address < known.stop:
                return known
        return None

    def _note_reason(self, tensor: Tensor, reason: str) -> None:
        """Note that a weight was used in a way that is not measured, with the entries that were used."""
        known, found = self._range_of(tensor), self._find(tensor)
        if known is not None and known.order is None and found is not None:
            self._add_reason(found[0], reason, (found[1], found[1] + _extent(tensor) // tensor.element_size()))
        elif known is not None:
            self._add_reason(known.parameter, reason, EVERYTHING)

    def _add_reason(self, parameter: str, reason: str, span: Span) -> None:
        reasons = self.uses.setdefault(parameter, {})
        before = reasons.get(reason, span)
        reasons[reason] = (min(before[0], span[0]), max(before[1], span[1]))


def _both(rows: Callable[[Tensor], Tensor], regroup: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda gradient: regroup(rows(gradient))


def _operands(product: Product) -> list[Tensor]:
    """Distinct operands of a product, in the order of its readings."""
    if product.grouped:
        return [product.readings[0][0].weight, product.readings[0][1]] if product.readings else []
    if len(product.readings) == 1:
        return [product.readings[0][0].weight, product.readings[0][1]]
    return [reading.weight for reading, _ in product.readings]


def _all_dense(tensors: Iterable[Tensor]) -> bool:
    return all(dense(tensor) for tensor in tensors)


def _tensors(values: Any) -> list[Tensor]:
    """Tensors among arguments or results, also those inside lists and tuples."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found.extend(_tensors(value))
    return found


def _written(func: Any, args: Any, kwargs: Mapping[str, Any]) -> list[Tensor]:
    """Tensors among the arguments that an operation writes to."""
    if not func._schema.is_mutable:
        return []
    given = {**dict(zip((argument.name for argument in func._schema.arguments), args, strict=False)), **kwargs}
    aliases = ((argument.name, argument.alias_info) for argument in func._schema.arguments)
    return _tensors(given[name] for name, alias in aliases if alias is not None and alias.is_write and name in given)


def _differs(tensor: Tensor, before: Tensor) -> bool:
    """Tell whether a tensor's values have changed by more than rounding."""
    if not tensor.is_floating_point():
        return not torch.equal(tensor, before)
    wide = torch.promote_types(tensor.dtype, torch.float32)
    one, other = tensor.to(wide), before.to(wide)
    return bool((one - other).norm() > 2 * torch.finfo(tensor.dtype).eps * other.norm())


def _extent(tensor: Tensor) -> int:
    """Number of bytes from a tensor's first element to the end of its last."""
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return (last + 1) * tensor.element_size()


@contextmanager
def decomposed(model: nn.Module) -> Iterator[None]:
    """Make recurrent modules run product by product, not as one fused operation."""
    if not any(isinstance(module, nn.RNNBase) for module in model.modules()):
        yield
        return
    # torch.backends.mkldnn.flags would set other flags as well, and warn about them.
    mkldnn = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        with torch.backends.cudnn.flags(enabled=False):
            yield
    finally:
        torch._C._set_mkldnn_enabled(mkldnn)
