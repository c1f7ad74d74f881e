"""The zoo: networks by name, one family a file."""

from convscope.models.lenet import LeNet5
from convscope.models.perceptron import mlp, perceptron
from convscope.models.random_filters import RandomFilters
from convscope.models.registry import (
    ModelEntry,
    create_model,
    create_seeded_model,
    list_models,
    model_entry,
    register_model,
)
from convscope.models.small_vgg import SmallVGG
from convscope.models.weights import load_weights, read_metadata, save_weights

__all__ = [
    "LeNet5",
    "ModelEntry",
    "RandomFilters",
    "SmallVGG",
    "create_model",
    "create_seeded_model",
    "list_models",
    "load_weights",
    "mlp",
    "model_entry",
    "perceptron",
    "read_metadata",
    "register_model",
    "save_weights",
]
