"""Scenes: what covers what, and that textures have grain and patches; networks of equal size."""

import pytest
import torch
from torch import nn

from convscope.experiments import backdrops, compose, fit, fit_batches, least_width, num_params


def test_what_is_bright_covers_what_was_there_and_is_known():
    pictures = torch.tensor([[[0.5, 0.0], [0.6, 0.7]], [[0.0, 0.9], [0.8, 0.05]]])
    scene = compose(torch.full((3, 4), 0.25), pictures, [(0, 0), (1, 1)])
    assert scene.shown.tolist() == [[1, 0, 0, 0], [1, 1, 2, 0], [0, 2, 0, 0]]
    expected = [[0.5, 0.25, 0.25, 0.25], [0.6, 0.7, 0.9, 0.25], [0.25, 0.8, 0.25, 0.25]]
    torch.testing.assert_close(scene.image, torch.tensor(expected))


def test_a_picture_more_than_places_is_refused():
    with pytest.raises(ValueError, match="shorter"):
        compose(torch.zeros(4, 4), torch.ones(2, 2, 2), [(0, 0)])


def test_backdrops_are_textures_from_the_generator():
    one, other = (backdrops(3, 30, 41, torch.Generator().manual_seed(seed)) for seed in (0, 0))
    assert one.shape == (3, 30, 41)
    assert one.equal(other)
    assert not one[0].equal(one[1])
    assert 0 <= float(one.min()) < 0.2 < 0.8 < float(one.max()) <= 1
    # Neighbours are alike, as noise's are not, and 16 pixels apart no longer.
    wide = backdrops(1, 200, 200, torch.Generator().manual_seed(1))[0]

    def alike(distance):
        return float(
            torch.corrcoef(torch.stack([wide[:, distance:].flatten(), wide[:, :-distance].flatten()]))[0, 1]
        )

    assert alike(1) > 0.4
    assert abs(alike(16)) < 0.1


def test_the_least_width_is_the_least():
    def build(width):
        return nn.Sequential(nn.Conv2d(1, width, 3), nn.Conv2d(width, width, 3))

    found = least_width(build, 1000)
    assert num_params(build(found)) >= 1000 > num_params(build(found - 1))
    assert next(build(3).parameters()).device.type == "cpu"


def test_fit_is_fit_batches_on_its_shuffled_images():
    images, labels = torch.randn(10, 1, 2, 2), torch.randint(0, 2, (10,))
    generator = torch.Generator().manual_seed(5)
    batches = []
    for _ in range(3):  # epochs of two batches of 4, two images left over
        order = torch.randperm(10, generator=generator)
        batches += [(images[order[:4]], labels[order[:4]]), (images[order[4:8]], labels[order[4:8]])]
    start = nn.Linear(4, 2).state_dict()
    found = []
    for train in (
        lambda network: fit(network, images, labels, steps=6, seed=5, batch_size=4),
        lambda network: fit_batches(network, iter(batches), steps=6),
    ):
        network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        network[1].load_state_dict(start)
        found.append((train(network).losses, network[1].weight.detach().clone()))
    assert found[0][0] == found[1][0]
    assert found[0][1].equal(found[1][1])


def test_shares_of_the_rate_go_by_name():
    batches = [
        (torch.randn(4, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 1, 0]))
    ] * 2
    moves = []
    for shares in (None, {"1.bias": 0.5}):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
        before = [each.detach().clone() for each in network.parameters()]
        fit_batches(network, batches[:1], steps=1, lr=0.1, optimizer=torch.optim.SGD, shares=shares)
        moves.append([new.detach() - old for new, old in zip(network.parameters(), before, strict=True)])
    for number, (plain, shared) in enumerate(zip(*moves, strict=True)):
        torch.testing.assert_close(shared, plain * (0.5 if number == 3 else 1.0))


def test_batches_must_last_for_the_steps():
    with pytest.raises(ValueError, match="shorter"):
        fit_batches(
            nn.Flatten(), [], steps=1, optimizer=lambda parameters, lr: torch.optim.SGD([torch.zeros(1)], lr)
        )
