"""How good a network is on a labelled set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from convscope.acceleration import Precision, accelerated
from convscope.data import Batches, ImageSet
from convscope.display import Shown
from convscope.errors import ShapeError
from convscope.nn.modes import evaluating
from convscope.ops import multiclass_hinge_loss, softmax_cross_entropy
from convscope.training.recipe import Recipe, TestViews

__all__ = ["Evaluation", "evaluate", "loss_of"]


Loss = Callable[..., Tensor]


def loss_of(recipe: Recipe) -> Loss:
    """Return the loss that a recipe names, (scores, labels) -> mean over the batch.

    Of mixed images it takes their other labels and the shares (N,) of the first: (scores, labels, others, shares).

    Example:
        >>> loss = loss_of(Recipe(loss="hinge"))
        >>> loss(torch.tensor([[3.2, 5.1, -1.7]]), torch.tensor([0]))
        tensor(2.9000)
        >>> scores, labels, others = torch.tensor([[2.0, 0.0]]), torch.tensor([0]), torch.tensor([1])
        >>> loss_of(Recipe())(scores, labels, others, torch.tensor([0.5]))
        tensor(1.1269)
    """

    def single(scores: Tensor, labels: Tensor, reduction: Literal["mean", "none"] = "mean") -> Tensor:
        if recipe.loss == "hinge":
            return multiclass_hinge_loss(scores, labels, reduction=reduction)
        smoothing = recipe.label_smoothing
        return softmax_cross_entropy(scores, labels, label_smoothing=smoothing, reduction=reduction)

    def loss(
        scores: Tensor, labels: Tensor, others: Tensor | None = None, shares: Tensor | None = None
    ) -> Tensor:
        scores = scores.float()
        if others is None or shares is None:
            return single(scores, labels)
        first, second = single(scores, labels, "none"), single(scores, others, "none")
        return (shares * first + (1 - shares) * second).mean()

    return loss


@dataclass(frozen=True, eq=False)
class Evaluation(Shown):
    """What a network said of each image of a set.

    Shapes:
        predictions (N,) int64; confidences (N,) float32, the softmax of the predicted class; labels (N,) int64;
        runners_up (N,) int64, the second likeliest classes; margins (N,) float32, by how much they are less likely
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
    runners_up: Tensor
    margins: Tensor

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
    loss: Loss = softmax_cross_entropy,
    views: TestViews = "one",
    accelerate: bool = True,
    precision: Precision = "auto",
) -> Evaluation:
    """Run a network over a labelled set, in evaluation mode and without gradients.

    The network's train/eval state is as before afterwards, also when it raises.

    Args:
        mean, std: the normalisation of the training images, one a channel, on the 0..1 scale.
        loss: (scores, labels) -> mean loss of the batch.
        views: average the scores of several views of each image (`Recipe.test_views`).
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
        for batch in batches.epoch(0):
            inputs, labels = batch.images, batch.labels
            output = network(inputs)
            if output.shape != (len(inputs), len(images.classes)):
                raise ShapeError(
                    f"the network returns {tuple(output.shape)} for {len(inputs)} images; "
                    f"{len(images.classes)} classes need ({len(inputs)}, {len(images.classes)}).",
                    call="evaluate",
                )
            others = [network(view) for view in _other_views(inputs, views)]
            output = torch.stack([output.float(), *(each.float() for each in others)]).mean(dim=0)
            scores.append(output)
            total += float(loss(output, labels)) * len(labels)
    probabilities = torch.cat(scores).softmax(dim=1)
    confidences, predictions = probabilities.max(dim=1)
    others = probabilities.scatter(1, predictions[:, None], -1.0)  # the class itself comes last
    second, runners_up = others.max(dim=1)
    right = int((predictions == images.labels).sum())
    return Evaluation(
        right / len(images),
        total / len(images),
        predictions,
        confidences,
        images.labels,
        images.classes,
        runners_up,
        confidences - second.clamp(min=0),
    )


def _other_views(images: Tensor, views: TestViews) -> Iterator[Tensor]:
    """Yield what an evaluation looks at besides the images themselves."""
    if views == "one":
        return
    yield images.flip(3)
    if views == "mirror-shift":
        height, width = images.shape[2:]
        padded = torch.nn.functional.pad(images, (1, 1, 1, 1), mode="reflect")
        for start in (0, 2):
            moved = padded[:, :, start : start + height, start : start + width]
            yield moved
            yield moved.flip(3)
