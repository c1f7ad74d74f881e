"""How good a network is on a labelled set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from convscope.acceleration import Precision, accelerated
from convscope.data import Batches, ImageSet
from convscope.display import Shown
from convscope.errors import ShapeError
from convscope.nn.modes import evaluating
from convscope.ops import multiclass_hinge_loss, softmax_cross_entropy
from convscope.training.recipe import Recipe

__all__ = ["Evaluation", "evaluate", "loss_of"]


def loss_of(recipe: Recipe) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss that a recipe names, (scores, labels) -> mean over the batch.

    Example:
        >>> loss_of(Recipe(loss="hinge"))(torch.tensor([[3.2, 5.1, -1.7]]), torch.tensor([0]))
        tensor(2.9000)
    """
    if recipe.loss == "hinge":
        return multiclass_hinge_loss
    return partial(softmax_cross_entropy, label_smoothing=recipe.label_smoothing)


@dataclass(frozen=True, eq=False)
class Evaluation(Shown):
    """What a network said of each image of a set.

    Shapes:
        predictions (N,) int64; confidences (N,) float32, the softmax of the predicted class; labels (N,) int64
    Attributes:
        accuracy: share of right predictions, 0 to 1.
        loss: mean of the loss over the images.
    """

    accuracy: float
    loss: float
    predictions: Tensor
    confidences: Tensor
    labels: Tensor
    classes: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """Return the figures, without the single predictions, as plain values for JSON."""
        return {
            "accuracy": self.accuracy,
            "loss": self.loss,
            "num_images": len(self.labels),
            "num_mistakes": int((self.predictions != self.labels).sum()),
            "classes": list(self.classes),
        }


def evaluate(
    network: nn.Module,
    images: ImageSet,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    batch_size: int = 500,
    loss: Callable[[Tensor, Tensor], Tensor] = softmax_cross_entropy,
    accelerate: bool = True,
    precision: Precision = "auto",
) -> Evaluation:
    """Run a network over a labelled set, in evaluation mode and without gradients.

    The network's train/eval state is as before afterwards, also when it raises.

    Args:
        mean, std: the normalisation of the training images, one a channel, on the 0..1 scale.
        loss: (scores, labels) -> mean loss of the batch.
        accelerate, precision: run the network fused, if it is not already (`convscope.accelerate`).
    Raises:
        ShapeError: the network's output is not (N, number of classes).
    Example:
        >>> images = ImageSet(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 0, 0]), ("a", "b"), "x")
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> with torch.no_grad():
        ...     _ = network[1].bias.copy_(torch.tensor([1.0, 0.0])), network[1].weight.zero_()
        >>> evaluate(network, images, mean=(0.5,), std=(0.5,)).accuracy
        0.75
    """
    batches = Batches(images, batch_size, mean=mean, std=std, shuffle=False)
    scores, total = [], 0.0
    with evaluating(network), accelerated(network, precision, accelerate), torch.inference_mode():
        for inputs, labels, *_ in batches.epoch(0):
            output = network(inputs)
            if output.shape != (len(inputs), len(images.classes)):
                raise ShapeError(
                    f"the network returns {tuple(output.shape)} for {len(inputs)} images; "
                    f"{len(images.classes)} classes need ({len(inputs)}, {len(images.classes)}).",
                    call="evaluate",
                )
            scores.append(output.float())
            total += float(loss(output, labels)) * len(labels)
    probabilities = torch.cat(scores).softmax(dim=1)
    confidences, predictions = probabilities.max(dim=1)
    right = int((predictions == images.labels).sum())
    return Evaluation(
        right / len(images), total / len(images), predictions, confidences, images.labels, images.classes
    )
