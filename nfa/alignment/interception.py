"""See every product of a forward pass with one of the network's weights, whoever multiplies.

Hooks on modules miss what functions, attention, recurrent modules and plain parameters do. Here operations are watched
below autograd, in a dispatch mode: an operand is a weight when its memory lies in a parameter's (a view, a row range, a
transpose), and the gradient of its product is asked from the node that autograd made for it. Nothing is replaced, so
the forward pass is the network's own to the last bit, in-place activations included.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from nfa.alignment.attention import Consumption
from nfa.alignment.layers import WeightView
from nfa.alignment.operations import READERS, REASONS, Product, Reading

_COPIES = ("_to_copy", "clone")
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
    """

    view: WeightView | None
    reading: Reading | None
    edge: GradientEdge | None = None
    rows: int = 0
    parts: Consumption = field(default_factory=Consumption)


@dataclass(frozen=True)
class _Range:
    """Memory of a parameter, or of a copy of one in the same layout."""

    start: int
    stop: int
    parameter: str
    offset: int  # elements from the parameter's first to the first of this memory
    keep: Tensor


class Interception(TorchDispatchMode):
    """Watches one forward pass.

    Attributes:
        seen: Products that depend on the samples, in order.
        uses: Parameter -> why it was not measured, for each operation that it went into other than as W.
        attends: Whether attention took place.
        elements: Numbers that were computed from the samples, all of which autograd may keep.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], buffers: Iterable[Tensor], inputs: Tensor) -> None:
        """Watch for these parameters; what is computed from ``inputs`` depends on the samples."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: list[Seen] = []
        self.uses: dict[str, dict[str, None]] = {}
        self._ranges = [
            _Range(p.data_ptr(), p.data_ptr() + _extent(p), name, 0, p) for name, p in parameters.items() if p.numel()
        ]
        self._copies: list[_Range] = []
        self._from_samples = WeakTensorKeyDictionary()
        self._from_samples[inputs] = True
        self._samples = len(inputs)
        self._from_model = WeakTensorKeyDictionary()
        for tensor in (*parameters.values(), *buffers):
            self._from_model[tensor] = True
        self.attends = False
        self.elements = inputs.numel()
        self._pending: tuple[Seen, Tensor] | None = None
        self._split: list[tuple[int, int, int, Seen, Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation and note what it did."""
        self.settle()
        result = func(*args, **(kwargs or {}))
        tensors = [*_tensors(args), *_tensors((kwargs or {}).values())]
        for origin in (self._from_samples, self._from_model):
            if any(tensor in origin for tensor in tensors):
                for output in _tensors((result,)):
                    origin[output] = True
        returns = func._schema.returns
        if returns and returns[0].alias_info is not None and not returns[0].alias_info.is_write:
            return result  # a view: the memory tells what it is
        self.elements += sum(output.numel() for output in _tensors((result,)) if output in self._from_samples)
        name = func._schema.name.partition("::")[2]
        self.attends |= name == "_softmax" or "scaled_dot_product" in name
        if name in _COPIES:
            self._note_copy(tensors[0], result)
        else:
            self._note_use(func, name, args, tensors, result)
        return result

    def settle(self) -> None:
        """Ask the last product for its node, before anything changes the tensor in place."""
        if self._pending is not None:
            seen, result = self._pending
            self._pending = None
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

    def _note_use(self, func: Any, name: str, args: Any, tensors: list[Tensor], result: Any) -> None:
        product = READERS[func](*args, result) if func in READERS else None
        weights = self._read(product) if product is not None else {}
        for tensor in tensors:
            found = self._find(tensor)
            if found is not None and found[0] not in weights:
                self._note_reason(found[0], REASONS.get(name, f"used by {name}: no matrix product that is read here"))
            self._note_parts(tensor)
        if product is None and name == "convolution":  # transposed: seen, so that it counts in a chain
            self._append(Seen(None, None), result)

    def _read(self, product: Product) -> dict[str, None]:
        """Note a product of the samples with a matrix; return the parameter that is the matrix, if one is."""
        for reading, other in product.readings:
            found = self._find(reading.weight)
            if found is not None and reading.weight not in self._from_samples:
                parameter, offset = found
                if not self._per_sample(other):
                    self._note_reason(parameter, "what it multiplies does not depend on the samples")
                    return {parameter: None}
                view = WeightView(parameter, offset, reading.shape, reading.strides)
                seen = Seen(view, Reading(reading.weight.new_empty(0), reading.shape, reading.strides, reading.rows))
                seen.rows = product.result.numel() // (reading.shape[0] * reading.shape[1])
                self._append(seen, product.result)
                self._watch_parts(seen, product.result)
                return {parameter: None}
        dependent = [tensor in self._from_samples for _, tensor in product.readings]
        if len(dependent) == 2 and dependent[0] != dependent[1]:
            self._append(Seen(None, None), product.result)  # with a matrix that is computed: it counts in a chain
        return {}

    def _per_sample(self, operand: Tensor) -> bool:
        """Whether each row belongs to a sample: computed from them, or a constant such as a recurrent network's h0."""
        constant = operand not in self._from_model and operand.shape[0] == self._samples
        return operand in self._from_samples or constant

    def _append(self, seen: Seen, result: Tensor) -> None:
        self.seen.append(seen)
        self._pending = (seen, result)

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
