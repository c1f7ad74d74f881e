"""Flatten against global average pooling: windows, shifts, parameters, and what the verdict rests on."""

import numpy as np
import pytest
import torch

from convscope.data import load_dataset
from convscope.experiments import Effort, Verdict
from convscope.experiments.claims import heads
from convscope.experiments.claims.heads import _builders, _Canvas, _Found, _outcome, _shifted, _Size

TINY = _Size(images=100, test_images=30, widths=(2, 3), batch_size=16, steps=3, pilot_steps=2)
FLATTEN, POOL = "flatten + linear", "global average pooling"


def test_a_bordered_window_moves_without_cutting_the_picture():
    images = load_dataset("fashion-mnist", "test").take(20)
    canvas = _Canvas.of(images, bordered=True)
    assert canvas.window().shape == (20, 1, 36, 36)
    assert canvas.window()[..., 4:32, 4:32].equal(images.images)
    assert canvas.window(down=3)[..., 7:35, 4:32].equal(images.images)
    assert canvas.window(right=-4)[..., 4:32, :28].equal(images.images)
    for moved in (canvas.window(4), canvas.window(0, 4), canvas.window(-4, -4)):
        assert moved.long().sum() == images.images.long().sum()


def test_an_inner_window_moves_within_the_picture():
    images = load_dataset("fashion-mnist", "test").take(20)
    canvas = _Canvas.of(images, bordered=False)
    assert canvas.window().equal(images.images[..., 4:24, 4:24])
    assert canvas.window(down=4).equal(images.images[..., 0:20, 4:24])
    assert canvas.window(right=-1).equal(images.images[..., 4:24, 5:25])


def test_both_networks_share_their_first_convolutions():
    builders = _builders((1, 36, 36), 10, (8, 16, 32))
    flatten, pool = (builders[name](7) for name in (FLATTEN, POOL))
    for own, other in zip(flatten.features.parameters(), pool.features.parameters(), strict=True):
        assert own.equal(other)
    assert sum(each.numel() for each in flatten.classifier.parameters()) == 9 * 9 * 32 * 10 + 10
    assert sum(each.numel() for each in pool.classifier.parameters()) == 32 * 10 + 10
    assert flatten(torch.zeros(1, 1, 36, 36)).shape == pool(torch.zeros(1, 1, 36, 36)).shape == (1, 10)
    assert flatten.classifier.fc.weight.equal(builders[FLATTEN](7).classifier.fc.weight)


class Brightest(torch.nn.Module):
    """Says in which third of the width the brightest pixel is."""

    def forward(self, images):
        column = images.flatten(1).argmax(1) % images.shape[-1]
        return torch.nn.functional.one_hot(column * 3 // images.shape[-1], 3).float()


def test_accuracy_and_answers_at_each_distance_by_hand():
    train = load_dataset("fashion-mnist").take(50)
    pictures = torch.zeros(4, 1, 44, 44, dtype=torch.uint8)
    columns = [0, 13, 17, 35]  # within the window of 36, thirds being of 12
    for image, column in zip(pictures, columns, strict=True):
        image[0, 20, 4 + column] = 255
    labels = torch.tensor([0, 1, 1, 2])
    accuracies, same = _shifted(Brightest(), _Canvas(pictures, 36), labels, train)
    # Moved by 2 to the left the second one leaves its third; the outer ones leave the window on one side.
    answers = [
        [(0 if not 0 <= column + right < 36 else (column + right) * 3 // 36) for column in columns]
        for shift in range(1, 5)
        for right in (0, 0, shift, -shift)
    ]
    for shift in range(1, 5):
        ours = np.array(answers[4 * shift - 4 : 4 * shift])
        assert accuracies[shift] == pytest.approx((ours == labels.numpy()).mean())
        assert same[shift] == pytest.approx((ours == labels.numpy()).mean())
    assert (accuracies[0], same[0]) == (1.0, 1.0)
    assert accuracies[1] > accuracies[2]


def made_up(accuracy, drop):
    """Findings with this test accuracy and mean loss to the shifts, by head and seed."""
    found = []
    for head in (FLATTEN, POOL):
        for seed, (unmoved, lost) in enumerate(zip(accuracy[head], drop[head], strict=True)):
            levels = {shift: unmoved - lost * shift / 2.5 for shift in range(1, 5)}
            found.append(_Found(head, seed, {0: unmoved, **levels}, dict.fromkeys(range(5), 0.9)))
    return found


@pytest.mark.parametrize(
    ("pooled", "lost", "fewer", "verdict"),
    [
        ((0.880, 0.881, 0.879), (0.02, 0.03, 0.02), 20, Verdict.HOLDS),
        ((0.840, 0.841, 0.839), (0.02, 0.03, 0.02), 20, Verdict.FAILS),  # 4 points are too many
        ((0.880, 0.881, 0.879), (0.20, 0.21, 0.20), 20, Verdict.FAILS),  # it minds shifts more
        ((0.880, 0.881, 0.879), (0.02, 0.03, 0.02), 2_000, Verdict.FAILS),
        ((0.880, 0.840, 0.879), (0.02, 0.03, 0.02), 20, Verdict.UNDECIDED),
        ((0.880, 0.881, 0.879), (0.02, 0.30, 0.02), 20, Verdict.UNDECIDED),
    ],
)
def test_verdicts_on_made_up_numbers(pooled, lost, fewer, verdict):
    accuracy = {FLATTEN: (0.880, 0.882, 0.880), POOL: pooled}
    drop = {FLATTEN: (0.10, 0.11, 0.105), POOL: lost}
    found = made_up(accuracy, drop)
    assert found[0].drop == pytest.approx(0.10)
    outcome = _outcome(found, {FLATTEN: (1_000, 3_000), POOL: (fewer, 2_000)}, {FLATTEN: 1e-3, POOL: 3e-3})
    assert outcome.verdict is verdict
    figures = dict(outcome.figures)
    assert figures["accuracy_difference"] == pytest.approx(np.mean(np.subtract(pooled, accuracy[FLATTEN])))
    assert figures["drop_difference"] == pytest.approx(np.mean(np.subtract(drop[FLATTEN], lost)))
    assert figures["head_parameter_ratio"] == 1_000 / fewer
    assert outcome.rows[1].cells[:2] == (fewer, 2_000)
    assert outcome.charts[0].curves[0].points[4] == (
        4.0,
        pytest.approx(np.mean(accuracy[FLATTEN]) - 1.6 * 0.105),
    )


def test_the_whole_on_a_tiny_scale(monkeypatch):
    monkeypatch.setattr(heads, "_QUICK", TINY)
    one, other = (heads.EXPERIMENT.run(seeds=(0, 1)) for _ in range(2))
    assert one.to_dict()["table"] == other.to_dict()["table"]
    (row,) = one.outcome.pictures
    assert row.planes.shape == (5, 36, 36, 3)
    assert row.planes[0][:, :-4].equal(row.planes[4][:, 4:])
    assert Effort().data == "fashion-mnist"
