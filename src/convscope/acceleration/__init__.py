"""Networks made faster without being changed: fused layers, routes, folded batch norm; and what that gained."""

from convscope.acceleration.accelerated import (
    Acceleration,
    accelerate,
    accelerated,
    acceleration_of,
    decelerate,
)
from convscope.acceleration.comparison import Comparison, Contest, TunedRoute, Variant, compare
from convscope.acceleration.diagnosis import ConvolutionTime, Diagnosis, NetworkDiagnosis, diagnose
from convscope.acceleration.limits import Limits, measure_limits, measure_product_flops
from convscope.acceleration.machine import Machine, describe_machine
from convscope.acceleration.onednn import OneDnnCall, onednn_calls, onednn_log
from convscope.acceleration.precision import Precision
from convscope.acceleration.process import keep_memory, prepare_process
from convscope.acceleration.steps import random_images

__all__ = [
    "Acceleration",
    "Comparison",
    "Contest",
    "ConvolutionTime",
    "Diagnosis",
    "Limits",
    "Machine",
    "NetworkDiagnosis",
    "OneDnnCall",
    "Precision",
    "TunedRoute",
    "Variant",
    "accelerate",
    "accelerated",
    "acceleration_of",
    "compare",
    "decelerate",
    "describe_machine",
    "diagnose",
    "keep_memory",
    "measure_limits",
    "measure_product_flops",
    "onednn_calls",
    "onednn_log",
    "prepare_process",
    "random_images",
]
