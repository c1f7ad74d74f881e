"""`compare`: a network as PyTorch runs it beside the same network accelerated, in turns in one process."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from convscope import kernels
from convscope import nn as cnn
from convscope.acceleration.accelerated import Precision, accelerate, decelerate
from convscope.acceleration.steps import (
    Mode,
    Step,
    checked_images,
    inference_step,
    loss_of,
    refusal,
    training_step,
)
from convscope.errors import UsageError
from convscope.kernels import Timing, tuned

__all__ = ["Comparison", "Contest", "TunedRoute", "Variant", "compare"]

_ROUNDS = 5
PLAIN, CHANNELS_LAST, ACCELERATED = "PyTorch", "PyTorch, channels-last", "accelerated"
_ROUNDING = 1e-3  # by how much results in float32 may differ over the depth of any network
_DROPPING = (nn.modules.dropout._DropoutNd, cnn.StochasticDepth)  # pyright: ignore[reportPrivateUsage]


@dataclass(frozen=True)
class Variant:
    """One way to run a network, with the seconds of each round.

    `difference` is how far its results are from PyTorch's, relative to the largest value, `gradient_difference` how
    far the gradients of all parameters are, relative to their norm (training only), `agreement` the part of the images
    whose largest score is the same class (None if the results are no scores).
    """

    name: str
    seconds: tuple[float, ...]
    difference: float
    gradient_difference: float | None
    agreement: float | None

    @property
    def median(self) -> float:
        """The median of the rounds, seconds."""
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The times below which a quarter and three quarters of the rounds lie.

        Example:
            >>> Variant("PyTorch", (1.0, 2.0, 3.0, 4.0, 5.0), 0.0, None, None).quartiles
            (2.0, 4.0)
        """
        if len(self.seconds) == 1:
            return self.seconds[0], self.seconds[0]
        lower, _, upper = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return lower, upper


@dataclass(frozen=True)
class Contest:
    """The variants of one mode, the plain network first."""

    mode: Mode
    batch_size: int
    variants: tuple[Variant, ...]

    def images_per_second(self, variant: Variant) -> float:
        """Return how many images a variant takes a second, by its median."""
        return self.batch_size / variant.median

    def ratio(self, variant: Variant) -> float:
        """Return how many times as fast as the plain network a variant is, by the medians."""
        return self.variants[0].median / variant.median

    def to_dict(self) -> dict[str, object]:
        """Return the contest as plain values."""
        rows = [
            {
                **vars(each),
                "seconds": list(each.seconds),
                "median": each.median,
                "quartiles": list(each.quartiles),
                "images_per_second": self.images_per_second(each),
                "ratio": self.ratio(each),
            }
            for each in self.variants
        ]
        return {"mode": self.mode, "batch_size": self.batch_size, "variants": rows}


@dataclass(frozen=True)
class TunedRoute:
    """A pass of a convolution whose routes were timed, and how often it runs in a step."""

    timing: Timing
    count: int

    @property
    def rule(self) -> str:
        """The route that is taken where nothing was timed."""
        return next(iter(self.timing.seconds))

    @property
    def gain_seconds(self) -> float:
        """What the fastest route saves in a step against the rule's."""
        seconds = self.timing.seconds
        return self.count * (seconds[self.rule] - seconds[self.timing.best])

    def to_dict(self) -> dict[str, object]:
        """Return the row as plain values."""
        own = {"rule": self.rule, "count": self.count, "gain_seconds": self.gain_seconds}
        return {**self.timing.to_dict(), **own}


@dataclass(frozen=True)
class Comparison:
    """A network run in several ways, in turns; `tuned` holds the routes that were timed first (None: none were)."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    threads: int
    rounds: int
    contests: tuple[Contest, ...]
    tuned: tuple[TunedRoute, ...] | None
    tuned_path: str

    @property
    def changed(self) -> tuple[TunedRoute, ...]:
        """The timed passes whose fastest route is another than the rule's."""
        return tuple(each for each in self.tuned or () if each.rule != each.timing.best)

    @property
    def problems(self) -> tuple[str, ...]:
        """Results in float32 that differ by more than rounding, and routes that computed something else.

        How far rounding goes in this network is seen from PyTorch's two layouts: batch norm over few values makes
        much of the last bit.
        """
        lines: list[str] = []
        for contest in self.contests if self.dtype == "float32" else ():
            off = {each.name: each.difference for each in contest.variants}
            bound = max(_ROUNDING, 10 * off.get(CHANNELS_LAST, 0.0))
            if not off[ACCELERATED] <= bound:
                lines.append(
                    f"{ACCELERATED}, {contest.mode}: the results are {off[ACCELERATED]:.1e} off, "
                    f"at most {bound:.0e} is rounding"
                )
        lines += [
            f"route {name!r} of {each.timing.case.passing} {each.timing.case.input} computes something else"
            for each in self.tuned or ()
            for name in each.timing.wrong
        ]
        return tuple(lines)

    def to_dict(self) -> dict[str, object]:
        """Return the comparison as plain values."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "threads": self.threads,
            "rounds": self.rounds,
            "contests": [contest.to_dict() for contest in self.contests],
            "tuned": None if self.tuned is None else [each.to_dict() for each in self.tuned],
            "tuned_path": self.tuned_path,
            "problems": list(self.problems),
        }


def compare(
    network: nn.Module,
    images: Tensor,
    *,
    precision: Precision = "auto",
    rounds: int = _ROUNDS,
    train: bool = True,
    tune: bool = False,
    listener: Callable[[str], None] | None = None,
) -> Comparison:
    """Time a network as PyTorch runs it, the same channels-last, and accelerated: training and inference.

    Copies of the network are run; it is left as it is. Results are compared before anything is timed, and the variants
    run in turns, so that what else happens on the machine meets all of them. All run in a process that keeps its memory
    and counts denormal numbers as zero, as `accelerate` sets it: PyTorch without that is slower than shown.

    Args:
        images: (N, C, H, W) float32.
        precision: as in `accelerate`.
        rounds: how often each is timed.
        train: also time steps of training.
        tune: first time the routes of every convolution of the network, and keep the fastest on disk.
        listener: called with a line about what is being done.
    Raises:
        UsageError: a network that does not run on the images; nothing to train; `rounds` below 1.
        UnknownNameError: an unknown precision.
        OutputError: what was tuned cannot be written.
    Cost:
        Three networks in memory, and 3 * (rounds + 3) steps of each mode.
    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 2))
        >>> found = compare(network, torch.ones(2, 3, 8, 8), rounds=1)
        >>> [contest.mode for contest in found.contests]
        ['training', 'inference']
    """
    tell = listener or (lambda text: None)
    if rounds < 1:
        raise UsageError(f"rounds is {rounds}; it must be at least 1.", call="compare")
    checked = checked_images(network, images, "compare")
    try:
        accelerated = accelerate(copy.deepcopy(network), precision)
    except UsageError as error:
        raise error.at("compare") from error
    dtype = _dtype(precision)
    plain = decelerate(copy.deepcopy(network))
    last = copy.deepcopy(plain).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    images_last = checked.contiguous(memory_format=torch.channels_last)
    runners = {
        PLAIN: (plain, checked),
        CHANNELS_LAST: (last, images_last),
        ACCELERATED: (accelerated, checked),
    }
    modes: tuple[Mode, ...] = ("training", "inference") if train else ("inference",)
    with torch.random.fork_rng(devices=[]):  # dropout draws
        tuned_routes = _tuned(copy.deepcopy(plain), precision, checked, train, tell) if tune else None
        # All before the first step of training, after which the weights are no longer the same to the last bit.
        tell("comparing the results")
        differences = {mode: _differences(mode, runners) for mode in modes}
        contests = tuple(_contest(mode, runners, differences[mode], rounds, tell) for mode in modes)
    return Comparison(
        type(network).__name__,
        tuple(images.shape),
        dtype,
        torch.get_num_threads(),
        rounds,
        contests,
        tuned_routes,
        str(tuned.path()),
    )


def _dtype(precision: Precision) -> str:
    bf16 = precision == "bf16" or (precision == "auto" and kernels.processor().native_bf16)
    return "bfloat16" if bf16 else "float32"


def _tuned(
    network: nn.Module, precision: Precision, images: Tensor, train: bool, tell: Callable[[str], None]
) -> tuple[TunedRoute, ...]:
    step = (training_step if train else inference_step)(accelerate(network, precision), images)
    with kernels.recording() as recorded, refusal("compare", images):
        step()
    if not recorded:
        return ()
    left = iter(range(len(recorded) - 1, -1, -1))
    tell(f"timing the routes of {len(recorded)} cases")
    timings = kernels.tune(
        recorded, listener=lambda timing: tell(f"timing routes: {next(left)} of {len(recorded)} to go")
    )
    return tuple(TunedRoute(timing, recorded.counts[timing.case]) for timing in timings)


_Runners = Mapping[str, tuple[nn.Module, Tensor]]


_Difference = tuple[float, float | None, float | None]


def _contest(
    mode: Mode,
    runners: _Runners,
    differences: Mapping[str, _Difference],
    rounds: int,
    tell: Callable[[str], None],
) -> Contest:
    make = training_step if mode == "training" else inference_step
    steps: dict[str, Step] = {name: make(network, images) for name, (network, images) in runners.items()}
    for name, step in steps.items():
        tell(f"{mode}: {name} for the first time")
        step()
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(1, rounds + 1):
        tell(f"{mode}: round {number} of {rounds}")
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - start)
    variants = tuple(Variant(name, tuple(seconds[name]), *differences[name]) for name in steps)
    batch_size = next(iter(runners.values()))[1].shape[0]
    return Contest(mode, batch_size, variants)


def _differences(mode: Mode, runners: _Runners) -> dict[str, _Difference]:
    """Return how far each variant's results are from the plain network's, which is the first."""
    found: dict[str, _Difference] = {}
    truth: tuple[list[Tensor], Tensor | None] | None = None
    for name, (network, images) in runners.items():
        with refusal("compare", images):
            results, gradients = _results(mode, network, images)
        if truth is None:
            truth = results, gradients
        off = max((_error_of(*pair) for pair in zip(results, truth[0], strict=True)), default=0.0)
        off_gradients = None
        if gradients is not None and truth[1] is not None:
            norm = truth[1].norm().clamp_min(torch.finfo(torch.float32).tiny)
            off_gradients = float((gradients - truth[1]).norm() / norm)
        found[name] = off, off_gradients, _agreement(results, truth[0])
    return found


def _error_of(result: Tensor, truth: Tensor) -> float:
    if not truth.numel():
        return 0.0
    scale = truth.abs().max().clamp_min(torch.finfo(torch.float32).tiny)
    return float((result.double() - truth.double()).abs().max() / scale)


def _results(mode: Mode, network: nn.Module, images: Tensor) -> tuple[list[Tensor], Tensor | None]:
    """Run a network once; return its results and, in training, the gradients of all parameters as one vector.

    In training nothing is dropped, as no two variants would drop the same.
    """
    if mode == "inference":
        return _tensors(inference_step(network, images)()), None
    network.train()
    for module in network.modules():
        if isinstance(module, _DROPPING):
            module.eval()
    parameters = [each for each in network.parameters() if each.requires_grad]
    if not parameters:
        raise UsageError("the network has no parameters to train; time it without training.", call="compare")
    result = network(images)
    gradients = torch.autograd.grad(loss_of(result), parameters, allow_unused=True)
    flat = [
        (torch.zeros_like(each) if grad is None else grad).float().flatten()
        for each, grad in zip(parameters, gradients, strict=True)
    ]
    return _tensors(result), torch.cat(flat)


def _tensors(result: Any) -> list[Tensor]:
    leaves = tree_leaves(result)
    return [each.detach() for each in leaves if isinstance(each, Tensor) and each.is_floating_point()]


def _agreement(results: list[Tensor], truth: list[Tensor]) -> float | None:
    if not truth or truth[0].ndim != 2 or truth[0].shape[1] < 2:
        return None
    return float((results[0].argmax(1) == truth[0].argmax(1)).float().mean())
