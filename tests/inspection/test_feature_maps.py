"""Feature maps of any module: values before in-place operations, and a network left as it was."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convscope.errors import ShapeError, UnknownNameError, UsageError
from convscope.inspection import (
    feature_maps,
    filter_banks,
    filter_layers,
    filters,
    last_of_each_size,
    layer_names,
)
from convscope.models import create_model, create_seeded_model


class Odd(nn.Module):
    """Reused layers, functional and in-place calls, several outputs, a dict."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.norm = nn.BatchNorm2d(2)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2, return_indices=True)
        self.unused = nn.Conv2d(1, 1, 1)

    def forward(self, image):
        first = self.conv(image)
        first.mul_(0)  # after the hook: must not reach the kept values
        second = self.relu(self.conv(image))
        pooled, _ = self.pool(self.norm(second))
        return {"scores": pooled.mean((2, 3))}


@pytest.fixture
def image():
    return torch.randn(1, 2, 6, 8, generator=torch.Generator().manual_seed(1))


def test_values_are_those_before_in_place_operations(image):
    network = Odd()
    with torch.no_grad():
        expected = network.conv(image)
    kept = {
        (entry.layer, entry.call): entry.values for entry in feature_maps(network, image, ["conv", "relu"])
    }
    assert sorted(kept) == [("conv", 0), ("conv", 1), ("relu", 0)]
    assert float(expected.min()) < 0
    for call in (0, 1):
        torch.testing.assert_close(kept["conv", call], expected)
    torch.testing.assert_close(kept["relu", 0], expected.relu())


def test_order_kinds_and_several_outputs(image):
    kept = feature_maps(Odd(), image)
    assert [(entry.layer, entry.kind, entry.call) for entry in kept] == [
        ("conv", "Conv2d", 0),
        ("conv", "Conv2d", 1),
        ("relu", "ReLU", 0),
        ("norm", "BatchNorm2d", 0),
        ("pool", "MaxPool2d", 0),
        ("pool", "MaxPool2d", 0),
    ]
    assert kept[-1].values.dtype == torch.int64


def test_containers_can_be_asked_for():
    network = create_model("small_vgg")
    (entry,) = feature_maps(network, torch.zeros(1, 1, 28, 28), ["features"])
    assert entry.values.shape == (1, 64, 7, 7)
    assert layer_names(network)[:2] == ["features.0", "features.1"]


def state_of(network):
    return (
        torch.get_rng_state().tolist(),
        [module.training for module in network.modules()],
        [len(module._forward_hooks) for module in network.modules()],
        {key: value.clone() for key, value in network.state_dict().items()},
        [parameter.requires_grad for parameter in network.parameters()],
        torch.is_grad_enabled(),
    )


def same(one, other):
    assert one[:3] + one[4:] == other[:3] + other[4:]
    assert all(value.equal(other[3][key]) for key, value in one[3].items())


def test_the_network_is_left_as_it_was(image):
    network = Odd().train()
    network.norm.eval()
    network.conv.weight.requires_grad_(False)
    network.conv.register_forward_hook(lambda *_: None)
    before = state_of(network)
    feature_maps(network, image)
    same(before, state_of(network))


def test_the_network_is_left_as_it_was_when_it_raises():
    network = Odd().train()
    before = state_of(network)
    with pytest.raises(
        ShapeError, match=r"feature_maps: input \(1, 5, 6, 8\): operator aten\.convolution in conv"
    ):
        feature_maps(network, torch.zeros(1, 5, 6, 8))
    same(before, state_of(network))


def test_facts(image):
    facts = feature_maps(Odd(), image, ["relu"])[0].to_dict()
    assert facts["shape"] == [1, 2, 6, 8]
    assert facts["min"] == 0
    assert 0 < facts["share_of_zeros"] < 1


def test_unknown_layer(image):
    with pytest.raises(UnknownNameError, match="feature_maps: unknown layer 'cnv': did you mean 'conv'"):
        feature_maps(Odd(), image, ["cnv"])


def test_the_callers_image_is_left_as_it_was():
    image = torch.tensor([[[[-1.0, 2.0]]]])
    feature_maps(nn.Sequential(nn.ReLU(inplace=True)), image)
    assert image.flatten().tolist() == [-1.0, 2.0]


def test_a_shared_module_answers_to_each_of_its_names():
    conv = nn.Conv2d(1, 1, 1)
    network = nn.Sequential(conv, conv)
    assert [(entry.layer, entry.call) for entry in feature_maps(network, torch.ones(1, 1, 2, 2), ["1"])] == [
        ("1", 0),
        ("1", 1),
    ]


def test_filters_are_copies():
    network = create_model("lenet5")
    bank = filters(network, "conv1")
    bank.zero_()
    assert float(network.conv1.weight.detach().abs().sum()) > 0
    assert filter_layers(network)[:2] == ["conv1", "conv2"]
    assert [entry.planes.shape for entry in filter_banks(network)][:3] == [
        (6, 5, 5),
        (96, 5, 5),
        (1, 120, 400),
    ]


def test_templates_of_a_fully_connected_layer():
    network = create_model("perceptron")
    templates = filters(network, "1", image_shape=(1, 28, 28))
    assert templates.shape == (10, 1, 28, 28)
    assert templates[3].flatten().equal(network[1].weight[3])
    assert filters(network, "1")[0, 0].equal(network[1].weight)
    assert filters(network, "1", image_shape=(3, 28, 28)).shape == (1, 1, 10, 784)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv1d(2, 3, 5), (3, 2, 1, 5)),
        (nn.Conv2d(4, 6, (2, 3), groups=2), (6, 2, 2, 3)),
        (nn.Conv3d(2, 3, (4, 5, 6)), (3, 8, 5, 6)),
        (nn.ConvTranspose2d(4, 6, 3), (6, 4, 3, 3)),
        (nn.ConvTranspose2d(4, 6, 3, groups=2), (6, 2, 3, 3)),
        (nn.ConvTranspose1d(4, 2, 3), (2, 4, 1, 3)),
    ],
)
def test_filters_of_every_layer(layer, shape):
    assert filters(nn.Sequential(layer), "0").shape == shape


def test_filters_of_a_transposed_layer_are_those_that_write_the_channel():
    """What input channel i writes to output channel o when it alone is 1."""
    layer = nn.ConvTranspose2d(4, 6, 3, groups=2, bias=False)
    bank = filters(nn.Sequential(layer), "0")
    for channel in range(4):
        image = torch.zeros(1, 4, 1, 1)
        image[0, channel] = 1
        written = layer(image)[0].detach()
        group = channel // 2
        for output in range(3):
            assert written[3 * group + output].equal(bank[3 * group + output, channel % 2])


@pytest.mark.parametrize(
    ("layer", "error", "text"),
    [
        ("9", UnknownNameError, "unknown layer '9'"),
        ("0", UsageError, "layer '0' is a Flatten without filters; layers that have some: 1"),
    ],
)
def test_filter_refusals(layer, error, text):
    with pytest.raises(error) as caught:
        filters(create_model("perceptron"), layer)
    assert text in str(caught.value)


def test_maps_before_an_in_place_activation_of_a_published_architecture():
    """A plain hook on this layer of VGG-16 shows no value below zero: the activation after it works in place."""
    network = create_seeded_model("vgg16", 0).eval()
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    seen = {}
    handle = network.features[28].register_forward_hook(lambda *args: seen.update(naive=args[2]))
    with torch.no_grad():
        network(image)
    handle.remove()
    assert float(seen["naive"].min()) == 0
    (maps,) = feature_maps(network, image, ["features.28"])
    assert float(maps.values.min()) < 0
    torch.testing.assert_close(maps.values.relu(), seen["naive"])


class Functional(nn.Module):
    """What is no module: functional activations, a sum, a second use, outputs in a dict."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.drop = nn.Dropout(0.5)

    def forward(self, image):
        first = F.relu(self.conv(image), inplace=True)
        both = first + self.conv(first)
        torch.rand(3)  # draws numbers in evaluation mode too
        return {"out": self.drop(both), "sizes": (both.mean(), [both.amax()])}


def test_operators_that_are_no_modules_have_maps(image):
    network = Functional()
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    before = state_of(network)
    kept = {
        entry.name: entry
        for entry in feature_maps(network, image, ["relu", "add", "conv", "output0", "conv#1"])
    }
    same(before, state_of(network))
    with torch.no_grad():
        first = network.conv(image)
        second = network.conv(first.relu())
    expected = {"conv": first, "relu": first.relu(), "conv#1": second, "add": first.relu() + second}
    for name, values in expected.items():
        torch.testing.assert_close(kept[name].values, values)
    assert kept["output0"].values.equal(kept["add"].values)
    assert (kept["relu"].kind, kept["conv#1"].call) == ("relu", 1)


def test_the_whole_network_and_its_input_can_be_asked_for(image):
    network = Functional()
    given, *outputs = feature_maps(network, image, ["input", ""])
    assert given.values.equal(image)
    assert [tuple(entry.values.shape) for entry in outputs] == [(1, 2, 6, 8), (), ()]


def test_maps_come_in_the_order_in_which_layers_returned(image):
    network = nn.Sequential(nn.Sequential(nn.Conv2d(2, 2, 1), nn.Identity()), nn.ReLU())
    names = ["0", "1", "0.0", "0.1", ""]
    assert [entry.layer for entry in feature_maps(network, image, names)] == ["0.0", "0.1", "0", "1", ""]


def test_maps_are_copies(image):
    network = nn.Sequential(nn.Identity(), nn.Identity())
    one, two = feature_maps(network, image)
    one.values.zero_()
    assert two.values.equal(image)
    assert float(image.abs().sum()) > 0


def test_one_name_is_no_list(image):
    with pytest.raises(UsageError, match="layers is 'conv'; give a list of names"):
        feature_maps(Odd(), image, "conv")


def test_the_last_layers_before_the_size_changes():
    network = create_model("resnet18")
    kept = feature_maps(network, torch.zeros(1, 3, 64, 64))
    chosen = last_of_each_size(kept)
    assert [entry.planes.shape[1] for entry in chosen] == [32, 16, 8, 4, 2]
    assert [entry.layer for entry in chosen][:2] == ["relu", "layer1.1.relu"]
    few = feature_maps(create_model("lenet5"), torch.zeros(1, 1, 28, 28))
    assert len(last_of_each_size(few)) == sum(entry.are_pictures for entry in few)
