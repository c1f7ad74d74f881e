"""Calibration against a loop over the definition and against torchmetrics' numbers; the least decided images."""

import pytest
import torch

from convscope.errors import ShapeError, UsageError
from convscope.inspection import calibration, most_unsure


def drawn(seed, count=400):
    generator = torch.Generator().manual_seed(seed)
    labels, said = torch.randint(0, 3, (2, count), generator=generator)
    return labels, said, torch.rand(count, generator=generator)


@pytest.mark.parametrize("num_bins", [1, 2, 7, 15])
def test_errors_against_a_loop_over_the_definition(num_bins):
    labels, said, sure = drawn(num_bins)
    expected = largest = 0.0
    for number in range(num_bins):
        inside = [
            i for i, value in enumerate(sure.tolist()) if number / num_bins < value <= (number + 1) / num_bins
        ]
        if inside:
            accuracy = sum(int(labels[i] == said[i]) for i in inside) / len(inside)
            confidence = sum(float(sure[i]) for i in inside) / len(inside)
            expected += len(inside) / len(labels) * abs(accuracy - confidence)
            largest = max(largest, abs(accuracy - confidence))
    found = calibration(labels, said, sure, num_bins)
    assert found.expected_error == pytest.approx(expected, abs=1e-12)
    assert found.largest_error == pytest.approx(largest, abs=1e-12)
    assert sum(each.count for each in found.bins) == len(labels)


def test_numbers_that_another_library_gave():
    # torchmetrics 1.9.0, multiclass_calibration_error with norm l1 and max, of the same four rows.
    probabilities = torch.tensor(
        [[0.25, 0.20, 0.55], [0.55, 0.05, 0.40], [0.10, 0.30, 0.60], [0.90, 0.05, 0.05]]
    )
    sure, said = probabilities.max(dim=1)
    found = calibration(torch.tensor([0, 1, 2, 0]), said, sure, 3)
    assert found.expected_error == pytest.approx(0.2000, abs=1e-4)
    assert found.largest_error == pytest.approx(0.2333, abs=1e-4)


def test_edges_belong_to_the_bin_below():
    found = calibration(torch.tensor([0, 0, 0]), torch.tensor([0, 0, 1]), torch.tensor([0.5, 1.0, 0.0]), 2)
    assert [each.count for each in found.bins] == [2, 1]
    assert found.bins[0].accuracy == 0.5
    empty = calibration(torch.tensor([0]), torch.tensor([0]), torch.tensor([1.0]), 2).bins[0]
    assert (empty.count, empty.accuracy, empty.confidence) == (0, None, None)


def test_refusals():
    with pytest.raises(ShapeError, match=r"labels have the shape \(2,\)"):
        calibration(torch.zeros(2), torch.zeros(3), torch.zeros(2))
    with pytest.raises(ShapeError, match="at least one"):
        calibration(torch.zeros(0), torch.zeros(0), torch.zeros(0))
    with pytest.raises(UsageError, match="outside 0 to 1"):
        calibration(torch.zeros(1), torch.zeros(1), torch.tensor([1.5]))
    with pytest.raises(UsageError, match="num_bins"):
        calibration(torch.zeros(1), torch.zeros(1), torch.zeros(1), 0)


def test_the_least_decided_come_first():
    labels, said, second = torch.tensor([0, 1, 2]), torch.tensor([0, 2, 2]), torch.tensor([1, 1, 0])
    found = most_unsure(labels, said, second, torch.tensor([0.3, 0.1, 0.2]), ("cat", "dog", "eel"), 2)
    assert [(each.index, each.true, each.predicted, each.runner_up) for each in found] == [
        (1, "dog", "eel", "dog"),
        (2, "eel", "eel", "cat"),
    ]
