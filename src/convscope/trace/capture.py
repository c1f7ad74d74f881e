"""Watching a network run: every operator below autograd, with the module it belongs to and the tensors it joins."""

from __future__ import annotations

import time
import weakref
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from convscope.trace.engines import FUSED_ATTENTION, Engine, ShapeEngine, ShapeFunctions, tensors_in
from convscope.trace.index import NetworkIndex
from convscope.trace.module_calls import watching_modules
from convscope.trace.operators import OperatorInfo, operator_info
from convscope.trace.record import Record, Ref, TensorFacts
from convscope.trace.rules import Call

__all__ = ["Capture", "ModuleCall"]


@dataclass(slots=True)
class ModuleCall:
    """One call of one module: the records made during it lie between `first` and `last`.

    `outputs` are the numbers of the tensors it returned.
    """

    path: str
    kind: str
    call: int
    depth: int
    first: int
    last: int = -1
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()


@dataclass(slots=True, eq=False)
class _Held:
    """A live tensor, the value it now holds, and the view it is of another."""

    tensor: weakref.ref[Tensor]
    value: int
    parent: _Held | None = None
    view: int | None = None  # record that made the view


class Capture(TorchDispatchMode):
    """Records what runs inside it; `values` keeps tensors of the modules in `keep`, and those of these `numbers`."""

    def __init__(
        self,
        index: NetworkIndex,
        engine: Engine,
        copies: dict[int, tuple[Tensor, Tensor]],
        keep: set[str] | None = None,
        keep_all: bool = False,
        numbers: Collection[int] = (),
    ) -> None:
        super().__init__()
        self.engine = engine
        self.timed = not isinstance(engine, ShapeEngine)
        self.copies = copies
        self.keep, self.keep_all, self.numbers = keep or set(), keep_all, frozenset(numbers)
        self.records: list[Record] = []
        self.tensors: list[TensorFacts] = []
        self.values: dict[int, Tensor] = {}
        self.calls: list[ModuleCall] = []
        self.stack: list[ModuleCall] = []
        self.failed: tuple[str, tuple[tuple[int, ...], ...]] | None = None
        self._held: dict[int, _Held] = {}
        self._storages: dict[int, list[_Held]] = {}
        self._kept_by_storage: dict[int, set[int]] = {}
        self._counts: dict[str, int] = {}
        self._alive: list[Any] = []  # modules made on the way, so that no id is given twice
        self._modules = dict(index.path_of)
        self._tensor_names = index.tensor_names
        if isinstance(engine, ShapeEngine):
            engine.names = index.tensor_names
        self.sizes = {name: parameter.numel() for name, parameter in index.parameters.items()}
        self.parameters_of: dict[int, tuple[str, ...]] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Tell torch not to wrap the handler for its compiler, which would import the compiler: 0.9 s."""
        return False

    # Modules ------------------------------------------------------------------------------------------------

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Follow which module is at work; no hook of the network's own is touched."""
        with ExitStack() as stack:
            stack.enter_context(watching_modules(self))
            if isinstance(self.engine, ShapeEngine):
                stack.enter_context(FUSED_ATTENTION)
                stack.enter_context(ShapeFunctions(self.engine))
            stack.enter_context(self)
            yield

    def enter(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """Note that a module begins."""
        path = self._modules.get(id(module))
        if path is None:
            # A module that is no part of the network: made on the way, or held in a plain list.
            path = f"{self.stack[-1].path}.({type(module).__name__})" if self.stack else ""
            self._modules[id(module)] = path
            self._alive.append(module)
        call = self._counts.get(path, 0)
        self._counts[path] = call + 1
        entry = ModuleCall(path, type(module).__name__, call, len(self.stack), len(self.records))
        entry.inputs = self._values_of(args)
        self.stack.append(entry)
        self.calls.append(entry)

    def leave(self, module: nn.Module, output: Any) -> None:
        """Note what a module returned."""
        path = self._modules.get(id(module))
        while self.stack:
            entry = self.stack.pop()
            entry.last = len(self.records) - 1
            if entry.path == path:
                entry.outputs = self._values_of(output)
                if path in self.keep and self.timed:
                    for tensor, value in zip(tensors_in(_plain(output)), entry.outputs, strict=True):
                        self._store(value, tensor)
                return

    def _values_of(self, given: Any) -> tuple[int, ...]:
        if isinstance(given, Tensor):
            return (self.value_of(given),)
        if type(given) is tuple and len(given) == 1 and isinstance(given[0], Tensor):
            return (self.value_of(given[0]),)
        return tuple([self.value_of(tensor) for tensor in tensors_in(_plain(given))])

    # Operators ----------------------------------------------------------------------------------------------

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run one operator and write down what it did."""
        kwargs = kwargs or {}
        info = operator_info(func)
        # Batch norm makes an empty tensor a call, for a reserve that the CPU does not use.
        if info.passed_over or (info.name == "aten.empty" and args == ([0],)):
            return func(*args, **kwargs)
        if info.composite:  # only in inference mode; else torch has taken it apart already
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        noted = info.bind(args, kwargs)
        given: list[Tensor] = []
        inputs: list[int] = []
        changed: list[Tensor] = []
        written = info.written if info.kind == "inplace" or noted.get("training", True) else ()
        for name in info.tensor_arguments:
            value = noted[name]
            if value is None:
                continue
            if isinstance(value, Tensor):
                number = self.value_of(value)
                given.append(value)
                inputs.append(number)
                noted[name] = Ref(number)
                if name in written:
                    changed.append(value)
                continue
            tensors = tensors_in(value)
            if tensors:
                numbers = [self.value_of(tensor) for tensor in tensors]
                given += tensors
                inputs += numbers
                places = iter(numbers)
                noted[name] = tuple(Ref(next(places)) if isinstance(e, Tensor) else e for e in value)
                if name in written:
                    changed += tensors
        keep = self.timed and (self.keep_all or (bool(self.stack) and self.stack[-1].path in self.keep))
        if changed:
            self._protect(changed)
            if self.timed:
                self._copy_own(changed)
        if keep:
            for tensor, number in zip(given, inputs, strict=True):
                self._store(number, tensor.clone() if any(tensor is other for other in changed) else tensor)
        try:
            start = time.perf_counter()
            result = self.engine.run(func, info, args, kwargs)
            seconds = time.perf_counter() - start
        except Exception:
            if self.failed is None:
                self.failed = (info.name, tuple(self.tensors[number].shape for number in inputs))
            raise
        self.failed = None  # what failed before was caught
        viewed = given[0] if given and info.kind == "view" else None
        self._note(
            info, noted, tuple(inputs), result, seconds if self.timed else None, keep, bool(changed), viewed
        )
        return result

    def _note(
        self,
        info: OperatorInfo,
        noted: dict[str, Any],
        inputs: tuple[int, ...],
        result: Any,
        seconds: float | None,
        keep: bool,
        changed: bool,
        viewed: Tensor | None,
    ) -> None:
        index = len(self.records)
        if isinstance(result, Tensor):
            made = [result]
            outputs = (self._new_value(result, "activation", "", index),)
        else:
            made = tensors_in(result)
            outputs = tuple([self._new_value(tensor, "activation", "", index) for tensor in made])
        self._add_record(info.name, info.overload, noted, inputs, outputs, seconds)
        if info.kind == "inplace" and changed:
            for tensor, value in zip(made, outputs, strict=True):
                self._overwrite(tensor, value)
        elif viewed is None:
            for tensor, value in zip(made, outputs, strict=True):
                self._held[id(tensor)] = _Held(weakref.ref(tensor), value)
        else:
            parent = self._entry(viewed)
            for tensor, value in zip(made, outputs, strict=True):
                self._hold(tensor, value, parent, index)
        if info.kind == "view" or info.name in ("aten.clone", "aten._to_copy"):
            self._inherit_parameters(inputs, outputs)
        if keep:
            for tensor, value in zip(made, outputs, strict=True):
                self._store(value, tensor)

    def _add_record(
        self,
        operator: str,
        overload: str,
        arguments: dict[str, Any],
        inputs: tuple[int, ...],
        outputs: tuple[int, ...],
        seconds: float | None,
    ) -> Record:
        place = self.stack[-1] if self.stack else None
        record = Record(
            index=len(self.records),
            name="",
            operator=operator,
            overload=overload,
            path=place.path if place else "",
            kind=place.kind if place else "",
            call=place.call if place else 0,
            inputs=inputs,
            outputs=outputs,
            arguments=arguments,
            seconds=seconds,
        )
        self.records.append(record)
        return record

    # Tensors ------------------------------------------------------------------------------------------------

    def add_input(self, tensor: Tensor, name: str) -> int:
        """Make a tensor known as an input of the network."""
        value = self._new_value(tensor, "input", name)
        self._hold(tensor, value)
        return value

    def _new_value(
        self, tensor: Tensor, kind: Any = "activation", name: str = "", producer: int | None = None
    ) -> int:
        index = len(self.tensors)
        shape = tuple(tensor.shape)
        self.tensors.append(TensorFacts(index, shape, tensor.dtype, kind, name, producer, tensor.numel()))
        self._keep_numbered(index, tensor)
        return index

    def _hold(
        self, tensor: Tensor, value: int, parent: _Held | None = None, view: int | None = None
    ) -> _Held:
        held = _Held(weakref.ref(tensor), value, parent, view)
        self._held[id(tensor)] = held
        if parent is not None:
            self._storages.setdefault(_storage(tensor), [parent]).append(held)
        return held

    def _entry(self, tensor: Tensor) -> _Held | None:
        held = self._held.get(id(tensor))
        return held if held is not None and held.tensor() is tensor else None

    def value_of(self, tensor: Tensor) -> int:
        """Return the number of the value that a tensor holds now; a tensor never met is the network's own."""
        held = self._held.get(id(tensor))
        if held is not None and held.tensor() is tensor:
            return held.value
        kind, name = self._tensor_names.get(id(tensor), ("constant", ""))
        value = self._new_value(tensor, kind, name)
        self._hold(tensor, value)
        if kind == "parameter":
            self.parameters_of[value] = (name,)
        elif kind == "constant":
            self._alive.append(tensor)
        return value

    def _inherit_parameters(self, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> None:
        names = self.parameters_of.get(inputs[0]) if inputs else None
        if names:
            for value in outputs:
                self.parameters_of[value] = names

    # Changes in place ---------------------------------------------------------------------------------------

    def _overwrite(self, tensor: Tensor, value: int) -> None:
        """Give a changed tensor its new value, and what shares its memory theirs."""
        held = self._entry(tensor) or self._hold(tensor, value)
        held.value = value
        chain = [held]
        while chain[-1].parent is not None:
            part, base = chain[-1], chain[-1].parent
            view = self.records[part.view] if part.view is not None else None
            if view is None:
                break
            facts = self.tensors[base.value]
            new = len(self.tensors)
            self.tensors.append(
                replace(facts, index=new, kind="activation", name="", producer=len(self.records))
            )
            arguments = {"base": Ref(base.value), "part": Ref(part.value), "view": Call(view, self.tensors)}
            self._add_record("convscope.write", "", arguments, (base.value, part.value), (new,), None)
            base.value = new
            self._keep_numbered(new, base.tensor())
            chain.append(base)
        for other in self._storages.get(_storage(tensor), []):
            if any(other is entry for entry in chain) or other.parent is None or other.view is None:
                continue
            if other.tensor() is None:
                continue
            view = self.records[other.view]
            facts = self.tensors[other.value]
            new = len(self.tensors)
            self.tensors.append(
                replace(facts, index=new, kind="activation", name="", producer=len(self.records))
            )
            source = other.parent.value
            first = next(name for name, given in view.arguments.items() if isinstance(given, Ref))
            arguments = {**view.arguments, first: Ref(source)}
            self._add_record(view.operator, view.overload, arguments, (source,), (new,), None)
            other.value = new
            self._keep_numbered(new, other.tensor())

    def _protect(self, changed: list[Tensor]) -> None:
        """Copy kept tensors that share memory with one about to change."""
        for tensor in changed:
            for value in self._kept_by_storage.pop(_storage(tensor), ()):
                self.values[value] = self.values[value].clone()

    def part_from(self, copies: dict[int, tuple[Tensor, Tensor]]) -> None:
        """Copy kept values that share memory with what is about to be put back."""
        self._protect([tensor for tensor, _ in copies.values()])

    def _copy_own(self, changed: list[Tensor]) -> None:
        """Copy parameters and buffers that are about to change, also through a view of them."""
        for tensor in changed:
            held = self._entry(tensor)
            while held is not None:
                own = held.tensor()
                if own is not None and id(own) in self._tensor_names and id(own) not in self.copies:
                    self.copies[id(own)] = (own, own.detach().clone())
                held = held.parent

    # Values -------------------------------------------------------------------------------------------------

    def _keep_numbered(self, value: int, tensor: Tensor | None) -> None:
        if value in self.numbers and tensor is not None:
            with torch._C._DisableTorchDispatch():  # keeping is none of the network's doing
                self._store(value, tensor)

    def _store(self, value: int, tensor: Tensor) -> None:
        if value not in self.values:
            self.values[value] = tensor.detach()
            self._kept_by_storage.setdefault(_storage(tensor), set()).add(value)


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _plain(output: Any) -> Any:
    return dict(output) if isinstance(output, Mapping) else output
