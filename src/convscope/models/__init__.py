"""The zoo: networks by name, one family a file."""

from convscope.models.efficientnet import (
    EfficientNet,
    efficientnet_b0,
    efficientnet_b1,
    efficientnet_b2,
    efficientnet_b3,
    efficientnet_b4,
    efficientnet_b5,
    efficientnet_b6,
    efficientnet_b7,
)
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
from convscope.models.resnet import (
    ResNet,
    resnet18,
    resnet34,
    resnet50,
    resnet101,
    resnet152,
    resnext50_32x4d,
    resnext101_32x8d,
)
from convscope.models.small_vgg import SmallVGG
from convscope.models.weights import load_weights, read_metadata, save_weights

__all__ = [
    "EfficientNet",
    "LeNet5",
    "ModelEntry",
    "RandomFilters",
    "ResNet",
    "SmallVGG",
    "create_model",
    "create_seeded_model",
    "efficientnet_b0",
    "efficientnet_b1",
    "efficientnet_b2",
    "efficientnet_b3",
    "efficientnet_b4",
    "efficientnet_b5",
    "efficientnet_b6",
    "efficientnet_b7",
    "list_models",
    "load_weights",
    "mlp",
    "model_entry",
    "perceptron",
    "read_metadata",
    "register_model",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "save_weights",
]
