"""Images mixed in pairs: mixup and CutMix."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from convscope.data.augmentation import Augmentation, inside

__all__ = ["Mixing", "draw_mixing"]


@dataclass(frozen=True, eq=False)
class Mixing:
    """How the images of one batch of n are mixed, drawn by `draw_mixing`.

    Shapes:
        partner (n,): the other image's position in the batch; share (n,) float32: the image's own part of itself;
        low, high (n, 2): the pasted box, row and column, low <= pixel < high; None when images are blended
    """

    partner: Tensor
    share: Tensor
    low: Tensor | None = None
    high: Tensor | None = None

    def part(self, here: slice) -> Mixing:
        """Return the mixing of a few images of the batch."""
        return Mixing(*(None if value is None else value[here] for value in vars(self).values()))  # pyright: ignore[reportArgumentType]

    def mix(self, own: Tensor, other: Tensor) -> Tensor:
        """Mix each image of `own` (n, H, W, C), in place, with that of `other`."""
        _, height, width, channels = own.shape
        if self.low is not None and self.high is not None:
            mask = inside(self.low, self.high, height, width, channels).view(own.shape)
            return torch.where(mask, other, own, out=own)
        share = self.share[:, None]
        own.flatten(1).mul_(share).add_(other.flatten(1) * (1 - share))
        return own


def draw_mixing(
    augment: Augmentation, seed: int, epoch: int, batch: int, num_images: int, height: int, width: int
) -> Mixing | None:
    """Draw how a batch is mixed, a function of (seed, epoch, batch); None if it is not."""
    if not augment.mixup and not augment.cutmix:
        return None
    digest = hashlib.blake2b(f"mix:{seed}:{epoch}:{batch}".encode(), digest_size=16).digest()
    draws = np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
    pastes = draws.random() < 0.5 if augment.mixup and augment.cutmix else augment.cutmix > 0
    partner = torch.from_numpy(draws.permutation(num_images))
    alpha = augment.cutmix if pastes else augment.mixup
    share = draws.beta(alpha, alpha, num_images)
    if not pastes:
        return Mixing(partner, torch.from_numpy(share).to(torch.float32))
    # A box of the wanted area and the image's proportions; what lies outside of the image is cut off.
    sides = np.array([height, width])
    centre = draws.integers(sides, size=(num_images, 2))
    half = (np.sqrt(1 - share)[:, None] * sides / 2).astype(np.int64)
    low, high = np.maximum(centre - half, 0), np.minimum(centre + half, sides)
    share = 1 - (high - low).prod(axis=1) / (height * width)
    return Mixing(partner, *(torch.from_numpy(value) for value in (share.astype(np.float32), low, high)))
