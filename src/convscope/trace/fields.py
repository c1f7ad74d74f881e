"""Receptive fields of tensors with any number of axes: which input pixels each position of each axis sees."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, takewhile
from math import prod

from convscope.geometry import AxisField, Reads, Span, TableField, hull

__all__ = ["Dim", "Factor", "FieldState", "Fields", "Reach", "Source"]

Source = tuple[int, int]  # number of a network input, and one of its axes
Field = AxisField | TableField


@dataclass(frozen=True, slots=True)
class Factor:
    """A stretch of positions; an axis is made of one, or of several where axes were flattened into one.

    A view may split positions into digits, as windows of attention do. The outer digit then sees what its whole
    block sees, the inner one nothing more. `digit` is (which split, which of its digits), as long as no operator has
    touched it: side by side again, all of them are the positions they were.
    """

    size: int
    fields: dict[Source, Field] = field(default_factory=dict)
    digit: tuple[int, int] | None = None


Dim = tuple[Factor, ...]


@dataclass(frozen=True, slots=True)
class Reach:
    """An input axis of which every position sees the same.

    Attributes:
        because: operators through which that is all of it.
        fixed: operators that chose one position for all: `x[:, :, 3]`.
        span: what that is in the image at hand; None where images go on for ever.
    """

    because: tuple[str, ...]
    span: Span | None = None
    fixed: tuple[str, ...] = ()

    def joined(self, other: Reach) -> Reach:
        """Return both in one."""
        because = self.because + tuple(name for name in other.because if name not in self.because)
        fixed = self.fixed + tuple(name for name in other.fixed if name not in self.fixed)
        return Reach(because, hull([self.span, other.span]), fixed)


@dataclass(frozen=True, slots=True)
class FieldState:
    """What one tensor sees.

    Attributes:
        dims: for each axis what its positions see of the input axes.
        reach: input axes that every position sees the same of, by global operations.
        data_dependent: operators whose places of reading depend on values (deformable convolution).
        unknown: operators whose reading has no rule.
    """

    dims: tuple[Dim, ...]
    reach: dict[Source, Reach] = field(default_factory=dict)
    data_dependent: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def sources(self) -> set[Source]:
        """Return the input axes that are seen at all."""
        return {source for dim in self.dims for factor in dim for source in factor.fields} | set(self.reach)


class Fields:
    """How fields pass through operators; rules call these.

    `kind` is `AxisField` for the field as if images went on for ever, `TableField` for that in the traced one.
    """

    def __init__(
        self,
        kind: type[AxisField] | type[TableField],
        states: dict[int, FieldState],
        channel_axes: set[Source],
    ) -> None:
        self.kind = kind
        self.states = states
        self.channel_axes = channel_axes  # axes that may turn out to be channels, not positions
        self.splits: list[tuple[Factor, int, str]] = []  # what was split, into how many digits, by which view
        self.reason = ""  # the record at work, for `because`
        self.blurred = False  # whether it read positions inside a block, whose field is the block's

    def of(self, value: int) -> FieldState:
        """Return what a tensor sees."""
        return self.states[value]

    def blank(self, shape: Sequence[int]) -> FieldState:
        """Return the state of a tensor that sees nothing of any input."""
        return FieldState(tuple((Factor(length),) for length in shape))

    def identity(self, shape: Sequence[int], sources: dict[int, Source]) -> FieldState:
        """Return the state of an input: the axes in `sources` see themselves."""
        return FieldState(
            tuple(
                (Factor(length, {sources[axis]: self.kind.identity(length)} if axis in sources else {}),)
                for axis, length in enumerate(shape)
            )
        )

    def like(self, states: Iterable[FieldState], dims: tuple[Dim, ...]) -> FieldState:
        """Return a state with these axes and everything global that the given states know."""
        reach: dict[Source, Reach] = {}
        data: tuple[str, ...] = ()
        unknown: tuple[str, ...] = ()
        for state in states:
            for source, entry in state.reach.items():
                reach[source] = reach[source].joined(entry) if source in reach else entry
            data += tuple(name for name in state.data_dependent if name not in data)
            unknown += tuple(name for name in state.unknown if name not in unknown)
        return FieldState(dims, reach, data, unknown)

    def single(self, dim: Dim) -> dict[Source, Field]:
        """Return what the positions of an axis see, its factors multiplied out."""
        if len(dim) == 1:
            return dim[0].fields
        sizes = [factor.size for factor in dim]
        total = prod(sizes)
        result: dict[Source, Field] = {}
        for place, factor in enumerate(dim):
            inner = prod(sizes[place + 1 :])
            outermost = prod(sizes[:place]) == 1
            for source, entry in factor.fields.items():
                read = entry.read_by(Reads.digit(inner, None if outermost else factor.size), total)
                result[source] = result[source].union(read, total) if source in result else read  # type: ignore[arg-type]
        return result

    def read(self, dim: Dim, reads: Reads, output_size: int) -> Dim:
        """Return an axis of an output that reads this axis so."""
        if any(factor.digit for factor in dim) and max(map(len, reads.taps)) > 1:
            self.blurred = True  # within a block, positions are not told apart
        identity = reads.edges is None and (reads.period, reads.shift, reads.taps) == (1, 1, ((0,),))
        if identity and output_size == prod(factor.size for factor in dim):
            return dim
        fields = self.single(dim)
        return (Factor(output_size, {source: f.read_by(reads, output_size) for source, f in fields.items()}),)

    def union(self, first: Dim, second: Dim) -> Dim:
        """Return an axis whose positions see what both see; both have the same number of positions."""
        if all(not factor.fields for factor in second):
            return first
        if all(not factor.fields for factor in first):
            return second
        if len(first) == len(second) and all(a.size == b.size for a, b in zip(first, second, strict=True)):
            pairs = zip(first, second, strict=True)
            return tuple(
                a if a == b else Factor(a.size, self._merged(a.fields, b.fields, a.size)) for a, b in pairs
            )
        size = prod(factor.size for factor in first)
        return (Factor(size, self._merged(self.single(first), self.single(second), size)),)

    @staticmethod
    def _merged(first: dict[Source, Field], second: dict[Source, Field], size: int) -> dict[Source, Field]:
        merged = dict(first)
        for source, entry in second.items():
            merged[source] = merged[source].union(entry, size) if source in merged else entry  # type: ignore[arg-type]
        return merged

    def reduced(
        self, state: FieldState, axes: Iterable[int], *, keepdim: bool = True, fixed: bool = False
    ) -> FieldState:
        """Return the state after each of these axes was read whole: sums, means, softmax, attention.

        With `fixed` the axes have one position left, which was chosen.
        """
        gone = set(axes)
        mixed = {factor.digit[0] for axis in gone for factor in state.dims[axis] if factor.digit}
        if mixed:  # the other digits of what is summed over are their blocks now
            state = replace(
                state,
                dims=tuple(
                    tuple(replace(f, digit=None) if f.digit and f.digit[0] in mixed else f for f in dim)
                    for dim in state.dims
                ),
            )
        reach = dict(state.reach)
        dims: list[Dim] = []
        for axis, dim in enumerate(state.dims):
            if axis not in gone:
                dims.append(dim)
                continue
            if keepdim:
                dims.append((Factor(1),))
            for source, entry in self.single(dim).items():
                size = prod(factor.size for factor in dim)
                span = hull([entry.at(o) for o in range(size)]) if self.kind is TableField else None
                found = Reach((), span, (self.reason,)) if fixed else Reach((self.reason,), span)
                reach[source] = reach[source].joined(found) if source in reach else found
        return replace(state, dims=tuple(dims), reach=reach)

    def spread(self, state: FieldState, axes: Iterable[int]) -> FieldState:
        """Return the state after each of these axes was read whole by every position of itself (softmax)."""
        axes = tuple(axes)
        whole = self.reduced(state, axes)
        dims = tuple(state.dims[axis] if axis in axes else dim for axis, dim in enumerate(whole.dims))
        return replace(whole, dims=dims)

    def channels_read(self, state: FieldState, axis: int) -> FieldState:
        """Return the state after a convolution has summed over its channel axis, without that axis."""
        dim = tuple(
            Factor(factor.size, {s: f for s, f in factor.fields.items() if s not in self.channel_axes})
            for factor in state.dims[axis]
        )
        state = replace(state, dims=(*state.dims[:axis], dim, *state.dims[axis + 1 :]))
        return self.reduced(state, (axis,), keepdim=False)

    def broadcast(self, state: FieldState, shape: Sequence[int]) -> FieldState:
        """Return the state after an expansion to `shape`: a single position repeated sees one place for all."""
        lead = len(shape) - len(state.dims)
        sizes = [prod(factor.size for factor in dim) for dim in state.dims]
        repeated = [axis for axis, size in enumerate(sizes) if size == 1 and shape[lead + axis] != 1]
        state = self.reduced(state, repeated)
        dims = tuple((Factor(length),) for length in shape[:lead]) + tuple(
            (Factor(shape[lead + axis]),) if axis in repeated else dim for axis, dim in enumerate(state.dims)
        )
        return replace(state, dims=dims)

    def pointwise(self, states: Sequence[FieldState], shape: Sequence[int]) -> FieldState:
        """Return the state of an elementwise operator, its operands broadcast against each other."""
        shape = tuple(shape)
        expanded = [self.broadcast(state, shape) for state in states if len(state.dims) <= len(shape)]
        if not expanded:
            return self.blank(shape)
        dims = expanded[0].dims
        for state in expanded[1:]:
            dims = tuple(self.union(a, b) for a, b in zip(dims, state.dims, strict=True))
        return self.like(expanded, dims)

    def reshaped(self, state: FieldState, shape: Sequence[int]) -> FieldState:
        """Return the state after a view: factors move between axes and are split where they must be."""
        if 0 in shape:
            return self.like([state], self.blank(shape).dims)
        queue: list[Factor] = []
        for factor in (
            factor
            for dim in state.dims
            for factor in dim
            if factor.size != 1 or factor.fields or factor.digit
        ):
            if factor.digit is not None:
                queue.append(factor)
                queue = self._restored(queue)
            elif queue and not queue[-1].fields and not factor.fields and queue[-1].digit is None:
                queue[-1] = Factor(queue[-1].size * factor.size)
            else:
                queue.append(factor)
        pieces = self._cut(queue, {end for end in accumulate(shape, lambda a, b: a * b) if end > 1})
        if pieces is None:
            return self._lost(state, shape)
        return replace(state, dims=_grouped(pieces, tuple(shape)))

    def _restored(self, queue: list[Factor]) -> list[Factor]:
        """Put digits that stand side by side again, all of them and in order, back into what they were split from."""
        split = queue[-1].digit[0] if queue[-1].digit else -1
        whole, count, _ = self.splits[split] if split >= 0 else (queue[-1], 0, "")
        if [factor.digit for factor in queue[-count:]] != [(split, place) for place in range(count)]:
            return queue
        queue = [*queue[:-count], whole]
        return self._restored(queue) if whole.digit is not None else queue

    def _cut(self, queue: list[Factor], cuts: set[int]) -> list[Factor] | None:
        """Split factors where a new axis ends; None where that runs across positions."""
        pieces: list[Factor] = []
        done = 1
        for whole in queue:
            factor, digits = whole, 0
            split = len(self.splits)
            marked = bool(whole.fields) or whole.digit is not None
            while inside := [cut for cut in cuts if done < cut < done * factor.size]:
                cut = min(inside)
                if cut % done or factor.size % (cut // done):
                    return None
                outer = cut // done
                inner = factor.size // outer
                # The outer digit sees what all positions of its block see; the inner one adds nothing to that.
                reads = Reads(1, inner, (tuple(range(inner)),))
                seen = {s: f.read_by(reads, outer) for s, f in factor.fields.items()}
                pieces.append(Factor(outer, seen, (split, digits) if marked else None))
                done, digits = cut, digits + 1
                factor = Factor(inner, {}, (split, digits) if marked else None)
            if digits and marked:
                self.splits.append((whole, digits + 1, self.reason))
            pieces.append(factor)
            done *= factor.size
        return pieces

    def _lost(self, state: FieldState, shape: Sequence[int]) -> FieldState:
        whole = self.reduced(state, range(len(state.dims)))
        return replace(self.like([whole], self.blank(shape).dims), unknown=(*whole.unknown, self.reason))

    def unknown(self, states: Sequence[FieldState], shape: Sequence[int]) -> FieldState:
        """Return the state behind an operator without a rule: everything may be seen, and it is said so."""
        whole = [self.reduced(state, range(len(state.dims))) for state in states]
        merged = self.like(whole, self.blank(shape).dims)
        return replace(merged, unknown=(*merged.unknown, self.reason)) if merged.reach else merged


def _grouped(pieces: list[Factor], shape: tuple[int, ...]) -> tuple[Dim, ...]:
    """Put factors into axes of these lengths, a factor of size 1 into an axis of length 1 where there is one."""
    dims: list[Dim] = []
    place = 0
    for axis, length in enumerate(shape):
        taken: list[Factor] = []
        size = 1
        while size < length:
            taken.append(pieces[place])
            size *= pieces[place].size
            place += 1
        ones = sum(1 for _ in takewhile(lambda n: n == 1, shape[axis + (length != 1) :]))
        single = sum(1 for _ in takewhile(lambda piece: piece.size == 1, pieces[place:]))
        # Those that find no axis of length 1 behind this one join it.
        here = max(single - ones, 0) if length != 1 else max(single - ones + 1, 0)
        taken += pieces[place : place + here]
        place += here
        dims.append(tuple(taken) or (Factor(1),))
    return tuple(dims)
