"""Sizes and refusals over random settings, against torch on meta tensors (and on real ones, which check more)."""

import random

import pytest
import torch
import torch.nn.functional as F

from convscope.errors import UsageError
from convscope.geometry import Windows, conv_weight_shape

SETTINGS = 2_000  # for each kind of layer: 8,000 in all
DIMS = {
    1: (F.conv1d, F.conv_transpose1d),
    2: (F.conv2d, F.conv_transpose2d),
    3: (F.conv3d, F.conv_transpose3d),
}
MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVG = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def torch_size(call, sizes, **settings):
    """What torch says of these spatial sizes: the output's, or None for a refusal of either kernel."""
    try:
        shape = call(torch.empty(1, 1, *sizes, device="meta"), **settings).shape[2:]
        call(torch.zeros(1, 1, *sizes), **settings)  # meta kernels let through what the CPU kernels refuse
    except (RuntimeError, ZeroDivisionError):
        return None
    return tuple(shape) if min(shape) > 0 else None


def our_size(build, sizes):
    try:
        return build().output_size(sizes)
    except UsageError:
        return None


def draw(rng, ndim, *, low, high):
    return tuple(rng.randint(low, high) for _ in range(ndim))


def compare(pairs):
    """Compare all (setting, ours, torch's); every kind of answer must have been met."""
    refused = 0
    for setting, ours, theirs in pairs:
        assert ours == theirs, f"{setting}: ours {ours}, torch {theirs}"
        refused += theirs is None
    assert 50 < refused < SETTINGS - 50


def ndims(rng):
    return rng.choices((1, 2, 3), weights=(3, 4, 1))[0]


def test_convolution_sizes():
    rng = random.Random(1)

    def one():
        n = ndims(rng)
        sizes, kernel = draw(rng, n, low=1, high=12), draw(rng, n, low=1, high=6)
        settings = {
            "stride": draw(rng, n, low=0 if rng.random() < 0.03 else 1, high=4),
            "padding": draw(rng, n, low=-1 if rng.random() < 0.03 else 0, high=4),
            "dilation": draw(rng, n, low=0 if rng.random() < 0.03 else 1, high=3),
        }
        theirs = torch_size(
            lambda x, **s: DIMS[n][0](x, torch.zeros(1, 1, *kernel, device=x.device), **s), sizes, **settings
        )
        return (sizes, kernel, settings), our_size(lambda: Windows.of(n, kernel, **settings), sizes), theirs

    compare(one() for _ in range(SETTINGS))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_same_and_valid_at_stride_one():
    rng = random.Random(2)
    for _ in range(500):
        n = ndims(rng)
        sizes, kernel, dilation = (draw(rng, n, low=1, high=high) for high in (12, 6, 3))
        for word in ("same", "valid"):
            theirs = torch_size(
                lambda x, n=n, kernel=kernel, **s: DIMS[n][0](
                    x, torch.zeros(1, 1, *kernel, device=x.device), **s
                ),
                sizes,
                padding=word,
                dilation=dilation,
            )
            windows = Windows.of(n, kernel, padding=word, dilation=dilation)
            assert our_size(lambda windows=windows: windows, sizes) == theirs


@pytest.mark.parametrize("kind", ["max", "average"])
def test_pooling_sizes(kind):
    rng = random.Random(3)

    def one():
        n = ndims(rng)
        sizes, kernel = (
            draw(rng, n, low=1, high=12),
            draw(rng, n, low=0 if rng.random() < 0.03 else 1, high=6),
        )
        settings = {
            "stride": rng.choice([None, draw(rng, n, low=0 if rng.random() < 0.03 else 1, high=5)]),
            "padding": draw(rng, n, low=-1 if rng.random() < 0.03 else 0, high=3),
            "ceil_mode": rng.random() < 0.5,
        }
        if kind == "max":
            settings["dilation"] = draw(rng, n, low=0 if rng.random() < 0.03 else 1, high=3)
        pool = (MAX if kind == "max" else AVG)[n]
        theirs = torch_size(lambda x, **s: pool(x, kernel, **s), sizes, **settings)
        if pool is F.avg_pool3d and any(size < k for size, k in zip(sizes, kernel, strict=True)):
            # Alone among torch's pools, avg_pool3d refuses a kernel larger than the input without its padding.
            assert theirs is None
            return None, None, None
        return (sizes, kernel, settings), our_size(lambda: Windows.pool(n, kernel, **settings), sizes), theirs

    compare(one() for _ in range(SETTINGS))


def test_transposed_sizes():
    rng = random.Random(4)

    def one():
        n = ndims(rng)
        sizes, kernel = draw(rng, n, low=1, high=8), draw(rng, n, low=1, high=6)
        settings = {
            "stride": draw(rng, n, low=0 if rng.random() < 0.03 else 1, high=4),
            "padding": draw(rng, n, low=-1 if rng.random() < 0.03 else 0, high=4),
            "output_padding": draw(rng, n, low=0, high=rng.choice([0, 1, 3])),
            "dilation": draw(rng, n, low=0 if rng.random() < 0.03 else 1, high=3),
        }
        theirs = torch_size(
            lambda x, **s: DIMS[n][1](x, torch.zeros(1, 1, *kernel, device=x.device), **s), sizes, **settings
        )
        return (
            (sizes, kernel, settings),
            our_size(lambda: Windows.transposed(n, kernel, **settings), sizes),
            theirs,
        )

    compare(one() for _ in range(SETTINGS))


def test_groups_against_torch():
    rng = random.Random(5)
    refused = 0
    for _ in range(500):
        c_in, c_out, groups = rng.randint(1, 12), rng.randint(1, 12), rng.randint(0, 5)
        try:
            theirs = tuple(torch.nn.Conv2d(c_in, c_out, (2, 3), groups=groups, device="meta").weight.shape)
        except (ValueError, ZeroDivisionError):
            theirs = None
        try:
            ours = conv_weight_shape(c_in, c_out, (2, 3), groups)
        except UsageError:
            ours = None
        assert ours == theirs
        refused += theirs is None
    assert 50 < refused < 450
