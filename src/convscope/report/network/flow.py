"""The order of a network's stages for drawing: the main path, columns, lanes for branches, and the way of each edge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from convscope.report.network.story import NetworkStory, Repeat

__all__ = ["Flow", "Way"]

Edge = tuple[int, int]
# straight: along the lane that both ends stand in.
# turn first: to the target's lane at once, then along it; turn last: along the source's lane, then to the target's.
# arc: over what stands between the ends; arc and turn: over it, then to the target's lane.
Way = Literal["straight", "turn first", "turn last", "arc", "arc and turn"]


@dataclass(frozen=True)
class Flow:
    """Stages in columns and lanes. Lane 0 holds the longest path, one stage a column.

    Attributes:
        column: of each stage; every edge goes to a later one.
        lane: of each stage.
        ways: of each edge, such that no two edges without a common end lie on each other, and none on a stage.
    """

    edges: tuple[Edge, ...]
    column: tuple[int, ...]
    lane: tuple[int, ...]
    ways: dict[Edge, Way] = field(repr=False)
    repeats: tuple[Repeat, ...] = ()

    @classmethod
    def of(cls, story: NetworkStory) -> Flow:
        """Return the order of a story's stages.

        Example:
            >>> from torch import nn
            >>> from convscope.report.network.story import tell_network
            >>> from convscope.trace import trace
            >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2))
            >>> Flow.of(tell_network(trace(net, (1, 1, 8, 8)))).column
            (0, 1, 2)
        """
        count = len(story.stages)
        sources: list[list[int]] = [[] for _ in range(count)]
        targets: list[list[int]] = [[] for _ in range(count)]
        for a, b in story.edges:
            sources[b].append(a)
            targets[a].append(b)
        column = [0] * count
        for stage in range(count):  # edges go forward
            column[stage] = max((column[source] + 1 for source in sources[stage]), default=0)
        main = _main_path(story, sources)
        for stage in range(count - 1, -1, -1):
            if not sources[stage] and targets[stage] and stage not in main:
                column[stage] = (
                    min(column[target] for target in targets[stage]) - 1
                )  # beside its first reader
        lane = _lanes(column, main, sources, targets)
        return cls(story.edges, tuple(column), tuple(lane), _ways(story.edges, column, lane), story.repeats)

    @property
    def num_columns(self) -> int:
        """Return how many columns there are."""
        return max(self.column, default=-1) + 1

    @cached_property
    def _by_column(self) -> list[list[int]]:
        found: list[list[int]] = [[] for _ in range(self.num_columns)]
        for stage, column in enumerate(self.column):
            found[column].append(stage)
        return found

    @cached_property
    def arcs(self) -> tuple[Edge, ...]:
        """Return the edges that pass over what stands in the source's lane."""
        return tuple(edge for edge in self.edges if self.ways[edge] in ("arc", "arc and turn"))

    @cached_property
    def _turns(self) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
        """Return by source the columns it turns to at once, and by target the columns that turn to it at last."""
        outs: dict[int, list[int]] = {}
        ins: dict[int, list[int]] = {}
        for a, b in self.edges:
            if self.ways[a, b] == "turn first":
                outs.setdefault(a, []).append(self.column[b])
            elif self.ways[a, b] in ("turn last", "arc and turn"):
                ins.setdefault(b, []).append(self.column[a])
        return outs, ins

    def crossings(self, column: int) -> int:
        """Return how many edges are cut if a new row begins at this column; those of the main stage before are not."""
        return self._crossings[column]

    @cached_property
    def _crossings(self) -> list[int]:
        found = [0] * (self.num_columns + 1)
        for a, b in self.edges:
            first = self.column[a] + (2 if self.lane[a] == 0 else 1)
            for column in range(first, self.column[b] + 1):
                found[column] += 1
        for repeat in self.repeats:
            for column in range(self.column[repeat.first] + 1, self.column[repeat.last] + 1):
                found[column] += 20  # a group stays together
        return found

    def stages_in(self, column: int) -> list[int]:
        """Return the stages of a column."""
        return self._by_column[column]

    def turning_out(self, column: int, columns: range) -> list[int]:
        """Return the stages of a column that edges within these columns turn from at once, in the order of their walls.

        One comes before another whose edges go on in its lane, so that the two do not lie on each other.
        """
        outs = [s for s in self.stages_in(column) if any(c in columns for c in self._turns[0].get(s, ()))]
        lanes = {
            s: {self.lane[b] for a, b in self.edges if a == s and self.ways[a, b] == "turn first"}
            for s in outs
        }
        return _sorted(outs, lambda first, second: self.lane[first] in lanes[second])

    def turning_in(self, column: int, columns: range) -> list[int]:
        """Return the stages of a column that edges within these columns turn to at last, likewise in order."""
        ins = [s for s in self.stages_in(column) if any(c in columns for c in self._turns[1].get(s, ()))]
        lanes = {
            s: {self.lane[a] for a, b in self.edges if b == s and self.ways[a, b] == "turn last"} for s in ins
        }
        return _sorted(ins, lambda first, second: self.lane[second] in lanes[first])


def _sorted(stages: list[int], before: Callable[[int, int], bool]) -> list[int]:
    """Return stages so that, where possible, none stands after one that it should be before."""
    waiting, made = list(stages), []
    while waiting:
        free = (s for s in waiting if not any(before(other, s) for other in waiting if other != s))
        made.append(next(free, waiting[0]))
        waiting.remove(made[-1])
    return made


def _main_path(story: NetworkStory, sources: list[list[int]]) -> set[int]:
    """Return the longest path; of several the one with the most MACs."""
    best: list[tuple[int, int]] = []
    before: list[int | None] = []
    for stage, read in enumerate(sources):
        source = max(read, key=lambda s: (best[s], -s), default=None)
        length, macs = best[source] if source is not None else (0, 0)
        best.append((length + 1, macs + story.stages[stage].macs))
        before.append(source)
    path: set[int] = set()
    at: int | None = max(range(len(best)), key=lambda s: (best[s][0], story.stages[s].is_output, best[s][1]))
    while at is not None:
        path.add(at)
        at = before[at]
    return path


def _lanes(
    column: list[int], main: set[int], sources: list[list[int]], targets: list[list[int]]
) -> list[int]:
    """Gather what is beside the main path into chains, and give each chain the first lane that is free so long."""
    lane = [0] * len(column)
    chains: list[list[int]] = []
    last: dict[int, list[int]] = {}
    for stage in sorted(set(range(len(column))) - main, key=lambda s: (column[s], s)):
        chain = next((last[s] for s in sources[stage] if s in last), None)
        if chain is None:
            chain = []
            chains.append(chain)
        else:
            del last[chain[-1]]
        chain.append(stage)
        last[stage] = chain
    taken: list[list[tuple[int, int]]] = []
    for chain in sorted(chains, key=lambda c: (column[c[0]], c[0])):
        # From the gap after what it reads to the gap before what reads it.
        reads = [2 * column[s] + 1 for s in sources[chain[0]]]
        readers = [2 * column[t] - 1 for stage in chain for t in targets[stage] if t not in chain]
        start, stop = min([2 * column[chain[0]], *reads]), max([2 * column[chain[-1]], *readers])
        free = (
            n for n, spans in enumerate(taken) if all(stop < begin or start > end for begin, end in spans)
        )
        number = next(free, len(taken))
        if number == len(taken):
            taken.append([])
        taken[number].append((start, stop))
        for stage in chain:
            lane[stage] = number + 1
    return lane


def _ways(edges: tuple[Edge, ...], column: list[int], lane: list[int]) -> dict[Edge, Way]:
    """Choose for each edge a way that is free; columns count as even places, the gaps between them as odd ones."""
    stands: dict[int, list[int]] = {}
    for stage, number in enumerate(lane):
        stands.setdefault(number, []).append(2 * column[stage])
    claims: dict[int, list[tuple[int, int, Edge]]] = {}

    def claim(edge: Edge, number: int) -> bool:
        start, stop = 2 * column[edge[0]] + 1, 2 * column[edge[1]] - 1
        if any(start < place < stop for place in stands[number]):
            return False
        for begin, end, (a, b) in claims.get(number, ()):
            if begin <= stop and start <= end and a != edge[0] and b != edge[1]:
                return False
        claims.setdefault(number, []).append((start, stop, edge))
        return True

    ways: dict[Edge, Way] = {}
    for a, b in sorted(edges, key=lambda edge: (column[edge[1]] - column[edge[0]], edge)):
        if lane[a] == lane[b]:
            ways[a, b] = "straight" if claim((a, b), lane[a]) else "arc"
    for a, b in sorted(edges, key=lambda edge: (column[edge[1]] - column[edge[0]], edge)):
        if lane[a] == lane[b]:
            continue
        if lane[a] == 0 and claim((a, b), lane[b]):
            ways[a, b] = "turn first"
        elif claim((a, b), lane[a]):
            ways[a, b] = "turn last"
        elif lane[a] and claim((a, b), lane[b]):
            ways[a, b] = "turn first"
        else:
            ways[a, b] = "arc and turn"
    return ways
