"""Learning rates are chosen on images held out, from a start of its own."""

import pytest
import torch
from torch import nn

from convscope.errors import UsageError
from convscope.experiments import choose_rate, fit, hits, rates, seeded
from convscope.experiments.rates import PILOT_SEED


def task(count=120, seed=0):
    labels = torch.randint(3, (count,), generator=torch.Generator().manual_seed(seed))
    noise = torch.randn(count, 1, 4, 4, generator=torch.Generator().manual_seed(seed + 1))
    return noise + 2 * torch.eye(16)[labels].view(count, 1, 4, 4), labels


def build(seed):
    return seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), seed)


def test_the_best_on_the_last_images_is_taken():
    images, labels = task()
    known = {}
    for rate in (1e-5, 1e-3, 1e-1):
        network = build(PILOT_SEED)
        fit(network, images[:90], labels[:90], steps=30, seed=PILOT_SEED, batch_size=16, lr=rate)
        known[rate] = hits(network, images[90:], labels[90:])
    assert len(set(known.values())) > 1
    found = choose_rate(build, images, labels, rates=tuple(known), steps=30, held_out=0.25, batch_size=16)
    assert found == max(known, key=known.get)


def test_the_first_of_equally_good_rates_is_taken():
    assert choose_rate(build, *task(), rates=(0.0, 1e-12), steps=1) == 0.0
    assert choose_rate(build, *task(), rates=(1e-12, 0.0), steps=1) == 1e-12


def test_each_rate_starts_from_the_same_weights_and_sees_no_held_out_image(monkeypatch):
    seen = []

    def watched(network, images, labels, **options):
        seen.append((network[1].weight.detach().clone(), images, options["seed"], options["lr"]))

    monkeypatch.setattr(rates, "fit", watched)
    images, labels = task()
    choose_rate(build, images, labels, rates=(0.1, 0.2), steps=3)
    assert [each[3] for each in seen] == [0.1, 0.2]
    assert seen[0][0].equal(seen[1][0])
    assert all(each[1].equal(images[:96]) and each[2] == PILOT_SEED for each in seen)


@pytest.mark.parametrize("options", [{"rates": ()}, {"held_out": 0.0}, {"held_out": 1.0}])
def test_refusals(options):
    with pytest.raises(
        UsageError, match=r"choose_rate: \d rates, and of 120 images \d+ held out; give at least"
    ):
        choose_rate(build, *task(), **{"rates": (0.1,), "steps": 1, **options})
