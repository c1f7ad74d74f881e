"""The two losses of a classifier on class scores: softmax cross-entropy and the multiclass SVM hinge."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from convscope.errors import ShapeError, UnknownNameError, UsageError

__all__ = ["Reduction", "multiclass_hinge_loss", "softmax_cross_entropy"]

Reduction = Literal["mean", "sum", "none"]

_REDUCTIONS: tuple[Reduction, ...] = get_args(Reduction)


def softmax_cross_entropy(
    scores: Tensor, target: Tensor, *, label_smoothing: float = 0.0, reduction: Reduction = "mean"
) -> Tensor:
    """Measure how little probability the scores' softmax gives the target class y: -log(e^s_y / sum_j e^s_j).

    Is `torch.nn.functional.cross_entropy`, with its rule that a target of -100 takes no part.

    Shapes:
        scores (N, K), (K,), or (N, K, *spatial) with a class at each pixel
        target: class indices, the shape of `scores` without K; or probabilities, the shape of `scores`
        returns () for `mean` and `sum`, the shape of `scores` without K for `none`
    Args:
        label_smoothing: share of the probability that the target spreads evenly over all K classes; 0 to 1.
        reduction: `mean` over the targets that take part, `sum`, or `none`.
    Raises:
        ShapeError: scores and target do not fit together.
        UsageError: a class that the scores lack (seen on a CPU only), or a smoothing outside 0 to 1.
        UnknownNameError: another reduction.
    Example:
        >>> scores = torch.tensor([[3.2, 5.1, -1.7]])
        >>> round(softmax_cross_entropy(scores, torch.tensor([0])).item(), 4)
        2.0404
    """
    try:
        _check_reduction(reduction)
        if not 0 <= label_smoothing <= 1:
            raise UsageError(f"label_smoothing is {label_smoothing!r}; it must be from 0 to 1.")
        if target.is_floating_point():
            _check_probabilities(scores, target)
        else:
            target = _class_indices(scores, target)
        return F.cross_entropy(scores, target, label_smoothing=label_smoothing, reduction=reduction)
    except UsageError as error:
        raise error.at("softmax_cross_entropy") from error
    except IndexError as error:
        raise _no_such_class(scores, error).at("softmax_cross_entropy") from error


def multiclass_hinge_loss(
    scores: Tensor, target: Tensor, margin: float = 1.0, *, reduction: Reduction = "mean"
) -> Tensor:
    """Add up how far each wrong class j comes within `margin` of the right one y: max(0, s_j - s_y + margin).

    The multiclass SVM loss. `torch.nn.functional.multi_margin_loss` is this divided by K, the number of
    classes; it knows no bfloat16 and no second derivative, so the sum is written out here.

    Shapes:
        scores (N, K) or (K,); target: class indices, (N,) or ()
        returns () for `mean` and `sum`, the shape of `target` for `none`
    Args:
        reduction: `mean` over the samples, `sum`, or `none`.
    Raises:
        ShapeError: scores and target do not fit together.
        UsageError: a class that the scores lack (seen on a CPU only).
        UnknownNameError: another reduction.
    Source:
        Weston & Watkins, Support vector machines for multi-class pattern recognition, 1999. The numbers of the
        example are those of CS231n.
    Example:
        >>> scores = torch.tensor([[3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1]])
        >>> losses = multiclass_hinge_loss(scores, torch.tensor([0, 1, 2]), reduction="none")
        >>> [round(loss, 4) for loss in losses.tolist()]
        [2.9, 0.0, 12.9]
    """
    try:
        _check_reduction(reduction)
        if scores.ndim not in (1, 2):
            raise ShapeError(f"scores {tuple(scores.shape)} must be (N, K), or (K,) for one sample.")
        index = _class_indices(scores, target).unsqueeze(-1)
        excess = scores - scores.gather(-1, index) + margin
    except UsageError as error:
        raise error.at("multiclass_hinge_loss") from error
    except RuntimeError as error:
        if "out of bounds" not in str(error):
            raise
        raise _no_such_class(scores, error).at("multiclass_hinge_loss") from error
    losses = excess.scatter(-1, index, 0).clamp(min=0).sum(-1)  # the right class itself costs nothing
    if reduction == "none":
        return losses
    return losses.mean() if reduction == "mean" else losses.sum()


def _check_reduction(reduction: str) -> None:
    if reduction not in _REDUCTIONS:
        raise UnknownNameError("reduction", reduction, _REDUCTIONS)


def _check_probabilities(scores: Tensor, target: Tensor) -> None:
    if target.shape != scores.shape:
        raise ShapeError(
            f"target {tuple(target.shape)} of {target.dtype} is read as probabilities and must have the shape "
            f"of the scores {tuple(scores.shape)}. For class indices use target.long()."
        )


def _class_indices(scores: Tensor, target: Tensor) -> Tensor:
    if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        raise UsageError(f"target is {target.dtype}; class indices are whole numbers. Use target.long().")
    shape = tuple(scores.shape)
    wanted = (*shape[:1], *shape[2:]) if len(shape) > 1 else ()
    if not shape or tuple(target.shape) != wanted:
        raise ShapeError(
            f"target {tuple(target.shape)} does not fit scores {shape}: one class index for each sample, "
            f"{wanted if shape else 'and scores of at least one axis'}."
        )
    return target.long()


def _no_such_class(scores: Tensor, error: Exception) -> UsageError:
    return UsageError(f"target names a class that scores {tuple(scores.shape)} do not have: {error}")
