"""Small image sets, so that a training takes a fraction of a second."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
import torch
from PIL import Image

from convscope.data import load_dataset
from convscope.training import Recipe


@pytest.fixture
def quick():
    """A recipe for an image folder of a few pictures: three epochs of five steps."""
    return Recipe(model="lenet5", epochs=3, batch_size=8, lr=2e-3, horizontal_flip="random", crop_padding=2)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """An image folder: 40 training and 20 test pictures of two classes, from the packaged set."""
    root = tmp_path_factory.mktemp("pictures")
    for split, count in (("train", 20), ("test", 10)):
        images = load_dataset("fashion-mnist", split)
        for label, name in ((1, "trouser"), (8, "bag")):
            place = root / split / name
            place.mkdir(parents=True)
            for index in (images.labels == label).nonzero().flatten()[:count].tolist():
                Image.fromarray(images.picture(index)).save(place / f"{index}.png")
    return root


@pytest.fixture
def memory_folder(tmp_path_factory):
    """A folder in memory where there is one: thousands of flushes need no disk."""
    root = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(dir=root if os.access(root, os.W_OK) else tmp_path_factory.mktemp("memory")))
    yield path
    shutil.rmtree(path)


@pytest.fixture(autouse=True)
def one_thread():
    """One thread, as these networks are too small for two and results must be the same on any machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
