"""What the tests of every family measure the same way."""

import hashlib

import pytest
import torch

from convscope.models import create_model, model_entry
from convscope.trace import trace


@pytest.fixture
def on_meta():
    """Build a network without memory for its weights."""

    def build(name, **options):
        with torch.device("meta"):
            return create_model(name, **options)

    return build


@pytest.fixture
def measured(on_meta):
    """Return parameters and MACs of a network by its trace, which must be complete."""

    def measure(name, **options):
        network = on_meta(name, **options).eval()
        traced = trace(network, (1, *model_entry(name).input_shape))
        assert not traced.not_counted
        return sum(parameter.numel() for parameter in network.parameters()), traced.macs

    return measure


@pytest.fixture
def layout_digest(on_meta):
    """Return the beginning of the SHA-256 of a state dict's keys, shapes and dtypes, as benchmarks/parity/zoo.py."""

    def digest(name, **options):
        state = on_meta(name, **options).state_dict()
        lines = [f"{key} {list(value.shape)} {value.dtype}" for key, value in state.items()]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    return digest
