"""One value of a convolution: its terms add up to what torch computes, for every setting."""

import random

import pytest
import torch
import torch.nn.functional as F

from convscope import ops
from convscope.errors import ShapeError
from convscope.inspection import explain_convolution


def test_the_documents_numbers():
    """The source document's sum over three channels, 7 + 15 + 4 = 26, plus a bias."""
    image = torch.zeros(3, 3, 3)
    image[0, 0, 0], image[1, 1, 1], image[2, 2, 2] = 7, 15, 4
    value = explain_convolution(image, torch.ones(1, 3, 3, 3), torch.tensor([0.5]), at=(0, 0, 0))
    assert [entry.total for entry in value.channels] == [7, 15, 4]
    assert (value.total, value.bias, value.engine_value) == (26.5, 0.5, 26.5)


def setting(rng, ndim):
    groups = rng.choice((1, 1, 2))
    c_in, c_out = groups * rng.randint(1, 3), groups * rng.randint(1, 2)
    size = tuple(rng.randint(5, 8) for _ in range(ndim))
    kernel = tuple(rng.randint(1, 3) for _ in range(ndim))
    padding = rng.choice(
        [0, 1, "same", "valid", "full", tuple((rng.randint(0, 2), rng.randint(0, 2)) for _ in range(ndim))]
    )
    options = {
        "stride": rng.randint(1, 3),
        "padding": padding if ndim > 1 or not isinstance(padding, tuple) else padding[0],
        "dilation": rng.randint(1, 2),
        "groups": groups,
        "padding_mode": rng.choice(ops.PADDING_MODES),
        "flip": rng.random() < 0.5,
    }
    image = torch.randn(1, c_in, *size, dtype=torch.float64)
    weight = torch.randn(c_out, c_in // groups, *kernel, dtype=torch.float64)
    bias = rng.choice([None, torch.randn(c_out, dtype=torch.float64)])
    return image, weight, bias, options


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_terms_add_up_to_the_engines_value(ndim):
    rng = random.Random(ndim)
    torch.manual_seed(ndim)
    convolve = {1: ops.conv1d, 2: ops.conv2d, 3: ops.conv3d}[ndim]
    for _ in range(150):
        image, weight, bias, options = setting(rng, ndim)
        output = convolve(image, weight, bias, **options)[0]
        at = tuple(rng.randrange(size) for size in output.shape)
        value = explain_convolution(image, weight, bias, at=at, **options)
        assert value.engine_value == float(output[at])
        assert value.total == pytest.approx(value.engine_value, rel=1e-9, abs=1e-12), options
        products = sum(float((entry.window * entry.weights).sum()) for entry in value.channels)
        assert products + value.bias == pytest.approx(value.total, rel=1e-9, abs=1e-12)


def test_against_torch_alone():
    """No code of ours on the other side: window and weights read off by hand."""
    image, weight = torch.randn(2, 6, 7), torch.randn(4, 1, 3, 3)
    value = explain_convolution(image, weight, stride=2, padding=1, groups=2, at=(3, 0, 1))
    padded = F.pad(image, (1, 1, 1, 1))
    (entry,) = value.channels
    assert entry.channel == 1
    torch.testing.assert_close(entry.window, padded[1, 0:3, 2:5].double())
    torch.testing.assert_close(entry.weights, weight[3, 0].double())
    assert value.positions == ((-1, 0, 1), (1, 2, 3))
    expected = F.conv2d(image[None], weight, stride=2, padding=1, groups=2)[0, 3, 0, 1]
    assert value.engine_value == float(expected)
    assert value.total == pytest.approx(float(expected), rel=1e-5)


def test_text_and_json_tell_padding_and_sum():
    value = explain_convolution(torch.ones(1, 3, 3), torch.ones(1, 1, 3, 3), padding=1, at=(0, 0, 0))
    assert "reads height -1 (padding), 0, 1" in str(value)
    assert str(value).endswith("= 4\ntorch computed 4")
    facts = value.to_dict()
    assert facts["channels"][0]["products"] == [[0, 0, 0], [0, 1, 1], [0, 1, 1]]
    assert facts["total"] == 4


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (
            (0, 4, 0),
            "at (0, 4, 0) is outside the output of shape (1, 4, 4); valid (channel, *position): 0 to 0, 0 to 3",
        ),
        ((0, -1, 0), "is outside the output"),
        ((0, 0), "at (0, 0) is outside the output"),
    ],
)
def test_places_outside_are_refused(at, text):
    with pytest.raises(ShapeError) as caught:
        explain_convolution(torch.ones(1, 4, 4), torch.ones(1, 1, 1, 1), at=at)
    assert text in str(caught.value)


def test_one_image_only():
    with pytest.raises(ShapeError, match=r"input has 2 images; one value comes from one"):
        explain_convolution(torch.ones(2, 1, 4, 4), torch.ones(1, 1, 1, 1), at=(0, 0, 0))
