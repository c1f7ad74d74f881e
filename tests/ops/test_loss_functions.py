"""Losses: numbers from the lecture, loops from the definition, torch, gradients and refusals."""

import math

import pytest
import torch
import torch.nn.functional as F
from witnesses import assert_same_with_gradients, seeded

from convscope.errors import ShapeError, UnknownNameError, UsageError
from convscope.ops import multiclass_hinge_loss, softmax_cross_entropy

SCORES = torch.tensor([[3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1]])
TARGET = torch.tensor([0, 1, 2])


def test_hinge_by_hand():
    losses = multiclass_hinge_loss(SCORES, TARGET, reduction="none")
    torch.testing.assert_close(losses, torch.tensor([2.9, 0.0, 12.9]))
    assert multiclass_hinge_loss(SCORES, TARGET).item() == pytest.approx(15.8 / 3)
    assert multiclass_hinge_loss(SCORES, TARGET, reduction="sum").item() == pytest.approx(15.8)
    assert multiclass_hinge_loss(SCORES[2], TARGET[2], 0.5).item() == pytest.approx(11.9)


def test_cross_entropy_by_hand():
    # cat 3.2, car 5.1, frog -1.7: exp gives 24.5, 164.0, 0.18, so the cat gets 0.13
    assert softmax_cross_entropy(SCORES[:1], TARGET[:1]).item() == pytest.approx(-math.log(0.13), abs=1e-3)
    assert softmax_cross_entropy(torch.zeros(4, 10), torch.arange(4)).item() == pytest.approx(math.log(10))


@pytest.mark.parametrize("margin", [1.0, 0.3, 0.0])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_hinge_is_torchs_times_the_classes(margin, reduction):
    target = torch.tensor([2, 0, 4, 4, 1, 3])
    assert_same_with_gradients(
        lambda s: multiclass_hinge_loss(s, target, margin, reduction=reduction),
        lambda s: F.multi_margin_loss(s, target, margin=margin, reduction=reduction) * 5,
        seeded(6, 5),
    )


def test_hinge_by_a_loop():
    scores, target = seeded(6, 5, grad=False), [2, 0, 4, 4, 1, 3]
    for row, loss, y in zip(
        scores, multiclass_hinge_loss(scores, torch.tensor(target), reduction="none"), target, strict=True
    ):
        expected = sum(max(0.0, float(row[j] - row[y]) + 1.0) for j in range(5) if j != y)
        assert loss.item() == pytest.approx(expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy_by_its_definition(smoothing, reduction):
    target = torch.tensor([2, 0, 4, 4, 1, 3])

    def definition(scores):
        wanted = F.one_hot(target, 5) * (1 - smoothing) + smoothing / 5
        losses = -(wanted * (scores.exp() / scores.exp().sum(1, keepdim=True)).log()).sum(1)
        return {"mean": losses.mean(), "sum": losses.sum(), "none": losses}[reduction]

    def ours(scores):
        return softmax_cross_entropy(scores, target, label_smoothing=smoothing, reduction=reduction)

    assert_same_with_gradients(ours, definition, seeded(6, 5))


def test_cross_entropy_of_pixels_probabilities_and_ignored_targets():
    scores, target = seeded(2, 3, 4, 5), torch.arange(40).reshape(2, 4, 5) % 3
    torch.testing.assert_close(softmax_cross_entropy(scores, target), F.cross_entropy(scores, target))
    soft = F.one_hot(target, 3).movedim(-1, 1).to(scores.dtype)
    torch.testing.assert_close(softmax_cross_entropy(scores, soft), F.cross_entropy(scores, target))
    half = torch.tensor([0, -100, -100])
    torch.testing.assert_close(
        softmax_cross_entropy(SCORES, half), softmax_cross_entropy(SCORES[:1], half[:1])
    )


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_targets_of_every_whole_type(dtype):
    for loss in (softmax_cross_entropy, multiclass_hinge_loss):
        torch.testing.assert_close(loss(SCORES, TARGET.to(dtype)), loss(SCORES, TARGET))


def test_hinge_has_what_torch_lacks():
    scores = seeded(4, 3)
    target = torch.tensor([0, 1, 2, 0])
    assert torch.autograd.gradcheck(lambda s: multiclass_hinge_loss(s, target), scores)
    assert torch.autograd.gradgradcheck(lambda s: multiclass_hinge_loss(s * s, target), scores)
    assert multiclass_hinge_loss(SCORES.bfloat16(), TARGET).dtype == torch.bfloat16
    assert multiclass_hinge_loss(SCORES.to("meta"), TARGET.to("meta")).shape == ()


@pytest.mark.parametrize("loss", [softmax_cross_entropy, multiclass_hinge_loss])
@pytest.mark.parametrize(
    ("scores", "target", "more", "kind", "text"),
    [
        (
            SCORES,
            TARGET[:2],
            {},
            ShapeError,
            "target (2,) does not fit scores (3, 3): one class index for each sample, (3,).",
        ),
        (
            SCORES,
            TARGET > 0,
            {},
            UsageError,
            "target is torch.bool; class indices are whole numbers. Use target.long().",
        ),
        (
            SCORES,
            TARGET,
            {"reduction": "avg"},
            UnknownNameError,
            "unknown reduction 'avg': Known: 'mean', 'sum', 'none'.",
        ),
    ],
)
def test_refusals_of_both(loss, scores, target, more, kind, text):
    with pytest.raises(kind) as caught:
        loss(scores, target, **more)
    assert str(caught.value) == f"{loss.__name__}: {text}"


@pytest.mark.parametrize("wrong", [3, -1])
@pytest.mark.parametrize("loss", [softmax_cross_entropy, multiclass_hinge_loss])
def test_a_class_that_is_not_there(loss, wrong):
    with pytest.raises(
        UsageError,
        match=rf"^{loss.__name__}: target names a class that scores \(3, 3\) do not have: .*{wrong}",
    ):
        loss(SCORES, torch.tensor([0, 1, wrong]))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: softmax_cross_entropy(SCORES, TARGET, label_smoothing=2.0),
            "softmax_cross_entropy: label_smoothing is 2.0; it must be from 0 to 1.",
        ),
        (
            lambda: softmax_cross_entropy(SCORES, TARGET.float()),
            "softmax_cross_entropy: target (3,) of torch.float32 is read as probabilities and must have the "
            "shape of the scores (3, 3). For class indices use target.long().",
        ),
        (
            lambda: multiclass_hinge_loss(SCORES[None], TARGET),
            "multiclass_hinge_loss: scores (1, 3, 3) must be (N, K), or (K,) for one sample.",
        ),
        (
            lambda: softmax_cross_entropy(torch.tensor(1.0), torch.tensor(0)),
            "softmax_cross_entropy: target () does not fit scores (): one class index for each sample, and "
            "scores of at least one axis.",
        ),
    ],
)
def test_refusals_of_one(call, text):
    with pytest.raises(UsageError) as caught:
        call()
    assert str(caught.value) == text
