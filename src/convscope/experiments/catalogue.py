"""The experiments there are, by name; each is imported when it is asked for."""

from __future__ import annotations

import importlib

from convscope.errors import UnknownNameError
from convscope.experiments.experiment import Experiment

__all__ = ["get_experiment", "list_experiments"]

# In the order of the document: name -> module in `claims`.
_MODULES = {
    "parameters": "parameters",
    "overfitting": "overfitting",
    "flipped-kernel": "flipped_kernel",
    "random-filters": "random_filters",
    "low-pass": "low_pass",
    "pooling": "pooling",
    "activations": "activations",
    "heads": "heads",
    "losses": "losses",
    "small-kernels": "small_kernels",
    "residual": "residual",
    "skip-connections": "skip_connections",
    "deformable": "deformable",
    "context": "context",
}


def list_experiments() -> list[str]:
    """Return the names of all experiments, in the order of the source document.

    Example:
        >>> "parameters" in list_experiments()
        True
    """
    return list(_MODULES)


def get_experiment(name: str) -> Experiment:
    """Return an experiment by its name.

    Raises:
        UnknownNameError: no experiment has that name; the nearest ones are told.
    Example:
        >>> result = get_experiment("parameters").run()
        >>> str(result.outcome.verdict), dict(result.outcome.figures)["cnn_growth"]
        ('holds', 1.0)
    """
    if name not in _MODULES:
        raise UnknownNameError("experiment", name, list_experiments(), call="experiment")
    return importlib.import_module(f"convscope.experiments.claims.{_MODULES[name]}").EXPERIMENT
