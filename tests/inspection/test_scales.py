"""The scales of pictures: their range, what lies outside, what is no number."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from convscope.errors import ShapeError, UsageError
from convscope.inspection import averaged, common_limit, feature_films, film_of, filter_films, scale_of


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=300))
def test_the_range_holds_99_percent_and_zero_has_its_place(numbers):
    values = torch.tensor(numbers)
    scale = scale_of([values])
    assert scale.low == (-scale.high if min(numbers) < 0 else 0)
    limit = common_limit([values]) or max(map(abs, numbers)) or 1.0
    assert scale.high == limit
    assert (values.abs() <= limit).double().mean() >= 0.98 or len(numbers) < 100
    levels = scale.levels(values)
    assert levels.min() >= 1
    in_order = levels[values.argsort().numpy()]
    assert (in_order[1:] >= in_order[:-1]).all()
    assert scale.levels(torch.zeros(1))[0] == (128 if scale.signed else 1)


def test_the_limit_is_the_sorted_one():
    values = torch.randn(5000, generator=torch.Generator().manual_seed(0))
    ordered = values.abs().sort().values
    assert common_limit([values[:2000], values[2000:]]) == float(ordered[math.ceil(0.99 * 4999)])


def test_many_values_are_sampled_evenly():
    values = torch.arange(2**23, dtype=torch.float32).reshape(4, 1024, 2048)
    assert common_limit([values]) == pytest.approx(0.99 * 2**23, rel=1e-4)


def test_what_is_no_number_is_told_and_has_its_own_level():
    values = torch.tensor([1.0, math.nan, math.inf, -math.inf, -1.0])
    scale = scale_of([values])
    assert (scale.num_not_finite, scale.low, scale.high) == (3, -1.0, 1.0)
    assert scale.levels(values).tolist() == [255, 0, 0, 0, 1]
    nothing = scale_of([torch.full((3,), math.nan)])
    assert (nothing.num_not_finite, nothing.smallest, nothing.largest) == (3, 0.0, 0.0)


def test_rare_values_are_seen_all_the_same():
    values = torch.zeros(1000)
    values[5] = 3.0
    assert scale_of([values]).high == 3.0
    assert scale_of([torch.zeros(5)]).high == 1.0
    assert not scale_of([values]).clipped
    assert scale_of([torch.cat([torch.ones(999), torch.tensor([50.0])])]).clipped


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float16, torch.bfloat16, torch.complex64])
def test_values_of_any_type(dtype):
    values = torch.tensor([0, 1, 1]).to(dtype)
    assert scale_of([values]).levels(values).tolist() == [1, 255, 255]


def test_averages_are_those_of_numpy():
    planes = torch.randn(3, 6, 8)
    expected = planes.numpy().reshape(3, 3, 2, 2, 4).mean((2, 4))
    torch.testing.assert_close(averaged(planes, (3, 2)), torch.from_numpy(expected))
    assert averaged(planes, (6, 8)).equal(planes)


def networks(*scales):
    for scale in scales:
        network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Flatten())
        with torch.no_grad():
            network[0].weight.fill_(scale)
            network[0].bias.zero_()
        yield f"times {scale}", network


def test_films_of_networks_have_one_scale():
    conv, relu = feature_films(networks(-1.0, 2.0), torch.ones(1, 1, 5, 5))
    assert (conv.layer, conv.names) == ("0", ("times -1.0", "times 2.0"))
    assert [float(frame.unique()) for frame in conv.frames] == [-9.0, 18.0]
    assert (conv.scale.low, conv.scale.high) == (-18.0, 18.0)
    assert [float(frame.unique()) for frame in relu.frames] == [0.0, 18.0]
    assert (relu.scale.low, relu.scale.high) == (0.0, 18.0)
    assert conv.to_dict()["frames"][1]["root_mean_square"] == 18.0
    (bank,) = filter_films(networks(-1.0, 2.0), ["0"])
    assert [tuple(frame.shape) for frame in bank.frames] == [(2, 1, 3, 3)] * 2
    assert bank.scale.high == 2.0


def test_what_cannot_be_a_film():
    with pytest.raises(UsageError, match="none of the layers has maps with a height and a width"):
        feature_films(networks(1.0), torch.ones(1, 1, 5, 5), ["2"])
    with pytest.raises(ShapeError, match="cannot be laid side by side"):
        film_of("a", "", "maps", [("x", torch.zeros(1, 2, 2)), ("y", torch.zeros(1, 2, 3))])
    with pytest.raises(UsageError, match="nothing of 'a'"):
        film_of("a", "", "maps", [])
