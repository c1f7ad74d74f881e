"""Progressive resizing: small images in the first epochs, whole ones in measurements, resumed to the same bytes."""

import math
import os
import signal

import pytest
import torch
from torch.nn.functional import interpolate

from convscope.data import Batches, load_dataset
from convscope.errors import ShapeError, UsageError
from convscope.models import SpeedCNN
from convscope.training import Recipe, StepDone, TrainingInterrupted, lr_range_test, speed, train

SIZES = (20, 24)  # then whole images, of 28


@pytest.fixture
def growing():
    """Three epochs of five steps, with a network that takes any size."""
    return Recipe(
        model="speed_cnn",
        model_options={"widths": [4, 4]},
        epochs=3,
        batch_size=8,
        crop_padding=2,
        progressive_sizes=SIZES,
    )


@pytest.fixture
def seen(monkeypatch):
    """The sides of the images that the network was given, in the order of its calls: (training, side)."""
    sides = []
    forward = SpeedCNN.forward

    def noting(self, input):
        if not input.is_meta:  # a trace's
            sides.append((self.training, input.shape[-1]))
        return forward(self, input)

    monkeypatch.setattr(SpeedCNN, "forward", noting)
    return sides


def test_each_epoch_has_its_size_and_measurements_see_whole_images(folder, growing, tmp_path, seen):
    train(growing.replace(accelerate=False), data=folder, output=tmp_path / "run")
    steps = [side for training, side in seen if training]
    assert steps[:3] == [20, 24, 28]  # the rehearsal
    assert steps[3:] == [20] * 5 + [24] * 5 + [28] * 5
    assert {side for training, side in seen if not training} == {28}


@pytest.mark.parametrize("steps", [3, 5, 7])
def test_a_stopped_run_goes_on_to_the_same_bytes(folder, growing, tmp_path, steps):
    whole = train(growing, data=folder, output=tmp_path / "whole")

    def stop(event):
        if isinstance(event, StepDone) and event.whole_step == steps:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(TrainingInterrupted):
        train(growing, data=folder, output=tmp_path / "part", listener=stop)
    resumed = train(output=tmp_path / "part", resume=True)
    assert resumed.weights().read_bytes() == whole.weights().read_bytes()


def test_the_share_of_the_limit_is_that_of_the_epochs_size(folder, growing, tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "product_flops", lambda dtype, threads: 1e9)
    events = []
    run = train(growing, data=folder, output=tmp_path / "run", listener=events.append)
    network = run.network()
    for event in events:
        if isinstance(event, StepDone):
            limit = speed.images_per_second_limit(network, (3, *((*SIZES, 28)[event.epoch - 1],) * 2))
            assert event.share_of_limit == pytest.approx(event.images_per_second / limit)


def test_the_time_left_counts_pixels(folder, growing, tmp_path):
    """After the first step there are 4 of its kind left, and two epochs of larger images."""
    events = []
    train(growing, data=folder, output=tmp_path / "run", listener=events.append)
    first, last = (events[at] for at in (0, -2))
    left = 4 + 5 * (24 / 20) ** 2 + 5 * (28 / 20) ** 2
    assert first.seconds_left == pytest.approx(left * 8 / first.images_per_second)
    assert last.seconds_left == 0


def test_batches_are_those_of_whole_images_shrunk():
    """Against torch's own antialiased resizing of what plain batches serve; labels and order stay."""
    images = load_dataset("fashion-mnist", "test").take(12)
    options = {"mean": (0.3,), "std": (0.3,), "shuffle": True, "seed": 4}
    plain = list(Batches(images, 5, **options).epoch(1))
    for size in (9, 14, 27):
        small = list(Batches(images, 5, progressive_sizes=(28, size), **options).epoch(1))
        for one, other in zip(plain, small, strict=True):
            wanted = interpolate(one.images.double(), size=(size, size), mode="bilinear", antialias=True)
            assert (other.images - wanted).abs().max() < 1e-5
            assert torch.equal(one.index, other.index)
            assert other.images.is_contiguous(memory_format=torch.channels_last)
    whole = next(Batches(images, 5, progressive_sizes=(9,), **options).epoch(1))
    assert torch.equal(whole.images, plain[0].images)


def test_processes_together_serve_what_one_would():
    images = load_dataset("fashion-mnist", "test").take(12)
    options = {"mean": (0.3,), "std": (0.3,), "progressive_sizes": (17,)}
    whole = next(Batches(images, 7, **options).epoch(0)).images
    parts = [
        next(Batches(images, 7, rank=rank, world_size=3, **options).epoch(0)).images for rank in range(3)
    ]
    assert torch.equal(torch.cat(parts), whole)


def test_the_range_test_takes_them(folder, growing):
    found = lr_range_test(growing.replace(data=str(folder)), steps=10)
    assert all(map(math.isfinite, found.losses))


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ([0], "progressive_sizes is [0]; it must be a list of whole numbers of at least 1"),
        ([20.0], "progressive_sizes is [20.0]; it must be a list of whole numbers"),
        ([True], "progressive_sizes is [True]; it must be"),
        ("20", "progressive_sizes is '20'; it must be a list"),
        (20, "progressive_sizes is 20; it must be a list"),
    ],
)
def test_recipes_refuse_what_is_no_size(sizes, words):
    with pytest.raises(UsageError) as caught:
        Recipe(progressive_sizes=sizes)
    assert words in str(caught.value)


def test_sizes_that_do_not_fit_are_refused_before_a_file_is_written(folder, growing, tmp_path):
    with pytest.raises(
        ShapeError, match=r"progressive_sizes holds 29, but the images .* have 28 x 28 pixels"
    ):
        train(growing.replace(progressive_sizes=[20, 29]), data=folder, output=tmp_path / "run")
    with pytest.raises(UsageError, match=r"lenet5 refuses a batch of shape \(2, 3, 20, 20\).*now \[20, 24\]"):
        train(growing.replace(model="lenet5", model_options={}), data=folder, output=tmp_path / "run")
    with pytest.raises(UsageError, match=r"progressive_sizes are \[20, 24\], one an epoch, and epochs is 2"):
        train(growing, data=folder, output=tmp_path / "run", epochs=2)
    with pytest.raises(UsageError, match="progressive_sizes must be integers of at least 1, got 0"):
        Batches(load_dataset("fashion-mnist", "test"), 5, mean=(0.3,), std=(0.3,), progressive_sizes=(0,))
    assert not (tmp_path / "run").exists()
