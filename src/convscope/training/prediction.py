"""What a trained network takes pictures for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from convscope.acceleration import Precision, accelerated
from convscope.data import decode_image, preprocess
from convscope.errors import UsageError
from convscope.geometry import as_int
from convscope.models import weights_info
from convscope.nn.modes import evaluating

__all__ = ["Prediction", "decoded", "likeliest", "predict"]

_WORTH_FUSING = 8  # pictures: fusing takes about as long as this many


@dataclass(frozen=True, slots=True)
class Prediction:
    """The classes a network holds likeliest for one picture, best first, with softmax probabilities."""

    name: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]

    def to_dict(self) -> dict[str, object]:
        """Return the prediction as plain values for JSON."""
        pairs = zip(self.classes, self.probabilities, strict=True)
        return {
            "image": self.name,
            "top": [{"class": name, "probability": value} for name, value in pairs],
        }


def predict(
    network: nn.Module,
    pictures: Sequence[np.ndarray],
    top: int = 5,
    names: Sequence[str] = (),
    *,
    accelerate: bool = True,
) -> list[Prediction]:
    """Name the likeliest classes of decoded pictures, each (H, W) or (H, W, 3), uint8.

    The network must have been created with weights that know their classes and their preparation of images, as
    published ones do (`create_model(name, weights="default")`).

    Args:
        names: what to call the pictures in the answers; by default their numbers.
        accelerate: run the network fused (`convscope.accelerate`) where the pictures are enough to pay for it.
    Raises:
        UsageError: a network that does not say how its images are prepared, or that segments.
    """
    info = weights_info(network)
    if info.preprocessing is None:
        raise UsageError(
            f"weights {info.source!r} do not say how images are prepared; take published ones (weights='default') or a "
            "file that `save_weights` wrote of a network that had them.",
            call="predict",
        )
    facts = info.preprocessing
    return likeliest(
        network, pictures, lambda picture: preprocess(picture, facts), info.classes, top, names, accelerate
    )


def likeliest(
    network: nn.Module,
    pictures: Sequence[np.ndarray],
    prepare: Callable[[np.ndarray], Tensor],
    classes: Sequence[str],
    top: int,
    names: Sequence[str] = (),
    accelerate: bool = True,
    precision: Precision = "auto",
) -> list[Prediction]:
    """Prepare pictures, run them one by one, and return the classes of the largest scores; see `predict`."""
    top = as_int("top", top, at_least=1)
    if isinstance(pictures, (np.ndarray, Tensor)):
        raise UsageError("give a list of pictures, each an array (H, W) or (H, W, 3).", call="predict")
    if names and len(names) != len(pictures):
        raise UsageError(f"{len(names)} names for {len(pictures)} pictures; give one each.", call="predict")
    like = next(network.parameters(), torch.empty(0))
    found: list[Prediction] = []
    fused = accelerate and len(pictures) >= _WORTH_FUSING
    with evaluating(network), accelerated(network, precision, fused), torch.inference_mode():
        for name, picture in zip(names or map(str, range(len(pictures))), pictures, strict=True):
            scores = network(prepare(picture).to(like))
            if not isinstance(scores, Tensor) or scores.dim() != 2:
                raise UsageError(
                    "the network gives no class scores (N, classes); only classifiers predict.",
                    call="predict",
                )
            values, indices = scores[0].float().softmax(dim=0).topk(min(top, scores.shape[1]))
            labels: list[str] = [classes[i] if classes else f"class {i}" for i in map(int, indices)]
            found.append(Prediction(name, tuple(labels), tuple(values.tolist())))
    return found


def decoded(paths: Sequence[str | Path]) -> list[np.ndarray]:
    """Decode picture files for `predict`.

    Raises:
        UsageError: no path, or a file that does not exist.
        BadImageError: a file that is no picture; nothing is predicted then.
    """
    if not paths:
        raise UsageError("no picture given; name at least one file.", call="predict")
    return [decode_image(path) for path in paths]
