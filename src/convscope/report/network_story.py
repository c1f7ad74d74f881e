"""What a figure of a network shows: stages with their volumes, in order, and which reads which.

No place on paper and no colour yet: those are the painters' business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from convscope.errors import UsageError, printable
from convscope.geometry import as_int
from convscope.report.network_axes import Volume
from convscope.report.network_units import Opener, Unit
from convscope.report.network_words import Family
from convscope.trace import Trace

__all__ = ["MOST_STAGES", "NetworkStory", "Stage", "tell_network"]

MOST_STAGES = 16  # beyond, the automatic depth opens no further


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
        num_params, macs: of all of them.
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
        return "; ".join(filter(None, parts))


@dataclass(frozen=True, slots=True)
class NetworkStory:
    """A network as stages and the pairs (stage, stage that reads it), both in order of execution.

    Attributes:
        title: the network and its inputs; `totals` its parameters and MACs.
        depth: how deep the module tree was opened.
    """

    title: str
    totals: str
    stages: tuple[Stage, ...]
    edges: tuple[tuple[int, int], ...]
    depth: int
    num_inputs: int = 1


def tell_network(trace: Trace, depth: int | None = None, *, name: str | None = None) -> NetworkStory:
    """Say what to draw of a network.

    Normalisations and activations are told beside the step that they follow. Equal blocks in a row (same class, same
    output) become one stage with a count; the first of them may have a stride.

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
    stages = {place: _stage(nodes, place, owner) for place in kept}
    for place in outputs:
        stages[owner[place]] = replace(stages[owner[place]], is_output=True)
    runs = _runs(kept, stages, edges)
    number = {place: at for at, run in enumerate(runs) for place in run}
    folded = tuple(_folded([stages[place] for place in run]) for run in runs)
    pairs = sorted({(number[a], number[b]) for a, b in edges if number[a] != number[b]})
    return NetworkStory(*title, folded, tuple(pairs), depth, len(inputs))


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
    for place, unit in enumerate(nodes):
        if unit.major or len(unit.sources) != 1:
            continue
        before = unit.sources[0]
        if _opens_what_follows(unit, nodes[owner[before]]):
            continue
        if nodes[before].family != "input" and len(readers[before]) == 1:
            owner[place] = owner[before]
            root = nodes[owner[before]]
            root.after += (*unit.before, *unit.after)
    for place in range(len(nodes) - 1, -1, -1):
        unit, read_by = nodes[place], readers.get(place, [])
        last = [p for p in range(place, len(nodes)) if owner[p] == place]
        outside = {owner[r] for p in last for r in readers.get(p, []) if owner[r] != place}
        if unit.major or owner[place] != place or len(outside) != 1 or not read_by:
            continue
        target = outside.pop()
        if nodes[target].family == "join":
            continue
        nodes[target].before = (*unit.before, *unit.after, *nodes[target].before)
        for p in last:
            owner[p] = target
    return owner


def _opens_what_follows(unit: Unit, before: Unit) -> bool:
    """Tell whether this is a normalisation after a closed block, such as the last one of a transformer."""
    return before.family in ("block", "attention") and unit.after[:1] in (
        ("LN",),
        ("BN",),
        ("GN",),
        ("RMS norm",),
    )


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


def _runs(kept: list[int], stages: dict[int, Stage], edges: set[tuple[int, int]]) -> list[list[int]]:
    """Gather stages that repeat the one before and that only it feeds."""
    sources: dict[int, set[int]] = {}
    targets: dict[int, set[int]] = {}
    for source, target in edges:
        sources.setdefault(target, set()).add(source)
        targets.setdefault(source, set()).add(target)
    runs: list[list[int]] = []
    for place in kept:
        before = runs[-1][-1] if runs else None
        if (
            before is not None
            and sources.get(place) == {before}
            and targets.get(before) == {place}
            and not stages[before].is_output
            and _repeats(stages[before], stages[place])
        ):
            runs[-1].append(place)
        else:
            runs.append([place])
    return runs


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
    if first.stride > 1:
        words, detail = (
            (words, f"{detail}, first /{first.stride}") if detail else (f"{words}, first /{first.stride}", "")
        )
    members = tuple(member for stage in run for member in stage.members)
    name = _span(members)
    return replace(
        last,
        name=name,
        path=name if last.path == last.name else last.path,
        words=words,
        detail=detail,
        stride=first.stride,
        count=len(run),
        num_params=sum(stage.num_params for stage in run),
        macs=sum(stage.macs for stage in run),
        members=members,
    )


def _span(names: Sequence[str]) -> str:
    """Return `layer1.0–2` for layer1.0, layer1.1, layer1.2."""
    first, last = names[0], names[-1]
    if last.startswith(f"{first}#"):
        return f"{first}, {len(names)} calls"
    lead, dot, end = first.rpartition(".")
    if dot and last.rpartition(".")[0] == lead:
        return f"{first}–{last.rpartition('.')[2]}"
    return f"{first} – {last}" if end else first


def _title(trace: Trace, opener: Opener, name: str | None) -> tuple[str, str]:
    shapes = " and ".join(str(opener.volumes[number]) for number in trace.inputs)
    name = printable(name or type(trace.network).__name__)
    return f"{name} on {shapes}", f"{trace.num_params:,} parameters, {trace.macs:,} MACs"
