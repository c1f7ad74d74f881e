"""The machine's limit in images a second: from MACs counted by hand, and it changes nothing of a run."""

import pytest
import torch
from torch import nn

from convscope.training import StepDone, speed, train


def test_six_operations_a_mac(monkeypatch):
    monkeypatch.setattr(speed, "product_flops", lambda dtype, threads: 1e9)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 4 * 4, 10))
    macs = 8 * 4 * 4 * 27 + 8 * 4 * 4 * 10
    assert speed.images_per_second_limit(network, (3, 6, 6)) == pytest.approx(1e9 / (6 * macs))
    assert network.training


def test_networks_that_cannot_be_counted():
    class Reading(nn.Module):
        def forward(self, input):
            return input if input.sum() > 0 else -input

    assert speed.images_per_second_limit(Reading(), (1, 2, 2)) is None
    assert speed.images_per_second_limit(nn.ReLU(), (1, 2, 2)) is None


def test_measuring_draws_nothing():
    state = torch.random.get_rng_state()
    speed.product_flops.cache_clear()
    assert speed.product_flops(torch.float32, torch.get_num_threads()) > 1e6
    assert torch.equal(torch.random.get_rng_state(), state)


def test_what_a_listener_and_the_folder_are_told(folder, quick, tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "product_flops", lambda dtype, threads: 1e9)
    events = []
    run = train(quick, data=folder, output=tmp_path / "run", listener=events.append)
    steps = [event for event in events if isinstance(event, StepDone)]
    limit = speed.images_per_second_limit(run.network(), run.facts.input_shape)
    for event in steps:
        assert event.share_of_limit == pytest.approx(event.images_per_second / limit)
    for row in run.metrics:
        assert row["share_of_limit"] == pytest.approx(row["images_per_second"] / limit)
    assert [event.whole_step for event in steps] == list(range(1, 16))
    assert steps[-1].seconds_left == 0
    assert all(event.seconds_left > 0 for event in steps[:-1])
