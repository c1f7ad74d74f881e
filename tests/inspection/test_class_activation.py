"""Class activation against captum and against the papers' formulas, where other tools fail, and leaving no trace."""

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from captum.attr import LayerGradCam
from torch import nn

import convscope as cs
from convscope.errors import ShapeError, UnknownNameError, UsageError
from convscope.inspection import class_activation, saliency
from convscope.inspection.spatial_layer import choose_spatial_layer
from convscope.inspection.trunk import _accelerated
from convscope.models import create_seeded_model


def seeded(name, **options):
    """A network of the zoo with random weights and random statistics, so that no map is 0 throughout."""
    network = create_seeded_model(name, 0, **options).eval()
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.3, 1.2, generator=generator)
    return network


def pictures(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(2))


def apart(found, expected):
    """How far two tensors are apart, relative to the largest value."""
    assert found.shape == expected.shape
    assert float(expected.abs().max()) > 0
    return float((found - expected).abs().max() / expected.abs().max())


# Against captum ---------------------------------------------------------------------------------------------

NETWORKS = {
    "resnet18_cifar": ((3, 32, 32), "layer4"),
    "resnet20": ((3, 32, 32), "layer3"),
    "small_vgg": ((1, 28, 28), None),
    "alexnet_cifar": ((3, 32, 32), None),
    "googlenet_cifar": ((3, 32, 32), "inception5b"),
    "mobilenet_v2_cifar": ((3, 32, 32), "features"),
    "efficientnet_b0_cifar": ((3, 32, 32), "features"),
    "convnext_tiny_cifar": ((3, 32, 32), "features"),
    "resnet18": ((3, 64, 96), "layer4"),
}


@pytest.mark.parametrize(
    ("name", "count"),
    [(name, 8) for name in NETWORKS] + [(name, 2) for name in ("resnet20", "alexnet_cifar", "small_vgg")],
)
def test_grad_cam_is_captums(name, count):
    shape, layer = NETWORKS[name]
    network, images = seeded(name), pictures(count, *shape)
    found = class_activation(network, images, target=[1, 7], relu=False)
    assert layer in (None, found.layer)
    reference = LayerGradCam(network, network.get_submodule(found.layer))
    for place, number in enumerate((1, 7)):
        expected = reference.attribute(images, number).detach()
        assert apart(found.maps[:, place, None], expected) < 1e-4
    with torch.no_grad():
        assert apart(found.scores, network(images)[:, [1, 7]]) < 1e-4


@pytest.mark.parametrize("layer", ["layer1", "layer2.1.conv1", "layer3.0.downsample.0", "bn1", "layer4"])
def test_any_layer_is_captums(layer):
    network, images = seeded("resnet18_cifar"), pictures(8, 3, 32, 32)
    found = class_activation(network, images, target=4, layer=layer, relu=False)
    expected = LayerGradCam(network, network.get_submodule(layer)).attribute(images, 4).detach()
    assert apart(found.maps, expected) < 1e-4
    assert (found.layer, found.how) == (layer, "named")


def test_the_best_class_of_each_image():
    network, images = (
        seeded("resnet18_cifar"),
        pictures(6, 3, 32, 32) * torch.arange(1, 7).reshape(6, 1, 1, 1),
    )
    found = class_activation(network, images)
    scores = network(images).detach()
    assert found.classes.tolist() == scores.argmax(1, keepdim=True).tolist()
    expected = LayerGradCam(network, network.layer4).attribute(
        images, scores.argmax(1), relu_attributions=True
    )
    assert apart(found.maps, expected.detach()) < 1e-4
    assert float(found.maps.min()) >= 0


# Against the papers -----------------------------------------------------------------------------------------


class Plain(nn.Module):
    """Maps that are easy to get at: `trunk` makes them, `head` scores them."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.Tanh(), nn.Conv2d(6, 5, 3), nn.ReLU())
        self.hidden, self.last = nn.Linear(5, 7), nn.Linear(7, 4)

    def head(self, maps):
        return self.last(torch.tanh(self.hidden(maps.mean((2, 3)))))

    def forward(self, images):
        return self.head(self.trunk(images))


@pytest.fixture
def plain():
    torch.manual_seed(3)
    return Plain()


def gradients(network, images, number):
    """Maps and their gradients, by autograd."""
    maps = network.trunk(images).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(network.head(maps)[:, number].sum(), maps)
    return maps.detach(), gradient


def by_grad_cam(network, images, number):
    """Equations 1 and 2 of arXiv:1610.02391, position by position."""
    maps, gradient = gradients(network, images, number)
    count, channels, height, width = maps.shape
    found = torch.zeros(count, height, width)
    for image in range(count):
        for channel in range(channels):
            alpha = sum(gradient[image, channel].flatten().tolist()) / (height * width)
            found[image] += alpha * maps[image, channel]
    return found.relu()


def by_layer_cam(network, images, number):
    """Equations 4 to 6 of LayerCAM."""
    maps, gradient = gradients(network, images, number)
    return torch.relu(sum(torch.relu(gradient[:, k]) * maps[:, k] for k in range(maps.shape[1])))


def by_score_cam(network, images, number):
    """Algorithm 1 of arXiv:1910.01279, one image and one channel at a time, with a black baseline."""
    found = []
    with torch.no_grad():
        for image in images[:, None]:
            maps, rises = network.trunk(image)[0], []
            for plane in maps:
                large = F.interpolate(
                    plane[None, None], image.shape[2:], mode="bilinear", align_corners=False
                )
                spread = large.max() - large.min()
                through = (large - large.min()) / spread if spread > 0 else torch.zeros_like(large)
                black = network(torch.zeros_like(image))[0, number]
                rises.append(network(image * through)[0, number] - black)
            weights = torch.stack(rises).exp() / torch.stack(rises).exp().sum()
            found.append(torch.relu(sum(w * plane for w, plane in zip(weights, maps, strict=True))))
    return torch.stack(found)


@pytest.mark.parametrize(
    ("method", "reference"),
    [("grad-cam", by_grad_cam), ("layer-cam", by_layer_cam), ("score-cam", by_score_cam)],
)
@pytest.mark.parametrize("count", [3, 9])
def test_methods_are_the_papers(plain, method, reference, count):
    images = pictures(count, 3, 17, 21)
    found = class_activation(plain, images, target=[2, 0], method=method, batch_size=4)
    assert found.layer == "trunk"
    for place, number in enumerate((2, 0)):
        assert apart(found.maps[:, place], reference(plain, images, number)) < 1e-5


def test_maps_of_an_average_and_a_linear_layer_add_up_to_the_score():
    """Zhou et al.: with a global average and one linear layer the score is the sum over positions, and the bias."""
    network, images = seeded("resnet18_cifar"), pictures(2, 3, 32, 32)
    found = class_activation(network, images, target=[0, 9], relu=False)
    whole = found.maps.sum((2, 3)) + network.fc.bias.detach()[[0, 9]]
    assert torch.allclose(whole, found.scores, rtol=1e-4, atol=1e-5)


# The layer --------------------------------------------------------------------------------------------------

CHOSEN = {
    "lenet5": "activation#1",
    "small_vgg": "features",
    "alexnet": "features.11",
    "vgg11_bn_cifar": "features.27",
    "resnet50": "layer4",
    "resnet50_dcnv2": "layer4",
    "googlenet": "inception5b",
    "mobilenet_v2": "features",
    "efficientnet_b0": "features",
    "convnext_tiny": "features",
    "fcn_resnet18": "classifier.2",
    "deeplabv3_resnet50": "classifier.3",
}


@pytest.mark.parametrize("name", CHOSEN)
def test_the_layer_is_the_last_before_the_scores_are_made(name):
    entry = cs.models.model_entry(name)
    height, width = entry.input_shape[1:] if entry.takes_image_size else (96, 128)
    found = cs.trace(create_seeded_model(name, 0), (1, entry.input_shape[0], height, width), mode="eval")
    chosen = choose_spatial_layer(found, found.inputs[0], found.outputs[0])
    assert chosen.name == CHOSEN[name], chosen.how
    assert chosen.how.startswith("the last ")


class Functional(nn.Module):
    """No module but itself."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(4)
        self.first = nn.Parameter(torch.randn(6, 3, 3, 3, generator=generator) / 3)
        self.second = nn.Parameter(torch.randn(5, 6, 3, 3, generator=generator) / 3)
        self.last = nn.Parameter(torch.randn(4, 5, generator=generator))

    def maps(self, x):
        return torch.relu_(F.conv2d(F.max_pool2d(F.relu(F.conv2d(x, self.first)), 2), self.second))

    def scores(self, maps):
        return F.linear(torch.flatten(F.adaptive_avg_pool2d(maps, 1), 1), self.last)

    def forward(self, x):
        return self.scores(self.maps(x))


class ChannelsLast(Functional):
    """The same with channels on the last axis."""

    def forward(self, x):
        maps = self.maps(x).permute(0, 2, 3, 1)
        return F.linear((maps * 1.0).mean((1, 2)), self.last)


class TwoRates(Functional):
    """Two ways from the image to the score: no map is passed by everything."""

    def forward(self, x):
        beside = F.linear(F.relu(F.conv2d(x, self.first)).mean((2, 3))[:, :5], self.last)
        return self.scores(self.maps(x)) + beside


def expected_of(network, maps, number):
    """Grad-CAM of maps that `network.scores` scores."""
    leaf = maps.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(network.scores(leaf)[:, number].sum(), leaf)
    return (gradient.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True).relu().detach()


@pytest.mark.parametrize("count", [2, 8])
@pytest.mark.parametrize("kind", [Functional, ChannelsLast])
def test_functional_networks(kind, count):
    network, images = kind(), pictures(count, 3, 20, 24)
    found = class_activation(network, images, target=3)
    assert found.maps.shape == (count, 1, 7, 9)
    assert apart(found.maps, expected_of(network, network.maps(images), 3)) < 1e-5
    assert found.how.startswith("the last 5 maps of 7x9 that everything passes before ")


def test_ways_round_every_map_are_told():
    found = class_activation(TwoRates(), pictures(2, 3, 20, 24), target=3)
    assert found.maps.shape == (2, 1, 7, 9)
    assert found.how.endswith("; other ways to the score go round them")


# Where other tools fail -------------------------------------------------------------------------------------


class InPlace(Functional):
    """The layer's maps are overwritten by what follows, whole and in part."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)
        self.relu = nn.ReLU(inplace=True)

    def scores(self, maps):
        maps = maps.clone()
        maps[:, :2, 1:] = maps[:, :2, 1:] * 2
        maps[:, 3].mul_(-1)
        return super().scores(self.relu(maps))

    def forward(self, x):
        maps = self.conv(x)
        maps[:, :2, 1:] = maps[:, :2, 1:] * 2
        maps[:, 3].mul_(-1)
        return super().scores(self.relu(maps))


@pytest.mark.parametrize("count", [2, 8])
def test_values_before_operations_in_place(count):
    torch.manual_seed(5)
    network, images = InPlace(), pictures(count, 3, 12, 15)
    maps = network.conv(images).detach()
    assert float(maps.min()) < 0
    found = class_activation(network, images, target=1, layer="conv")
    assert apart(found.maps, expected_of(network, maps, 1)) < 1e-5
    after = class_activation(network, images, target=1)
    assert after.layer == "relu"
    assert not torch.allclose(after.maps, found.maps)


def test_frozen_networks():
    network, images = seeded("resnet18_cifar"), pictures(2, 3, 32, 32)
    expected = class_activation(network, images, target=2)
    found = class_activation(network.requires_grad_(False), images, target=2)
    assert torch.equal(found.maps, expected.maps)
    assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("count", [2, 8])
@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_whatever_the_caller_is_in(plain, around, count):
    images = pictures(count, 3, 17, 21)
    expected = class_activation(plain, images, target=1).maps
    with around():
        state = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        made = images.clone()
        found = class_activation(plain, made, target=1)
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == state
    assert torch.equal(found.maps, expected)
    assert not found.maps.requires_grad


def test_autocast_outside_changes_nothing_and_inside_is_followed(plain):
    class Inside(nn.Module):
        def __init__(self):
            super().__init__()
            self.plain = plain

        def forward(self, x):
            with torch.autocast("cpu", torch.bfloat16):
                maps = self.plain.trunk(x)
            return self.plain.head(maps.float())

    images = pictures(2, 3, 17, 21)
    expected = class_activation(plain, images, target=1).maps
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(class_activation(plain, images, target=1).maps, expected)
    found = class_activation(Inside(), images, target=1)
    assert 0 < apart(found.maps, expected) < 0.05


class Twice(nn.Module):
    """One convolution three times."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(6)
        self.conv, self.act, self.fc = nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.Linear(4, 3)

    def scores(self, maps):
        return self.fc(maps.amax((2, 3)))

    def forward(self, x):
        for _ in range(3):
            x = self.act(self.conv(x))
        return self.scores(x)


def test_modules_used_several_times():
    network, images = Twice(), pictures(2, 4, 9, 9)
    maps = images
    for _ in range(3):
        maps = network.act(network.conv(maps))
    found = class_activation(network, images, target=2)
    assert found.layer == "act#2"
    assert apart(found.maps, expected_of(network, maps, 2)) < 1e-5
    second = network.conv(network.act(network.conv(images))).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(
        network.scores(network.act(network.conv(network.act(second))))[:, 2].sum(), second
    )
    expected = (gradient.mean((2, 3), keepdim=True) * second).sum(1, keepdim=True).relu().detach()
    assert apart(class_activation(network, images, target=2, layer="conv#1").maps, expected) < 1e-5


class Segments(nn.Module):
    """Returns a dict of maps of scores, as DeepLab does."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(7)
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU())
        self.classifier, self.aux_classifier = nn.Conv2d(6, 4, 1), nn.Conv2d(6, 4, 1)

    def scores(self, maps, head="classifier"):
        return F.interpolate(getattr(self, head)(maps), (10, 14), mode="bilinear", align_corners=False)

    def forward(self, x):
        maps = self.body(x)
        return {"out": self.scores(maps), "aux": self.scores(maps, "aux_classifier")}


@pytest.mark.parametrize("method", ["grad-cam", "layer-cam", "score-cam"])
@pytest.mark.parametrize("count", [2, 8])
def test_dict_outputs_and_maps_of_scores(method, count):
    network, images = Segments(), pictures(count, 3, 10, 14)
    mask = torch.zeros(10, 14, dtype=torch.bool)
    mask[2:5, 3:9] = True
    for output, head in (("out", "classifier"), ("aux", "aux_classifier")):
        for given in (None, mask, mask.expand(count, -1, -1)):
            found = class_activation(network, images, target=3, output=output, mask=given, method=method)
            assert (found.layer, found.output) == ("body", output)
            maps = network.body(images).detach().requires_grad_()
            weights = torch.ones(10, 14) if given is None else mask.float()
            score = (network.scores(maps, head)[:, 3] * weights).sum((1, 2))
            assert apart(found.scores[:, 0], score.detach()) < 1e-4
            if method == "grad-cam":
                (gradient,) = torch.autograd.grad(score.sum(), maps)
                expected = (gradient.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True).relu().detach()
                if float(expected.max()) > 0:
                    assert apart(found.maps, expected) < 1e-4
                else:
                    assert float(found.maps.max()) == 0
    best = class_activation(network, images, mask=mask)
    sums = (network(images)["out"] * mask).sum((2, 3))
    assert best.classes[:, 0].tolist() == sums.argmax(1).tolist()


def test_deeplab():
    network = seeded("deeplabv3_resnet50")
    found = class_activation(network, pictures(1, 3, 64, 64), target=8)
    assert found.layer == "classifier.3"
    assert found.scores.shape == (1, 1)


class Decides(Functional):
    """Looks at values before it goes on."""

    def forward(self, x):
        maps = self.maps(x)
        if float(maps.sum()) > 0:
            maps = maps * 2
        return self.scores(maps)


def test_networks_that_look_at_values():
    network, images = Decides(), pictures(2, 3, 20, 24)
    found = class_activation(network, images, target=3)
    assert apart(found.maps, expected_of(network, network.maps(images) * 2, 3)) < 1e-5


def test_train_mode_is_lent():
    network, images = seeded("resnet18_cifar"), pictures(2, 3, 32, 32)
    expected = class_activation(network, images, target=2).maps
    network.train()
    network.layer1.eval()
    before = [module.training for module in network.modules()]
    assert torch.equal(class_activation(network, images, target=2).maps, expected)
    assert [module.training for module in network.modules()] == before


def test_several_inputs():
    class Scaled(Plain):
        def forward(self, scale, images):
            return super().forward(images) * scale[:, None]

    torch.manual_seed(3)
    network, images = Scaled(), pictures(2, 3, 17, 21)
    scale = torch.tensor([2.0, -3.0])
    for inputs in ((scale, images), {"scale": scale, "images": images}):
        found = class_activation(network, inputs, target=1, relu=False)
        expected = torch.stack(
            [
                factor * (gradient.mean((1, 2), keepdim=True) * maps).sum(0)
                for factor, maps, gradient in zip(scale, *gradients(network, images, 1), strict=True)
            ]
        )
        assert apart(found.maps[:, 0], expected) < 1e-5
        class_activation(network, inputs, target=1, method="score-cam", batch_size=3)


# The accelerated way ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet18_cifar", "mobilenet_v2_cifar", "googlenet_cifar"])
def test_the_accelerated_way_is_taken_and_the_same(name, monkeypatch):
    network = seeded(name)
    images = pictures(8, cs.models.model_entry(name).input_shape[0], 32, 32)
    slow = class_activation(network, images, target=0, relu=False, accelerate=False)
    monkeypatch.setattr(cs.Trace, "run_on", lambda *_: pytest.fail("the network ran as it is"))
    assert apart(class_activation(network, images, target=0, relu=False).maps, slow.maps) < 1e-4


def test_the_accelerated_way_is_not_taken_where_it_would_miss_something():
    network, images = seeded("resnet18_cifar"), pictures(8, 3, 32, 32)
    found = cs.trace(network, (8, 3, 32, 32), mode="eval")
    number = found.tensor_of("layer4").index
    assert _accelerated(found, images, [number]) is not None
    network.layer1.register_forward_hook(lambda module, given, output: output * 0)
    assert _accelerated(found, images, [number]) is None
    in_place = InPlace()
    found = cs.trace(in_place, (8, 3, 12, 15))
    assert _accelerated(found, pictures(8, 3, 12, 15), [found.tensor_of("conv").index]) is None


def test_hooks_of_others_run():
    network, images, seen = seeded("resnet18_cifar"), pictures(8, 3, 32, 32), []

    def halve(module, given, output):
        seen.append(str(output.device))
        return output * 0.5

    network.layer1.register_forward_hook(halve)
    found = class_activation(network, images, target=4, relu=False)
    assert "cpu" in seen  # not only shapes and symbols
    expected = LayerGradCam(network, network.layer4).attribute(images, 4).detach()
    assert apart(found.maps, expected) < 1e-4


# Everything as before ---------------------------------------------------------------------------------------


class Busy(nn.Module):
    """Changes what it can: buffers, a parameter, random numbers, its input."""

    def __init__(self, ends):
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 3)
        self.register_buffer("counter", torch.zeros(()))
        self.register_buffer("moving", torch.rand(2))
        self.register_buffer("sliced", torch.rand(4, 3))
        self.scale = nn.Parameter(torch.ones(()))
        self.norm.register_forward_hook(lambda *_: None)
        self.ends = ends

    def forward(self, x):
        x.mul_(2)
        random.random()
        np.random.rand()  # noqa: NPY002  what must be put back
        maps = self.norm(self.conv(x)) + torch.rand((), device=x.device)
        self.counter += 1
        self.sliced[1:].mul_(3)
        self.moving = self.moving * 0.5
        with torch.no_grad():
            self.scale.mul_(1.5)
        scores = self.fc(maps.relu_().mean((2, 3))) * self.scale
        return {"scores": scores, "detached": scores.detach(), "best": scores.argmax(1, keepdim=True)}[
            self.ends
        ]


def state_of(network):
    own = [*network.named_parameters(), *network.named_buffers()]
    return {
        "modes": [module.training for module in network.modules()],
        "tensors": {name: (id(value), value.detach().clone()) for name, value in own},
        "grads": [
            (p.requires_grad, None if p.grad is None else p.grad.clone()) for p in network.parameters()
        ],
        "hooks": [
            {key: list(getattr(module, key)) for key in vars(module) if key.endswith("hooks")}
            for module in network.modules()
        ],
        "forwards": ["forward" in vars(module) for module in network.modules()],
        "random": (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()),  # noqa: NPY002
        "grad mode": torch.is_grad_enabled(),
    }


def assert_equal(first, second):
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    elif isinstance(first, np.ndarray):
        assert np.array_equal(first, second)
    elif isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_equal(first[key], second[key])
    elif isinstance(first, (tuple, list)):
        assert len(first) == len(second)
        for a, b in zip(first, second, strict=True):
            assert_equal(a, b)
    else:
        assert first == second


@pytest.mark.parametrize("method", ["grad-cam", "layer-cam", "score-cam"])
@pytest.mark.parametrize("ends", ["scores", "detached", "best"])
@pytest.mark.parametrize("count", [2, 8])
def test_everything_is_as_before(method, ends, count):
    torch.manual_seed(8)
    network = Busy(ends).train()
    network.norm.eval()
    network.conv.weight.grad = torch.ones_like(network.conv.weight)
    images = pictures(count, 3, 8, 8)
    kept, before = images.clone(), state_of(network)
    if method == "score-cam" or ends == "scores":
        class_activation(network, images, target=0, method=method)
    else:
        with pytest.raises(UsageError, match="has no derivative with respect to"):
            class_activation(network, images, target=0, method=method)
    assert_equal(before, state_of(network))
    assert torch.equal(images, kept)


def test_everything_is_as_before_when_the_network_raises():
    network = seeded("resnet18_cifar").train()
    before = state_of(network)
    with pytest.raises(ShapeError, match=r"^class_activation: "):
        class_activation(network, pictures(2, 5, 32, 32))
    with pytest.raises(UsageError):
        class_activation(network, pictures(2, 3, 32, 32), target=10)
    assert_equal(before, state_of(network))


def test_the_test_of_the_state_can_fail():
    network = Busy("scores")
    before = state_of(network)
    network(pictures(2, 3, 8, 8))
    with pytest.raises(AssertionError):
        assert_equal(before, state_of(network))


# What is returned, and what is refused ----------------------------------------------------------------------


def test_facts(plain):
    images = pictures(2, 3, 17, 21)
    found = class_activation(plain, images, target=["dog", 0], class_names=("cat", "dog", "hen", "owl"))
    facts = found.to_dict()
    assert [entry["name"] for entry in facts["images"][1]] == ["dog", "cat"]
    assert facts["map_size"] == [6, 8]
    assert facts["image_size"] == [17, 21]
    assert facts["layer"] == "trunk"
    assert found.upsampled().shape == (2, 2, 17, 21)
    assert found.upsampled((6, 8)).equal(found.maps)
    row, column = divmod(int(found.maps[0, 0].argmax()), 8)
    if found.peak(0, 0) is not None:
        assert found.peak(0, 0) == (int((row + 0.5) * 17 / 6), int((column + 0.5) * 21 / 8))
    found.maps.zero_()
    assert found.peak(0, 0) is None


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"layer": "layer5"}, UnknownNameError, "unknown layer 'layer5': did you mean 'layer"),
        (
            {"layer": "fc"},
            UsageError,
            r"layer 'fc' returns \(2, 10\), no maps \(N, C, H, W\); the last maps are those",
        ),
        ({"method": "gradcam"}, UnknownNameError, "unknown method 'gradcam': did you mean 'grad-cam'"),
        ({"target": 10}, UsageError, "target 10 is outside 0 to 9"),
        ({"target": -1}, UsageError, "target is -1; it must be at least 0"),
        ({"target": [1, 2.5]}, UsageError, "target is 2.5; it must be a whole number"),
        ({"target": []}, UsageError, "target is empty"),
        ({"target": "cat"}, UnknownNameError, "unknown class 'cat'"),
        ({"output": "logits"}, UnknownNameError, "unknown output 'logits'"),
        ({"output": 1}, UsageError, "output 1 is outside 0 to 0"),
        (
            {"mask": torch.ones(4, 4)},
            ShapeError,
            r"mask has the shape \(4, 4\); the output's positions are none",
        ),
        ({"batch_size": 0}, ShapeError, "batch_size is 0"),
    ],
)
def test_refusals(given, error, text):
    with pytest.raises(error, match=f"^class_activation: {text}"):
        class_activation(seeded("resnet18_cifar"), pictures(2, 3, 32, 32), **given)


@pytest.mark.parametrize(
    ("images", "error", "text"),
    [
        (
            torch.zeros(3, 32, 32),
            ShapeError,
            r"the input has the shape \(3, 32, 32\); give images \(N, C, H, W\)",
        ),
        (torch.zeros(2, 3, 32, 32, dtype=torch.uint8), UsageError, "the images are torch.uint8"),
        (torch.zeros(0, 3, 32, 32), ShapeError, "give at least one"),
        (torch.zeros(1, 3, 4, 4), ShapeError, r"The nearest input sizes that fit: \(1, 3, 7, 7\)"),
    ],
)
def test_images_that_are_refused(images, error, text):
    layers = (nn.Conv2d(3, 4, 7), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(error, match=rf"^class_activation: .*{text}"):
        class_activation(nn.Sequential(*layers), images)


def test_a_layer_beside_the_score_and_a_network_without_maps():
    network = Segments()
    with pytest.raises(
        UsageError, match="layer 'aux_classifier' has no part in the score; the last maps are those"
    ):
        class_activation(network, pictures(1, 3, 10, 14), layer="aux_classifier")
    with pytest.raises(UsageError, match="nothing between the image and the score has maps"):
        class_activation(nn.Sequential(nn.Flatten(), nn.Linear(48, 3)), pictures(2, 3, 4, 4))
    with pytest.raises(UsageError, match=r"give a torch\.nn\.Module"):
        class_activation(torch.relu, pictures(2, 3, 4, 4))


def test_a_notebook_shows_the_picture(plain):
    text = class_activation(
        plain, pictures(1, 3, 17, 21), class_names=("<b>", "b", "c", "d"), target=0
    )._repr_html_()
    assert text.startswith(
        '<img alt="class activation by grad-cam on an image of 17 x 21 pixels; &lt;b&gt;: '
    )


def test_scores_are_looked_for_by_their_names():
    """As occlusion and saliency do: of two outputs the one called `out` or `logits`."""

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

        def forward(self, image):
            maps = self.conv(image)
            return {"maps": maps, "logits": self.head(maps.mean((2, 3)))}

    torch.manual_seed(0)
    network, images = Two().eval(), torch.randn(2, 3, 9, 9)
    found = class_activation(network, images)
    assert found.output == "logits"
    assert found.layer == "conv"
    assert found.scores.flatten().tolist() == pytest.approx([*saliency(network, images).scores], abs=1e-5)
