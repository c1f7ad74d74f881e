"""Integrated gradients against captum, their completeness, and the cases where captum fails."""

import numpy as np
import pytest
import torch
from attributed_networks import ZOO, Awkward, LeafInPlace, State, images_of, zoo_network
from captum.attr import IntegratedGradients
from torch import nn

from convscope.errors import ShapeError, UnknownNameError, UsageError
from convscope.inspection import integrated_gradients
from convscope.inspection.integrated_gradients import quadrature


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("name", ZOO)
def test_equals_captum(name):
    network, images = zoo_network(name), images_of(ZOO[name], 2)
    expected, gaps = IntegratedGradients(network).attribute(
        images, target=[1, 3], n_steps=6, baselines=0.25, return_convergence_delta=True
    )
    found = integrated_gradients(network, images, [1, 3], 0.25, steps=6, batch_size=5)
    close(found.maps, expected)
    scale = float(expected.abs().sum())
    assert found.gaps == pytest.approx(gaps.tolist(), abs=1e-5 * scale)
    with torch.no_grad():
        base = network(torch.full_like(images, 0.25))
    assert found.baseline_scores == pytest.approx([float(base[0, 1]), float(base[1, 3])], rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("method", ["riemann_left", "riemann_middle", "riemann_right", "riemann_trapezoid"])
def test_other_quadratures(method):
    network, images = zoo_network("small_vgg"), images_of(ZOO["small_vgg"])
    expected = IntegratedGradients(network).attribute(images, target=1, n_steps=5, method=method)
    if method == "riemann_trapezoid":
        expected = expected * 5 / 4  # captum's weights add up to (n - 1)/n
    close(integrated_gradients(network, images, 1, steps=5, method=method).maps, expected)


@pytest.mark.parametrize("method", ["gausslegendre", "riemann_middle", "riemann_trapezoid"])
def test_quadratures_integrate(method):
    """The weights add up to 1, and a polynomial's integral is what it is."""
    places, weights = quadrature(method, 40)
    assert sum(weights) == pytest.approx(1)
    power = np.asarray(places) ** 3
    assert float(power @ np.asarray(weights)) == pytest.approx(0.25, abs=1e-3)


def test_the_gap_closes_with_the_steps():
    network, images = zoo_network("lenet5"), images_of(ZOO["lenet5"])
    few, many = (integrated_gradients(network, images, 2, steps=steps) for steps in (2, 64))
    assert abs(many.gaps[0]) < 0.1 * abs(few.gaps[0])
    assert float(many.maps.sum()) == pytest.approx(many.scores[0] - many.baseline_scores[0], rel=0.02)


def test_linear_networks_are_integrated_in_one_step():
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    images, baseline = images_of((3, 2, 2), 2), torch.tensor([1.0, -1.0, 0.5]).reshape(3, 1, 1)
    found = integrated_gradients(network, images, 1, baseline, steps=1)
    torch.testing.assert_close(
        found.maps, network[1].weight[1].detach().reshape(3, 2, 2) * (images - baseline)
    )
    assert max(map(abs, found.gaps)) < 1e-5


def test_batch_size_changes_nothing_else():
    network, images = zoo_network("lenet5"), images_of(ZOO["lenet5"], 3)
    one, other = (integrated_gradients(network, images, steps=7, batch_size=size).maps for size in (2, 100))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_batch_norm_without_statistics_sees_one_image_at_a_time():
    network = nn.Sequential(
        nn.Conv2d(1, 2, 3),
        nn.BatchNorm2d(2, track_running_stats=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8, 2),
    )
    image = images_of((1, 4, 4))
    found = integrated_gradients(network, image, 0, steps=3)
    close(
        found.maps, IntegratedGradients(network).attribute(image, target=0, n_steps=3, internal_batch_size=1)
    )


def test_where_captum_fails():
    image = images_of((3, 4, 4))
    network = LeafInPlace()
    found = integrated_gradients(network.requires_grad_(False), image, 1, steps=20)
    weight = network.layers[2].weight[1].detach().reshape(1, 3, 4, 4)
    torch.testing.assert_close(found.maps, weight * image.clamp_min(0))
    with pytest.raises((AssertionError, AttributeError, TypeError, IndexError, RuntimeError)):
        IntegratedGradients(Awkward().eval()).attribute(images_of((2, 8, 8)), target=0)
    assert integrated_gradients(Awkward(), images_of((2, 8, 8)), 0, steps=2).maps.abs().max() > 0


@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_as_it_was(fails):
    network, image = Awkward().train(), images_of((2, 8, 8))
    before, given = State(network), image.clone()
    with torch.no_grad():
        if fails:
            with pytest.raises(UsageError, match="target 7"):
                integrated_gradients(network, image, 7, steps=2)
        else:
            integrated_gradients(network, image, steps=2)
    before.check()
    assert image.equal(given)


def test_to_dict():
    found = integrated_gradients(zoo_network("lenet5"), images_of(ZOO["lenet5"]), 1, steps=3)
    facts = found.to_dict()
    assert (facts["method"], facts["steps"], facts["quadrature"]) == (
        "integrated gradients",
        3,
        "gausslegendre",
    )
    assert facts["gaps"] == list(found.gaps)
    assert found.planes.shape == (1, 28, 28)


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"method": "gauslegendre"}, UnknownNameError, "did you mean 'gausslegendre'"),
        ({"steps": 0}, ShapeError, "steps is 0; it must be at least 1"),
        ({"steps": 1, "method": "riemann_trapezoid"}, ShapeError, "steps is 1; it must be at least 2"),
        ({"batch_size": 0}, ShapeError, "batch_size is 0"),
        (
            {"baselines": torch.zeros(2, 3, 3)},
            ShapeError,
            r"baseline of shape \(2, 3, 3\) cannot be broadcast",
        ),
        ({"baselines": "black"}, UsageError, "baseline is 'black'"),
        ({"target": 12}, UsageError, "0 to 11"),
    ],
)
def test_refusals(given, error, text):
    with pytest.raises(error, match=text) as caught:
        integrated_gradients(nn.Flatten(), torch.rand(1, 3, 2, 2), **{"target": 0, **given})
    assert str(caught.value).startswith("integrated_gradients: ")
