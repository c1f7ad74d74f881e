"""The most exciting patches against a search through all values, and their crops against the network itself."""

import pytest
import torch
from test_feature_maps import same, state_of
from torch import nn

from convscope.data import ImageSet, load_dataset, normalise
from convscope.errors import ShapeError, UnknownNameError, UsageError
from convscope.inspection import exciting_patches
from convscope.models import create_seeded_model


def images_of(count=40, channels=3, size=(12, 15), seed=0):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, channels, *size), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 2, (count,), generator=generator)
    return ImageSet(pixels, labels, ("cat", "dog"), "noise")


def network_of(*layers, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(*layers)


def searched(network, layer, inputs, channel, count, one_an_image=True):
    """Value, image and place of the largest values, by sorting all of them."""
    kept = []
    module = network.get_submodule(layer)
    handle = module.register_forward_hook(lambda _, __, out: kept.append(out.detach().clone()))
    training = network.training
    with torch.no_grad():
        network.eval()(inputs)
    network.train(training)
    handle.remove()
    values = kept[0][:, channel]
    every = [
        (-float(values[place]), *map(int, place))
        for place in map(tuple, torch.ones_like(values).nonzero().tolist())
    ]
    every.sort()
    found, seen = [], set()
    for value, image, *place in every:
        if one_an_image and image in seen:
            continue
        seen.add(image)
        found.append((-value, image, (channel, *place)))
    return found[:count]


@pytest.mark.parametrize("one_an_image", [True, False])
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_against_a_search_through_all_values(batch_size, one_an_image):
    network = network_of(
        nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, padding=1)
    )
    images = images_of()
    inputs = normalise(images.images, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    for layer in ("0", "3"):
        found = exciting_patches(
            network, images, layer, channels=[3, 0], batch_size=batch_size, one_an_image=one_an_image,
            mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4),
        )  # fmt: skip
        assert [entry.channel for entry in found.filters] == [3, 0]
        for entry in found.filters:
            expected = searched(network, layer, inputs, entry.channel, 9, one_an_image)
            assert [(p.image, p.at) for p in entry.patches] == [(image, at) for _, image, at in expected]
            for patch, (value, *_) in zip(entry.patches, expected, strict=True):
                assert patch.value == pytest.approx(value, rel=1e-5, abs=1e-6)
                assert patch.label == images.classes[int(images.labels[patch.image])]


def test_the_patch_alone_makes_the_value():
    """Without padding anywhere, the network on the patch has one value, that of the patch."""
    network = network_of(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Conv2d(4, 5, 3, dilation=2))
    inputs = torch.randn(30, 3, 19, 24)
    found = exciting_patches(network, inputs, "2")
    assert found.receptive_field.size == (11, 11)
    for entry in found.filters:
        for patch in entry.patches:
            assert patch.pixels.shape == (3, 11, 11)
            alone = network(patch.pixels[None]).detach()
            assert alone.shape == (1, 5, 1, 1)
            assert float(alone[0, entry.channel]) == pytest.approx(patch.value, rel=1e-5)


def test_at_the_border_padding_is_told():
    network = nn.Conv2d(1, 1, 5, padding=2, bias=False)
    nn.init.ones_(network.weight)
    inputs = torch.zeros(2, 1, 8, 9)
    inputs[1, 0, 0, 8] = 1.0
    (patch, other) = exciting_patches(network, inputs, "output").filters[0].patches
    assert (patch.image, patch.at, patch.value) == (1, (0, 0, 6), 1.0)
    (rows, columns) = patch.seen.axes
    assert (rows.first, rows.last, rows.before) == (0, 2, 2)
    assert (columns.first, columns.last, columns.after) == (4, 8, 0)
    assert patch.pixels.equal(inputs[1, :, 0:3, 4:9])
    assert other.image == 0


def test_equal_values_go_by_image_then_place():
    network = nn.Conv2d(1, 2, 1)
    found = exciting_patches(network, torch.ones(20, 1, 3, 4), "output", count=3, batch_size=6)
    for entry in found.filters:
        assert [(patch.image, patch.at[1:]) for patch in entry.patches] == [
            (0, (0, 0)),
            (1, (0, 0)),
            (2, (0, 0)),
        ]
        assert entry.silent
    again = exciting_patches(network, torch.ones(2, 1, 3, 4), "output", count=5, one_an_image=False)
    assert [(p.image, p.at[1:]) for p in again.filters[0].patches] == [(0, (0, c)) for c in range(4)] + [
        (0, (1, 0))
    ]


def test_nan_counts_as_nothing():
    inputs = torch.arange(24.0).reshape(4, 1, 2, 3)
    inputs[3, 0, 1, 2] = torch.nan
    inputs[2] = torch.nan
    (entry,) = exciting_patches(nn.Sequential(nn.ReLU()), inputs, "0").filters
    assert [(patch.image, patch.value) for patch in entry.patches] == [(3, 22.0), (1, 11.0), (0, 5.0)]
    assert entry.least == 0.0


class Odd(nn.Module):
    """Bare functions, an operation in place behind a layer, channels last, a vector at the end."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3, 3, 3))
        self.norm, self.drop, self.head = nn.LayerNorm(4), nn.Dropout(0.5), nn.Linear(4, 2)

    def forward(self, image):
        maps = torch.nn.functional.conv2d(image, self.weight, padding=1)
        maps = maps.relu_()
        maps = self.norm(maps.permute(0, 2, 3, 1))
        return {"scores": self.head(self.drop(maps).mean((1, 2)))}


def test_functions_channels_last_and_vectors():
    torch.manual_seed(0)
    network = Odd().train().requires_grad_(False)
    inputs = torch.randn(25, 3, 9, 11)
    before = state_of(network)
    convolved = torch.nn.functional.conv2d(inputs, network.weight, padding=1)
    found = exciting_patches(network, inputs, "convolution", count=1, batch_size=10)
    assert (found.kind, found.num_channels) == ("convolution", 4)
    for entry in found.filters:
        assert entry.patches[0].value == pytest.approx(float(convolved[:, entry.channel].max()), rel=1e-5)
        assert entry.least == pytest.approx(float(convolved[:, entry.channel].min()), rel=1e-5)
        assert entry.least < 0  # before the ReLU in place
    last = network.norm(convolved.relu().permute(0, 2, 3, 1))
    found = exciting_patches(network, inputs, "norm", count=1)
    for entry in found.filters:
        (patch,) = entry.patches
        assert patch.at[2] == entry.channel
        assert patch.value == pytest.approx(float(last[..., entry.channel].max()), rel=1e-5)
        assert float(last[(patch.image, *patch.at)]) == pytest.approx(patch.value, rel=1e-5)
    scores = network.head(last.mean((1, 2)))
    (first, _) = exciting_patches(network, inputs, "head").filters
    assert [patch.image for patch in first.patches] == scores[:, 0].topk(9).indices.tolist()
    assert first.patches[0].seen.whole
    assert first.patches[0].pixels.shape == (3, 9, 11)
    same(before, state_of(network))


def test_state_also_after_an_error():
    class Fails(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3)

        def forward(self, image):
            if len(image) > 1:
                raise RuntimeError("too many")
            return self.conv(image)

    network, images = Fails(), torch.randn(5, 1, 6, 6)
    before = state_of(network)
    with pytest.raises(ShapeError, match="too many"):
        exciting_patches(network, images, "conv")
    same(before, state_of(network))


def test_a_set_is_normalised_as_it_says_or_by_itself():
    images = load_dataset("fashion-mnist", "test").take_balanced(50)
    network = create_seeded_model("lenet5", 0)
    mean, std = images.mean_std()
    own, given = (
        exciting_patches(network, images, "conv1", **facts) for facts in ({}, {"mean": mean, "std": std})
    )
    assert own.to_dict() == given.to_dict()
    assert own.filters[0].patches[0].pixels.dtype == torch.uint8
    assert own.to_dict()["images"] == {"name": "fashion-mnist", "number": 50}
    assert "50 images" in str(own)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"layer": "conv9"}, UnknownNameError, "exciting_patches: unknown layer 'conv9': did you mean"),
        (
            {"channels": [6]},
            UsageError,
            "exciting_patches: channel 6 is outside layer 'conv1', which has 6: 0 to 5",
        ),
        ({"channels": [-1]}, ShapeError, "exciting_patches: channel is -1"),
        ({"channels": []}, UsageError, "channels is empty"),
        ({"count": 0}, ShapeError, "exciting_patches: count is 0"),
        ({"images": torch.zeros(1, 28, 28)}, ShapeError, r"the shape \(1, 28, 28\); give \(N, C, H, W\)"),
        ({"images": torch.zeros(2, 1, 9, 9)}, ShapeError, "28x28"),
        ({"mean": (0.0,)}, UsageError, "give mean and std together"),
        ({"mean": (0.0,), "std": (1.0,)}, UsageError, "a tensor is taken as it is"),
        ({"network": 3}, UsageError, "got a int"),
    ],
)
def test_refusals(arguments, error, message):
    given = {
        "network": create_seeded_model("lenet5", 0),
        "images": torch.zeros(2, 1, 28, 28),
        "layer": "conv1",
    }
    with pytest.raises(error, match=message):
        exciting_patches(**{**given, **arguments})


def test_among_some_images():
    network, inputs = network_of(nn.Conv2d(3, 2, 3)), torch.randn(30, 3, 8, 8)
    some = [25, 3, 11, 3]
    found = exciting_patches(network, inputs, "0", among=some)
    alone = exciting_patches(network, inputs[[3, 11, 25]], "0")
    assert found.num_images == 3
    for entry, other in zip(found.filters, alone.filters, strict=True):
        assert [p.image for p in entry.patches] == [(3, 11, 25)[p.image] for p in other.patches]
        assert all(a.pixels.equal(b.pixels) for a, b in zip(entry.patches, other.patches, strict=True))
    with pytest.raises(UsageError, match="among must hold indices from 0 to 29"):
        exciting_patches(network, inputs, "0", among=[30])
