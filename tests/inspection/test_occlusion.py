"""Occlusion against captum and against whole forward passes, computed only where a window can reach."""

import pytest
import torch
import torch.nn.functional as F
from attributed_networks import ZOO, Awkward, State, images_of, zoo_network
from captum.attr import Occlusion as CaptumOcclusion
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import nn

from convscope.errors import ShapeError, UsageError
from convscope.inspection import occlusion
from convscope.inspection.class_scores import class_scores
from convscope.models import create_model


def brute_force(network, image, target, window, stride, baseline=0.0):
    """The fall of the score for each place, one whole forward pass each; and the mean over the windows of a pixel."""
    network = network.eval()
    height, width = image.shape[2:]
    tops = range(0, height - window[0] + stride[0], stride[0])
    lefts = range(0, width - window[1] + stride[1], stride[1])
    drops, total, count = [], torch.zeros(height, width).double(), torch.zeros(height, width)
    with torch.no_grad():
        base = class_scores(network(image.clone()), 1, "test")[0, target]
        for top in tops:
            for left in lefts:
                covered = image.clone()
                place = (slice(top, top + window[0]), slice(left, left + window[1]))
                covered[:, :, place[0], place[1]] = torch.as_tensor(baseline).expand(image.shape)[
                    0, :, place[0], place[1]
                ]
                drops.append(base - class_scores(network(covered), 1, "test")[0, target])
                total[place] += drops[-1]
                count[place] += 1
    return torch.stack(drops).reshape(len(tops), len(lefts)), total / count


def error(found, expected):
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", ZOO)
def test_equals_captum(name):
    network, images = zoo_network(name, torch.float64), images_of(ZOO[name], 2, dtype=torch.float64)
    channels, size, _ = ZOO[name]
    window, stride = size // 4 + 1, size // 5
    expected = CaptumOcclusion(network).attribute(
        images,
        (channels, window, window),
        (channels, stride, stride),
        target=[1, 3],
        perturbations_per_eval=8,
    )
    found = occlusion(network, images, [1, 3], window=window, stride=stride)
    assert found.whole_because == ""
    assert found.maps.shape == images[:, 0].shape
    assert error(found.maps, expected[:, 0]) < 1e-5  # captum counts in float32
    assert found.share < 1


@pytest.mark.parametrize("name", ["small_vgg", "resnet18", "mobilenet_v2"])
def test_float32_is_as_near_as_float32_gets(name):
    """Falls are differences of scores: captum's are as far off in this precision, some 2e-5 of the largest."""
    network, image = zoo_network(name), images_of(ZOO[name])
    size = ZOO[name][1]
    window, stride = (size // 4, size // 5), (size // 6, size // 7)
    found = occlusion(network, image, 2, window=window, stride=stride)
    truth, _ = brute_force(network.double(), image.double(), 2, window, stride)
    assert error(found.drops[0], truth) < 5e-5


class Mixed(nn.Module):
    """One network of what boxes have to go through; which parts it has is drawn."""

    def __init__(self, seed, kernel, stride, dilation, pool, groups, gate, resize):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            padding = dilation * (kernel // 2)
            self.one = nn.Conv2d(2, 8, kernel, stride, padding, dilation, bias=False)
            self.norm = nn.BatchNorm2d(8)
            self.norm.running_mean.uniform_(-1, 1)
            self.two = nn.Conv2d(8, 8, 3, 1, 1, groups=groups)
            self.three = nn.Conv2d(16, 8, 1)
            self.gate = nn.Conv2d(8, 8, 1)
            self.head = nn.Linear(8, 3)
        self.pool, self.gated, self.resize = pool, gate, resize
        self.bias = nn.Parameter(torch.arange(8.0).reshape(8, 1, 1) / 8)

    def forward(self, x):
        x = F.relu6(self.norm(self.one(x)))
        if self.pool:
            kind, size, stride, padding, ceil = self.pool
            x = getattr(F, f"{kind}_pool2d")(x, size, stride, padding, ceil_mode=ceil)
        y = F.hardswish(self.two(x) + x + self.bias)
        x = self.three(torch.cat([F.leaky_relu(x, 0.2), y], 1)) - y
        if self.gated:
            x = x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))
        if self.resize:
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear")
        return self.head((x * 3 - x.square()).mean((2, 3)))


pools = st.one_of(
    st.none(),
    st.tuples(
        st.sampled_from(["max", "avg"]),
        st.integers(2, 3),
        st.integers(1, 3),
        st.integers(0, 1),
        st.booleans(),
    ),
)


@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    seed=st.integers(0, 100),
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.integers(1, 2),
    dilation=st.integers(1, 2),
    pool=pools,
    groups=st.sampled_from([1, 2, 8]),
    gate=st.booleans(),
    resize=st.booleans(),
    size=st.tuples(st.integers(16, 21), st.integers(16, 21)),
    window=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    batch_size=st.integers(1, 12),
)
def test_equals_whole_passes(
    seed, kernel, stride, dilation, pool, groups, gate, resize, size, window, batch_size
):
    network = Mixed(seed, kernel, stride, dilation, pool, groups, gate, resize).double()
    image = images_of((2, *size), seed=seed, dtype=torch.float64)
    steps = tuple(max(1, length - 1) if length > 3 else length for length in window)
    found = occlusion(network, image, 1, window=window, stride=steps, baseline=0.5, batch_size=batch_size)
    assert found.whole_because == ""
    drops, mean = brute_force(network, image, 1, window, steps, 0.5)
    assert float((found.drops[0] - drops).abs().max()) < 1e-10
    assert float((found.maps[0] - mean).abs().max()) < 1e-10


def test_only_what_a_window_reaches_is_computed():
    """Two 3x3 convolutions: a window of 4x4 reaches 6x6, then 8x8 of 64x64 positions, less at the borders."""
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    found = occlusion(network, images_of((1, 64, 64)), 0, window=4, stride=4, batch_size=1)
    first, second = 9 * 4, 9 * 16
    inner = (first * 36 + second * 64) / ((first + second) * 64 * 64)
    assert 0.85 * inner < found.share < inner
    assert found.to_dict()["share"] == found.share


def test_dicts_of_score_maps_and_networks_in_training():
    network, image = Awkward(), images_of((2, 12, 10))
    found = occlusion(
        network, image, 2, window=(3, 2), stride=(2, 2), baseline=torch.tensor([[[0.5]], [[-1.0]]])
    )
    assert network.training
    drops, mean = brute_force(network, image, 2, (3, 2), (2, 2), torch.tensor([[[0.5]], [[-1.0]]]))
    assert error(found.drops[0], drops) < 1e-4
    assert error(found.maps[0], mean) < 1e-4


class BranchesOnValues(nn.Module):
    def forward(self, image):
        return image.flatten(1) * (2.0 if float(image.sum()) > 0 else 3.0)


class JoinsImages(nn.Module):
    def forward(self, image):
        return image.flatten(1) - image.mean(0).flatten() / 2


@pytest.mark.parametrize(
    ("network", "because"),
    [
        (BranchesOnValues(), "value"),
        (JoinsImages(), "joins the images"),
        (nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3, track_running_stats=False), nn.Flatten()), "statistics"),
    ],
)  # fmt: skip
def test_networks_that_cannot_be_followed_run_whole(network, because):
    image = images_of((1, 6, 6)) + 0.01
    found = occlusion(network, image, 3, window=2, stride=2, batch_size=4)
    assert because in found.whole_because
    assert found.share == 1
    assert error(found.drops[0], brute_force(network, image, 3, (2, 2), (2, 2))[0]) < 1e-5


def test_a_fully_connected_network_has_no_crops_and_is_right():
    network, image = create_model("mlp").eval(), images_of((1, 28, 28))
    found = occlusion(network, image, 4, window=7)
    assert found.stride == (3, 3)
    assert error(found.drops[0], brute_force(network, image, 4, (7, 7), (3, 3))[0]) < 1e-4


@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_as_it_was(fails):
    network, image = Awkward().train(), images_of((2, 8, 8))
    network.conv.weight.grad = torch.ones_like(network.conv.weight)
    before, given = State(network), image.clone()
    if fails:
        with pytest.raises(UsageError, match="target 5"):
            occlusion(network, image, 5, window=4)
    else:
        occlusion(network, image, window=4)
    before.check()
    assert image.equal(given)


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"window": 9}, ShapeError, "window is 9 pixels along height, but the image has 8; give at most 8"),
        ({"window": (4, 11)}, ShapeError, "along width, but the image has 10"),
        (
            {"window": (2, 2), "stride": (1, 3)},
            ShapeError,
            "stride is 3 pixels along width, longer than the window's 2",
        ),
        ({"window": 0}, ShapeError, "window is 0; it must be at least 1"),
        ({"window": (1, 2, 3)}, ShapeError, "window .* has 3 entries"),
        ({"window": 2, "stride": 1.5}, ShapeError, "stride is 1.5; it must be a whole number"),
        ({"window": 2, "batch_size": 0}, ShapeError, "batch_size is 0"),
        ({"window": 2, "baseline": torch.zeros(5)}, ShapeError, "cannot be broadcast"),
        ({"window": 2, "target": 80}, UsageError, "0 to 79"),
    ],
)
def test_refusals(given, error, text):
    with pytest.raises(error, match=text) as caught:
        occlusion(nn.Flatten(), torch.rand(1, 1, 8, 10), **given)
    assert str(caught.value).startswith("occlusion: ")


def test_images_too_small_for_a_network_of_the_zoo():
    with pytest.raises(ShapeError, match="at least"):
        occlusion(create_model("alexnet"), torch.rand(1, 3, 20, 20), 0, window=5)
