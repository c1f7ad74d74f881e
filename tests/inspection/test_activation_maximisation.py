"""Made inputs: the known optimum of a linear layer, a trained network's filters, one result a seed, nothing changed."""

import numpy as np
import pytest
import torch
from test_feature_maps import same, state_of
from torch import nn

from convscope.data import load_dataset, normalise
from convscope.errors import ShapeError, UnknownNameError, UsageError
from convscope.inspection import activation_maximisation
from convscope.models import Preprocessing, WeightsInfo, create_seeded_model


def correlation(one, other):
    return float(np.corrcoef(one.flatten().double().numpy(), other.flatten().double().numpy())[0, 1])


@pytest.mark.parametrize("parametrisation", ["fourier", "pixels"])
def test_a_convolution_wants_its_own_filter(parametrisation):
    """Of all inputs of one size, a linear unit answers most to its weights; the score is their norm times the size."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 5, 7, bias=False))
    found = activation_maximisation(
        network,
        "0",
        at=(2, 0, 0),
        shape=(3, 7, 7),
        total_variation=0,
        decay=0,
        parametrisation=parametrisation,
    )
    weight = network[0].weight[2].detach()
    assert correlation(found.input, weight) > 0.99
    assert found.input.square().mean() == pytest.approx(1.0, abs=1e-3)
    assert found.score == pytest.approx(float(weight.norm()) * (3 * 49) ** 0.5, rel=0.02)
    assert not found.bounded


def test_with_the_default_regularisation_too():
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(1, 2, 5, bias=False), nn.ReLU(inplace=True))
    found = activation_maximisation(network, "0", 1, at=(4, 6), shape=(1, 16, 16))
    assert found.at == (1, 4, 6)
    assert correlation(found.input[0, 0, 4:9, 6:11], network[0].weight[1].detach()) > 0.9


@pytest.fixture(scope="module")
def trained():
    """Two epochs on a part of the packaged images: enough for filters that want something."""
    images = load_dataset("fashion-mnist", "train").take_balanced(1500)
    mean, std = images.mean_std()
    inputs = normalise(images.images, mean, std)
    network = create_seeded_model("small_vgg", 0).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    order = torch.Generator().manual_seed(0)
    for _ in range(2):
        for batch in torch.randperm(len(inputs), generator=order).split(64):
            loss = nn.functional.cross_entropy(network(inputs[batch]), images.labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.eval().requires_grad_(False), inputs, mean, std


@pytest.mark.parametrize(("layer", "channel"), [("features.7", 3), ("features.14", 20), ("classifier.fc", 8)])
def test_the_score_rises_above_every_image(trained, layer, channel):
    network, inputs, mean, std = trained
    values = []
    handle = network.get_submodule(layer).register_forward_hook(
        lambda _, __, out: values.append(
            out[:, channel].flatten(1).mean(1) if out.dim() == 4 else out[:, channel]
        )
    )
    with torch.no_grad():
        network(inputs)
    handle.remove()
    given = {"shape": (1, 28, 28), "mean": mean, "std": std}
    found = activation_maximisation(network, layer, channel, total_variation=0.1, decay=0, **given)
    best = float(values[0].max())
    spread = float(values[0].std())
    assert found.score > best + 1.5 * spread, (found.score, best, spread)
    assert found.scores[-1] > found.scores[0]
    assert found.bounded
    pixels = found.input * std[0] + mean[0]
    assert float(pixels.min()) >= 0
    assert float(pixels.max()) <= 1
    assert found.picture.shape == (28, 28)
    assert found.picture.dtype == np.uint8


def test_one_result_a_seed(trained):
    network, _, mean, std = trained
    given = {"shape": (1, 28, 28), "steps": 12, "mean": mean, "std": std}
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = activation_maximisation(network, "features.7", 3, **given)
    assert torch.get_rng_state().equal(before)
    torch.manual_seed(6)
    again = activation_maximisation(network, "features.7", 3, **given)
    other = activation_maximisation(network, "features.7", 3, seed=1, **given)
    assert one.input.equal(again.input)
    assert one.scores == again.scores
    assert not one.input.equal(other.input)


class Busy(nn.Module):
    """Dropout, batch norm, a frozen layer, an operation in place, outputs in a dict, an error behind the layer."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)
        self.last = nn.Conv2d(4, 2, 3)
        self.fails = False

    def forward(self, image):
        if self.fails:
            raise RuntimeError("broken")
        maps = self.conv(image).relu_()
        return {"maps": self.last(self.drop(self.norm(maps)))}


@pytest.mark.parametrize("mode", [True, False])
def test_the_network_is_left_as_it_was(mode):
    network = Busy().train(mode)
    network.norm.eval()
    network.conv.requires_grad_(False)
    network.last.register_forward_hook(lambda *_: None)
    network.last.weight.grad = torch.ones_like(network.last.weight)
    before = state_of(network)
    with torch.no_grad():
        found = activation_maximisation(network, "last", 1, shape=(3, 12, 12), steps=5)
    assert found.scores[-1] > found.scores[0]
    same(before, state_of(network))
    assert network.last.weight.grad.equal(torch.ones_like(network.last.weight))
    assert network.conv.weight.grad is None
    network.fails = True
    with pytest.raises(ShapeError, match="broken"):
        activation_maximisation(network, "last", 1, shape=(3, 12, 12), steps=5)
    same(before, state_of(network))


def test_values_are_those_before_the_operation_in_place():
    network = Busy().eval()
    nn.init.constant_(network.conv.bias, -5.0)
    found = activation_maximisation(network, "conv", 0, shape=(3, 8, 8), steps=0)
    assert found.score < -3
    assert found.scores == ()


def test_a_silent_unit_is_woken():
    network = nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU())
    nn.init.constant_(network[0].bias, -0.7)
    nn.init.ones_(network[0].weight)
    found = activation_maximisation(network, "1", 0, shape=(1, 9, 9))
    assert found.scores[0] > 0
    assert found.score > 2


def test_the_network_tells_how_pictures_are_prepared():
    network = nn.Sequential(nn.Conv2d(3, 2, 3))
    network.weights_info = WeightsInfo(
        "here", (), Preprocessing(None, None, "bilinear", (0.5,) * 3, (0.1,) * 3)
    )
    found = activation_maximisation(network, "0", 0, shape=(1, 3, 10, 12), steps=60)
    assert found.bounded
    assert float(found.input.abs().max()) <= 5.0 + 1e-5  # black and white are 5 deviations from the mean
    assert found.picture.shape == (10, 12, 3)
    assert found.to_dict()["score"] == found.score
    assert found._repr_html_().startswith("<pre>0 (Conv2d), channel 0: from ")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"channel": None}, UsageError, "give a channel, or a unit's place `at`"),
        ({"channel": 4}, UsageError, "channel 4 is outside layer 'conv', which has 4: 0 to 3"),
        (
            {"layer": "covn"},
            UnknownNameError,
            "activation_maximisation: unknown layer 'covn': did you mean 'conv'",
        ),
        ({"layer": "relu_"}, UnknownNameError, "unknown layer"),
        ({"layer": "relu"}, UsageError, "layer 'relu' is an operator, not a module"),
        ({"at": (9, 9)}, ShapeError, r"at \(9, 9\) is no place in layer 'conv', whose output .* \(4, 6, 6\)"),
        ({"at": (2, 1, 1)}, UsageError, "channel is 1 and at .* is in channel 2"),
        ({"shape": (2, 3, 8, 8)}, ShapeError, r"shape is \(2, 3, 8, 8\)"),
        ({"shape": (3, 2, 2)}, ShapeError, "cannot take"),
        ({"steps": -1}, ShapeError, "steps is -1"),
        ({"decay": float("nan")}, UsageError, "decay is nan"),
        ({"parametrisation": "wavelets"}, UnknownNameError, "unknown parametrisation 'wavelets'"),
        ({"mean": (0.5,) * 3}, UsageError, "give mean and std together"),
        ({"mean": (0.5,), "std": (0.5,)}, UsageError, "a number for each of the 3"),
    ],
)
def test_refusals(arguments, error, message):
    with pytest.raises(error, match=message):
        activation_maximisation(
            Busy(), **{"layer": "conv", "channel": 1, "shape": (3, 8, 8), "steps": 3, **arguments}
        )


def test_a_layer_without_gradient():
    class Decides(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 3, 3)
            self.sign = nn.Threshold(0.0, 0.0)

        def forward(self, image):
            with torch.no_grad():
                return self.sign(self.conv(image))

    with pytest.raises(UsageError, match="have no gradient"):
        activation_maximisation(Decides(), "sign", 0, shape=(1, 8, 8))
