"""The steps of a traced network at one depth of its module tree: closed modules, and the operators beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from convscope.report.network.axes import Volume, volumes_of
from convscope.report.network.words import Family, Step, step_of
from convscope.trace import Record, Trace
from convscope.trace.capture import ModuleCall
from convscope.trace.rules import rule_of

__all__ = ["Opener", "Unit"]

# Modules of many operators that are known by one name.
_TOLD_WHOLE = {"LocalResponseNorm": "local response norm"}


@dataclass(slots=True, eq=False)
class Unit:
    """One step: the operators of a closed module, or a single operator.

    Attributes:
        name: the module's path, or the record's name.
        path: the module in whose code it stands.
        kind: the module's class, or torch's name of the operator.
        words: what it does; `detail` what a block is made of.
        before, after: normalisations and activations told beside it.
        major: it makes a volume of its own.
        signature: equal in equal steps.
        records: the operators, those that depend on no input among them.
        sources: units and inputs (-1, -2, ...) that it reads, in order.
    """

    name: str
    kind: str
    family: Family
    words: str
    volume: Volume
    major: bool
    stride: int = 1
    detail: str = ""
    signature: str = ""
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    records: list[Record] = field(default_factory=list)
    sources: tuple[int, ...] = ()
    path: str = ""


@dataclass(slots=True, eq=False)
class _Node:
    """A module call with those made during it."""

    call: ModuleCall
    children: list[_Node] = field(default_factory=list)


class Opener:
    """Opens the module tree of one trace to any depth; what all depths share is worked out once."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.volumes = volumes_of(trace)
        self.root = self._tree()
        self.sources: dict[int, list[int]] = {}
        for source, target in trace.edges:
            self.sources.setdefault(target, []).append(source)
        self.live_tensors: set[int] = set(trace.inputs)
        self.live = self._live()

    @cached_property
    def steps(self) -> dict[int, Step]:
        """Return what each operator that depends on an input does."""
        return {
            index: step_of(self.trace, self.trace.records[index], self.volumes, self._live_inputs(index))
            for index in self.live
        }

    @cached_property
    def deepest(self) -> int:
        """Return the depth at which nothing is left to open."""
        return self._height(self.root)

    @cached_property
    def _deformable(self) -> tuple[str, ...]:
        """Return the paths of the modules that predict offsets inside them."""
        return tuple(sorted({call.path for call in self.trace.calls if call.kind == "DeformableConv2d"}))

    def _height(self, node: _Node) -> int:
        return 1 + max(map(self._height, node.children), default=0) if self._opens(node) else 0

    def units(self, depth: int) -> list[Unit]:
        """Return the steps with modules opened `depth` deep, in order of execution, and what each reads."""
        units: list[Unit] = []
        for given in self._opened(self.root, depth):
            unit = self._closed(given) if isinstance(given, _Node) else self._single(given)
            if unit is not None:
                units.append(unit)
        owner = {record.index: place for place, unit in enumerate(units) for record in unit.records}
        for place, unit in enumerate(units):
            read = [
                owner.get(source, source) if source >= 0 else source
                for record in unit.records
                for source in self.sources.get(record.index, ())
                if source < 0 or source in self.live
            ]
            unit.sources = tuple(sorted({source for source in read if source != place}))
        self._give_away(units, owner)
        return units

    # The module tree ----------------------------------------------------------------------------------------

    def _tree(self) -> _Node:
        stack: list[_Node] = []
        for call in self.trace.calls:
            node = _Node(call)
            del stack[call.depth :]
            if stack:
                stack[-1].children.append(node)
            stack.append(node)
        return _Node(self.trace.calls[0]) if not stack else stack[0]

    def _live(self) -> set[int]:
        """Return the operators that depend on an input, and those that make an output out of nothing."""
        live: set[int] = set()
        for record in self.trace.records:
            rule = rule_of(record.operator)
            if rule is not None and rule.family == "constant":
                continue  # `zeros_like` takes a shape from its input and nothing else
            if self.live_tensors.intersection(record.inputs):
                self.live_tensors.update(record.outputs)
                if not record.hidden:
                    live.add(record.index)
        for number in self.trace.outputs:
            producer = self.trace.producer(number)
            if producer is not None and not producer.hidden:
                live.add(producer.index)
        return live

    def _live_inputs(self, index: int) -> int:
        return len(self.live_tensors.intersection(self.trace.records[index].inputs))

    def _visible(self, call: ModuleCall) -> list[Record]:
        return [r for r in self.trace.records[call.first : call.last + 1] if not r.hidden]

    def _opens(self, node: _Node) -> bool:
        """Tell whether there is something to see inside: modules, or operators of the user's own."""
        if node is self.root or node.children:
            return True
        kind = node.call.kind
        from torch import nn

        if hasattr(nn, kind) or kind in _library_layers():
            return False
        return sum(self.steps[r.index].major for r in self._visible(node.call) if r.index in self.live) > 1

    def _opened(self, node: _Node, depth: int) -> Iterator[_Node | Record]:
        if depth < 1 or not self._opens(node):
            yield node
            return
        at = node.call.first
        for child in node.children:
            if child.call.last < child.call.first:
                continue  # it did nothing that is recorded
            yield from self._own(at, child.call.first)
            yield from self._opened(child, depth - 1)
            at = child.call.last + 1
        yield from self._own(at, node.call.last + 1)

    def _own(self, first: int, stop: int) -> Iterator[Record]:
        return (record for record in self.trace.records[first:stop] if record.index in self.live)

    # Units --------------------------------------------------------------------------------------------------

    def _single(self, record: Record) -> Unit:
        step = self.steps[record.index]
        return Unit(
            name=record.name,
            kind=record.short_operator,
            family=step.family,
            words=step.words,
            volume=self._volume_of(record),
            major=step.major or self._reshapes(record),
            stride=step.stride,
            signature=step.signature or step.words,
            after=() if step.major or self._reshapes(record) else (step.words,),
            records=[record],
            path=record.path,
        )

    def _closed(self, node: _Node) -> Unit | None:
        call = node.call
        records = self._visible(call)
        live = [record for record in records if record.index in self.live]
        if not live:
            return None
        steps = [self.steps[record.index] for record in live]
        name = f"{call.path}#{call.call}" if call.call else call.path
        volume = self._returned(call) or self._volume_of(live[-1])
        if call.kind in _TOLD_WHOLE:
            steps = [Step("normalisation", _TOLD_WHOLE[call.kind], False)]
        places = _principal(steps)
        predicts = call.kind == "DeformableConv2d"  # its offsets, and their mask
        if predicts:
            places = [place for place in places if _is_deformable(steps[place])]
        unit = Unit(name, call.kind, "normalisation", call.kind, volume, False, records=records, path=name)
        if not places:
            given = self._volume_before(live[0])
            unit.after = tuple(step.words for step in steps)
            unit.major = given is not None and given.shape != volume.shape
            if unit.major:
                unit.family, unit.after = "other", ()
            unit.signature = call.kind
        elif len(places) == 1:
            place = places[0]
            step = steps[place]
            unit.major, unit.family, unit.words = True, step.family, step.words
            unit.stride, unit.signature = step.stride, step.signature
            minors = [not other.major for other in steps]
            if "Pool" in call.kind:
                unit.family = "pooling"  # one by convolution, or by a mean between powers
            elif not predicts:
                told = [(p, s.words) for p, s in enumerate(steps) if minors[p] and s.words != "write"]
                unit.before = tuple(words for p, words in told if p < place)
                unit.after = tuple(words for p, words in told if p > place)
        else:
            unit.major = True
            self._tell_block(unit, node, live, steps)
        return unit

    def _tell_block(self, unit: Unit, node: _Node, records: list[Record], steps: list[Step]) -> None:
        unit.family = "block"
        unit.stride = max(step.stride for step in steps)
        predicting = tuple(f"{path}." for path in self._deformable)
        kernels = [
            ("deformable " if _is_deformable(step) else "")
            + "×".join(map(str, self.trace.tensors[record.arguments["weight"].value].shape[2:]))
            for record, step in zip(records, steps, strict=True)
            if step.family == "convolution"
            and set(self.volumes[record.outputs[0]].positions) != {1}
            and not (predicting and record.path.startswith(predicting))
        ]
        families = {step.family for step in steps}
        products = sum(step.words == "matrix product" for step in steps)
        attention = "attention" in families or (products > 1 and any(s.words == "softmax" for s in steps))
        if attention:
            dense = [record for record, step in zip(records, steps, strict=True) if step.words == "dense"]
            unit.family = "attention"
            if unit.kind == "MultiheadAttention":
                unit.words = "attention"
            elif "Attention" not in unit.kind:
                unit.detail = f"attention, {len(dense)} dense"
        elif 0 < len(kernels) <= 4:
            unit.detail = ", ".join(kernels)
        elif kernels:
            unit.detail = f"{len(kernels)} convolutions"
        elif "dense" in families:
            unit.detail = f"{sum(step.family == 'dense' for step in steps)} dense"
        if unit.kind in ("Sequential", "ModuleList"):  # says nothing; what is in it does
            kinds = [child.call.kind for child in node.children if child.call.last >= child.call.first]
            if len(kinds) > 1 and len(set(kinds)) == 1:
                unit.words = f"{len(kinds)} {kinds[0]}"
            elif unit.detail:
                unit.words, unit.detail = unit.detail, ""
        largest = max((step.signature for step in steps if step.family == "convolution"), default="")
        unit.signature = f"{unit.kind} {largest if len(kernels) else ''}".strip()

    def _volume_of(self, record: Record) -> Volume:
        """Return what an operator makes, as the code sees it: a matrix product is a view of its rows."""
        number = record.outputs[0]
        if record.operator == "aten.copy_":
            return self._written(record, number)
        rule = rule_of(record.operator)
        if rule is not None and rule.family == "dense":
            readers = [self.trace.records[i] for i in self.trace.consumers.get(number, ())]
            if len(readers) == 1 and readers[0].short_operator in ("view", "_unsafe_view", "unflatten"):
                made = readers[0].outputs[0]
                if len(self.trace.tensors[made].shape) > len(self.trace.tensors[number].shape):
                    return self.volumes[made]
        return self.volumes[number]

    def _written(self, record: Record, number: int) -> Volume:
        """Return the tensor that was written into, of which `copy_` sees a view."""
        for later in self.trace.records[record.index + 1 :]:
            if later.operator != "convscope.write":
                break
            number = later.outputs[0]
        return self.volumes[number]

    def _returned(self, call: ModuleCall) -> Volume | None:
        for number in call.outputs:
            producer = self.trace.producer(number)
            if producer is not None and call.first <= producer.index <= call.last:
                return self.volumes[number]
        return None

    def _volume_before(self, record: Record) -> Volume | None:
        tensors = self.trace.tensors
        given = [n for n in record.inputs if tensors[n].kind in ("input", "activation")]
        return self.volumes[given[0]] if given else None

    def _reshapes(self, record: Record) -> bool:
        """Tell whether an operator that usually keeps the volume does not, as by broadcasting."""
        if record.operator == "aten.copy_":
            return False
        given = self._volume_before(record)
        return given is not None and sorted(given.shape) != sorted(self._volume_of(record).shape)

    def _give_away(self, units: Sequence[Unit], owner: dict[int, int]) -> None:
        """Give what depends on no input, such as weights that are computed, to the step that reads it."""
        readers: dict[int, list[int]] = {}
        for source, target in self.trace.edges:
            readers.setdefault(source, []).append(target)
        for record in reversed(self.trace.visible):
            if record.index in owner or not units:
                continue
            found = [owner[index] for index in readers.get(record.index, ()) if index in owner]
            owner[record.index] = min(found, default=0)
            units[owner[record.index]].records.append(record)


def _is_deformable(step: Step) -> bool:
    return step.family == "convolution" and "deformable" in step.words


def _principal(steps: Sequence[Step]) -> list[int]:
    """Return the places of the steps that make a module what it is: padding before a convolution is none."""
    places = [place for place, step in enumerate(steps) if step.major]
    strong = [p for p in places if steps[p].family != "other" and steps[p].words not in ("write", "stack")]
    one = {steps[p].family for p in strong}
    if (
        len(strong) > 1
        and one <= {"pooling", "join"}
        and sum(steps[p].family == "pooling" for p in strong) == 1
    ):
        return [p for p in strong if steps[p].family == "pooling"]  # LPPool: a mean between powers
    return strong or places


def _library_layers() -> frozenset[str]:
    import convscope.nn

    return frozenset(convscope.nn.__all__)
