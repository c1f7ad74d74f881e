"""Sizes, positions and costs of convolutions, in integers, each with its derivation. No torch."""

from convscope.geometry.cost import (
    LayerCost,
    check_groups,
    conv_cost,
    conv_macs,
    conv_weight_shape,
    dense_cost,
    matmul_macs,
)
from convscope.geometry.derivation import Derivation
from convscope.geometry.facts import WindowFacts, window_facts
from convscope.geometry.integers import as_int, as_ints
from convscope.geometry.padding import PADDING_WORDS, Padding, axis_padding, paddings
from convscope.geometry.reach import Reach, Spans, progressions
from convscope.geometry.reads import Reads
from convscope.geometry.receptive_field import AxisField, Span, TableField, hull
from convscope.geometry.transposed import TransposedWindow
from convscope.geometry.window import Window, pool_window
from convscope.geometry.windows import AXIS_NAMES, Windows

__all__ = [
    "AXIS_NAMES",
    "PADDING_WORDS",
    "AxisField",
    "Derivation",
    "LayerCost",
    "Padding",
    "Reach",
    "Reads",
    "Span",
    "Spans",
    "TableField",
    "TransposedWindow",
    "Window",
    "WindowFacts",
    "Windows",
    "as_int",
    "as_ints",
    "axis_padding",
    "check_groups",
    "conv_cost",
    "conv_macs",
    "conv_weight_shape",
    "dense_cost",
    "hull",
    "matmul_macs",
    "paddings",
    "pool_window",
    "progressions",
    "window_facts",
]
