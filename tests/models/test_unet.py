"""U-Net: its published figures, what its skip connections connect, and sizes that do not halve."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convscope.errors import ShapeError, UnknownNameError
from convscope.models import UNet, create_model, create_seeded_model, model_entry
from convscope.trace import trace

# The paper's has 150.43 * 10^9 MACs, the others 48.17 and 39.98: the figures known of them, and here to the last one.
FIGURES = [
    ("unet_paper", {}, 31_030_658, 150_428_424_448, (1, 2, 388, 388)),
    ("unet", {}, 31_037_698, 48_171_581_440, (1, 2, 256, 256)),
    ("unet", {"bilinear": True}, 17_263_042, 39_984_300_032, (1, 2, 256, 256)),
    ("unet_no_skip", {}, 27_904_258, 38_507_905_024, (1, 2, 256, 256)),
]


@pytest.mark.parametrize(("name", "options", "num_params", "macs", "shape"), FIGURES)
def test_parameters_macs_and_output(name, options, num_params, macs, shape):
    with torch.device("meta"):
        network = create_model(name, **options).eval()
    found = trace(network, (1, *model_entry(name).input_shape))
    assert (found.num_params, found.macs, found.not_counted) == (num_params, macs, {})
    assert [found.tensors[output].shape for output in found.outputs] == [shape]


def test_leaving_the_skip_connections_out_takes_half_of_the_decoders_first_convolutions():
    difference = FIGURES[1][2] - FIGURES[3][2]
    assert difference == sum(9 * width * width for width in (64, 128, 256, 512))


@pytest.mark.parametrize("options", [{}, {"bilinear": True}, {"skip": False}])
def test_a_network_is_its_formula(options):
    network, images = UNet(3, 1, width=2, depth=3, **options).eval(), torch.randn(2, 1, 8, 12)

    def level(layers, maps):
        maps = F.relu(layers.bn1(F.conv2d(maps, layers.conv1.weight, padding=1)))
        return F.relu(layers.bn2(F.conv2d(maps, layers.conv2.weight, padding=1)))

    def up(layer, maps):
        if "bilinear" in options:
            return F.interpolate(maps, scale_factor=2, mode="bilinear")
        return F.conv_transpose2d(maps, layer.weight, layer.bias, stride=2)

    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
    first = level(network.encoder[0], images)
    second = level(network.encoder[1], F.max_pool2d(first, 2))
    maps = level(network.encoder[2], F.max_pool2d(second, 2))
    for number, beside in enumerate((second, first)):
        maps = up(network.upsample[number], maps)
        if "skip" not in options:
            maps = torch.cat((beside, maps), 1)
        maps = level(network.decoder[number], maps)
    expected = F.conv2d(maps, network.classifier.weight, network.classifier.bias)
    torch.testing.assert_close(network(images), expected)


@pytest.mark.parametrize("skip", [True, False])
def test_past_the_lowest_level_there_are_only_skip_connections(skip):
    network = create_seeded_model("unet", 0, width=4, depth=3, skip=skip)
    lowest = network.encoder[-1]
    lowest.register_forward_hook(lambda module, arguments, output: torch.zeros_like(output))
    images = torch.randn(2, 3, 16, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(images).square().sum(), images, materialize_grads=True)
    assert bool(gradient.any()) is skip
    joins = [record for record in trace(network, (2, 3, 16, 16)).records if record.short_operator == "cat"]
    assert len(joins) == (2 if skip else 0)


@pytest.mark.parametrize("height", [64, 65, 66, 67])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_unpadded_maps_meet_at_the_pixels_that_they_are_of(level, height):
    """Kernels that copy let a picture of row numbers through one level alone; no pooling may shift it."""
    network = UNet(1, 1, width=1, depth=3, padded=False, batch_norm=False)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for layers in (*network.encoder, *network.decoder):
            layers.conv1.weight[0, 0, 1, 1] = layers.conv2.weight[0, 0, 1, 1] = 1
        for number, (upsample, layers) in enumerate(zip(network.upsample, network.decoder, strict=True)):
            upsample.weight[0, 0] = 1
            if 1 - number != level:  # not the copy beside, but what comes from below
                layers.conv1.weight[0, 0, 1, 1] = 0
                layers.conv1.weight[0, upsample.weight.shape[1], 1, 1] = 1
        network.classifier.weight[0, 0] = 1
        rows = torch.arange(height, dtype=torch.float32)
        output = network(rows.view(1, 1, -1, 1).expand(1, 1, height, 64))[0, 0, :, 0]
    # The encoder's convolutions cut 2 rows off each level; then blocks begin, of which max pooling keeps the last row.
    block, cut = 2**level, 2 * (2**level - 1)
    rows = range(20, 20 + len(output))
    assert output.tolist() == [(row - cut) // block * block + cut + block - 1 for row in rows]
    assert len(output) == 4 * (height // 4) - 40


@pytest.mark.parametrize("size", [(1, 1), (30, 41), (32, 16), (17, 33)])
def test_padded_every_size_comes_out_as_it_went_in(size):
    network, images = create_seeded_model("unet", 0, width=2).eval(), torch.randn(1, 3, *size)
    rows, columns = (-side % 16 for side in size)
    with torch.no_grad():
        whole = network(F.pad(images, (0, columns, 0, rows), mode="replicate"))
        output = network(images)
    assert output.shape == (1, 2, *size)
    assert output.equal(whole[..., : size[0], : size[1]])


@pytest.mark.parametrize("name", ["unet", "unet_no_skip", "unet_paper"])
def test_a_bias_is_where_no_batch_norm_follows(name):
    with torch.device("meta"):
        network = create_model(name)
    for layers in (*network.encoder, *network.decoder):
        assert (layers.conv1.bias is None) == (layers.conv2.bias is None) == hasattr(layers, "bn1")
    assert network.classifier.bias is not None


def test_keys():
    level = [
        *("conv1.weight", "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var"),
        *("bn1.num_batches_tracked", "conv2.weight", "bn2.weight", "bn2.bias", "bn2.running_mean"),
        *("bn2.running_var", "bn2.num_batches_tracked"),
    ]
    assert list(UNet(width=2, depth=2).state_dict()) == [
        *(f"encoder.{number}.{key}" for number in (0, 1) for key in level),
        *("upsample.0.weight", "upsample.0.bias"),
        *(f"decoder.0.{key}" for key in level),
        *("classifier.weight", "classifier.bias"),
    ]


def test_convolutions_start_with_the_papers_deviation():
    network = create_seeded_model("unet", 0, width=16, depth=4)
    weight = network.encoder[3].conv2.weight.detach()
    assert float(weight.std()) == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.02)


@pytest.mark.parametrize("options", [{}, {"skip": False}, {"bilinear": True}])
def test_three_steps_lower_the_loss_and_every_parameter_gets_a_gradient(options):
    network = create_seeded_model("unet", 0, width=4, depth=3, **options)
    images, classes = torch.randn(2, 3, 20, 24), torch.randint(0, 2, (2, 20, 24))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    losses = []
    for _ in range(4):
        loss = F.cross_entropy(network(images), classes)
        optimizer.zero_grad()
        loss.backward()
        assert all(bool(parameter.grad.any()) for parameter in network.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: create_model("unet", width=0), ShapeError, "UNet: width is 0; it must be at least 1"),
        (lambda: create_model("unet", depth=1), ShapeError, "UNet: depth is 1; it must be at least 2"),
        (
            lambda: create_model("unet", depth=50),
            ShapeError,
            "UNet: depth is 50; it must be at most 8: a level doubles the channels.",
        ),
        (
            lambda: create_model("unet_no_skip", skip=True),
            UnknownNameError,
            "argument of 'unet_no_skip' 'skip'",
        ),
        (
            lambda: UNet(width=2, depth=3)(torch.zeros(1, 3, 0, 5)),
            ShapeError,
            "UNet: an image of 0x5 pixels is too small; give at least 1x1.",
        ),
        (
            lambda: create_model("unet_paper")(torch.zeros(1, 1, 187, 300)),
            ShapeError,
            "UNet: an image of 187x300 pixels is too small; give at least 188x188.",
        ),
        (
            lambda: UNet(width=2, depth=3)(torch.zeros(1, 1, 8, 8)),
            ShapeError,
            "UNet: the images have 1 channels, the network takes 3",
        ),
    ],
)
def test_refusals(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_smallest_image_is_taken():
    with torch.device("meta"), torch.no_grad():
        assert create_model("unet_paper")(torch.zeros(1, 1, 188, 205)).shape == (1, 2, 4, 20)
