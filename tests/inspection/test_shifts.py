"""Shift consistency against networks whose answer to a shift is known."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from convscope.errors import ShapeError, UsageError
from convscope.inspection import shift_consistency, shifted
from convscope.models import create_seeded_model


@given(st.integers(-3, 3), st.integers(-3, 3))
def test_a_shift_is_numpys_padding_with_the_edge(down, right):
    image = torch.arange(2 * 5 * 6.0).reshape(1, 2, 5, 6)
    padded = np.pad(image.numpy(), ((0, 0), (0, 0), (3, 3), (3, 3)), mode="edge")
    assert np.array_equal(
        shifted(image, down, right).numpy(), padded[:, :, 3 - down : 8 - down, 3 - right : 9 - right]
    )


class Corner(nn.Module):
    """The scores are the two first pixels of the first row."""

    def forward(self, image):
        return image[:, 0, 0, :2]


def test_a_network_that_looks_at_one_pixel_changes_its_mind():
    image = torch.tensor([[[[0.0, 1.0, 0.0, 0.0]] * 4]])
    found = shift_consistency(Corner(), image, [(0, -1), (1, 0), (0, 1)])
    assert found.agreement == pytest.approx(1 / 3)  # moved to the left: (1, 0); down: the same; right: (0, 0)
    assert found.changes == pytest.approx((2**0.5, 0.0, 1.0))
    assert found.probability == pytest.approx(float(torch.tensor([0.0, 1.0]).softmax(0)[1]))
    assert found.probabilities[1] == found.probability
    assert found.mean_change == pytest.approx(sum(found.changes) / 3)


def test_a_convolution_without_stride_moves_along():
    """Outputs of the image's size are shifted back: nothing changes away from the border."""
    network = nn.Conv2d(3, 4, 1)
    found = shift_consistency(network, torch.rand(1, 3, 12, 12))
    assert found.agreement == 1
    assert max(found.changes) < 1e-6
    assert (found.probability, found.probabilities) == (None, ())


def test_a_network_with_strides_does_not_and_is_left_as_it_was():
    network = create_seeded_model("resnet18", 0, num_classes=10).train()
    found = shift_consistency(network, torch.rand(1, 3, 64, 64))
    assert len(found.changes) == 8
    assert 0 < found.mean_change < 1
    assert all(module.training for module in network.modules())
    facts = found.to_dict()
    assert facts["shifts"][0] == [-1, -1]
    assert facts["mean_change"] == found.mean_change


def test_refusals():
    with pytest.raises(UsageError, match="no shift is given"):
        shift_consistency(nn.Conv2d(1, 1, 1), torch.zeros(1, 1, 4, 4), [])
    with pytest.raises(UsageError, match=r"shift_consistency: the network returns \(1, 1, 2, 2\)"):
        shift_consistency(nn.MaxPool2d(2), torch.zeros(1, 1, 4, 4))
    with pytest.raises(ShapeError, match="shifted: the image has the shape"):
        shifted(torch.zeros(3, 3), 1, 1)
