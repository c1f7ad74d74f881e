"""Repeats among the stages of a network: equal ones in a row become one, and so do groups of several that repeat."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from convscope.report.network.axes import Volume
from convscope.report.network.words import Family

__all__ = ["Repeat", "Stage", "fold_groups", "fold_runs"]

LONGEST_GROUP = 16  # stages that repeat together
Edge = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Stage:
    """One thing to draw: an input, a step that makes a volume, a join, or a closed block; equal ones in a row are one.

    Attributes:
        name: path of the module, name of the operator or of the input; of a folded run the first and the last.
        path: the module in whose code it stands, "" for the network's own.
        kind: the module's class, or torch's name of the operator.
        words: what it does, such as `conv 3×3 /2`; `detail` what a block is made of.
        before, after: normalisations and activations that belong to it.
        volume: what it puts out.
        stride: the largest stride down in it.
        count: how many equal stages in a row this stands for.
        times: how often the group that it belongs to is gone through.
        num_params, macs: of all that it stands for.
    """

    name: str
    kind: str
    family: Family
    words: str
    volume: Volume
    detail: str = ""
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    stride: int = 1
    count: int = 1
    times: int = 1
    num_params: int = 0
    macs: int = 0
    path: str = ""
    is_output: bool = False
    signature: str = field(default="", repr=False)
    members: tuple[str, ...] = field(default=(), repr=False)

    @property
    def is_operator(self) -> bool:
        """Tell whether it only joins branches into a volume of the same shape: drawn as a sign, not as a volume."""
        return self.family == "join" and self.words in ("add", "multiply", "subtract", "divide")

    @property
    def title(self) -> str:
        """Return all that is known of it in one line."""
        if self.family == "input":
            return f"{self.name}: {self.volume}"
        parts = [f"{self.name}: {self.kind}" + (f", {self.count} in a row" if self.count > 1 else "")]
        told = [*self.before, self.words if self.words != self.kind else "", self.detail, *self.after]
        parts += [", ".join(filter(None, told)), f"output {self.volume}"]
        parts += [f"{self.num_params:,} parameters", f"{self.macs:,} MACs"]
        if self.times > 1:
            parts.append(f"in a group that is repeated {self.times} times")
        return "; ".join(filter(None, parts))


@dataclass(frozen=True, slots=True)
class Repeat:
    """The stages from `first` to `last` come `times` times in a row."""

    first: int
    last: int
    times: int


def fold_runs(stages: Sequence[Stage], edges: set[Edge]) -> tuple[list[Stage], set[Edge]]:
    """Make one stage of each that repeats the one before and that only it feeds; only the first may have a stride.

    Example:
        >>> conv = Stage("0", "Conv2d", "convolution", "conv 3×3", Volume(8, (6, 6)), members=("0",))
        >>> folded, edges = fold_runs([conv, replace(conv, name="1", members=("1",))], {(0, 1)})
        >>> [(stage.name, stage.count) for stage in folded], edges
        ([('0 – 1', 2)], set())
    """
    sources: dict[int, set[int]] = {}
    targets: dict[int, set[int]] = {}
    for source, target in edges:
        sources.setdefault(target, set()).add(source)
        targets.setdefault(source, set()).add(target)
    runs: list[list[int]] = []
    for place, stage in enumerate(stages):
        if (
            place
            and sources.get(place) == {place - 1}
            and targets.get(place - 1) == {place}
            and not stages[place - 1].is_output
            and _repeats(stages[place - 1], stage)
        ):
            runs[-1].append(place)
        else:
            runs.append([place])
    number = {place: at for at, run in enumerate(runs) for place in run}
    folded = [_folded([stages[place] for place in run]) for run in runs]
    return folded, {(number[a], number[b]) for a, b in edges if number[a] != number[b]}


def _repeats(first: Stage, second: Stage) -> bool:
    if second.family in ("input", "join", "other") or second.stride > 1 or second.family == "dense":
        return False
    return (
        (first.family, first.kind, first.signature) == (second.family, second.kind, second.signature)
        and (first.before, first.after) == (second.before, second.after)
        and first.volume == second.volume
    )


def _folded(run: Sequence[Stage]) -> Stage:
    if len(run) == 1:
        return run[0]
    first, last = run[0], run[-1]
    words, detail = last.words, last.detail
    if first.stride > 1 and detail:
        detail = f"{detail}, first /{first.stride}"
    elif first.stride > 1:
        words = f"{words}, first /{first.stride}"
    made = _summed(run)
    return replace(made, words=words, detail=detail, stride=first.stride, count=len(run))


def _summed(stages: Sequence[Stage]) -> Stage:
    """Return the last of equal stages with the costs and the names of all."""
    last = stages[-1]
    members = tuple(member for stage in stages for member in stage.members)
    name = _span([stage.name for stage in stages])
    paths = [stage.path for stage in stages]
    return replace(
        last,
        name=name,
        path=name if last.path == last.name else _span(paths) if len(set(paths)) > 1 else last.path,
        num_params=sum(stage.num_params for stage in stages),
        macs=sum(stage.macs for stage in stages),
        members=members,
    )


def _span(names: Sequence[str]) -> str:
    """Return `layer1.0–2` for layer1.0, layer1.1, layer1.2, and `blocks.0–3.attn` for those of four blocks."""
    first, last = names[0], names[-1]
    if first == last:
        return first
    if last.startswith(f"{first}#"):
        return f"{first}, {len(names)} calls"
    a, b = re.split("([./])", first), re.split("([./])", last)
    differ = [place for place in range(len(a)) if len(a) == len(b) and a[place] != b[place]]
    if len(a) > 1 and len(differ) == 1:
        place = differ[0]
        return "".join([*a[:place], f"{a[place]}–{b[place]}", *a[place + 1 :]])
    return f"{first} – {last}"


def fold_groups(
    stages: Sequence[Stage], edges: set[Edge], first: int
) -> tuple[list[Stage], set[Edge], list[Repeat]]:
    """Keep one of several equal groups of stages in a row, such as the attention and dense layers of a transformer.

    Nothing else runs beside such groups, and each reads the one before only by its last stage.

    Args:
        first: the first stage that may be folded; those before are inputs.
    """
    stages = list(stages)
    repeats: list[Repeat] = []
    place = first
    while place < len(stages):
        size, times = _group_at(stages, edges, place)
        if times > 1:
            stages, edges = _fold_group(stages, edges, place, size, times)
            repeats.append(Repeat(place, place + size - 1, times))
        place += size
    return stages, edges, repeats


def _group_at(stages: Sequence[Stage], edges: set[Edge], place: int) -> tuple[int, int]:
    """Return size and number of the groups that begin at a stage: those that save most; (1, 1) if none do."""
    reads: dict[int, list[int]] = {}
    for a, b in edges:
        reads.setdefault(b, []).append(a - b)
    offsets = [tuple(sorted(reads.get(stage, ()))) for stage in range(len(stages))]

    def equal(one: int, two: int) -> bool:
        return offsets[one] == offsets[two] and _alike(stages[one]) == _alike(stages[two])

    best = (1, 1)
    for size in range(2, min(LONGEST_GROUP, (len(stages) - place) // 2) + 1):
        times = 1
        while place + (times + 1) * size <= len(stages) and all(
            equal(place + times * size + n, place + n) for n in range(size)
        ):
            times += 1
        if size * (times - 1) > best[0] * (best[1] - 1) and _stands_alone(stages, edges, place, size * times):
            best = (size, times)
    return best


def _alike(stage: Stage) -> tuple[object, ...]:
    told = (stage.words, stage.detail, stage.before, stage.after, stage.volume)
    return (stage.family, stage.kind, stage.signature, stage.count, stage.stride, *told)


def _stands_alone(stages: Sequence[Stage], edges: set[Edge], place: int, length: int) -> bool:
    stop = place + length
    if any(stage.is_output for stage in stages[place : stop - 1]):
        return False
    return all(
        (a == place - 1 or not a < place <= b) and (a == stop - 1 or not a < stop <= b) for a, b in edges
    )


def _fold_group(
    stages: list[Stage], edges: set[Edge], place: int, size: int, times: int
) -> tuple[list[Stage], set[Edge]]:
    stop = place + size * times
    kept = [
        replace(_summed([stages[place + n + turn * size] for turn in range(times)]), times=times)
        for n in range(size)
    ]

    def moved(stage: int) -> int:
        if stage < place:
            return stage
        return place + (stage - place) % size if stage < stop else stage - size * (times - 1)

    mapped = {(moved(a), moved(b)) for a, b in edges if not (a < stop and b >= place + size and b < stop)}
    return [*stages[:place], *kept, *stages[stop:]], mapped
