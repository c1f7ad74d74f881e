"""`diagnose`: whether acceleration works on this machine, and where the time of a network's convolutions goes."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from convscope import kernels
from convscope.acceleration.accelerated import accelerate, acceleration_of, decelerate
from convscope.acceleration.folding import FoldedConvolution
from convscope.acceleration.limits import Limits, least_seconds, measure_limits
from convscope.acceleration.machine import Machine, describe_machine
from convscope.acceleration.onednn import OneDnnCall, onednn_log, slow_calls
from convscope.acceleration.steps import Mode, Step, checked_images, inference_step, refusal, training_step
from convscope.errors import UsageError
from convscope.geometry import Windows
from convscope.kernels import Recording
from convscope.kernels.cases import Case, Operands
from convscope.kernels.routes import choose, run

__all__ = ["ConvolutionTime", "Diagnosis", "NetworkDiagnosis", "diagnose"]

_ROUNDS = 3
FUSED = "fused"  # the route of a convolution that inference computes together with what follows it


@dataclass(frozen=True)
class ConvolutionTime:
    """One pass of a convolution as an accelerated step computes it: by which route, how often, how fast.

    `seconds` is the least time of one call, `limit_seconds` what this machine's arithmetic and memory allow. The share
    of the limit exceeds 1 where maps fit into the caches.
    """

    case: Case
    route: str
    count: int
    seconds: float
    limit_seconds: float

    @property
    def total_seconds(self) -> float:
        """The time of all calls in a step."""
        return self.count * self.seconds

    @property
    def flops(self) -> float:
        """Floating-point operations a second: two a multiply-accumulate."""
        return 2 * self.case.macs / self.seconds

    @property
    def share(self) -> float:
        """The part of the limit that is reached."""
        return self.limit_seconds / self.seconds

    def to_dict(self) -> dict[str, object]:
        """Return the row as plain values."""
        case = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in self.case._asdict().items()
        }
        return {
            "case": case,
            "route": self.route,
            "count": self.count,
            "macs": self.case.macs,
            "size_bytes": size_bytes(self.case),
            "seconds": self.seconds,
            "total_seconds": self.total_seconds,
            "limit_seconds": self.limit_seconds,
            "flops": self.flops,
            "share": self.share,
        }


@dataclass(frozen=True)
class NetworkDiagnosis:
    """Where an accelerated step's convolutions spend their time, the longest first, and what fell back in oneDNN.

    `step_seconds` is one step as a whole. `plain_fallbacks` are the convolutions that oneDNN computes by a reference
    implementation or a matrix product over copied patches when PyTorch runs the network alone, `fallbacks` those that
    are left when it is accelerated.
    """

    name: str
    mode: Mode
    shape: tuple[int, ...]
    accelerated_parts: int
    limits: Limits
    step_seconds: float
    rows: tuple[ConvolutionTime, ...]
    plain_fallbacks: tuple[OneDnnCall, ...]
    fallbacks: tuple[OneDnnCall, ...]

    @property
    def seconds(self) -> float:
        """The time of all convolutions in a step."""
        return sum(row.total_seconds for row in self.rows)

    @property
    def limit_seconds(self) -> float:
        """What the machine's limits allow for all of them."""
        return sum(row.count * row.limit_seconds for row in self.rows)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all convolutions in a step."""
        return sum(row.count * row.case.macs for row in self.rows)

    def to_dict(self) -> dict[str, object]:
        """Return the diagnosis as plain values."""
        return {
            "name": self.name,
            "mode": self.mode,
            "shape": list(self.shape),
            "accelerated_parts": self.accelerated_parts,
            "limits": self.limits.to_dict(),
            "step_seconds": self.step_seconds,
            "macs": self.macs,
            "seconds": self.seconds,
            "limit_seconds": self.limit_seconds,
            "rows": [row.to_dict() for row in self.rows],
            "plain_fallbacks": [call.to_dict() for call in self.plain_fallbacks],
            "fallbacks": [call.to_dict() for call in self.fallbacks],
        }


@dataclass(frozen=True)
class Diagnosis:
    """The machine, and a network on it if one was given."""

    machine: Machine
    network: NetworkDiagnosis | None = None

    def to_dict(self) -> dict[str, object]:
        """Return the diagnosis as plain values."""
        network = None if self.network is None else self.network.to_dict()
        return {"machine": self.machine.to_dict(), "network": network}


def diagnose(
    network: nn.Module | None = None,
    images: Tensor | None = None,
    *,
    train: bool = True,
    refresh: bool = False,
    limits: Limits | None = None,
    rounds: int = _ROUNDS,
    listener: Callable[[str], None] | None = None,
) -> Diagnosis:
    """Say what acceleration has to work with here and, of a network, how near its convolutions come to the limits.

    The network is copied and left as it is. oneDNN's log is read from the process's standard output, so nothing else
    should print meanwhile.

    Args:
        images: (N, C, H, W) float32, what the network is run on.
        train: a step of training (forward, loss, backward, SGD); otherwise one of inference.
        refresh: test the kernels again.
        limits: as measured before; by default they are measured now.
        rounds: how often each convolution is timed; the least time counts.
        listener: called with a line about what is being done.
    Raises:
        UsageError: a network without images, or one that does not run on them; nothing to train; `rounds` below 1.
    Cost:
        A few seconds for the limits, 7 steps of the network, and rounds + 1 calls of each distinct convolution.
    Example:
        >>> diagnose().machine.torch_version == torch.__version__
        True
    """
    tell = listener or (lambda text: None)
    if rounds < 1:
        raise UsageError(f"rounds is {rounds}; it must be at least 1.", call="diagnose")
    if network is None:
        if images is not None:
            raise UsageError("images are given without a network.", call="diagnose")
        tell("testing the kernels")
        return Diagnosis(describe_machine(refresh))
    checked = checked_images(network, images, "diagnose")
    tell("testing the kernels")
    machine = describe_machine(refresh)
    if limits is None:
        tell("measuring this machine's limits")
        limits = measure_limits()
    return Diagnosis(machine, _diagnose_network(network, checked, train, limits, rounds, tell))


def _diagnose_network(
    network: nn.Module, images: Tensor, train: bool, limits: Limits, rounds: int, tell: Callable[[str], None]
) -> NetworkDiagnosis:
    make = training_step if train else inference_step
    with torch.random.fork_rng(devices=[]):  # dropout draws
        tell("running PyTorch alone")
        plain = make(decelerate(copy.deepcopy(network)), images)
        with refusal("diagnose", images):
            plain()
        plain_fallbacks = _fallbacks(plain)
        del plain

        tell("running it accelerated")
        accelerated = accelerate(copy.deepcopy(network))
        step = make(accelerated, images)
        step()  # makes the fused graph
        fallbacks = _fallbacks(step)
        start = time.perf_counter()
        step()
        step_seconds = time.perf_counter() - start
        with kernels.recording() as recorded, _folded(accelerated, train) as folded:
            step()
    rows = _rows(recorded, folded, limits, rounds, tell)
    parts = sum(acceleration_of(module) is not None for module in accelerated.modules())
    return NetworkDiagnosis(
        type(network).__name__,
        "training" if train else "inference",
        tuple(images.shape),
        parts,
        limits,
        step_seconds,
        tuple(sorted(rows, key=lambda row: -row.total_seconds)),
        plain_fallbacks,
        fallbacks,
    )


def _fallbacks(step: Step) -> tuple[OneDnnCall, ...]:
    with onednn_log() as calls:
        step()
    return tuple(slow_calls(calls))


@dataclass
class _FusedCalls:
    """The calls of one case that inference fuses: the first of them, and how many there were."""

    layer: FoldedConvolution
    given: tuple[Any, ...]
    count: int = 0


_Folded = dict[tuple[Case, int], _FusedCalls]


@contextmanager
def _folded(network: nn.Module, train: bool) -> Iterator[_Folded]:
    """Collect the convolutions that inference fuses, which go past the routes; with an addition apart from without."""
    found: _Folded = {}

    def note(layer: FoldedConvolution, given: tuple[Any, ...], result: object) -> None:
        operands = Operands(given[0].to(layer.dtype), layer.layer.weight, None, None, layer.settings)
        key = Case.of("forward", operands), len(given)
        found.setdefault(key, _FusedCalls(layer, given)).count += 1

    with ExitStack() as hooks:
        for module in network.modules() if not train else ():
            state = acceleration_of(module)
            if state is None:
                continue
            with torch.no_grad():
                fused = state.fused(module).run
            for each in fused.modules():
                if isinstance(each, FoldedConvolution):
                    hooks.callback(each.register_forward_hook(note).remove)
        yield found


def _rows(
    recorded: Recording, folded: _Folded, limits: Limits, rounds: int, tell: Callable[[str], None]
) -> Iterator[ConvolutionTime]:
    # One that is in both went through a route after all.
    fused = {key: calls for key, calls in folded.items() if key[0] not in recorded}
    number = len(recorded) + len(fused)
    with torch.no_grad():
        for case, operands in recorded.items():
            tell(f"timing the convolutions: {number} to go")
            number -= 1
            route = choose(case, operands)
            seconds = least_seconds(partial(run, case, operands, route), rounds)
            yield _row(case, route, recorded.counts[case], seconds, limits)
        for (case, _), calls in fused.items():
            tell(f"timing the convolutions: {number} to go")
            number -= 1
            seconds = least_seconds(partial(calls.layer, *calls.given), rounds)
            yield _row(case, FUSED, calls.count, seconds, limits)


def _row(case: Case, route: str, count: int, seconds: float, limits: Limits) -> ConvolutionTime:
    return ConvolutionTime(
        case, route, count, seconds, limits.seconds(case.macs, size_bytes(case), case.dtype)
    )


def size_bytes(case: Case) -> int:
    """Return the bytes that a pass must move: input, weight and output or their gradients, the same for each pass."""
    windows = Windows.of(2, case.weight[2:], case.stride, case.padding, case.dilation)
    output = (case.input[0], case.weight[0], *windows.output_size(case.input[2:]))
    return getattr(torch, case.dtype).itemsize * sum(map(_numel, (case.input, case.weight, output)))


def _numel(shape: Sequence[int]) -> int:
    return torch.Size(shape).numel()
