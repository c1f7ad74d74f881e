"""Networks made faster without being changed: fused layers, routes, folded batch norm."""

from convscope.acceleration.accelerated import (
    Acceleration,
    Precision,
    accelerate,
    acceleration_of,
    decelerate,
)
from convscope.acceleration.process import keep_memory, prepare_process

__all__ = [
    "Acceleration",
    "Precision",
    "accelerate",
    "acceleration_of",
    "decelerate",
    "keep_memory",
    "prepare_process",
]
