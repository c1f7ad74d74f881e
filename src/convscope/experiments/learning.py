"""The training that experiments share: a network, images in memory, one optimiser; nothing is written."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from convscope.acceleration import accelerate
from convscope.data import ImageSet, normalise
from convscope.ops import softmax_cross_entropy

__all__ = ["Learning", "class_scores", "fit", "fit_batches", "hits", "num_params", "pixels", "seeded"]

_WINDOW = 20  # steps that the training error is averaged over

_Network = TypeVar("_Network", bound=nn.Module)


@dataclass(frozen=True)
class Learning:
    """The losses of a training, one a step, and which share of a batch was right, one a step."""

    losses: tuple[float, ...]
    accuracies: tuple[float, ...]
    seconds: float

    def errors(self, window: int = _WINDOW) -> tuple[float, ...]:
        """Return the training error averaged over each `window` steps in a row; the first ends at step `window`.

        Example:
            >>> Learning((), (0.0, 0.5, 1.0, 1.0), 0.0).errors(window=2)
            (0.75, 0.25, 0.0)
        """
        return tuple(
            1 - sum(self.accuracies[end - window : end]) / window
            for end in range(window, len(self.accuracies) + 1)
        )

    def steps_to_error(self, error: float, window: int = _WINDOW) -> int | None:
        """Return the first step at which the training error, averaged over a window of steps, was at most `error`.

        Example:
            >>> Learning((), (0.0, 0.5, 1.0, 1.0), 0.0).steps_to_error(0.3, window=2)
            3
        """
        for end, found in enumerate(self.errors(window), window):
            if found <= error:
                return end
        return None


def seeded(build: Callable[[], _Network], seed: int) -> _Network:
    """Return the network that `build` makes, its random numbers from the seed alone.

    Example:
        >>> one, two = seeded(lambda: nn.Linear(2, 2), 5), seeded(lambda: nn.Linear(2, 2), 5)
        >>> one.weight.equal(two.weight)
        True
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def num_params(network: nn.Module) -> int:
    """Return how many numbers a network learns.

    Example:
        >>> num_params(nn.Linear(3, 2))
        8
    """
    return sum(parameter.numel() for parameter in network.parameters())


def pixels(images: ImageSet, like: ImageSet | None = None) -> Tensor:
    """Return a set's images as float32 (N, C, H, W), normalised by the mean and deviation of a set, by default its own.

    Example:
        >>> from convscope.data import load_dataset
        >>> pixels(load_dataset("fashion-mnist", "test")).shape
        torch.Size([2000, 1, 28, 28])
    """
    return normalise(images.images, *(like or images).mean_std())


def fit(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    steps: int,
    seed: int,
    batch_size: int = 128,
    lr: float = 1e-3,
    loss: Callable[[Tensor, Tensor], Tensor] = softmax_cross_entropy,
    optimizer: type[torch.optim.Optimizer] = torch.optim.Adam,
    faster: bool = True,
    decays: bool = True,
    until_error: float | None = None,
    shares: Mapping[str, float] | None = None,
    **options: float | bool,
) -> Learning:
    """Train a network in place: Adam unless said otherwise, its rate going down to 0 along half a cosine.

    The seed decides the order of the images, epoch after epoch, and what dropout draws; draw the first weights before.

    Shapes:
        images (N, C, H, W), labels (N,) or whatever `loss` takes, a row an image
    Args:
        faster: accelerate the network while it trains; leave it out where bits are compared.
        decays: let the rate go down; otherwise it stays.
        until_error: stop as soon as the training error (`Learning.errors`) is at most this.
        shares: of the rate, for the parameters whose names contain a key.
        options: of the optimiser, such as `momentum`.
    Example:
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> images, labels = torch.eye(4).view(4, 1, 2, 2), torch.tensor([0, 0, 1, 1])
        >>> learned = fit(network, images, labels, steps=30, seed=0, batch_size=4, lr=0.1)
        >>> len(learned.losses), learned.accuracies[-1]
        (30, 1.0)
    """
    batches = _shuffled(images, labels, steps, min(batch_size, len(images)), seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return fit_batches(
            network,
            batches,
            steps=steps,
            lr=lr,
            loss=loss,
            optimizer=optimizer,
            faster=faster,
            decays=decays,
            until_error=until_error,
            shares=shares,
            **options,
        )


def fit_batches(
    network: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    steps: int,
    lr: float = 1e-3,
    loss: Callable[[Tensor, Tensor], Tensor] = softmax_cross_entropy,
    optimizer: type[torch.optim.Optimizer] = torch.optim.Adam,
    faster: bool = True,
    decays: bool = True,
    until_error: float | None = None,
    shares: Mapping[str, float] | None = None,
    **options: float | bool,
) -> Learning:
    """Train a network as `fit` does, on `steps` batches that are made elsewhere: images and what `loss` takes.

    Example:
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> batch = torch.eye(4).view(4, 1, 2, 2), torch.tensor([0, 0, 1, 1])
        >>> fit_batches(network, [batch] * 30, steps=30, lr=0.1).accuracies[-1]
        1.0
    """
    began = time.perf_counter()
    network.train()
    if faster:
        accelerate(network, "fp32")
    by_rate: dict[float, list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            share = next((share for part, share in (shares or {}).items() if part in name), 1.0)
            by_rate.setdefault(lr * share, []).append(parameter)
    moved = optimizer([{"params": each, "lr": rate} for rate, each in by_rate.items()], lr=lr, **options)  # type: ignore[call-arg]
    losses: list[float] = []
    accuracies: list[float] = []
    for step, (images, targets) in zip(range(steps), batches, strict=True):
        if decays:
            for group, rate in zip(moved.param_groups, by_rate, strict=True):
                group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        scores = network(images)
        value = loss(scores, targets)
        moved.zero_grad(set_to_none=True)
        value.backward()
        moved.step()
        losses.append(float(value.detach()))
        accuracies.append(float((scores.detach().argmax(dim=1) == targets).float().mean()))
        if until_error is not None:
            newest = Learning((), tuple(accuracies[-_WINDOW:]), 0.0)
            if newest.steps_to_error(until_error) is not None:
                break
    network.eval()
    return Learning(tuple(losses), tuple(accuracies), time.perf_counter() - began)


def _shuffled(
    images: Tensor, labels: Tensor, steps: int, batch_size: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches, all images once in each epoch but those left over at its end."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        if len(order) < batch_size:
            order = torch.randperm(len(images), generator=generator)
        index, order = order[:batch_size], order[batch_size:]
        yield images[index], labels[index]


def class_scores(network: nn.Module, images: Tensor, batch_size: int = 500) -> Tensor:
    """Return what a network says of images (N, K), in evaluation mode and batch by batch.

    Example:
        >>> class_scores(nn.Flatten(), torch.eye(2).view(2, 2, 1, 1)).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    network.eval()
    with torch.inference_mode():
        return torch.cat([network(part) for part in images.split(batch_size)])


def hits(network: nn.Module, images: Tensor, labels: Tensor, batch_size: int = 500) -> int:
    """Return how many images a network gives their own label.

    Example:
        >>> hits(nn.Flatten(), torch.eye(2).view(2, 2, 1, 1), torch.tensor([0, 0]))
        1
    """
    return int((class_scores(network, images, batch_size).argmax(dim=1) == labels).sum())
