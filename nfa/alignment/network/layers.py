"""A layer: a matrix W that multiplies the samples, described as a view of one of the network's parameters.

Modules are no good description of layers: one parameter can hold several matrices (experts, query and key), one matrix
can be used by several modules, and many networks multiply by parameters without any module. A ``WeightView`` says
which entries of a parameter are W, as torch describes a view: offset, sizes and strides. The same W can then be read
from the parameters of this network, of the network before training, or from their gradients.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

_SPARSE_COMPRESSED = (torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc)


@dataclass(frozen=True)
class WeightView:
    """A matrix as a view of a parameter, in the way in which a forward pass used it.

    Attributes:
        parameter: Qualified name of the parameter.
        offset: Elements from the parameter's first to the view's first.
        shape: (g, k, *fan-in): g blocks of k rows; g > 1 only for grouped convolutions and batched products.
        strides: Elements from one entry to the next, for each axis of ``shape``.
        rows: Rows of the (only) block that belong to the layer; None for all rows. Query, key and value can share one
            parameter.
        row_axes: (size, stride) of each axis of the parameter that the k rows run over, where one stride does not
            reach all of them; empty where ``strides[1]`` does.
    """

    parameter: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    rows: tuple[int, ...] | None = None
    row_axes: tuple[tuple[int, int], ...] = ()

    def block(self, parameter: Tensor) -> Tensor:
        """Read the matrix from the value of the parameter: (g, k, d), in the parameter's number type."""
        values = parameter.detach()
        sizes, strides = zip(*self.row_axes or ((self.shape[1], self.strides[1]),), strict=True)
        shape = (self.shape[0], *sizes, *self.shape[2:])
        whole = (self.strides[0], *strides, *self.strides[2:])
        entries = values.as_strided(shape, whole, values.storage_offset() + self.offset)
        view = entries.reshape(self.shape[0], self.shape[1], -1)
        return view if self.rows is None else view[:, list(self.rows)]

    @property
    def numel(self) -> int:
        """Number of entries, all rows counted."""
        return int(torch.Size(self.shape).numel())

    @property
    def axes(self) -> list[tuple[int, int]]:
        """(size, stride) of each axis of more than one entry."""
        rows = self.row_axes or ((self.shape[1], self.strides[1]),)
        others = zip(self.shape, self.strides, strict=True)
        first, _, *rest = others
        return [(size, stride) for size, stride in (first, *rows, *rest) if size > 1]

    @property
    def span(self) -> tuple[int, int]:
        """Range of the parameter's entries that holds the view: its first entry, and the one past its last."""
        return self.offset, self.offset + sum((size - 1) * stride for size, stride in self.axes) + 1


@dataclass(frozen=True)
class Layer:
    """One measured matrix.

    Attributes:
        name: Name in tables: that of the module that owns the parameter, or of the parameter itself if it is not called
            ``weight``; with a suffix for parts and further readings of a parameter.
        view: Place of its entries in the parameter.
    """

    name: str
    view: WeightView

    @property
    def blocks(self) -> int:
        """g: blocks of rows that see different inputs."""
        return self.view.shape[0]

    @property
    def fan_out(self) -> int:
        """k: rows of a block."""
        return self.view.shape[1] if self.view.rows is None else len(self.view.rows)

    def matrix(self, parameters: Mapping[str, Tensor], dtype: torch.dtype | None = torch.float64) -> Tensor:
        """Copy W to the CPU: (k, d), or (g, k, d) where there are g > 1 blocks.

        Args:
            parameters: Parameter name -> its value, or a gradient of its shape.
            dtype: Number type of the copy; None keeps the parameter's.
        """
        block = self.view.block(parameters[self.view.parameter])
        return without_single_block(block.to("cpu", dtype or block.dtype, copy=True))


def without_single_block(blocks: Tensor) -> Tensor:
    """Drop the leading axis of a single block, (1, ...) -> (...); return several blocks as they are.

    >>> without_single_block(torch.zeros(1, 4, 3)).shape, without_single_block(torch.zeros(2, 4, 3)).shape
    (torch.Size([4, 3]), torch.Size([2, 4, 3]))
    """
    return blocks[0] if len(blocks) == 1 else blocks


def owner(parameter: str) -> str:
    """Name a layer after its parameter: the module of one called ``weight``, else the parameter itself.

    >>> owner("blocks.0.mlp.weight"), owner("encoder.in_proj_weight")
    ('blocks.0.mlp', 'encoder.in_proj_weight')
    """
    module, _, last = parameter.rpartition(".")
    return module if last == "weight" else parameter


def parameters_of(model: nn.Module) -> dict[str, nn.Parameter]:
    """Map qualified names to parameters; a shared parameter has the first of its names."""
    return dict(model.named_parameters())


def plain(model: nn.Module) -> nn.Module:
    """Return the network inside the wrappers of ``torch.compile``, DataParallel and DistributedDataParallel.

    Raises:
        ValueError: The model is not an ``nn.Module``.
    """
    if not isinstance(model, nn.Module):
        what = f"the class {model.__name__} itself" if isinstance(model, type) else f"a {type(model).__name__}"
        raise ValueError(f"model: {what}, not a network: an instance of torch.nn.Module is needed")
    if isinstance(model, nn.DataParallel | DistributedDataParallel):
        return plain(model.module)
    inner = getattr(model, "_orig_mod", None)  # of torch._dynamo's OptimizedModule, which takes seconds to import
    return plain(inner) if isinstance(inner, nn.Module) else model


def finite(values: Tensor) -> bool:
    """Tell whether no entry is NaN or infinite, from the bounds alone: a mask takes twenty times as long."""
    if values.layout in _SPARSE_COMPRESSED:
        values = values.values()
    elif values.layout == torch.sparse_coo:
        values = values.detach().coalesce().values()
    if not values.is_floating_point() or values.numel() == 0:
        return bool(torch.isfinite(values).all())
    return all(isfinite(bound.item()) for bound in values.detach().aminmax())


def refuse_lazy(model: nn.Module) -> None:
    """Refuse a network with lazy parameters that are not initialised.

    Raises:
        ValueError: A parameter is not initialised.
    """
    for name, value in parameters_of(model).items():
        if nn.parameter.is_lazy(value):
            raise ValueError(f"parameter {name!r} is not initialised: run the network once on a batch first")


def checked_device(model: nn.Module) -> torch.device:
    """Check that a network's parameters can be measured, and return their device.

    Raises:
        ValueError: No parameter, or no real one; a parameter that is not finite, without values, or made in inference
            mode; a scripted network; or inference mode is on.
    """
    if torch.is_inference_mode_enabled():
        raise ValueError("torch.inference_mode is on: autograd cannot work there; call outside, or use torch.no_grad")
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            what = f"module {name!r}" if name else "the network"
            raise ValueError(f"{what} is a torch.jit.ScriptModule, whose products are hidden: pass what it was made of")
    everything = parameters_of(model)
    parameters = {name: p for name, p in everything.items() if not nn.parameter.is_lazy(p)}
    for name, value in parameters.items():
        if value.is_complex() and all(other.is_complex() for other in everything.values()):
            kind = str(value.dtype).removeprefix("torch.")
            raise ValueError(f"parameter {name!r} is {kind}, and no parameter is real: only real weights are measured")
        if value.is_meta:
            raise ValueError(f"parameter {name!r} is on the meta device: it has no values to measure")
        if not finite(value):
            raise ValueError(f"parameter {name!r} holds NaN or infinity: nothing can be measured")
        if value.is_inference():
            raise ValueError(f"parameter {name!r} was made in torch.inference_mode: autograd cannot follow it")
    if not everything:
        raise ValueError(f"{type(model).__name__} has no parameter, so no layer to measure")
    return next(iter((parameters or everything).values())).device
