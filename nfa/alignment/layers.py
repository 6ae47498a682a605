"""A layer is one matrix W that a network multiplies its samples by: where it lies in a parameter, how it is read."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class WeightView:
    """A matrix that is a view of a parameter, as a forward pass used it.

    Attributes:
        parameter: Qualified name of the parameter.
        offset: Elements from the parameter's first to the view's.
        shape: (g, k, *fan-in): g blocks of k rows; g = 1 but for grouped convolutions and batched products.
        strides: In elements, one for each entry of ``shape``.
        rows: Rows of the (only) block that belong to the layer; None for all. Query, key and value can share one
            parameter.
    """

    parameter: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    rows: tuple[int, ...] | None = None

    def block(self, parameter: Tensor) -> Tensor:
        """Read the matrix out of the parameter's value: (g, k, d), in its own number type."""
        values = parameter.detach()
        view = values.as_strided(self.shape, self.strides, values.storage_offset() + self.offset).flatten(2)
        return view if self.rows is None else view[:, list(self.rows)]

    @property
    def numel(self) -> int:
        """Entries, all rows counted."""
        return int(torch.Size(self.shape).numel())

    def transposed(self) -> "WeightView":
        """The same entries with fan-out and fan-in exchanged; for views of three axes (g, k, d)."""
        g, k, d = self.shape
        sg, sk, sd = self.strides
        return replace(self, shape=(g, d, k), strides=(sg, sd, sk))


@dataclass(frozen=True)
class Layer:
    """One measured matrix.

    Attributes:
        name: What it is called in tables: the module that owns it, or the parameter where it is not called ``weight``;
            parts and further readings of a parameter are told apart by a suffix.
        view: Where its entries are.
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
        """W as a copy on the CPU: (k, d), or (g, k, d) where there are g > 1 blocks.

        Args:
            parameters: Values (or gradients) by parameter name.
            dtype: Number type of the copy; None keeps the parameter's.
        """
        block = self.view.block(parameters[self.view.parameter])
        return without_single_block(block.to("cpu", dtype or block.dtype, copy=True))


def without_single_block(blocks: Tensor) -> Tensor:
    """Drop the leading axis of a single block: (1, ...) -> (...); anything else stays."""
    return blocks[0] if len(blocks) == 1 else blocks


def owner(parameter: str) -> str:
    """Name of what owns a parameter: the module for one called ``weight``, else the parameter itself."""
    module, _, last = parameter.rpartition(".")
    return module if last == "weight" else parameter


def parameters_of(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters by qualified name, a shared one under the first of its names."""
    return dict(model.named_parameters())


def plain(model: nn.Module) -> nn.Module:
    """Take off what ``torch.compile``, DataParallel and DistributedDataParallel put around a network, and its names.

    Raises:
        ValueError: It is no network.
    """
    if not isinstance(model, nn.Module):
        what = f"the class {model.__name__} itself" if isinstance(model, type) else f"a {type(model).__name__}"
        raise ValueError(f"model: {what}, not a network: an instance of torch.nn.Module is needed")
    if isinstance(model, nn.DataParallel | DistributedDataParallel):
        return plain(model.module)
    inner = getattr(model, "_orig_mod", None)  # of torch._dynamo's OptimizedModule, which takes seconds to import
    return plain(inner) if isinstance(inner, nn.Module) else model


def finite(values: Tensor) -> bool:
    """Whether no entry is NaN or infinite; without a mask as large as the tensor, which takes twenty times as long."""
    if not values.is_floating_point() or values.numel() == 0:
        return bool(torch.isfinite(values).all())
    return all(isfinite(bound.item()) for bound in values.detach().aminmax())


def refuse_lazy(model: nn.Module) -> None:
    """Refuse a network with parameters that are not there yet.

    Raises:
        ValueError: There is one.
    """
    for name, value in parameters_of(model).items():
        if nn.parameter.is_lazy(value):
            raise ValueError(f"parameter {name!r} is not initialised: run the network once on a batch first")


def checked_device(model: nn.Module) -> torch.device:
    """Device of a network whose parameters can be measured.

    Raises:
        ValueError: No parameter, one that is not finite, complex, or made in inference mode; a scripted network; or
            inference mode is on.
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
        if value.is_complex():
            kind = str(value.dtype).removeprefix("torch.")
            raise ValueError(f"parameter {name!r} is {kind}: only networks of real parameters are measured")
        if value.is_meta:
            raise ValueError(f"parameter {name!r} is on the meta device: it has no values to measure")
        if not finite(value):
            raise ValueError(f"parameter {name!r} holds NaN or infinity: nothing can be measured")
        if value.is_inference():
            raise ValueError(f"parameter {name!r} was made in torch.inference_mode: autograd cannot follow it")
    if not everything:
        raise ValueError(f"{type(model).__name__} has no parameter, so no layer to measure")
    return next(iter((parameters or everything).values())).device
