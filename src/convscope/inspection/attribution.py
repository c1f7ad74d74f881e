"""How much each pixel of an image has to do with a class score."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from convscope.display import Shown

__all__ = ["Attribution"]


@dataclass(frozen=True, eq=False)
class Attribution(Shown):
    """Maps of how much pixels have to do with the score of a class, by any method.

    Attributes:
        method: how they were found: `saliency`, `integrated gradients`, `occlusion`.
        targets: the class of each image.
        scores: what the network gave each image for that class.
        maps: in the type of the images; (N, C, H, W) of methods that tell channels apart, else (N, H, W).
    """

    method: str
    targets: tuple[int, ...]
    scores: tuple[float, ...]
    maps: Tensor

    @property
    def planes(self) -> Tensor:
        """Return one map an image (N, H, W): of several channels the values that are the farthest from 0."""
        if self.maps.dim() == 3:
            return self.maps
        places = self.maps.abs().argmax(1, keepdim=True)
        return self.maps.gather(1, places).squeeze(1)

    @property
    def largest(self) -> float:
        """Return the largest magnitude in the maps."""
        return float(self.maps.abs().max())

    def __str__(self) -> str:
        lines = [
            f"{self.method}, class {target}, score {score:.5g}: {_range(values)}"
            for target, score, values in zip(self.targets, self.scores, self.maps, strict=True)
        ]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, object]:
        """Return classes, scores and the range of each map, not its values, as plain values for JSON."""
        return {
            "method": self.method,
            "shape": list(self.maps.shape),
            "images": [
                {
                    "target": target,
                    "score": score,
                    "min": float(values.min()),
                    "max": float(values.max()),
                    "sum": float(values.sum(dtype=torch.float64)),
                }
                for target, score, values in zip(self.targets, self.scores, self.maps, strict=True)
            ],
        }


def _range(values: Tensor) -> str:
    *_, height, width = values.shape
    return f"{height}x{width} pixels, {float(values.min()):.4g} to {float(values.max()):.4g}"
