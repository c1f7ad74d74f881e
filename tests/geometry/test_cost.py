"""Parameters, MACs and bytes, against torch's modules and its FLOP counter, and against published figures."""

import random
from math import prod

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from convscope.errors import ShapeError
from convscope.geometry import Windows, check_groups, conv_cost, conv_weight_shape, dense_cost

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}

# batch, in_channels, out_channels, kernel, stride, padding, dilation, groups, input size
SETTINGS = [
    (1, 3, 64, (7, 7), 2, 3, 1, 1, (56, 48)),
    (2, 6, 9, (3, 5), (1, 2), (0, 2), 1, 3, (11, 17)),
    (1, 32, 32, (3, 3), 1, 1, 1, 32, (14, 15)),  # depthwise
    (3, 8, 16, (3, 3), 2, 1, 1, 8, (9, 8)),  # depthwise, two outputs a channel
    (1, 64, 128, (1, 1), 1, 0, 1, 1, (7, 7)),  # pointwise
    (1, 4, 6, (3, 3), 1, 2, 2, 2, (13, 10)),
    (2, 5, 7, (4,), 3, 1, 1, 1, (50,)),
    (1, 12, 12, (9,), 1, 8, 2, 12, (31,)),
    (1, 3, 8, (3, 3, 3), (1, 2, 2), 1, 1, 1, (5, 8, 9)),
    (2, 4, 4, (1, 3, 2), 1, 0, 1, 2, (3, 6, 5)),
    (0, 3, 4, (3, 3), 1, 1, 1, 1, (8, 8)),  # an empty batch
]


def counted_macs(module, *shape):
    with FlopCounterMode(display=False) as counter:
        output = module(torch.empty(shape, device="meta"))
    return counter.get_total_flops() // 2, tuple(output.shape)


@pytest.mark.parametrize("transposed", [False, True], ids=["convolution", "transposed"])
@pytest.mark.parametrize("bias", [False, True], ids=["plain", "bias"])
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_conv_cost_is_torchs(setting, bias, transposed):
    batch, c_in, c_out, kernel, stride, padding, dilation, groups, sizes = setting
    ndim = len(kernel)
    build = (TRANSPOSED if transposed else CONV)[ndim]
    module = build(
        c_in, c_out, kernel, stride, padding, dilation=dilation, groups=groups, bias=bias, device="meta"
    )
    if transposed:
        windows = Windows.transposed(ndim, kernel, stride, padding, 0, dilation)
    else:
        windows = Windows.of(ndim, kernel, stride, padding, dilation)
    cost = conv_cost(c_in, c_out, windows, sizes, groups, bias, batch_size=batch)
    macs, shape = counted_macs(module, batch, c_in, *sizes)
    assert cost.num_params == sum(parameter.numel() for parameter in module.parameters())
    assert cost.output_shape == shape
    assert cost.macs == macs
    weight_shape = conv_weight_shape(c_in, c_out, kernel, groups, transposed=transposed)
    assert weight_shape == tuple(module.weight.shape)
    elements = batch * c_in * prod(sizes), cost.num_params, prod(shape)
    assert (cost.input_bytes, cost.weight_bytes, cost.output_bytes) == tuple(4 * count for count in elements)


def test_output_padding_adds_parameters_to_nothing():
    module = nn.ConvTranspose2d(6, 4, 3, 2, 1, output_padding=1, groups=2, device="meta")
    cost = conv_cost(6, 4, Windows.transposed(2, 3, 2, 1, 1), (5, 7), groups=2)
    assert counted_macs(module, 1, 6, 5, 7) == (cost.macs, cost.output_shape)
    assert cost.num_params == sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("batch", "features", "bias"), [(1, (3072, 512), True), (7, (10, 3), False), (0, (4, 4), True)]
)
def test_dense_cost_is_torchs(batch, features, bias):
    module = nn.Linear(*features, bias=bias, device="meta")
    cost = dense_cost(*features, bias, batch_size=batch)
    assert cost.num_params == sum(parameter.numel() for parameter in module.parameters())
    assert (cost.macs, cost.output_shape) == counted_macs(module, batch, features[0])


def test_macs_are_the_steps_of_the_loops():
    """Count the multiplications of the definition, one by one."""
    rng = random.Random(40)
    for _ in range(40):
        groups = rng.randint(1, 3)
        c_in, c_out = groups * rng.randint(1, 3), groups * rng.randint(1, 3)
        windows = Windows.of(2, (rng.randint(1, 3), rng.randint(1, 3)), rng.randint(1, 3), rng.randint(0, 2))
        sizes = rng.randint(3, 6), rng.randint(3, 6)
        steps = 0
        rows, columns = windows.output_size(sizes)
        for _output in range(c_out):
            for row in range(rows):
                for column in range(columns):
                    for _input in range(c_in // groups):
                        taps = windows.axes[0].taps(row, sizes[0]), windows.axes[1].taps(column, sizes[1])
                        steps += len(taps[0]) * len(taps[1])
        cost = conv_cost(c_in, c_out, windows, sizes, groups)
        assert cost.macs == steps


@pytest.mark.parametrize(
    ("cost", "num_params", "macs"),
    [
        # LeNet-5, C1: 6 kernels of 5x5 and a bias each; 28*28 places, 25 products.
        (conv_cost(1, 6, Windows.of(2, 5), (32, 32)), 156, 117_600),
        # AlexNet as torchvision builds it: 64 kernels of 11x11x3; 55*55 places.
        (conv_cost(3, 64, Windows.of(2, 11, 4, 2), (224, 224)), 23_296, 70_276_800),
        # The stem of ResNet.
        (conv_cost(3, 64, Windows.of(2, 7, 2, 3), (224, 224), bias=False), 9_408, 118_013_952),
        # VGG's first dense layer: 102,760,448 weights and 4,096 biases.
        (dense_cost(512 * 7 * 7, 4096), 102_760_448 + 4_096, 102_760_448),
        # MobileNet's first depthwise and pointwise pair.
        (conv_cost(32, 32, Windows.of(2, 3, 1, 1), (112, 112), 32, False), 288, 3_612_672),
        (conv_cost(32, 64, Windows.of(2, 1), (112, 112), bias=False), 2_048, 25_690_112),
        # DCGAN's last layer: every one of 32*32 inputs spends 4*4*64*3 products.
        (conv_cost(64, 3, Windows.transposed(2, 4, 2, 1), (32, 32), bias=False), 3_072, 3_145_728),
    ],
    ids=["lenet5", "alexnet", "resnet", "vgg", "depthwise", "pointwise", "dcgan"],
)
def test_published_figures(cost, num_params, macs):
    assert (cost.num_params, cost.macs) == (num_params, macs)


def numbers_in(derivation):
    """The values of the second step's terms, by Python's own arithmetic."""
    return eval(derivation.steps[1].replace("/", "//"), {"__builtins__": {}})


def test_every_derivation_works_out_to_its_value():
    costs = [
        conv_cost(12, 18, Windows.of(2, (3, 5), 2, 1), (9, 11), 6, True, batch_size=3),
        conv_cost(12, 18, Windows.transposed(1, 4, 2), (9,), 3, False),
        conv_cost(2, 3, Windows.of(3, 3), (4, 5, 6)),
        dense_cost(20, 30, batch_size=2),
        dense_cost(20, 30, bias=False, element_bytes=2),
    ]
    for cost in costs:
        totals = cost.num_params, cost.macs, cost.input_bytes + cost.weight_bytes + cost.output_bytes
        for derivation, total in zip(cost.derivations, totals, strict=True):
            assert derivation.value == total
            assert derivation.steps[-1] == str(total)
            assert numbers_in(derivation) == total


def test_derivation_text():
    cost = conv_cost(6, 16, Windows.of(2, (5, 3)), (14, 12), 2, batch_size=4, element_bytes=2)
    assert [str(derivation) for derivation in cost.derivations] == [
        "num_params = kernel * (in_channels/groups) * out_channels + out_channels\n"
        "           = 5*3 * (6/2) * 16 + 16\n"
        "           = 736",
        "macs = batch * output pixels * kernel * (in_channels/groups) * out_channels\n"
        "     = 4 * 10*10 * 5*3 * (6/2) * 16\n"
        "     = 288000",
        "bytes = element_bytes * (input + parameters + output)\n"
        "      = 2 * (4032 + 736 + 6400)\n"
        "      = 22336",
    ]
    turned = conv_cost(4, 2, Windows.transposed(1, 3, 2), (7,), bias=False)
    assert str(turned.macs_derivation) == (
        "macs = batch * input pixels * kernel * (in_channels/groups) * out_channels\n"
        "     = 1 * 7 * 3 * (4/1) * 2\n"
        "     = 168"
    )
    assert str(dense_cost(120, 84).params_derivation) == (
        "num_params = in_features * out_features + out_features\n"
        "           = 120 * 84 + 84\n"
        "           = 10164"
    )


def test_cost_is_plain_values():
    facts = dense_cost(3, 2, batch_size=5).to_dict()
    assert facts.pop("derivations") == [item.to_dict() for item in dense_cost(3, 2, batch_size=5).derivations]
    assert facts == {
        "num_params": 8,
        "macs": 30,
        "input_bytes": 60,
        "weight_bytes": 32,
        "output_bytes": 40,
        "output_shape": [5, 2],
    }


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: check_groups(6, 8, 4),
            "groups is 4; it must divide in_channels 6 and out_channels 8. Both allow 1 or 2.",
        ),
        (
            lambda: check_groups(12, 24, 5),
            "groups is 5; it must divide in_channels 12 and out_channels 24. Both allow 1, 2, 3, 4, 6 or 12.",
        ),
        (
            lambda: conv_weight_shape(3, 64, (7, 7), 2),
            "groups is 2; it must divide in_channels 3 and out_channels 64. Both allow 1.",
        ),
        (
            lambda: check_groups(8, 6, 4),
            "groups is 4; it must divide in_channels 8 and out_channels 6. Both allow 1 or 2.",
        ),
        (lambda: check_groups(6, 8, 0), "groups is 0; it must be at least 1."),
        (lambda: check_groups(0, 8, 1), "in_channels is 0; it must be at least 1."),
        (lambda: check_groups(8, 1.5, 1), "out_channels is 1.5; it must be a whole number."),
        (lambda: dense_cost(0, 3), "in_features is 0; it must be at least 1."),
        (lambda: dense_cost(3, -1), "out_features is -1; it must be at least 1."),
        (lambda: dense_cost(3, 3, batch_size=-1), "batch_size is -1; it must be at least 0."),
        (lambda: dense_cost(3, 3, element_bytes=0), "element_bytes is 0; it must be at least 1."),
        (
            lambda: conv_cost(3, 3, Windows.of(2, 3), (5, 5), batch_size="1"),
            "batch_size is '1'; it must be a whole number.",
        ),
        (
            lambda: conv_cost(3, 3, Windows.of(2, 3), (5, 2)),
            "kernel does not fit along width: dilation*(kernel_size-1)+1 = 1*(3-1)+1 = 3, but input + padding = "
            "2 + 0 + 0 = 2. Add 1 more padding, shorten the kernel, or give an input of at least 3.",
        ),
        (lambda: conv_cost(3, 3, Windows.of(2, 3), (5,)), "sizes (5,) have 1 axes; the window has 2."),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ShapeError) as caught:
        call()
    assert str(caught.value) == message
