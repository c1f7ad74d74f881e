"""A network on an input, as a graph of operator records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from convscope.display import Shown
from convscope.errors import ShapeError, UnknownNameError, UsageError
from convscope.geometry import AxisField, TableField
from convscope.trace.capture import Capture, ModuleCall
from convscope.trace.costing import cost_records
from convscope.trace.engines import RealEngine, ShapeEngine, tensors_in
from convscope.trace.failure import refusal
from convscope.trace.fields import Fields, Source
from convscope.trace.guard import Mode, random_states, set_random_states, unchanged
from convscope.trace.index import NetworkIndex
from convscope.trace.inputs import call_arguments, cloned, named_outputs, named_tensors, tensors_for
from convscope.trace.memory import backward_bytes, peak_bytes
from convscope.trace.naming import name_records
from convscope.trace.propagation import propagate
from convscope.trace.receptive_field import ReceptiveField, receptive_field_of, support_of
from convscope.trace.record import Record, TensorFacts
from convscope.trace.replay import Circumstances, autocast_state
from convscope.trace.rules import makes_constants

__all__ = ["Trace", "trace"]


@dataclass(frozen=True, slots=True)
class Captured:
    """What a run left behind, before anything is worked out from it."""

    records: list[Record]
    parameters_of: dict[int, tuple[str, ...]]
    sizes: dict[str, int]


@dataclass(frozen=True, eq=False)
class Trace(Shown):
    """What a network did with one input: operators, tensors between them, modules around them.

    Attributes:
        tensors: every tensor, by number; an operator in place makes a new one.
        calls: every module call, in the order in which they began.
        outputs: numbers of the tensors that the network returned.
        output_names: of those tensors: the keys of a dict, "output", or "output0" and on of a tuple.
        num_params: elements of the network's distinct parameters, tied ones once, unused ones too.
        values: the kept tensors by number; empty for a shape-only trace.
        has_values: whether the network ran on a real tensor.
    """

    network: nn.Module = field(repr=False)
    tensors: tuple[TensorFacts, ...]
    calls: tuple[ModuleCall, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    output_names: tuple[str, ...]
    num_params: int
    num_buffers: int
    mode: Mode
    values: dict[int, Tensor] = field(repr=False)
    has_values: bool
    _captured: Captured = field(repr=False)
    _circumstances: Circumstances = field(repr=False)
    _fields: dict[str, Fields] = field(default_factory=dict, repr=False)
    _replays: dict[str, Trace] = field(default_factory=dict, repr=False)

    @property
    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return what the network was called with, positional and by keyword."""
        return self._circumstances.args, self._circumstances.kwargs

    @property
    def results(self) -> tuple[Tensor, ...]:
        """Return the tensors that the network returned; () for a trace of a shape."""
        return self._circumstances.results

    @property
    def given(self) -> tuple[Tensor, ...]:
        """Return the input tensors; of a shape-only trace those on the meta device."""
        return tuple(tensors_in(self.arguments))

    @cached_property
    def records(self) -> tuple[Record, ...]:
        """Return every operator call in order; their names and costs are worked out when they are first asked for."""
        found = self._captured
        cost_records(found.records, list(self.tensors), found.parameters_of, found.sizes)
        name_records(found.records, list(self.calls), list(self.tensors))
        return tuple(found.records)

    @cached_property
    def not_counted(self) -> dict[str, int]:
        """Return the operators without a rule, and how often each ran; their cost is in no total."""
        return dict(Counter(record.operator for record in self.records if not record.counted))

    # Totals -------------------------------------------------------------------------------------------------

    @property
    def macs(self) -> int:
        """Return the multiply-accumulates of all convolutions and matrix products; FLOPs are twice that."""
        return sum(record.macs for record in self.records)

    @property
    def element_ops(self) -> int:
        """Return the element operations of everything that is not counted in MACs."""
        return sum(record.element_ops for record in self.records)

    @property
    def bytes_moved(self) -> int:
        """Return the bytes that the operators read and write, each element once an operator."""
        return sum(record.bytes_moved for record in self.records)

    @cached_property
    def peak_bytes(self) -> int:
        """Return the largest sum of activations alive at once, each freed after its last reader."""
        return peak_bytes(self.tensors, self.records, self.inputs, self.outputs)

    @cached_property
    def backward_bytes(self) -> int:
        """Return what a backward pass would find alive: all activations, and the gradients of the two largest."""
        return backward_bytes(self.tensors, self.records, self.inputs)

    @property
    def seconds(self) -> float | None:
        """Return the time that torch spent in the operators; None for a shape-only trace."""
        times = [record.seconds for record in self.records if record.seconds is not None]
        return sum(times) if times else None

    @property
    def visible(self) -> list[Record]:
        """Return the records that compute or move something."""
        return [record for record in self.records if not record.hidden]

    @property
    def parameter_names(self) -> dict[str, int]:
        """Return the distinct parameters with their elements."""
        return {name: parameter.numel() for name, parameter in self.network.named_parameters()}

    @property
    def unused_parameters(self) -> list[str]:
        """Return the parameters that no operator read."""
        used = {name for record in self.records for name in record.parameters}
        return [name for name in self.parameter_names if name not in used]

    # Names --------------------------------------------------------------------------------------------------

    @cached_property
    def _places(self) -> dict[str, int]:
        """Return the tensor that each name stands for: outputs of modules, of records, the inputs and outputs."""
        places: dict[str, int] = {}
        for entry in self.calls:
            if entry.outputs and entry.path:
                places.setdefault(
                    f"{entry.path}#{entry.call}" if entry.call else entry.path, entry.outputs[0]
                )
        for record in self.records:
            if record.outputs:
                places.setdefault(record.name, record.outputs[0])
        paths = {id(module): path for path, module in self.network.named_modules()}
        for alias, module in self.network.named_modules(remove_duplicate=False):
            if alias not in places and paths[id(module)] in places:  # a module with several names
                places[alias] = places[paths[id(module)]]
        for number in self.inputs:  # a module of that name goes first
            places.setdefault(self.tensors[number].name, number)
        for place, number in enumerate(self.outputs):
            places.setdefault(f"output{place}" if len(self.outputs) > 1 else "output", number)
        return places

    @property
    def layers(self) -> list[str]:
        """Return the names of modules and operators that `explain` and `receptive_field` take.

        Bookkeeping, such as a `view`, has a name too (`trace.records`), and so have the network's `input` and
        `output`.
        """
        hidden = {record.name for record in self.records if record.hidden}
        return [name for name in self._places if name not in hidden]

    def tensor_of(self, layer: str, call: str = "trace") -> TensorFacts:
        """Return the tensor that a module or an operator returned.

        Args:
            layer: a module's path, `path#1` for its second call; or a record's name.
        Raises:
            UnknownNameError: no such layer in this trace; the nearest names are told.
        """
        number = self._places.get(layer)
        if number is None:
            raise UnknownNameError("layer", layer, self.layers, call=call)
        return self.tensors[number]

    def producer(self, number: int) -> Record | None:
        """Return the record that made a tensor; None for inputs and parameters."""
        index = self.tensors[number].producer
        return None if index is None else self.records[index]

    def record(self, name: str) -> Record:
        """Return a record by its name."""
        for record in self.records:
            if record.name == name:
                return record
        raise UnknownNameError("operator", name, [r.name for r in self.visible], call="trace")

    @cached_property
    def consumers(self) -> dict[int, tuple[int, ...]]:
        """Return for each tensor the records that read it."""
        found: dict[int, list[int]] = {}
        for record in self.records:
            for number in dict.fromkeys(record.inputs):
                found.setdefault(number, []).append(record.index)
        return {number: tuple(indices) for number, indices in found.items()}

    @cached_property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """Return the pairs (record, record that reads it), views passed over; inputs are -1, -2, ..."""
        origin: dict[int, tuple[int, ...]] = {n: (-1 - place,) for place, n in enumerate(self.inputs)}
        edges: dict[tuple[int, int], None] = {}
        for record in self.records:
            sources = tuple(dict.fromkeys(s for number in record.inputs for s in origin.get(number, ())))
            if makes_constants(record):
                sources = ()  # `x.new_zeros(...)` takes a type from x, no value
            if not record.hidden:
                edges.update(((source, record.index), None) for source in sources)
                sources = (record.index,)
            for number in record.outputs:
                origin[number] = sources
        return tuple(edges)

    # Receptive fields ---------------------------------------------------------------------------------------

    def fields(self, kind: type[AxisField] | type[TableField] = AxisField) -> Fields:
        """Return what every tensor sees of the inputs, worked out once.

        With `TableField` the fields are those in this very input: cut at its borders, and at those of every map
        on the way.
        """
        if kind.__name__ not in self._fields:
            self._fields[kind.__name__] = propagate(self.tensors, self.records, self.inputs, kind)
        return self._fields[kind.__name__]

    def receptive_field(self, layer: str) -> ReceptiveField:
        """Return size, stride and padding of what one position of a layer sees of the input, an entry an axis.

        Exact for convolution, transposed, pooling, padding of any kind, crops, interpolation, branches and their
        joins. Global operations (squeeze-and-excite, attention, image pooling) are told beside the local field.

        Args:
            layer: as in `tensor_of`.
        Raises:
            UnknownNameError: no such layer.
        Source:
            Araujo, Norris & Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019.
        Example:
            >>> net = nn.Sequential(nn.Conv2d(3, 8, 7, stride=2, padding=3), nn.MaxPool2d(3, 2, 1))
            >>> print(trace(net, (1, 3, 64, 64)).receptive_field("1"))
            1: 11 pixels along height and width, stride 4, padding 5
        """
        facts = self.tensor_of(layer, "receptive_field")
        return replace(self.field_of(facts.index), layer=layer)

    def field_of(self, number: int) -> ReceptiveField:
        """Return the receptive field of any tensor by its number; see `receptive_field`."""
        facts = self.tensors[number]
        record = self.producer(number)
        name = facts.name if record is None else record.name
        return receptive_field_of(name, facts, self.fields(), self.tensors, self.inputs)

    def support(self, layer: str, at: Sequence[int]) -> dict[Source, tuple[int, int] | None]:
        """Return the input pixels that one value of a layer sees in this input: (first, last) an input axis.

        Keys are (input number, axis). None where nothing is seen.

        Args:
            at: the place in the layer's output, one index an axis.
        Example:
            >>> net = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 1, 3, padding=1))
            >>> trace(net, (1, 1, 8, 8)).support("1", (0, 0, 0, 4))
            {(0, 2): (0, 2), (0, 3): (2, 6)}
        """
        facts = self.tensor_of(layer, "support")
        return support_of(facts, check_place(facts.shape, at, layer, "support"), self.fields(TableField))

    # Values -------------------------------------------------------------------------------------------------

    def with_values(self, layers: Sequence[str] | None = None) -> Trace:
        """Run the network again on the same input, with the same random numbers, and keep values.

        Args:
            layers: modules whose operators' inputs and outputs are kept; all of them by default.
        Raises:
            UsageError: this trace was made from a shape.
        """
        if not self.has_values:
            raise UsageError(
                "this trace was made from a shape and has no values; trace a real tensor.", call="trace"
            )
        now, before = self._circumstances, random_states()
        now.check(self.network)
        enabled, dtype = now.autocast
        try:
            set_random_states(now.random)
            with torch.autocast("cpu", dtype=dtype, enabled=enabled):
                found = _run(
                    NetworkIndex(self.network), self.network, now.args, now.kwargs, self.mode, layers,
                    keep_all=layers is None, training=now.training,
                )  # fmt: skip
        finally:
            set_random_states(before)
            now.versions = NetworkIndex(
                self.network
            ).versions  # putting back what forward changed is no change
        now.check_results(found._circumstances.results)
        if [r.operator for r in found.records] != [r.operator for r in self.records]:
            now.check_results(())
        return found

    def run_on(self, args: tuple[Any, ...], kwargs: dict[str, Any], numbers: Collection[int]) -> Trace:
        """Trace the network once more, on real inputs of the same shapes, and keep the tensors of these numbers.

        A network that values lead elsewhere gives other numbers: see `same_operators`.
        """
        return _run(NetworkIndex(self.network), self.network, args, kwargs, self.mode, None, numbers=numbers)

    def same_operators(self, other: Trace) -> bool:
        """Tell whether the same operators, in place or not, joined the same tensors, whatever values and costs."""
        first, second = (
            [
                (record.operator.rstrip("_"), record.inputs, record.outputs)
                for record in each._captured.records
            ]
            for each in (self, other)
        )
        return first == second

    def replayed(self, number: int | None = None) -> Trace:
        """Return this trace with the values behind one tensor, or behind all: itself, or a second run's.

        Raises:
            UsageError: the trace has no values, or the weights are no longer those that it ran with.
        """
        self._circumstances.check(self.network)
        if number is not None and self._has_behind(number):
            return self
        if "all" not in self._replays:
            kept = all(
                n in self.values for n in range(len(self.tensors)) if self.tensors[n].kind != "parameter"
            )
            self._replays["all"] = self if kept else self.with_values()
        return self._replays["all"]

    def _has_behind(self, number: int) -> bool:
        """Tell whether a tensor and what it was made of, views passed over, were kept."""
        while True:
            record = self.producer(number)
            if record is None or number not in self.values:
                return number in self.values
            if not record.hidden or not record.inputs:
                return all(n in self.values for n in record.inputs)
            number = record.inputs[0]

    def support_at(self, number: int, at: tuple[int, ...]) -> dict[Source, tuple[int, int] | None]:
        """Return what one element of any tensor sees; see `support`."""
        return support_of(self.tensors[number], at, self.fields(TableField))

    def to_dict(self) -> dict[str, Any]:
        """Return totals, records, edges and receptive fields as plain values for JSON."""
        return {
            "network": type(self.network).__name__,
            "inputs": [
                {"name": self.tensors[n].name, "shape": list(self.tensors[n].shape)} for n in self.inputs
            ],
            "outputs": [list(self.tensors[n].shape) for n in self.outputs],
            "mode": self.mode,
            "num_params": self.num_params,
            "num_buffers": self.num_buffers,
            "macs": self.macs,
            "flops": 2 * self.macs,
            "element_ops": self.element_ops,
            "bytes_moved": self.bytes_moved,
            "peak_bytes": self.peak_bytes,
            "seconds": self.seconds,
            "not_counted": dict(self.not_counted),
            "unused_parameters": self.unused_parameters,
            "records": [
                {
                    "index": record.index,
                    "name": record.name,
                    "operator": record.operator,
                    "path": record.path,
                    "module": record.kind,
                    "call": record.call,
                    "input_shapes": [list(self.tensors[n].shape) for n in record.inputs],
                    "output_shapes": [list(self.tensors[n].shape) for n in record.outputs],
                    "parameters": list(record.parameters),
                    "num_params": record.num_params,
                    "macs": record.macs,
                    "element_ops": record.element_ops,
                    "bytes_moved": record.bytes_moved,
                    "seconds": record.seconds,
                    "receptive_field": self.field_of(record.outputs[0]).to_dict() if record.outputs else None,
                }
                for record in self.visible
            ],
            "edges": [list(edge) for edge in self.edges],
        }

    def __str__(self) -> str:
        shapes = ", ".join("x".join(map(str, self.tensors[n].shape)) for n in self.inputs)
        return (
            f"{type(self.network).__name__} on {shapes}: {len(self.visible)} operators, "
            f"{self.num_params:,} parameters, {self.macs:,} MACs"
        )


def check_place(shape: tuple[int, ...], at: Sequence[int], layer: str, call: str) -> tuple[int, ...]:
    """Return `at` as a full index of a tensor; a leading batch index of 0 may be left out.

    Raises:
        ShapeError: it is outside; the valid range is told.
    """
    place = tuple(at)
    if len(place) == len(shape) - 1:
        place = (0, *place)
    whole = all(isinstance(index, int) and not isinstance(index, bool) for index in place)
    if (
        len(place) != len(shape)
        or not whole
        or not all(0 <= index < size for index, size in zip(place, shape, strict=True))
    ):
        valid = ", ".join(f"0 to {size - 1}" for size in shape)
        raise ShapeError(
            f"at {tuple(at)} is outside {layer!r}, whose output has the shape {shape}; valid along each axis: {valid} "
            "(the leading batch index may be left out).",
            call=call,
        )
    return place


def trace(
    network: nn.Module,
    input: Any,
    *,
    layers: Sequence[str] | None = None,
    mode: Mode = "same",
    dtype: torch.dtype | None = None,
) -> Trace:
    """Run a network once and write down every operator: shapes, parameters, MACs, edges, receptive fields.

    A shape runs on meta tensors: no activation is allocated and nothing computed. A real tensor runs for real, and
    each operator is timed. The network, its hooks, modes, buffers and torch's random state are as before afterwards,
    also when it raises.

    Args:
        input: a shape such as (1, 3, 224, 224), or a tensor; a tuple of them for several positional arguments, a
            dict for keyword arguments (or for a network whose forward takes one dict), a list where it takes a list.
        layers: modules whose inputs and outputs are kept, before an operation in place changes them; `explain` runs
            the network again for what was not kept.
        mode: run in `train` or `eval` mode, or in the one the network is in.
        dtype: of inputs given as shapes; by default that of the network's parameters.
    Raises:
        UsageError: no module, an input that is neither, a network that reads values of a shape.
        ShapeError: the network cannot take this input: the first operator that fails, and sizes that fit.
        UnknownNameError: a name in `layers` that the network does not have.
    Cost:
        A shape: about 0.1 to 0.3 ms an operator. A tensor: the forward pass and about 0.1 ms an operator.
    Example:
        >>> t = trace(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), (1, 3, 32, 32))
        >>> [(record.name, record.macs) for record in t.records]
        [('0', 194400), ('1', 0)]
        >>> t.num_params, t.receptive_field("1").size
        (224, (3, 3))
    """
    if not isinstance(network, nn.Module):
        raise UsageError(f"got a {type(network).__name__}; give a torch.nn.Module.", call="trace")
    if mode not in ("same", "train", "eval"):
        raise UnknownNameError("mode", mode, ("same", "train", "eval"), call="trace")
    if layers is not None:
        known = dict(network.named_modules(remove_duplicate=False))
        first = {id(module): path for path, module in network.named_modules()}
        for name in layers:
            if name not in known:
                raise UnknownNameError("layer", name, [key for key in known if key], call="trace")
        layers = [first[id(known[name])] for name in layers]
    index = NetworkIndex(network)
    if any(map(is_lazy, (*index.parameters.values(), *index.buffers.values()))):
        raise UsageError(
            "the network has lazy layers, whose parameters have no shape yet; run it once on a real input first.",
            call="trace",
        )
    if dtype is None:
        floating = (p.dtype for p in index.parameters.values() if p.dtype.is_floating_point)
        dtype = next(floating, torch.float32)
    args, kwargs = call_arguments(network, tensors_for(input, dtype))
    return _run(index, network, args, kwargs, mode, layers)


def _run(
    index: NetworkIndex,
    network: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    mode: Mode,
    layers: Sequence[str] | None,
    *,
    keep_all: bool = False,
    training: Sequence[bool] | None = None,
    numbers: Collection[int] = (),
) -> Trace:
    given = tensors_in((args, kwargs))
    shapes_only = any(tensor.device.type == "meta" for tensor in given)
    if training is not None and len(training) != len(index.modules):
        raise UsageError("the network's modules have changed since the trace; trace it again.", call="trace")
    random = random_states()
    if not shapes_only and training is None:
        args, kwargs = cloned((args, kwargs), False)  # the caller's own may change before it is asked again
    with unchanged(index, mode if training is None else training) as copies:
        flags = tuple(module.training for _, module in index.modules)
        positional, named = cloned((args, kwargs), shapes_only)
        engine = ShapeEngine() if shapes_only else RealEngine()
        capture = Capture(index, engine, copies, set(layers or ()), keep_all, numbers)
        single = len(given) == 1
        inputs = tuple(
            capture.add_input(tensor, "input" if single else name)
            for name, tensor in [*named_tensors(positional, "input"), *named_tensors(named, "input")]
        )
        try:
            with torch.no_grad(), capture.watching():
                result = network(*positional, **named)
        except Exception as error:
            raise refusal(network, args, kwargs, mode, capture, error) from error
        returned = named_outputs(result)
        outputs = tuple(capture.value_of(tensor) for _, tensor in returned)
        capture.part_from(copies)
    return Trace(
        network=network,
        tensors=tuple(capture.tensors),
        calls=tuple(capture.calls),
        inputs=inputs,
        outputs=outputs,
        output_names=tuple(name for name, _ in returned),
        num_params=index.num_params,
        num_buffers=index.num_buffers,
        mode=mode,
        values=capture.values,
        has_values=not shapes_only,
        _captured=Captured(capture.records, capture.parameters_of, capture.sizes),
        _circumstances=Circumstances(
            args,
            kwargs,
            random,
            flags,
            autocast_state(),
            index.versions,
            () if shapes_only else tuple(tensor.detach() for _, tensor in returned),
        ),
    )
