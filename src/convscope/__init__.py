"""A convolutional neural network, laid open.

`import convscope as cs` is cheap: a name loads its package, and with it torch, when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_PACKAGES = (
    "acceleration",
    "data",
    "experiments",
    "geometry",
    "inspection",
    "kernels",
    "models",
    "nn",
    "ops",
    "report",
    "signal",
    "trace",
    "training",
)
_HOMES = {
    "Trace": "convscope.trace",
    "accelerate": "convscope.acceleration",
    "decelerate": "convscope.acceleration",
    "activation_maximisation": "convscope.inspection",
    "audit": "convscope.inspection",
    "class_activation": "convscope.inspection",
    "create_model": "convscope.models",
    "list_models": "convscope.models",
    "load_dataset": "convscope.data",
    "decode_image": "convscope.data",
    "feature_maps": "convscope.inspection",
    "exciting_patches": "convscope.inspection",
    "receptive_crop": "convscope.inspection",
    "features_only": "convscope.inspection",
    "filters": "convscope.inspection",
    "integrated_gradients": "convscope.inspection",
    "occlusion": "convscope.inspection",
    "saliency": "convscope.inspection",
    "explain": "convscope.inspection",
    "explain_convolution": "convscope.inspection",
    "Recipe": "convscope.training",
    "Run": "convscope.training",
    "train": "convscope.training",
    "evaluate": "convscope.training",
    "predict": "convscope.training",
}

__all__ = [
    "Recipe",
    "Run",
    "Trace",
    "__version__",
    "accelerate",
    "acceleration",
    "activation_maximisation",
    "audit",
    "class_activation",
    "create_model",
    "data",
    "decelerate",
    "decode_image",
    "evaluate",
    "exciting_patches",
    "experiments",
    "explain",
    "explain_convolution",
    "feature_maps",
    "features_only",
    "filters",
    "geometry",
    "inspection",
    "integrated_gradients",
    "kernels",
    "list_models",
    "load_dataset",
    "models",
    "nn",
    "occlusion",
    "ops",
    "predict",
    "receptive_crop",
    "report",
    "saliency",
    "signal",
    "trace",
    "train",
    "training",
]

if TYPE_CHECKING:
    from convscope import (
        acceleration,
        data,
        experiments,
        geometry,
        inspection,
        kernels,
        models,
        nn,
        ops,
        report,
        signal,
        training,
    )
    from convscope.acceleration import accelerate, decelerate
    from convscope.data import decode_image, load_dataset
    from convscope.inspection import (
        activation_maximisation,
        audit,
        class_activation,
        exciting_patches,
        explain,
        explain_convolution,
        feature_maps,
        features_only,
        filters,
        integrated_gradients,
        occlusion,
        receptive_crop,
        saliency,
    )
    from convscope.models import create_model, list_models
    from convscope.trace import Trace, trace
    from convscope.training import Recipe, Run, evaluate, predict, train


def __getattr__(name: str) -> object:
    if name in _PACKAGES:
        return importlib.import_module(f"convscope.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'convscope' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
