"""``Wrapped``: a network of several input or output tensors as a network from one tensor to one tensor.

    network = Wrapped(model, lambda model, batch: model(**batch).logits[:, -1], batch)
    table = nfa.measure(network, network.pack(batch))

A measurement cuts samples into batches, draws some of them and exchanges some for others. All of that is done with one
tensor, so the tensors of a dict are laid side by side in one, a row for each sample, and taken apart again before the
network sees them. Layers, parameters and state dict keep the names that they have in the network itself.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from nfa.alignment.network.layers import plain

Samples: TypeAlias = Tensor | Mapping[str, Tensor]
Forward: TypeAlias = Callable[[Any, Any], Tensor]


class Wrapped(nn.Module):
    """A network with a function that runs it on samples and returns the outputs to be differentiated.

    Parameters, modules and the state dict are those of the network and have its names, so ``initial=`` takes a state
    dict of the network. A dict may hold tensors of several shapes and number types, each with the samples first.

    Example:
        >>> model = nn.Bilinear(3, 4, 2)
        >>> batch = {"x": torch.randn(8, 3), "y": torch.randn(8, 4)}
        >>> network = Wrapped(model, lambda model, batch: model(batch["x"], batch["y"]), batch)
        >>> network.pack(batch).shape, network(network.pack(batch)).shape
        (torch.Size([8, 7]), torch.Size([8, 2]))
    """

    def __init__(self, model: nn.Module, forward: Forward, samples: Samples | None = None) -> None:
        """Keep the network and the function.

        Args:
            model: The network; it is not changed.
            forward: (model, samples) -> tensor (n, ...). It must use the model that it is given, which may be a copy.
            samples: A dict of tensors such as ``forward`` takes, of any number of samples, from which names, shapes and
                number types are read; None where ``forward`` takes one tensor.

        Raises:
            ValueError: A value of the dict that is not a tensor with the samples first.
        """
        super().__init__()
        self.model = plain(model)
        self.training = self.model.training
        self._parameters, self._buffers = self.model._parameters, self.model._buffers
        self._run = forward
        self._parts: dict[str, tuple[torch.Size, torch.dtype]] | None = None
        if isinstance(samples, Mapping):
            count_samples(samples)
            self._parts = {name: (value.shape[1:], value.dtype) for name, value in samples.items()}

    def pack(self, samples: Samples) -> Tensor:
        """Lay the tensors of a dict side by side: one row for each sample; a tensor stays as it is.

        No value changes. A tensor may come in another number type than in the dict that ``Wrapped`` was made with
        only where its values are the same in both types: whole numbers stored as floats fit a part of whole numbers,
        17.5 does not, and 0.1 in float64 does not fit a float32 part.

        Raises:
            ValueError: Tensors of other names or shapes than the first dict had, or values that would change.
        """
        if self._parts is None or isinstance(samples, Tensor):
            if not isinstance(samples, Tensor):
                raise ValueError("samples: a dict; give one to Wrapped too, for names, shapes and number types")
            return samples
        n = count_samples(samples)
        if samples.keys() != self._parts.keys():
            raise ValueError(f"samples: a dict of {', '.join(samples)}, not of {', '.join(self._parts)}")
        for name, (shape, _) in self._parts.items():
            if samples[name].shape[1:] != shape:
                found = tuple(samples[name].shape[1:])
                raise ValueError(f"samples: {name!r} has samples of shape {found}, not {tuple(shape)}")
        for name, (_, dtype) in self._parts.items():
            _refuse_changed(name, samples[name], dtype)
        packed = torch.cat([samples[name].reshape(n, -1).to(self._type) for name in self._parts], 1)
        for name, part in self._unpack(packed).items():
            if not _same_values(part, samples[name].to(part.dtype)).all():
                raise ValueError(f"samples: {name!r} holds integers that {self._type} would round")
        return packed

    def forward(self, samples: Tensor) -> Tensor:
        """Take the samples apart and run the network on them."""
        return self._run(self.model, samples if self._parts is None else self._unpack(samples))

    @property
    def _type(self) -> torch.dtype:
        """Number type of packed samples: the widest floating-point type of the parts, int64 where there is none."""
        assert self._parts is not None
        found = torch.int64
        for _, dtype in self._parts.values():
            found = torch.promote_types(found, dtype) if dtype.is_floating_point else found
        return found

    def _unpack(self, packed: Tensor) -> dict[str, Tensor]:
        """Take a packed tensor apart; floating-point parts become float64 if it is, as ``nfa.check`` makes it."""
        assert self._parts is not None
        columns = packed.split([shape.numel() for shape, _ in self._parts.values()], 1)
        wider = packed.dtype != self._type
        return {
            name: part.reshape(len(packed), *shape).to(packed.dtype if wider and dtype.is_floating_point else dtype)
            for (name, (shape, dtype)), part in zip(self._parts.items(), columns, strict=True)
        }

    # The methods below give the network's own names, so that layers, reasons and state dicts have the same names as
    # without Wrapped.

    def __getattr__(self, name: str) -> Any:
        """Find attributes of the network, which ``torch.func.functional_call`` follows from the names of parameters."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "model" or name.startswith("__"):
                raise
            return getattr(self.model, name)

    def named_modules(self, *arguments: Any, **options: Any) -> Iterator[tuple[str, nn.Module]]:
        """Yield this module, which has modes and hooks of its own, and the modules of the network."""
        yield "", self
        yield from self.model.named_modules(*arguments, **options)

    def named_parameters(self, *arguments: Any, **options: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the parameters of the network."""
        return self.model.named_parameters(*arguments, **options)

    def get_submodule(self, target: str) -> nn.Module:
        """Find a module of the network."""
        return self.model.get_submodule(target)

    def state_dict(self, *arguments: Any, **options: Any) -> dict[str, Any]:  # type: ignore[override]
        """Return the state of the network."""
        return self.model.state_dict(*arguments, **options)

    def load_state_dict(self, *arguments: Any, **options: Any) -> Any:
        """Load a state of the network."""
        return self.model.load_state_dict(*arguments, **options)


def _refuse_changed(name: str, values: Tensor, dtype: torch.dtype) -> None:
    """Refuse values that change in the number type in which the network gets them.

    Raises:
        ValueError: A value changes; the message shows the first such value.
    """
    if values.dtype == dtype:
        return
    cast = values.to(dtype)
    changed = ~_same_values(cast.to(values.dtype), values)
    if changed.any():
        kind = str(dtype).removeprefix("torch.")
        first = f"{values[changed][0].item()}, which {kind} would make {cast[changed][0].item()}"
        raise ValueError(f"samples: {name!r} holds {first}: give {kind}, as in the dict that Wrapped was made with")


def _same_values(one: Tensor, other: Tensor) -> Tensor:
    """Compare entry by entry; NaN equals NaN."""
    return (one == other) | ((one != one) & (other != other))


def count_samples(samples: Mapping[str, Any]) -> int:
    """Count the samples in the tensors of a dict.

    Raises:
        ValueError: No tensor, a value that is not a real tensor (n, ...), or tensors of different numbers of samples.
    """
    for name, value in samples.items():
        if not isinstance(value, Tensor) or value.dim() == 0:
            raise ValueError(f"samples: {name!r} is a {type(value).__name__}, not a tensor with the samples first")
        if value.is_complex():
            raise ValueError(f"samples: {name!r} is complex: give its real and imaginary part")
    counts = {name: len(value) for name, value in samples.items()}
    if len(set(counts.values())) != 1:
        found = ", ".join(f"{count} in {name!r}" for name, count in counts.items()) or "none"
        raise ValueError(f"samples: a dict of tensors with equally many samples each is needed, not {found}")
    return next(iter(counts.values()))
