"""The layers that several forward passes found in one network, put together.

One pass over a batch shows only the layers that its samples go through, in the order of that batch. ``Survey`` collects
the passes over all batches: the set of layers, one order that does not depend on the batches, depths, reasons for the
weights that no pass measured, and notes on uses of a weight that K leaves out. A survey of the network at another step
can be made like an earlier one: layers then keep their names, and those that no sample reaches any more have K = 0.

``survey_layers`` finds the layers by running the network on a few samples. Two samples show all layers of most
networks. A network that sends each sample to one of several experts shows only the experts of the samples that it was
run on, so further batches are run until every weight has been used.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from torch import Tensor, nn

from nfa.alignment.network.layers import Layer, owner, parameters_of
from nfa.alignment.network.measuring_mode import measuring_mode
from nfa.alignment.network.naming import Names, unused_places
from nfa.alignment.network.operations import REASON_OF, STORED
from nfa.alignment.network.reasons import reason
from nfa.alignment.network.recording import CHANGED, NO_PATH, UNUSED, Recording, record
from nfa.alignment.network.topology import topology
from nfa.errors import nearest

UNROUTED = "not used in the forward pass on these samples: no sample was sent to it"
NOT_HERE = reason("not used in the forward pass on these samples, so K is 0")
LEAVES_OUT = reason("K leaves out a use of the weight: {use}")
AS_ONE = reason("{parts} are measured as one matrix")

# Further uses of a measured weight that need no note: without a path to the output, or as an embedding (tied weights).
_ORDINARY = {NO_PATH, REASON_OF["embedding"], REASON_OF["_embedding_bag"]}


class Survey:
    """Collects the results of all passes over one network.

    Attributes:
        names: Names of the matrices, the same in all passes.
        layers: Layer name -> layer, for the layers of all passes.
        depths: Layer name -> its depth from the output, see ``topology``.
    """

    def __init__(self, model: nn.Module, like: "Survey | None" = None) -> None:
        """Begin without passes.

        Args:
            model: The network.
            like: A survey of the same network with other weights, from which names and order of the layers are taken.
        """
        self.names: Names = Names(None if like is None else like.names)
        self.layers: dict[str, Layer] = {}
        self.depths: dict[str, int] = {}
        self._earlier: dict[str, Layer] = {} if like is None else like.every_layer
        self._earlier_depths: dict[str, int] = {} if like is None else like.every_depth
        self._parameters = parameters_of(model)
        self._ways: set[tuple[str, ...]] = set()  # the layers of each kind of pass, in order
        self._orders: list[list[str]] = [] if like is None else [like.order]
        self._in_part: set[str] = set() if like is None else set(like._in_part)
        self._apart: bool = like is not None and like._apart
        self._chains: set[int | None] = set()
        self._left_out: list[dict[str, str]] = []
        self._uses: dict[str, dict[str, tuple[int, int]]] = {}
        self._together: dict[str, str] = {}

    def add(self, recording: Recording) -> None:
        """Add the results of a pass."""
        way = tuple(recording.layers)
        if recording.left_out not in self._left_out:
            self._left_out.append(recording.left_out)
        for parameter, reasons in recording.uses.items():
            known = self._uses.setdefault(parameter, {})
            for use, (start, stop) in reasons.items():
                before = known.get(use, (start, stop))
                known[use] = (min(start, before[0]), max(stop, before[1]))
        self._together |= recording.together
        self._count_rows(recording)
        if way in self._ways:
            return
        self._ways.add(way)
        self._orders.append(list(way))
        places = topology(recording)
        self._chains.add(places.chain_length)
        for name, layer in recording.layers.items():
            self.layers.setdefault(name, layer)
            self.depths[name] = max(self.depths.get(name, 0), places.depth_from_output[name])

    def _count_rows(self, recording: Recording) -> None:
        """Note layers that only some samples or positions go through, and whether samples go different ways."""
        rows = Counter[str]()
        for call in recording.calls:
            rows[call.layer.name] += call.rows
        in_part = {name: count for name, count in rows.items() if count % len(recording.outputs)}
        self._in_part |= set(in_part)
        self._apart = self._apart or len(set(in_part.values())) > 1

    @property
    def never(self) -> set[str]:
        """Layers that some pass found impossible to measure: the weight changes, or later passes do not use it."""
        reasons = (STORED, CHANGED)
        return {
            name
            for name, layer in self.layers.items()
            if any(left_out.get(owner(layer.view.parameter)) in reasons for left_out in self._left_out)
        }

    @property
    def chain_length(self) -> int | None:
        """Number of layers if all samples go through the same chain of layers, else None."""
        return next(iter(self._chains)) if len(self._chains) == 1 and len(self._ways) == 1 else None

    @property
    def order(self) -> list[str]:
        """All layers in forward order; the order does not depend on the batches.

        Layers that all samples go through are in the order of the forward pass. Those that only some samples go through
        stand between the same two of them as in the forward pass, there in the order of the parameters and of their
        entries, because each batch reaches other ones.
        """
        if len(self._orders) == 1 and not self._apart:
            return list(self._orders[0])
        registered = {name: place for place, name in enumerate(self._parameters)}
        layers = self.every_layer
        always = set(layers).intersection(*self._orders) - self._in_part
        ends = [name for name in self._orders[0] if name in always]
        gaps = dict.fromkeys(layers, 0)
        for order in self._orders:
            gap = 0
            for name in order:
                gap += name in always
                gaps[name] = max(gaps[name], gap)
        gaps |= {name: place + 1 for place, name in enumerate(ends)}

        def key(name: str) -> tuple[int, bool, int, int, str]:
            view = layers[name].view
            return gaps[name], name not in always, registered.get(view.parameter, 0), view.offset, name

        return sorted(layers, key=key)

    @property
    def every_layer(self) -> dict[str, Layer]:
        """Layers of this survey and of the earlier one that it is like."""
        return {**self._earlier, **self.layers}

    @property
    def every_depth(self) -> dict[str, int]:
        """Depths of ``every_layer``; a layer keeps that of the earlier survey, so that its place stays the same."""
        return {**self.depths, **self._earlier_depths}

    @property
    def complete(self) -> bool:
        """Whether all entries of all weights were used, so that no further sample can reach another layer."""
        sizes: dict[str, int] = {}
        for layer in self.layers.values():
            sizes[layer.view.parameter] = sizes.get(layer.view.parameter, 0) + layer.view.numel
        whole = all(size >= self._parameters[name].numel() for name, size in sizes.items() if name in self._parameters)
        return whole and UNUSED not in self.left_out().values()

    def unused(self) -> dict[str, Layer]:
        """Layers of the earlier survey that no sample goes through in this one."""
        if not self._earlier:
            return {}
        left_out = self.left_out()
        here = {layer.view.parameter for layer in self.layers.values()}

        def idle(layer: Layer) -> bool:
            parameter = layer.view.parameter
            if parameter in here:
                return not self._reasons(parameter, layer.view.span)
            vector = parameter in self._parameters and self._parameters[parameter].dim() < 2
            return vector or left_out.get(owner(parameter)) in (UNUSED, NO_PATH)

        return {name: layer for name, layer in self._earlier.items() if name not in self.layers and idle(layer)}

    def left_out(self) -> dict[str, str]:
        """Map the owner of each weight of two or more dimensions that no pass measured to the reason."""
        never = self.never
        measured = {layer.view.parameter for name, layer in self.layers.items() if name not in never}
        owners = {owner(name) for name in measured}
        found: dict[str, dict[str, None]] = {}
        for left_out in self._left_out:
            for name, why in left_out.items():
                if name not in owners:
                    found.setdefault(name, {})[why] = None
        for reasons in found.values():
            if STORED in reasons:
                reasons.clear()
                reasons[STORED] = None
            elif len(reasons) > 1:
                reasons.pop(UNUSED, None)  # the samples of some passes did not reach it, others did
        texts = {name: "; ".join(dict.fromkeys("; ".join(r).split("; "))) for name, r in found.items()}
        return texts | self._unused_parts(measured)

    def _unused_parts(self, measured: set[str]) -> dict[str, str]:
        """Find the slices of measured parameters that multiplied no sample, with the reason."""
        parts: dict[str, str] = {}
        for parameter in self._parameters:
            if parameter in measured:
                views = [layer.view for layer in self.layers.values() if layer.view.parameter == parameter]
                for place, span in unused_places(self._parameters[parameter], views).items():
                    reasons = self._reasons(parameter, span)
                    parts[owner(parameter) + place] = "; ".join(reasons) or UNROUTED
        return parts

    def _reasons(self, parameter: str, span: tuple[int, int]) -> list[str]:
        uses = self._uses.get(parameter, {}).items()
        return [reason for reason, (start, stop) in uses if start < span[1] and span[0] < stop]

    def note(self, name: str) -> str:
        """Describe the uses of a layer's weight that K leaves out; empty for most layers."""
        if name not in self.layers:
            return NOT_HERE
        view = self.layers[name].view
        notes = [LEAVES_OUT.format(use=use) for use in self._reasons(view.parameter, view.span) if use not in _ORDINARY]
        if name in self._together:
            notes.append(AS_ONE.format(parts=self._together[name]))
        return "; ".join(notes)

    def refuse_unknown(self, names: Sequence[str] | None, recording: Recording) -> None:
        """Refuse names of layers that no pass can find, after the first pass and before all samples are run.

        Raises:
            ValueError: An unknown name, or the name of a weight that is left out for another reason than that no sample
                went through it.
        """
        every = self.every_layer
        own = {owner(parameter) for parameter in self._parameters}
        for name in names or []:
            unrouted = recording.left_out.get(name, UNUSED) == UNUSED
            possible = name in every or (unrouted and (name in own or name.partition("[")[0] in own))
            if not possible:
                recording.chosen(names)
        if not recording.calls or (names is not None and not list(names)):
            recording.chosen(names)

    def refuse_missing(self, names: Sequence[str] | None) -> None:
        """Refuse names of layers that no sample went through, and a network without layers.

        Raises:
            ValueError: Such a name, or no layer.
        """
        left_out, never = self.left_out(), self.never
        measured = [name for name in self.every_layer if name not in never]
        for name in names or []:
            if name not in measured:
                raise ValueError(f"layer {name!r} is not measured: {left_out.get(name) or nearest(name, measured)}")
        if not measured:
            reasons = "; ".join(f"{name!r}: {reason}" for name, reason in left_out.items())
            raise ValueError(f"the network has no layer to measure ({reasons or 'it has no weight matrix'})")


def survey_layers(model: nn.Module, batches: Iterable[Tensor], *, heads: bool = False) -> tuple[Survey, Recording]:
    """Run a network batch by batch until no other sample can bring another layer.

    Args:
        model: Network, left as it was.
        batches: Samples (n, *input shape); read as far as needed, at least the first batch.
        heads: Take query, key and value projections apart by head.

    Returns:
        What all passes found, and the recording of the last one.
    """
    survey = Survey(model)
    with measuring_mode(model):
        for batch in batches:
            # A tensor that was made in torch.inference_mode has no gradient, and a copy of it has one.
            recording = record(model, batch.clone(), heads=heads, names=survey.names)
            survey.add(recording)
            if survey.complete:
                break
    return survey, recording
