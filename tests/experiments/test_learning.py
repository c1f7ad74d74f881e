"""The training that experiments share, beside the same written out with torch."""

import pytest
import torch
from torch import nn

from convscope.data import load_dataset
from convscope.experiments import class_scores, fit, hits, pixels, seeded
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


def test_the_rate_may_stay(data):
    ours, theirs = network(), network()
    fit(ours, *data, steps=5, seed=3, batch_size=200, lr=0.1, optimizer=torch.optim.SGD, decays=False)
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.cross_entropy(theirs(data[0]), data[1]).backward()
        optimizer.step()
    for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-5)


def test_a_training_ends_at_the_error_that_is_asked_for(data):
    options = {"steps": 200, "seed": 3, "batch_size": 50, "lr": 0.01, "decays": False}
    whole, short = fit(network(), *data, **options), fit(network(), *data, **options, until_error=0.3)
    reached = whole.steps_to_error(0.3)
    assert 20 <= reached < 200
    assert short.accuracies == whole.accuracies[:reached]
    assert short.steps_to_error(0.3) == reached


def test_errors_are_means_over_windows():
    accuracies = torch.rand(50, generator=torch.Generator().manual_seed(0)).double().tolist()
    found = Learning((), tuple(accuracies), 0.0).errors(window=7)
    assert found == pytest.approx([1 - sum(accuracies[at : at + 7]) / 7 for at in range(44)])
    assert Learning((), tuple(accuracies[:5]), 0.0).errors(window=7) == ()


def test_scores_come_in_evaluation_mode_and_in_order(data):
    scored = nn.Sequential(network(), nn.BatchNorm1d(10)).train()
    found = class_scores(scored, data[0], batch_size=33)
    with torch.no_grad():
        torch.testing.assert_close(found, scored.eval()(data[0]))
    assert not scored.training


def test_a_seeded_network_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    one, two, other = (seeded(lambda: nn.Linear(3, 3), seed) for seed in (1, 1, 2))
    assert torch.random.get_rng_state().equal(before)
    assert one.weight.equal(two.weight)
    assert not one.weight.equal(other.weight)


def test_dropout_draws_what_the_seed_says_whatever_was_drawn_before(data):
    images, labels = data
    weights = []
    for before in (1, 2):
        network = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(784, 10)), 0)
        torch.manual_seed(before)
        state = torch.get_rng_state()
        fit(network, images, labels, steps=3, seed=4, batch_size=8)
        assert torch.get_rng_state().equal(state)
        weights.append(network[2].weight.detach())
    assert weights[0].equal(weights[1])
