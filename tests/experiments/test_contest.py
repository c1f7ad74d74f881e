"""A contest gives each network the same: images, their order, steps, choice of rates."""

import pytest
import torch
from torch import nn

from convscope.experiments import Effort, Interval, Verdict, verdict_of_all
from convscope.experiments.contest import (
    Budget,
    Task,
    contest,
    curve_of,
    lowest_loss_rate,
)

BUDGET = Budget(train=60, test=30, steps=6, batch_size=20, rates=(1e-9, 1e-3))


@pytest.fixture(scope="module")
def task():
    return Task.of(Effort(), BUDGET)


def linear():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))


class Watched(nn.Sequential):
    """Keeps what it is trained on."""

    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(784, 10))
        self.first = self[1].weight.detach().clone()
        self.seen = []

    def forward(self, input):
        if self.training:
            self.seen.append(input.clone())
        return super().forward(input)


def test_images_are_balanced_and_normalised_by_those_to_train_on(task):
    assert torch.bincount(task.labels).tolist() == [6] * 10
    assert torch.bincount(task.test_labels).tolist() == [3] * 10
    assert float(task.train.mean()) == pytest.approx(0, abs=1e-5)
    assert float(task.train.std()) == pytest.approx(1, abs=1e-3)
    whole = Effort().images("train").take_balanced(60)
    test = Effort().images("test").take_balanced(30).images.double() / 255
    mean, std = (whole.images / 255.0).mean(), (whole.images / 255.0).std(unbiased=False)
    torch.testing.assert_close(task.test.double(), (test - mean) / std, rtol=1e-4, atol=1e-4)


def test_all_networks_of_a_seed_get_the_same_weights_and_batches(task):
    made = []

    def build():
        made.append(Watched())
        return made[-1]

    found = contest({"one": build, "another": build}, task, Effort(seeds=(3, 5)), faster=False)
    one, two = found["one"].networks, found["another"].networks
    assert one[0].first.equal(two[0].first)
    assert not one[0].first.equal(one[1].first)
    for first, second in zip(one, two, strict=True):
        assert len(first.seen) == BUDGET.steps
        assert torch.cat(first.seen).equal(torch.cat(second.seen))
    assert not torch.cat(one[0].seen).equal(torch.cat(one[1].seen))
    assert found["one"].learnings[0].losses == found["another"].learnings[0].losses


def test_figures_against_torch(task):
    entrant = contest({"linear": linear}, task, Effort(seeds=(0, 1)))["linear"]
    assert (entrant.num_params, entrant.macs) == (7850, 7840)
    for network, accuracy in zip(entrant.networks, entrant.accuracies, strict=True):
        weight, bias = network[1].weight, network[1].bias
        scores = torch.nn.functional.linear(task.test.flatten(1), weight, bias)
        assert accuracy == pytest.approx(float((scores.argmax(1) == task.test_labels).float().mean()))
    learned = entrant.learnings[0]
    assert entrant.last_losses(0.5)[0] == pytest.approx(sum(learned.losses[3:]) / 3)
    assert entrant.last_errors(1.0)[0] == pytest.approx(1 - sum(learned.accuracies) / 6)
    assert entrant.accuracy == Interval.of_mean(entrant.accuracies)


def test_the_rate_with_the_lowest_loss_is_chosen(task):
    assert lowest_loss_rate(linear, task) == 1e-3
    rates = Budget(60, 30, 6, 20, (1e6, 1e-3, 1e-9))
    assert lowest_loss_rate(linear, Task(task.train, task.labels, task.test, task.test_labels, rates)) == 1e-3
    assert contest({"linear": linear}, task, Effort(seeds=(0,)))["linear"].rate == 1e-3


def test_a_rate_that_diverges_is_not_chosen(task):
    rates = Budget(60, 30, 30, 20, (1e30, 1e-2))
    endless = Task(task.train, task.labels, task.test, task.test_labels, rates)
    assert lowest_loss_rate(linear, endless, optimizer=torch.optim.SGD) == 1e-2


def test_differences_curves_and_joint_verdicts_by_hand():
    assert Interval.of_gains([0.5, 0.7], [0.4, 0.5]).value == pytest.approx(0.15)
    assert Interval.of_gains([0.5, 0.7], [0.4, 0.5]).high == pytest.approx(0.15 + 12.706 * 0.05)
    curve = curve_of("one", [[1.0, 3.0, 5.0, 7.0, 9.0]], points=2)
    assert curve.points == ((2.0, 2.0), (4.0, 6.0))
    assert curve.band == ((2.0, 2.0, 2.0), (4.0, 6.0, 6.0))
    holds, fails, undecided = Verdict.HOLDS, Verdict.FAILS, Verdict.UNDECIDED
    assert verdict_of_all([holds, holds]) is holds
    assert verdict_of_all([holds, undecided]) is undecided
    assert verdict_of_all([undecided, fails, holds]) is fails


def test_a_budget_says_what_it_is():
    assert "6 steps of 20 out of 60 images, tested on 30" in str(BUDGET)
    assert "1e-09, 0.001" in str(BUDGET)
    assert BUDGET.trial_steps == 2
