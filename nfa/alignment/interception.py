"""See every product of a forward pass with one of the network's weights, whoever multiplies.

Hooks on modules miss what functions, attention, recurrent modules and plain parameters do. Here operations are watched
below autograd, in a dispatch mode: an operand is a weight when its memory lies in a parameter's (a view, a row range, a
transpose), and the gradient of its product is asked from the node that autograd made for it. Nothing is replaced, so
the forward pass is the network's own to the last bit, in-place activations included.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from nfa.alignment.attention import Consumption
from nfa.alignment.layers import WeightView
from nfa.alignment.operations import READERS, REASONS, Product, Reading

_COPIES = ("_to_copy", "clone")
# They take of a tensor its shape and number type, not its values.
_FACTORIES = {f"new_{kind}" for kind in ("empty", "empty_strided", "full", "ones", "zeros")}
_FACTORIES |= {f"{kind}_like" for kind in ("empty", "full", "ones", "zeros", "rand", "randn", "randint")}
REWRITTEN = "copied, and the copy changed: the matrix is computed from it"
_WATCHED_FOR_PARTS = 3  # query, key and value


@dataclass
class Seen:
    """A product of the samples with a matrix.

    Attributes:
        view: Where the matrix lies; None when it is no view of a parameter.
        reading: How the gradient of the product becomes rows; the operand itself is let go.
        edge: Where autograd hands out the gradient of the product; None where autograd does not follow.
        rows: Rows of J that its gradient gives.
        parts: Column sets of h that the network used apart, when it split h in three.
        constant: Numbers in what the matrix multiplies, where that is not computed from the samples; else None.
        alternative: 1 or 2 for the two readings of a product of two weights, one of which may be an initial state that
            is repeated for each sample; 0 where there is one reading.
    """

    view: WeightView | None
    reading: Reading | None
    edge: GradientEdge | None = None
    rows: int = 0
    parts: Consumption = field(default_factory=Consumption)
    constant: int | None = None
    alternative: int = 0

    def leave_out(self) -> None:
        """Take it for no product."""
        self.view = self.reading = self.edge = None


class _Memory:
    """A set of tensors that holds with one all that shares its memory: its base, its views, views made later."""

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
    """Memory of a parameter, or of a copy of one in the same layout."""

    start: int
    stop: int
    parameter: str
    offset: int  # elements from the parameter's first to the first of this memory
    keep: Tensor


class InputWritten(BaseException):
    """The network is about to change its input in place; no ``except Exception`` of its own is to stop it."""


class Interception(TorchDispatchMode):
    """Watches one forward pass.

    Attributes:
        writes: Whether the network changed its input in place.
        seen: Products, in order: of the samples, and of constants with a weight, of which ``capture`` leaves out those
            that have no row for each sample.
        uses: Parameter -> why it was not measured, for each operation that it went into other than as W.
        changed: Parameters whose values the network changed.
        attends: Whether attention took place.
        elements: Numbers that were computed from the samples, all of which autograd may keep.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], inputs: Tensor, *, owned: bool = True) -> None:
        """Watch for these parameters; what is computed from ``inputs`` depends on the samples.

        Args:
            parameters: Of the network, by name.
            inputs: What it is given.
            owned: Whether it may change them; else ``InputWritten`` is raised before it does.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self.writes = False
        self._owned = owned
        self._input = _Memory()
        self._input.add(inputs)
        self.seen: list[Seen] = []
        self.uses: dict[str, dict[str, None]] = {}
        self._ranges = [
            _Range(p.data_ptr(), p.data_ptr() + _extent(p), name, 0, p) for name, p in parameters.items() if p.numel()
        ]
        self._copies: list[_Range] = []
        self._from_samples = _Memory()
        self._from_samples.add(inputs)
        self.changed: set[str] = set()
        self.attends = False
        self.elements = 0
        self._pending: tuple[list[Seen], Tensor] | None = None
        self._split: list[tuple[int, int, int, Seen, Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation and note what it did."""
        self.settle()
        written = _written(func, args, kwargs or {})
        if any(tensor in self._input for tensor in written):
            self.writes = True
            if not self._owned:
                raise InputWritten
        self._forget_copies(written)
        weights = [(tensor, found[0], tensor.clone()) for tensor in written if (found := self._find(tensor))]
        result = func(*args, **(kwargs or {}))
        self.changed |= {name for tensor, name, before in weights if _differs(tensor, before)}
        tensors = [*_tensors(args), *_tensors((kwargs or {}).values())]
        name = func._schema.name.partition("::")[2]
        if name not in _FACTORIES and any(tensor in self._from_samples for tensor in tensors):
            for output in (*_tensors((result,)), *written):
                self._from_samples.add(output)
        returns = func._schema.returns
        if returns and returns[0].alias_info is not None and not returns[0].alias_info.is_write:
            return result  # a view: the memory tells what it is
        self.elements += sum(output.numel() for output in _tensors((result,)) if output in self._from_samples)
        self.attends |= name == "_softmax" or "scaled_dot_product" in name
        if name in _COPIES:
            self._note_copy(tensors[0], result)
        else:
            self._note_use(func, name, args, tensors, result)
        return result

    def settle(self) -> None:
        """Ask the last product for its node, before anything changes the tensor in place."""
        if self._pending is not None:
            products, result = self._pending
            self._pending = None
            for seen in products:
                seen.edge = get_gradient_edge(result) if result.grad_fn is not None else None

    def _note_copy(self, source: Tensor, copy: Tensor) -> None:
        """Take a copy of a weight (another number type, another place) for the weight, where the layout is the same."""
        found = self._find(source)
        if found is not None and copy.stride() == source.stride():
            start = copy.data_ptr()
            self._copies.append(_Range(start, start + _extent(copy), *found, copy))
        elif found is not None:
            self._note_reason(found[0], "copied in another layout before it is multiplied")
        self._note_parts(source)

    def _forget_copies(self, written: list[Tensor]) -> None:
        """Take a copy of a weight that is written to for no copy of it any more."""
        for tensor in written:
            if tensor.layout == torch.strided and tensor.numel():
                address = tensor.data_ptr()
                for copy in [known for known in self._copies if known.start <= address < known.stop]:
                    self._copies.remove(copy)
                    self._note_reason(copy.parameter, REWRITTEN)

    def _note_use(self, func: Any, name: str, args: Any, tensors: list[Tensor], result: Any) -> None:
        product = READERS[func](*args, result) if func in READERS else None
        weights = self._read(product) if product is not None else {}
        for tensor in tensors:
            found = self._find(tensor)
            if found is not None and found[0] not in weights:
                self._note_reason(found[0], REASONS.get(name, f"used by {name}: no matrix product that is read here"))
            self._note_parts(tensor)
        if product is None and name == "convolution":  # transposed: seen, so that it counts in a chain
            self._append([Seen(None, None)], result)

    def _read(self, product: Product) -> dict[str, None]:
        """Note a product with a matrix; return the parameter that is the matrix, if one is.

        Where both operands are parameters, either may be the one that is repeated for each sample, as a learned initial
        state is: both readings are noted.
        """
        products: list[Seen] = []
        for reading, other in product.readings:
            found = None if reading.weight in self._from_samples else self._find(reading.weight)
            if found is not None:
                view = WeightView(*found, reading.shape, reading.strides)
                seen = Seen(view, Reading(reading.weight.new_empty(0), reading.shape, reading.strides, reading.rows))
                seen.rows = product.result.numel() // (reading.shape[0] * reading.shape[1])
                seen.constant = None if other in self._from_samples else other.numel()
                products.append(seen)
        dependent = [tensor in self._from_samples for _, tensor in product.readings]
        if products:
            self._append(products, product.result)
            for place, seen in enumerate(products, start=1):
                seen.alternative = place if len(products) > 1 else 0
                self._watch_parts(seen, product.result)
        elif len(dependent) == 2 and dependent[0] != dependent[1]:
            self._append([Seen(None, None)], product.result)  # with a matrix that is computed: it counts in a chain
        return {seen.view.parameter: None for seen in products[:1] if seen.view is not None}

    def _append(self, products: list[Seen], result: Tensor) -> None:
        """Note what may be W in one product."""
        self.seen += products
        self._pending = (products, result)

    def _watch_parts(self, seen: Seen, result: Tensor) -> None:
        """Follow h to what uses it, if it could be query, key and value side by side."""
        k = seen.reading.shape[1] if seen.reading is not None else 0
        if k % _WATCHED_FOR_PARTS == 0 and result.is_contiguous() and result.shape[-1] == k:
            start = result.data_ptr()
            self._split.append((start, start + _extent(result), k, seen, result.detach()))

    def _note_parts(self, tensor: Tensor) -> None:
        for start, stop, k, seen, kept in self._split:
            if start <= tensor.data_ptr() < stop:
                offset = (tensor.data_ptr() - start) // tensor.element_size()
                seen.parts.note(tensor, offset, k, whole=tensor.numel() == kept.numel())

    def _find(self, tensor: Tensor) -> tuple[str, int] | None:
        """Find the parameter that a tensor's first element lies in, and how many elements from its first."""
        if tensor.layout != torch.strided or tensor.numel() == 0:
            return None
        address = tensor.data_ptr()
        for known in (*self._ranges, *self._copies):
            if known.start <= address < known.stop:
                return known.parameter, known.offset + (address - known.start) // tensor.element_size()
        return None

    def _note_reason(self, parameter: str, reason: str) -> None:
        self.uses.setdefault(parameter, {})[reason] = None


def _tensors(values: Any) -> list[Tensor]:
    """Tensors among arguments or results, those in lists and tuples included."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found.extend(_tensors(value))
    return found


def _written(func: Any, args: Any, kwargs: Mapping[str, Any]) -> list[Tensor]:
    """Arguments that an operation writes to; some return nothing."""
    if not func._schema.is_mutable:
        return []
    given = {**dict(zip((argument.name for argument in func._schema.arguments), args, strict=False)), **kwargs}
    aliases = ((argument.name, argument.alias_info) for argument in func._schema.arguments)
    return _tensors(given[name] for name, alias in aliases if alias is not None and alias.is_write and name in given)


def _differs(tensor: Tensor, before: Tensor) -> bool:
    """Whether a tensor's values are others than they were, by more than rounding."""
    if not tensor.is_floating_point():
        return not torch.equal(tensor, before)
    wide = torch.promote_types(tensor.dtype, torch.float32)
    one, other = tensor.to(wide), before.to(wide)
    return bool((one - other).norm() > 2 * torch.finfo(tensor.dtype).eps * other.norm())


def _extent(tensor: Tensor) -> int:
    """Bytes from a tensor's first element to past its last."""
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return (last + 1) * tensor.element_size()


@contextmanager
def decomposed(model: nn.Module) -> Iterator[None]:
    """Keep recurrent modules from running as one fused operation, in which no product can be seen."""
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
