"""Slow loops written from the definitions, and the comparison of outputs with every gradient."""

from itertools import product

import numpy as np
import torch


def seeded(*shape, dtype=torch.float64, seed=0, grad=True):
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, dtype=dtype, generator=generator).requires_grad_(grad)


def assert_same_with_gradients(ours, theirs, *operands):
    """Both calls give the same tensor and the same gradient for each operand that takes one."""
    outputs = [call(*operands) for call in (ours, theirs)]
    torch.testing.assert_close(*outputs)
    upstream = torch.linspace(-1, 1, outputs[0].numel(), dtype=outputs[0].dtype).reshape(outputs[0].shape)
    wanted = [operand for operand in operands if operand is not None and operand.requires_grad]
    for one, other in zip(*(torch.autograd.grad(out, wanted, upstream) for out in outputs), strict=True):
        torch.testing.assert_close(one, other)


def convolve_by_loops(input, weight, stride, dilation, groups):
    """Sum kernel times pixels, one product after the other; input (N, C, *spatial) holds its padding."""
    x, w = input.detach().numpy(), weight.detach().numpy()
    kernel, channels = w.shape[2:], w.shape[1]
    outputs = [
        (size - d * (k - 1) - 1) // s + 1
        for size, k, s, d in zip(x.shape[2:], kernel, stride, dilation, strict=True)
    ]
    y = np.zeros((x.shape[0], w.shape[0], *outputs))
    for n, out in np.ndindex(y.shape[:2]):
        first = out // (w.shape[0] // groups) * channels
        for place in np.ndindex(*outputs):
            for c, tap in product(range(channels), np.ndindex(*kernel)):
                at = tuple(o * s + t * d for o, s, t, d in zip(place, stride, tap, dilation, strict=True))
                y[(n, out, *place)] += w[(out, c, *tap)] * x[(n, first + c, *at)]
    return torch.from_numpy(y)


def windows_of(x, kernel, stride, pads, outputs, dilation=None):
    """Yield (output place, values inside the input, pixels inside the padded input) for every window."""
    dilation = dilation or (1,) * len(kernel)
    sizes = x.shape[2:]
    for place in np.ndindex(*outputs):
        values, counted = [], 0
        for tap in np.ndindex(*kernel):
            at = [
                o * s + t * d - before
                for o, s, t, d, (before, _) in zip(place, stride, tap, dilation, pads, strict=True)
            ]
            if all(0 <= a < size for a, size in zip(at, sizes, strict=True)):
                values.append((tuple(at), x[(..., *at)]))
            counted += all(
                -before <= a < size + after for a, size, (before, after) in zip(at, sizes, pads, strict=True)
            )
        yield place, values, counted
