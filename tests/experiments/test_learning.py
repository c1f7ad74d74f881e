"""The training that experiments share, beside the same written out with torch."""

import pytest
import torch
from torch import nn

from convscope.data import load_dataset
from convscope.experiments import fit, hits, pixels
from convscope.experiments.learning import Learning


@pytest.fixture
def data():
    images = load_dataset("fashion-mnist", "test").take(200)
    return pixels(images), images.labels


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(1, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 169, 10))


def test_against_a_loop_in_torch(data):
    ours, theirs = network(), network()
    learned = fit(ours, *data, steps=12, seed=3, batch_size=64, lr=0.01, faster=False)
    generator = torch.Generator().manual_seed(3)
    optimizer = torch.optim.Adam(theirs.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12)
    losses, order = [], []
    for _ in range(12):
        if len(order) < 64:
            order = torch.randperm(200, generator=generator).tolist()
        index, order = order[:64], order[64:]
        loss = nn.functional.cross_entropy(theirs(data[0][index]), data[1][index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    torch.testing.assert_close(torch.tensor(learned.losses), torch.tensor(losses))
    for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(own, other)
    assert not ours.training


def test_faster_is_the_same_training(data):
    plain, faster = (fit(network(), *data, steps=10, seed=3, faster=each).losses for each in (False, True))
    torch.testing.assert_close(torch.tensor(plain), torch.tensor(faster), rtol=1e-4, atol=1e-5)


def test_what_is_frozen_stays_and_the_optimiser_can_be_chosen(data):
    frozen = network()
    frozen[0].requires_grad_(False)
    before = [each.clone() for each in frozen.parameters()]
    fit(frozen, *data, steps=3, seed=0, optimizer=torch.optim.SGD, lr=0.1, momentum=0.9)
    moved = [not old.equal(new) for old, new in zip(before, frozen.parameters(), strict=True)]
    assert moved == [False, False, True, True]


def test_hits_are_counted_in_parts(data):
    trained = network()
    fit(trained, *data, steps=40, seed=0, lr=0.01)
    with torch.no_grad():
        expected = int((trained(data[0]).argmax(1) == data[1]).sum())
    assert hits(trained, *data, batch_size=33) == expected > 100


def test_steps_to_an_error():
    learned = Learning((), (0.0, 0.5, 0.9, 0.9, 1.0), 0.0)
    assert learned.steps_to_error(0.1, window=2) == 4
    assert learned.steps_to_error(0.0, window=2) is None
