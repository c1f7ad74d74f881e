"""Choosing a learning rate fairly: on images held out of the training, from a start that no seed counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from convscope.errors import UsageError
from convscope.experiments.learning import fit, hits

__all__ = ["PILOT_SEED", "choose_rate"]

PILOT_SEED = 2**31 - 1  # of the runs that choose rates; no seed that anybody would measure with


def choose_rate(
    build: Callable[[int], nn.Module],
    images: Tensor,
    labels: Tensor,
    *,
    rates: Sequence[float],
    steps: int,
    held_out: float = 0.2,
    **options: Any,
) -> float:
    """Train once with each rate and return the one whose network knows most of the images held out.

    Each starts from `build(PILOT_SEED)` and sees the same order of the same images.

    Shapes:
        images (N, C, H, W), labels (N,), neither sorted by class
    Args:
        build: makes the network of a seed.
        rates: of equally good ones the first is taken.
        held_out: share of the images, the last ones, that decides.
        options: of `fit`.
    Raises:
        UsageError: no rate, or a share that leaves nothing to train with or to decide by.
    Cost:
        A training of `steps` for each rate.
    Example:
        >>> import torch
        >>> images, labels = torch.eye(4).view(4, 1, 2, 2).repeat(5, 1, 1, 1), torch.tensor([0, 0, 1, 1] * 5)
        >>> def build(seed):
        ...     return nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
        >>> choose_rate(build, images, labels, rates=(0.0, 0.1), steps=30, batch_size=4)
        0.1
    """
    kept = len(images) - round(held_out * len(images))
    if not rates or not 0 < kept < len(images):
        raise UsageError(
            f"{len(rates)} rates, and of {len(images)} images {len(images) - kept} held out; give at least one rate "
            "and a share that leaves images on both sides.",
            call="choose_rate",
        )
    known: dict[float, int] = {}
    for rate in rates:
        network = build(PILOT_SEED)
        fit(network, images[:kept], labels[:kept], steps=steps, seed=PILOT_SEED, lr=rate, **options)
        known[rate] = hits(network, images[kept:], labels[kept:])
    return max(known, key=lambda rate: known[rate])
