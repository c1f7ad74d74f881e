"""Confusion matrix, recall, precision and the mistakes, against counts by hand and by loops."""

import math

import pytest
import torch

from convscope.errors import ShapeError
from convscope.inspection import confusion_matrix, min_max_image, mistakes, on_one_scale

CLASSES = ("cat", "dog", "eel")


def test_counts_against_a_loop():
    labels, said = torch.randint(0, 3, (2, 500), generator=torch.Generator().manual_seed(0))
    matrix = confusion_matrix(labels, said, CLASSES)
    expected = [[0] * 3 for _ in CLASSES]
    for true, predicted in zip(labels.tolist(), said.tolist(), strict=True):
        expected[true][predicted] += 1
    assert matrix.counts.tolist() == expected
    assert matrix.accuracy == pytest.approx(float((labels == said).float().mean()))


def test_recall_precision_and_classes_without_images():
    matrix = confusion_matrix(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1]), CLASSES)
    assert matrix.recall[:2] == (0.5, 1.0)
    assert matrix.precision[:2] == pytest.approx((1.0, 2 / 3))
    assert math.isnan(matrix.recall[2])
    assert math.isnan(matrix.precision[2])
    assert matrix.to_dict()["recall"][2] is None
    assert matrix.shares.tolist() == [[0.5, 0.5, 0], [0, 1, 0], [0, 0, 0]]


def test_worst_pairs_leave_out_the_diagonal():
    matrix = confusion_matrix(torch.tensor([0, 0, 0, 2, 1]), torch.tensor([1, 1, 0, 0, 1]), CLASSES)
    assert matrix.worst_pairs() == (("cat", "dog", 2), ("eel", "cat", 1))


def test_mistakes_come_surest_first():
    labels, said = torch.tensor([0, 1, 2, 0]), torch.tensor([1, 1, 0, 2])
    found = mistakes(labels, said, torch.tensor([0.5, 0.99, 0.9, 0.7]), CLASSES, 2)
    assert [(entry.index, entry.true, entry.predicted) for entry in found] == [
        (2, "eel", "cat"),
        (3, "cat", "eel"),
    ]
    assert mistakes(labels, labels, torch.ones(4), CLASSES) == ()


def test_shapes_must_agree():
    with pytest.raises(ShapeError, match=r"labels have the shape \(2,\), predictions \(3,\)"):
        confusion_matrix(torch.zeros(2, dtype=torch.long), torch.zeros(3, dtype=torch.long), CLASSES)


def test_min_max_image():
    maps = torch.tensor([[[0.0, 1.0]], [[2.0, -2.0]]])
    assert min_max_image(maps).tolist() == [[[128, 255], [191, 0]]]
    assert min_max_image(torch.full((1, 2, 2), 3.0)).max() == 0
    with pytest.raises(ShapeError, match="give \\(C, H, W\\)"):
        min_max_image(torch.zeros(2, 2))


def test_one_scale_holds_99_percent_of_both():
    pair = on_one_scale(
        "conv", torch.linspace(-1, 1, 500), torch.cat([torch.linspace(-3, 3, 497), torch.full((3,), 99.0)])
    )
    both = torch.cat([pair.before, pair.after])
    assert pair.low == -pair.high
    assert 0.985 <= float((both.abs() <= pair.high).float().mean()) <= 0.995
    pair = on_one_scale("conv", torch.tensor([0.5, -1.0]), torch.tensor([4.0, -3.0]))
    assert (pair.low, pair.high) == (-4.0, 4.0)
    assert pair.to_dict()["root_mean_square_change"] == pytest.approx(((3.5**2 + 2**2) / 2) ** 0.5)
    with pytest.raises(ShapeError, match="cannot be laid side by side"):
        on_one_scale("conv", torch.zeros(2), torch.zeros(3))
