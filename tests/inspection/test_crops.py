"""What one value sees, cut out, makes that value again: layers of six networks, at corners and inside.

`benchmarks/inspection/receptive_crops.py` does so for every layer of all of them, at five places each.
"""

import pytest
import torch
from torch import nn

from convscope.errors import ShapeError, UnknownNameError
from convscope.inspection import receptive_crop
from convscope.models import create_seeded_model
from convscope.trace import trace
from convscope.trace.regions import Regions

NETWORKS = {  # name: input, and which layers: every one, or every so manieth
    "resnet18": ((3, 64, 96), 1),
    "small_vgg": ((1, 40, 29), 1),
    "googlenet": ((3, 64, 80), 3),
    "mobilenet_v2": ((3, 64, 96), 2),
    "efficientnet_b0": ((3, 48, 64), 4),
    "convnext_tiny": ((3, 64, 64), 4),
}


def opened(name):
    network = create_seeded_model(name, 0)
    generator = torch.Generator().manual_seed(3)
    for module in network.modules():  # statistics that are not those of an untrained network
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
    return network, torch.randn(1, *NETWORKS[name][0], generator=generator)


def place_in(shape, turn):
    """A corner or a place inside, another one for each layer."""
    if len(shape) < 4:
        return tuple((turn * 7) % size for size in shape)
    ends = [(0, 0), (0, -1), (-1, 0), (-1, -1), (shape[2] // 2, shape[3] // 3)][turn % 5]
    return (0, (turn * 7) % shape[1], *(end % size for end, size in zip(ends, shape[2:], strict=True)))


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_of_a_network(name):
    network, image = opened(name)
    found = trace(network, image, mode="eval")
    regions = Regions(found)
    for number, layer in list(enumerate(found.layers))[:: NETWORKS[name][1]]:
        at = place_in(found.tensor_of(layer).shape, number)
        crop = receptive_crop(regions, layer, at)
        assert crop.agrees, f"{layer} at {at}: {crop}"
        field = found.receptive_field(layer)
        assert crop.whole_because == field.whole_because
        if field.whole_because:  # a global operator: squeeze-and-excite, the pooling of the head
            assert crop.seen[0].whole
            assert crop.crops[0].shape == image.shape


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
@pytest.mark.parametrize("place", [(0, 0), (-1, 0), (3, 5)])
def test_pixels_outside_the_crop_do_not_matter(name, place):
    """The network's own run on an image that is noise outside the crop gives the value too."""
    network, image = opened(name)
    layer = {"resnet18": "layer2.0.conv2", "mobilenet_v2": "features.4.conv.1"}[name]
    found = trace(network, image, mode="eval")
    shape = found.tensor_of(layer).shape
    at = (0, 5, *(index % size for index, size in zip(place, shape[2:], strict=True)))
    crop = receptive_crop(found, layer, at)
    (rows, columns) = crop.seen[0].axes
    assert not crop.seen[0].whole
    other = 1e3 * torch.randn(image.shape, generator=torch.Generator().manual_seed(1))
    other[..., rows.first : rows.last + 1, columns.first : columns.last + 1] = crop.crops[0]
    values = []
    handle = network.get_submodule(layer).register_forward_hook(lambda _, __, out: values.append(out.clone()))
    with torch.no_grad():
        network.eval()(other)
    handle.remove()
    assert abs(float(values[0][at]) - crop.value) < 1e-5 * crop.scale


def test_padding_is_told():
    network = nn.Sequential(nn.Conv2d(1, 2, 5, 2, 2), nn.Conv2d(2, 3, 3, padding=1))
    found = trace(network, torch.randn(1, 1, 20, 31))
    corner = receptive_crop(found, "1", (2, 0, 15)).seen[0]
    (rows, columns) = corner.axes
    assert (rows.first, rows.last, rows.before, rows.after) == (0, 4, 4, 0)
    assert (columns.first, columns.last, columns.before, columns.after) == (26, 30, 0, 4)
    assert (corner.sides, corner.whole) == ((5, 5), False)
    assert str(corner) == "input: height 0 to 4 and 4 before the image, width 26 to 30 and 4 behind the image"


def test_several_inputs_and_one_that_is_not_seen():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 1, 5, padding=2)

        def forward(self, one, two):
            left = self.left(one)
            return left + self.right(two)

    found = trace(Two(), (torch.randn(1, 1, 9, 9), torch.randn(1, 1, 9, 9)))
    both = receptive_crop(found, "output", (0, 4, 4))
    assert [entry.sides for entry in both.seen] == [(3, 3), (5, 5)]
    assert both.agrees
    alone = receptive_crop(found, "left", (0, 4, 4))
    assert [entry.input for entry in alone.seen] == [0]
    assert alone.agrees


def test_facts_and_refusals():
    found = trace(nn.Sequential(nn.Conv2d(1, 2, 3)), torch.randn(1, 1, 8, 8))
    crop = receptive_crop(found, "0", (1, 2, 3))
    facts = crop.to_dict()
    assert facts["seen"][0]["axes"][1] == {
        "axis": 3, "name": "width", "first": 3, "last": 5, "before": 0, "after": 0
    }  # fmt: skip
    assert facts["agrees"] is True
    assert "from what it sees alone" in crop._repr_html_()
    with pytest.raises(UnknownNameError, match="receptive_crop: unknown layer '1'"):
        receptive_crop(found, "1", (0, 0, 0))
    with pytest.raises(ShapeError, match=r"receptive_crop: at \(0, 9, 0\) is outside '0'"):
        receptive_crop(found, "0", (0, 9, 0))


def test_what_reads_by_values_is_taken_whole():
    from convscope.nn import DeformableConv2d

    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), DeformableConv2d(4, 5, 3, padding=1))
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    crop = receptive_crop(trace(network, torch.randn(1, 3, 10, 12)), "output", (2, 4, 5))
    assert crop.unclear
    assert crop.seen[0].whole
    assert crop.agrees
