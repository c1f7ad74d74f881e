"""What a figure of a network shows: stages with their volumes, in order, and which reads which.

No place on paper and no colour yet: those are the painters' business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from convscope.errors import UsageError, printable
from convscope.geometry import as_int
from convscope.report.network.folding import Repeat, Stage, fold_groups, fold_runs
from convscope.report.network.units import Opener, Unit
from convscope.trace import Trace

__all__ = ["MOST_STAGES", "NetworkStory", "Repeat", "Stage", "tell_network"]

MOST_STAGES = 16  # beyond, the automatic depth opens no further


@dataclass(frozen=True, slots=True)
class NetworkStory:
    """A network as stages and the pairs (stage, stage that reads it), both in order of execution.

    Attributes:
        title: the network and its inputs; `totals` its parameters and MACs.
        depth: how deep the module tree was opened.
        repeats: groups of stages that come several times in a row, of which one is kept.
    """

    title: str
    totals: str
    stages: tuple[Stage, ...]
    edges: tuple[tuple[int, int], ...]
    depth: int
    num_inputs: int = 1
    repeats: tuple[Repeat, ...] = ()


def tell_network(trace: Trace, depth: int | None = None, *, name: str | None = None) -> NetworkStory:
    """Say what to draw of a network.

    Normalisations and activations are told beside the step that they follow. Equal blocks in a row (same class, same
    output) become one stage with a count; the first of them may have a stride. Of groups that repeat one is kept.

    Args:
        depth: how deep to open the module tree: 1 shows the network's own modules. By default the deepest that
            gives at most 16 stages.
        name: what to call the network, instead of its class.
    Raises:
        UsageError: depth below 1.
    Example:
        >>> from torch import nn
        >>> from convscope.trace import trace
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 5))
        >>> for stage in tell_network(trace(net, (1, 3, 8, 8))).stages:
        ...     print(stage.name, "|", stage.words, *stage.after, "|", stage.volume)
        input | input | 3×8×8
        0 | conv 3×3 ReLU | 8×6×6
        2 | max pool 2×2 /2 | 8×3×3
        4 | dense | 5
    """
    opener = Opener(trace)
    title = _title(trace, opener, name)
    if depth is not None:
        try:
            depth = as_int("depth", depth, at_least=1)
        except UsageError as error:
            raise error.at("draw_network") from error
        return _story(opener, title, min(depth, max(opener.deepest, 1)))
    found = _story(opener, title, 1)
    for deeper in range(2, opener.deepest + 1):
        story = _story(opener, title, deeper)
        if len(story.stages) - story.num_inputs > MOST_STAGES:
            break
        found = story
    return found


def _story(opener: Opener, title: tuple[str, str], depth: int) -> NetworkStory:
    trace = opener.trace
    units = opener.units(depth)
    inputs = [
        Unit(
            name=trace.tensors[number].name,
            kind="input",
            family="input",
            words="input",
            volume=opener.volumes[number],
            major=True,
            path=trace.tensors[number].name,
        )
        for number in trace.inputs
    ]
    nodes = [*inputs, *units]
    shift = len(inputs)
    for unit in units:
        unit.sources = tuple(source + shift if source >= 0 else -1 - source for source in unit.sources)
    outputs = _outputs(trace, units, shift)
    owner = _merged(nodes)
    kept = [place for place in range(len(nodes)) if owner[place] == place]
    edges = {
        (owner[source], owner[place])
        for place, unit in enumerate(nodes)
        for source in unit.sources
        if owner[source] != owner[place]
    }
    number = {place: at for at, place in enumerate(kept)}
    made = {owner[place] for place in outputs}
    stages = [replace(_stage(nodes, place, owner), is_output=place in made) for place in kept]
    pairs = {(number[a], number[b]) for a, b in edges}
    stages, pairs = fold_runs(stages, pairs)
    stages, pairs, repeats = fold_groups(stages, pairs, shift)
    return NetworkStory(*title, tuple(stages), tuple(sorted(pairs)), depth, shift, tuple(repeats))


def _outputs(trace: Trace, units: Sequence[Unit], shift: int) -> set[int]:
    owner = {record.index: place + shift for place, unit in enumerate(units) for record in unit.records}
    found: set[int] = set()
    for number in trace.outputs:
        waiting, makers, seen = [number], [], set()
        while waiting:
            producer = trace.producer(waiting.pop())
            if producer is None or producer.index in seen:
                continue
            seen.add(producer.index)
            if producer.index in owner:
                makers.append(producer.index)
            else:
                waiting.extend(producer.inputs)
        if makers:
            found.add(owner[max(makers)])
    return found


def _merged(nodes: Sequence[Unit]) -> list[int]:
    """Return for each unit the one that it is told beside: itself, the step before, or the step after.

    A normalisation or activation joins the step before if nothing else reads that step; otherwise, as in a residual
    network with the normalisation first, the one step that reads it.
    """
    owner = list(range(len(nodes)))
    readers: dict[int, list[int]] = {}
    for place, unit in enumerate(nodes):
        for source in unit.sources:
            readers.setdefault(source, []).append(place)

    def join_before(place: int) -> None:
        unit, before = nodes[place], nodes[place].sources[0]
        if nodes[before].family != "input" and len(readers[before]) == 1:
            told = [other for other in range(place, len(nodes)) if owner[other] == place]
            nodes[owner[before]].after += (*unit.before, *unit.after)
            for other in told:
                owner[other] = owner[before]

    def join_after(place: int) -> None:
        told = [other for other in range(place, len(nodes)) if owner[other] == place]
        outside = {owner[r] for other in told for r in readers.get(other, []) if owner[r] != place}
        if len(outside) == 1 and nodes[next(iter(outside))].family != "join":
            target = outside.pop()
            nodes[target].before = (*nodes[place].before, *nodes[place].after, *nodes[target].before)
            for other in told:
                owner[other] = target

    minor = [place for place, unit in enumerate(nodes) if not unit.major and len(unit.sources) == 1]
    for place in minor:
        if not _opens_what_follows(nodes[place], nodes[owner[nodes[place].sources[0]]]):
            join_before(place)
    for place in reversed(minor):
        if owner[place] == place:
            join_after(place)
    for place in minor:
        if owner[place] == place:
            join_before(place)
    return owner


def _opens_what_follows(unit: Unit, before: Unit) -> bool:
    """Tell whether this is a normalisation outside the block before it, such as the last one of a transformer."""
    if before.family not in ("block", "attention", "join") or unit.after[:1] not in _NORMS:
        return False
    closed = before.path == before.name
    home = before.path.rpartition(".")[0] if closed else before.path
    return unit.path.rpartition(".")[0] != home


_NORMS = (("LN",), ("BN",), ("GN",), ("RMS norm",))


def _stage(nodes: Sequence[Unit], place: int, owner: Sequence[int]) -> Stage:
    unit = nodes[place]
    records = [r for p, other in enumerate(nodes) if owner[p] == place for r in other.records]
    words, after = unit.words, unit.after
    if not unit.major and after:  # an activation that stands alone
        words, after = after[0], after[1:]
    return Stage(
        name=printable(unit.name),
        kind=printable(unit.kind),
        family=unit.family,
        words=printable(words),
        volume=unit.volume,
        detail=printable(unit.detail),
        before=_once(unit.before),
        after=_once(after),
        stride=unit.stride,
        num_params=sum(record.num_params for record in records),
        macs=sum(record.macs for record in records),
        path=printable(unit.path),
        signature=unit.signature,
        members=(printable(unit.name),),
    )


def _once(words: Sequence[str]) -> tuple[str, ...]:
    """Return the words without one that directly follows itself."""
    return tuple(printable(w) for p, w in enumerate(words) if p == 0 or words[p - 1] != w)


def _title(trace: Trace, opener: Opener, name: str | None) -> tuple[str, str]:
    shapes = " and ".join(str(opener.volumes[number]) for number in trace.inputs)
    name = printable(name or type(trace.network).__name__)
    return f"{name} on {shapes}", f"{trace.num_params:,} parameters, {trace.macs:,} MACs"
