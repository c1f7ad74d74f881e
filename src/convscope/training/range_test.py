"""The learning-rate range test: how the loss moves while the rate rises from far too low to far too high."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import count

import torch

from convscope.acceleration import accelerate
from convscope.display import Shown
from convscope.errors import UsageError
from convscope.geometry import as_int
from convscope.training.evaluation import loss_of
from convscope.training.optimizers import Optimizers
from convscope.training.preparation import Preparation
from convscope.training.recipe import Recipe
from convscope.training.recipe_file import named_recipe

__all__ = ["RangeTest", "lr_range_test"]

_SMOOTHING = 0.9  # what each smoothed loss keeps of the one before
_TOO_HIGH = 4.0  # times the lowest smoothed loss: the rest of the rates would only be worse


@dataclass(frozen=True, slots=True)
class RangeTest(Shown):
    """What a range test found.

    Attributes:
        lrs, losses, smoothed: a value a step; `smoothed` is the running average without its bias towards the start.
        suggested: the rate at which the smoothed loss fell most steeply over a factor in the rate; a good highest rate.
        diverged: the rate at which the loss had grown to four times its lowest value, None if it never did.
    """

    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggested: float
    diverged: float | None

    def to_dict(self) -> dict[str, object]:
        """Return the test as plain values for JSON."""
        return {
            "lrs": list(self.lrs),
            "losses": list(self.losses),
            "smoothed": list(self.smoothed),
            "suggested": self.suggested,
            "diverged": self.diverged,
        }


def lr_range_test(
    recipe: Recipe | str, *, lowest: float = 1e-5, highest: float = 10.0, steps: int = 100
) -> RangeTest:
    """Train for a few steps while the learning rate rises by the same factor at each; nothing is written.

    Args:
        recipe: as for `train`; its schedule and its rate are not used.
        lowest, highest: the rates of the first and the last step.
        steps: at least 10; each is one batch.
    Raises:
        UsageError: rates that do not rise from above 0, or too few steps.
    Source:
        Smith, Cyclical learning rates for training neural networks, arXiv:1506.01186, section 3.3.
    Example:
        >>> found = lr_range_test(Recipe(model="perceptron", batch_size=100), steps=20)
        >>> len(found.lrs) <= 20, 1e-5 <= found.suggested <= 10
        (True, True)
    """
    if isinstance(recipe, str):
        recipe = named_recipe(recipe)
    steps = as_int("lr_range_test: steps", steps, at_least=10)
    if not 0 < lowest < highest < math.inf:
        raise UsageError(
            f"lowest is {lowest!r} and highest {highest!r}; the rates must rise from above 0 to a finite one.",
            call="lr_range_test",
        )
    prepared = Preparation.of(recipe)
    network = prepared.network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizers = Optimizers(recipe, network, prepared.head)
    if recipe.accelerate:
        accelerate(network, recipe.precision)
    loss_function = loss_of(recipe)
    lrs: list[float] = []
    losses: list[float] = []
    smoothed: list[float] = []
    average, diverged = 0.0, None
    batches = (batch for epoch in count() for batch in prepared.batches.epoch(epoch))
    network.train()
    for step, batch in zip(range(steps), batches, strict=False):
        lr = lowest * (highest / lowest) ** (step / (steps - 1))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed + step)
            scores = network(batch.images)
        loss = loss_function(scores, batch.labels, batch.other_labels, batch.share)
        value = float(loss.detach())
        average = _SMOOTHING * average + (1 - _SMOOTHING) * value
        mean = average / (1 - _SMOOTHING ** (step + 1))
        if not math.isfinite(value) or (smoothed and mean > _TOO_HIGH * min(smoothed)):
            diverged = lr
            break
        lrs.append(lr)
        losses.append(value)
        smoothed.append(mean)
        optimizers.zero_grad()
        loss.backward()
        optimizers.step(lr)
    return RangeTest(tuple(lrs), tuple(losses), tuple(smoothed), _steepest(lrs, smoothed), diverged)


def _steepest(lrs: list[float], smoothed: list[float]) -> float:
    """Return the rate in the middle of the tenth of the steps over which the loss fell most."""
    width = max(1, len(lrs) // 10)
    falls = [smoothed[at] - smoothed[at + width] for at in range(len(lrs) - width)]
    if not falls:
        return lrs[0] if lrs else math.nan
    return lrs[falls.index(max(falls)) + width // 2]
