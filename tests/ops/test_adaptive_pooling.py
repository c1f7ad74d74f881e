"""Adaptive and global pooling against torch."""

import pytest
import torch
import torch.nn.functional as F
from witnesses import assert_same_with_gradients, seeded

from convscope import ops
from convscope.errors import ShapeError


@pytest.mark.parametrize(
    ("shape", "output_size", "explicit"),
    [
        ((2, 3, 11), 4, (4,)),
        ((3, 11), (None,), (11,)),
        ((2, 3, 9, 12), (4, 5), (4, 5)),
        ((3, 9, 12), (None, 1), (9, 1)),
        ((2, 3, 5, 6), None, (5, 6)),
        ((0, 3, 5, 6), 2, (2, 2)),
        ((1, 2, 5, 6, 7), [2, None, 9], (2, 6, 9)),
    ],
)
def test_adaptive_equals_torch(shape, output_size, explicit):
    ndim, x = len(explicit), seeded(*shape)
    for kind in ("avg", "max"):
        ours, torchs = (getattr(module, f"adaptive_{kind}_pool{ndim}d") for module in (ops, F))
        assert_same_with_gradients(
            lambda x, ours=ours: ours(x, output_size), lambda x, torchs=torchs: torchs(x, explicit), x
        )
    indices = getattr(ops, f"adaptive_max_pool{ndim}d")(x, output_size, return_indices=True)[1]
    assert torch.equal(indices, getattr(F, f"adaptive_max_pool{ndim}d")(x, explicit, return_indices=True)[1])


@pytest.mark.parametrize("shape", [(2, 3, 7), (2, 3, 5, 6), (2, 3, 4, 5, 6), (0, 3, 5, 6)])
def test_global_is_adaptive_to_one(shape):
    ndim = len(shape) - 2
    x = seeded(*shape)
    for ours, torchs in (
        (ops.global_avg_pool, getattr(F, f"adaptive_avg_pool{ndim}d")),
        (ops.global_max_pool, getattr(F, f"adaptive_max_pool{ndim}d")),
    ):
        assert_same_with_gradients(lambda x, f=ours: f(x, keepdim=True), lambda x, f=torchs: f(x, 1), x)
        assert_same_with_gradients(lambda x, f=ours: f(x), lambda x, f=torchs: f(x, 1).flatten(1), x)
    if shape[0]:
        assert torch.equal(ops.global_avg_pool(x[0], ndim=ndim), ops.global_avg_pool(x)[0])


def test_global_max_gives_the_gradient_to_one_place():
    x = torch.zeros(1, 1, 3, 4, requires_grad=True)
    ops.global_max_pool(x).sum().backward()
    assert sorted(x.grad.flatten().tolist()) == [0.0] * 11 + [1.0]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: ops.adaptive_avg_pool2d(torch.ones(1, 3, 8, 9), 0),
            "adaptive_avg_pool2d: output_size is 0; it must be at least 1.",
        ),
        (
            lambda: ops.adaptive_max_pool2d(torch.ones(1, 3, 8, 9), (1, 2, 3)),
            "adaptive_max_pool2d: output_size (1, 2, 3) has 3 entries; the input has 2 axes.",
        ),
        (
            lambda: ops.adaptive_max_pool1d(torch.ones(9), 1),
            "adaptive_max_pool1d: input (9,) has 1 axis; give (N, C, length), or (C, length).",
        ),
        (
            lambda: ops.adaptive_avg_pool1d(torch.ones(1, 3, 0), 1),
            "adaptive_avg_pool1d: input (1, 3, 0) has an axis of 0 pixels; there is nothing to pool.",
        ),
        (
            lambda: ops.global_avg_pool(torch.ones(2, 3)),
            "global_avg_pool: input (2, 3) has no spatial axis behind N and C; without a batch, give ndim.",
        ),
        (
            lambda: ops.global_max_pool(torch.ones(2, 3, 0, 4)),
            "global_max_pool: input (2, 3, 0, 4) has an axis of 0 pixels; there is nothing to pool.",
        ),
        (
            lambda: ops.global_max_pool(torch.ones(2, 3), ndim=3),
            "global_max_pool: ndim is 3; input (2, 3) has 2 axes.",
        ),
    ],
)
def test_refusals(call, text):
    with pytest.raises(ShapeError) as caught:
        call()
    assert str(caught.value) == text
