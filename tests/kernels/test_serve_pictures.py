"""Batches of pictures: the native pass against the steps by torch that stand in for it, bit by bit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_convolutions import needs_kernels

from convscope.data import Augmentation, Batches, ImageSet
from convscope.kernels import pictures


def batches(size, channels, augment, seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (11, channels, *size), dtype=torch.uint8, generator=generator)
    labels = torch.arange(11) % 3
    data = ImageSet(images, labels, ("a", "b", "c"), "noise")
    mean = (0.5, 0.4, 0.3, 0.2)[:channels]
    return Batches(
        data, 4, mean=mean, std=(0.25, 0.2, 0.3, 0.1)[:channels], shuffle=True, seed=seed, augment=augment
    )


@given(
    size=st.tuples(st.integers(5, 21), st.integers(5, 37)),
    channels=st.integers(1, 4),
    flip=st.sampled_from(["none", "random", "alternating"]),
    padding=st.integers(0, 4),
    mode=st.sampled_from(["constant", "reflect"]),
    cutout=st.integers(0, 5),
    mixed=st.sampled_from([{}, {"mixup": 0.5}, {"cutmix": 1.0}]),
    seed=st.integers(0, 99),
)
@settings(max_examples=200, deadline=None)
def test_equal_to_the_last_bit(size, channels, flip, padding, mode, cutout, mixed, seed):
    augment = Augmentation(horizontal_flip=flip, crop_padding=padding, crop_mode=mode, cutout=cutout, **mixed)
    ours = [batch.images for batch in batches(size, channels, augment, seed).epoch(1)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("convscope.data.augmentation.serve_pictures", lambda *args, **kwargs: None)
        plain = [batch.images for batch in batches(size, channels, augment, seed).epoch(1)]
    for mine, theirs in zip(ours, plain, strict=True):
        assert torch.equal(mine, theirs)


@needs_kernels
def test_the_native_pass_is_what_runs_and_threads_change_nothing():
    images = torch.randint(256, (7, 3, 9, 9), dtype=torch.uint8)
    table, index = torch.randn(3, 256), torch.tensor([3, 3, 0, 6])
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = pictures.serve_pictures(images, index, table)
        torch.set_num_threads(3)
        three = pictures.serve_pictures(images, index, table)
    finally:
        torch.set_num_threads(threads)
    assert one is not None
    assert three is not None
    assert torch.equal(one, three)
    assert float(one[1, 4, 5, 2]) == float(table[2, int(images[3, 2, 4, 5])])


def test_what_it_does_not_take():
    images = torch.zeros(2, 3, 4, 4, dtype=torch.uint8).permute(0, 1, 3, 2)[:, :, :, ::2]
    assert pictures.serve_pictures(images, torch.tensor([0]), torch.zeros(3, 256)) is None
