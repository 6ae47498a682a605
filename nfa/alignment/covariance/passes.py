"""Reverse passes over one batch, and what they add to each layer's K."""

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from nfa.alignment.covariance.blocks import Blocks, OuterSum
from nfa.alignment.covariance.products import add_products_, extreme, mirrored_, resolution, symmetric, working_type
from nfa.alignment.network.layers import Layer
from nfa.alignment.network.recording import Recording, reverse, wanted

# Additions to a float32 sum before it goes into a float64 one: their rounding, 6e-8 each and in any direction, stays
# below 1e-6 together.
ADDITIONS = 64


class LayerSum:
    """The sum of K_i of one layer, as it grows batch by batch.

    Attributes:
        layer: The layer.
        blocks: The sum in blocks of samples, where error bars are to be made; else None.
        resolution: Relative rounding of the eigenvalues of what was summed.
        identity_positions: Positions per sample while every gradient so far was the direction it came from: then h is
            the output itself and K this multiple of the identity. None when one was not.
    """

    def __init__(self, layer: Layer, *, in_blocks: bool) -> None:
        """Start at zero."""
        self.layer = layer
        self.blocks = Blocks() if in_blocks else None
        self.resolution = torch.finfo(torch.float64).eps
        self.identity_positions: int | None = 0
        self._total: Tensor | None = None  # over earlier batches, float64
        self._products: Tensor | None = None  # one triangle, in the type that products are added in
        self._additions = 0
        self._rows: tuple[list[Tensor], list[Tensor]] = ([], [])

    def add_exact(self, rows: Tensor, outputs: int) -> None:
        """Add the rows (g, m, k) of J for one output."""
        working = torch.float64 if extreme(rows) else working_type(rows.dtype, outputs)
        self.resolution = max(self.resolution, resolution(rows.dtype, working))
        if self._products is None:
            self._products = rows.new_zeros(len(rows), rows.shape[2], rows.shape[2], dtype=working)
        elif torch.promote_types(self._products.dtype, working) != self._products.dtype:
            self._products = self._products.to(working)
        add_products_(self._products, rows.to(self._products.dtype))
        self._additions += 1
        if self.blocks is None and self._additions >= ADDITIONS:
            self._settle()

    def add_sketched(self, rows: Tensor, sketch: int) -> None:
        """Keep the rows (g, m, k) of J^T v for one probe of the first (0) or second (1) sketch."""
        rows = rows.to(torch.float64 if extreme(rows) else torch.promote_types(rows.dtype, torch.float32))
        self.resolution = max(self.resolution, torch.finfo(rows.dtype).eps)
        self._rows[sketch].append(rows.cpu())

    def end_exact_batch(self, n: int) -> None:
        """Close a batch of n samples, one block where blocks are kept."""
        if self.blocks is not None:
            part = OuterSum(self._empty() if self._products is None else mirrored_(self._products).cpu(), None)
            self._products = None
            self.blocks.add(n, part, part)

    def total(self) -> Tensor:
        """The sum over all batches, (g, k, k) on the CPU, where no blocks are kept."""
        if self._total is None:
            return self._empty() if self._products is None else mirrored_(self._products).cpu()
        if self._products is not None:
            self._settle()
        return self._total

    def _settle(self) -> None:
        """Bring what was added to the float64 sum."""
        assert self._products is not None
        summed = symmetric(self._products)
        self._total = summed if self._total is None else self._total.add_(summed)
        self._products, self._additions = None, 0

    def _empty(self) -> Tensor:
        """The sum of a layer that was not called."""
        return torch.zeros(self.layer.blocks, self.layer.fan_out, self.layer.fan_out)

    def end_sketched_batch(self, n: int, probes: int, block: int) -> None:
        """Close a batch of n samples: one block, or blocks of ``block`` samples where each row is one sample's."""
        assert self.blocks is not None
        rows, self._rows = self._rows, ([], [])
        if not rows[
            0
        ]:  # not called on these samples: a row of zeros for each, so that blocks are cut as those of others
            rows = ([torch.zeros(self.layer.blocks, n, self.layer.fan_out)],) * 2
            self.identity_positions = None
        one_row_each = all(part.shape[1] == n for sketch in rows for part in sketch)
        size = block if one_row_each else n
        sizes = [min(size, n - start) for start in range(0, n, size)]
        if one_row_each and all(len(sketch) == 1 for sketch in rows):
            self.blocks.add_rows(sizes, rows[0][0], rows[1][0])
            return
        pieces = [[part.split(block, 1) if one_row_each else (part,) for part in sketch] for sketch in rows]
        parts = ([_mean(piece, probes) for piece in zip(*sketch, strict=True)] for sketch in pieces)
        for length, first, second in zip(sizes, *parts, strict=True):
            self.blocks.add(length, first, second)


class LayerSums(dict[str, LayerSum]):
    """Sums of the layers that are wanted, of which later batches may bring more."""

    def __init__(self, wanted: Sequence[str] | None, *, in_blocks: bool, probes: int, block: int) -> None:
        """Begin with no layer.

        Args:
            wanted: Names of the layers; all when None.
            in_blocks: Whether error bars are to be made.
            probes: Probes in each of the two sketches; 0 when exact.
            block: Samples in a block.
        """
        super().__init__()
        self._wanted = None if wanted is None else set(wanted)
        self._in_blocks, self._probes, self._block = in_blocks, probes, block
        self._ended: list[int] = []

    def find(self, layers: Mapping[str, Layer]) -> None:
        """Add the wanted ones among some layers, at zero for the batches so far."""
        for name, layer in layers.items():
            if name not in self and (self._wanted is None or name in self._wanted):
                self[name] = LayerSum(layer, in_blocks=self._in_blocks)
                for n in self._ended if self._in_blocks else ():
                    self._end(self[name], n)

    def end_batch(self, n: int) -> None:
        """Close a batch of n samples."""
        for found in self.values():
            self._end(found, n)
        self._ended.append(n)

    def _end(self, found: LayerSum, n: int) -> None:
        if self._probes:
            found.end_sketched_batch(n, self._probes, self._block)
        else:
            found.end_exact_batch(n)


def _mean(rows: Sequence[Tensor], probes: int) -> OuterSum:
    """Sum over calls and mean over probes."""
    joined = rows[0] if len(rows) == 1 else torch.cat(list(rows), 1)
    return OuterSum.of_rows(joined if probes == 1 else joined / probes**0.5).compact()


def exact_passes(recording: Recording, sums: Mapping[str, LayerSum], n: int) -> None:
    """One reverse pass for each output: all rows of J.

    Args:
        recording: A forward pass.
        sums: Layers to add to.
        n: Samples, the first of those that the pass ran on: a single sample is there twice.
    """
    calls, edges = wanted(recording, sums)
    if not edges:  # these samples go through none of the layers
        return
    outputs = recording.outputs.shape[1]
    direction = torch.zeros_like(recording.outputs)
    for c in range(outputs):
        direction.zero_()[:n, c] = 1
        gradients = reverse(recording, edges, direction, last=c == outputs - 1)
        for call in calls:
            gradient = gradients[call.product]
            if gradient is not None:  # a call whose result this output does not use
                sums[call.layer.name].add_exact(call.read(gradient), outputs)


def sketched_passes(recording: Recording, sums: Mapping[str, LayerSum], signs: Tensor) -> None:
    """One reverse pass for each probe of both sketches.

    Args:
        recording: A forward pass of n samples; of two where n = 1, the second of which is a copy.
        sums: Layers to add to.
        signs: (n, 2 * probes, T) of +-1; the first half of the probes is the first sketch.
    """
    calls, edges = wanted(recording, sums)
    if not edges:  # these samples go through none of the layers
        return
    total = signs.shape[1]
    count = Counter(call.layer.name for call in calls)
    for probe in range(total):
        direction = torch.zeros_like(recording.outputs)
        direction[: len(signs)] = signs[:, probe]
        gradients = reverse(recording, edges, direction, last=probe == total - 1)
        for call in calls:
            gradient, layer = gradients[call.product], sums[call.layer.name]
            if gradient is None:
                continue
            _note_identity(layer, gradient, direction, only=count[call.layer.name] == 1)
            layer.add_sketched(call.read(gradient), 2 * probe // total)


def _note_identity(layer: LayerSum, gradient: Tensor, direction: Tensor, *, only: bool) -> None:
    """Keep track of whether h of an only call is the output: random signs come back unchanged in no other case."""
    same = only and gradient.numel() == direction.numel() and torch.equal(gradient.reshape(direction.shape), direction)
    positions = direction.shape[1] // (layer.layer.blocks * layer.layer.fan_out)
    layer.identity_positions = positions if same and layer.identity_positions in (0, positions) else None
