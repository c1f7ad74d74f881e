"""The real data sets, from the registries' packages. Fetches them: `make test-data` runs this, `make test` does not."""

from __future__ import annotations

import pytest
import torch

from convscope.data import fetch_dataset, fetching, load_dataset


@pytest.fixture
def from_the_mirror(monkeypatch):
    """Fetch a set from its last origin, unless it is here already."""

    def fetch(name):
        monkeypatch.setitem(fetching._ORIGINS, name, fetching._ORIGINS[name][-1:])
        fetch_dataset(name)
        return load_dataset(name), load_dataset(name, "test")

    return fetch


@pytest.mark.data
@pytest.mark.timeout(900)
def test_cifar10(from_the_mirror) -> None:
    train, test = from_the_mirror("cifar10")
    assert train.class_counts() == (5000,) * 10
    assert test.class_counts() == (1000,) * 10
    mean, std = train.mean_std()
    assert mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=5e-5)
    assert std == pytest.approx((0.2470, 0.2435, 0.2616), abs=5e-5)
    assert [test.classes[label] for label in test.labels[:4].tolist()] == ["cat", "ship", "ship", "airplane"]
    assert train.images.dtype == torch.uint8


@pytest.mark.data
@pytest.mark.timeout(900)
def test_fashion_mnist_begins_each_class_as_the_packaged_part_does(from_the_mirror) -> None:
    for split, full in zip(("train", "test"), from_the_mirror("fashion-mnist-full"), strict=True):
        packaged = load_dataset("fashion-mnist", split)
        count = len(packaged) // 10
        assert len(full) == {"train": 60_000, "test": 10_000}[split]
        for label in range(10):
            assert torch.equal(
                full.images[full.labels == label][:count], packaged.images[packaged.labels == label]
            )


@pytest.mark.data
@pytest.mark.timeout(900)
def test_ten_thousand_digits(from_the_mirror) -> None:
    train, test = from_the_mirror("mnist-10k")
    assert (len(train), len(test)) == (8000, 2000)
    both = torch.stack([torch.tensor(half.class_counts()) for half in (train, test)]).double()
    assert (both[1] / both.sum(0)).allclose(torch.tensor(0.2).double(), atol=1e-3)
