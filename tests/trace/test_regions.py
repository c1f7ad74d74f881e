"""Values computed from what they see alone, in networks of every kind, against the full run."""

import itertools

import pytest
import torch
from networks import CASES, filled, made
from torch import nn

from convscope.errors import UsageError
from convscope.inspection import receptive_crop
from convscope.trace import trace
from convscope.trace.regions import Part, Regions, whole_box


def places(shape):
    """Corners along every axis of positions, and one place inside; the first and last channel in turns."""
    if len(shape) < 3:
        return [tuple(size - 1 for size in shape), tuple(0 for _ in shape)]
    corners = itertools.product(*({0, size - 1} for size in shape[2:]))
    channels = itertools.cycle((0, shape[1] - 1))
    inside = (shape[0] - 1, shape[1] // 2, *(size // 2 for size in shape[2:]))
    return [*((0, channel, *corner) for channel, corner in zip(channels, corners, strict=False)), inside]


@pytest.mark.parametrize("name", CASES)
def test_every_layer_from_what_it_sees_alone(name):
    network, shape = made(name)
    regions = Regions(trace(network, filled(shape)))
    for layer in regions.trace.layers:
        for at in places(regions.trace.tensor_of(layer).shape):
            found = receptive_crop(regions, layer, at)
            assert found.agrees, f"{layer} at {at}: {found}"


@pytest.mark.parametrize(
    "network",
    [
        nn.AvgPool2d(3, 2, 1),
        nn.AvgPool2d(3, 2, 1, ceil_mode=True),
        nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        nn.AvgPool2d((3, 2), (2, 3), divisor_override=5),
        nn.MaxPool2d(3, 2, 1, dilation=2, ceil_mode=True),
        nn.Conv2d(3, 4, (3, 5), (2, 3), (4, 1), (2, 1)),
        nn.Conv2d(3, 4, 3, padding="same", dilation=3, padding_mode="circular"),
        nn.Conv2d(3, 3, 4, padding=2, groups=3, padding_mode="replicate"),
        nn.ConvTranspose2d(3, 4, (3, 5), (2, 3), (1, 4), (1, 2), dilation=(1, 2)),
        nn.ConvTranspose2d(3, 3, 2, 5, 3, groups=3, output_padding=4),
        nn.AdaptiveAvgPool2d((5, 7)),
        nn.AdaptiveMaxPool2d((3, 4)),
        nn.Upsample(scale_factor=2, mode="nearest"),
        nn.Upsample(scale_factor=(2.5, 1.5), mode="bilinear"),
        nn.Upsample(size=(31, 9), mode="bilinear", align_corners=True),
        nn.Upsample(scale_factor=3, mode="bicubic"),
        nn.Sequential(nn.ZeroPad2d((1, -2, 3, 0)), nn.GroupNorm(1, 3)),
        nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(3, 4, 5, 2), nn.PixelShuffle(2)),
        nn.Sequential(nn.PixelUnshuffle(2), nn.ChannelShuffle(3), nn.GLU(1)),
        nn.Sequential(nn.Unfold(3, padding=1), nn.Fold((12, 16), 3, padding=1)),
        nn.LocalResponseNorm(3),
    ],
    ids=str,
)
def test_single_operators_at_all_borders(network):
    torch.manual_seed(0)
    regions = Regions(trace(network.eval(), torch.randn(1, 3, 12, 16)))
    number = regions.trace.outputs[0]
    shape = regions.trace.tensors[number].shape
    rows, columns = ({0, 1, 2, size // 2, size // 2 + 1, size - 2, size - 1} for size in shape[2:])
    for number, place in enumerate(itertools.product(sorted(rows), sorted(columns))):
        at = (0, number % shape[1], *place)
        found = receptive_crop(regions, "output", at)
        assert found.agrees, f"at {at}: {found}"


def test_a_box_of_several_values_runs_once():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(inplace=True), nn.ConvTranspose2d(4, 2, 3, 2, 1)
    )
    image = torch.randn(2, 3, 17, 21)
    regions = Regions(trace(network, image))
    number = regions.trace.outputs[0]
    box = (range(2), range(1, 2), range(4, 9), range(11, 17))
    needed = regions.needed(number, box)[regions.trace.inputs[0]]
    assert needed[2:] == (range(3, 10), range(9, 18))
    part = Part(needed, image[tuple(slice(r.start, r.stop) for r in needed)])
    made = regions.compute(number, box, {regions.trace.inputs[0]: part}).values
    torch.testing.assert_close(made, network(image)[:, 1:2, 4:9, 11:17])


def test_little_is_computed_of_a_large_map(monkeypatch):
    """The convolutions run on the region that is needed, not on the map."""
    sizes = []
    real = Regions._operand
    monkeypatch.setattr(
        Regions, "_operand", lambda *given: sizes.append(tuple((made := real(*given)).shape)) or made
    )
    network = nn.Sequential(*(nn.Conv2d(2, 2, 3, padding=1) for _ in range(3)))
    regions = Regions(trace(network, torch.randn(1, 2, 200, 300)))
    assert receptive_crop(regions, "2", (0, 100, 150)).agrees
    assert [size for size in sizes if len(size) == 4 and size[0] == 1] == [
        (1, 2, 7, 7),
        (1, 2, 5, 5),
        (1, 2, 3, 3),
    ]


def test_what_it_cannot_do():
    image = torch.randn(2, 3, 9, 9)
    with pytest.raises(UsageError, match="receptive_crop: this trace was made from a shape"):
        receptive_crop(trace(nn.Conv2d(3, 4, 3), (1, 3, 9, 9)), "output", (0, 0, 0))
    training = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    with pytest.raises(UsageError, match=r"receptive_crop: 1 \(native_batch_norm\) works as in training"):
        receptive_crop(trace(training, image), "1", (0, 0, 0, 0))
    dropped = receptive_crop(trace(nn.Sequential(nn.Dropout(), nn.Conv2d(3, 4, 3)), image), "1", (0, 0, 0, 0))
    assert dropped.agrees  # what was drawn depends on no pixel
    assert receptive_crop(trace(training, image, mode="eval"), "1", (1, 3, 6, 6)).agrees


def test_parts_of_parts():
    part = Part((range(1, 3), range(4, 6)), torch.tensor([[1, 2], [3, 4]]))
    assert part.within((range(2, 4), range(5, 6))).tolist() == [[4], [0]]
    assert part.within((range(5, 6), range(2))).tolist() == [[0, 0]]
    assert part.within(part.box) is part.values
    assert whole_box((2, 1)) == (range(2), range(1))
