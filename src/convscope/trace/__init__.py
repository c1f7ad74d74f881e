"""A network on an input as a graph of operators: shapes, costs, receptive fields, values.

The package can be called: `convscope.trace(network, input)` is `convscope.trace.trace`, as the public surface wants
it, whether or not the package of that name has been imported before.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from convscope.trace.receptive_field import AxisReceptiveField, ReceptiveField
from convscope.trace.record import Record, Ref, TensorFacts
from convscope.trace.tracing import Trace, trace

__all__ = ["AxisReceptiveField", "ReceptiveField", "Record", "Ref", "TensorFacts", "Trace", "trace"]


class _CallableModule(ModuleType):
    """This package, as the function of its name."""

    def __call__(self, *args: Any, **kwargs: Any) -> Trace:
        return trace(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
