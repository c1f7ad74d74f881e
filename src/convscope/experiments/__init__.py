"""The source document's claims as experiments that run and are measured."""

from convscope.experiments.demo_folder import demo_folder
from convscope.experiments.mlp_and_cnn import Contestant, MlpAndCnn, mlp_and_cnn
from convscope.experiments.skip_connections import SkipConnections, SkipRun, foreground_iou, skip_connections
from convscope.experiments.three_layers import (
    LoopComparison,
    ThreeLayers,
    compare_with_loops,
    convolve_by_loops,
    photograph_input,
    three_layers,
)
from convscope.experiments.tour import Tour, take_tour

__all__ = [
    "Contestant",
    "LoopComparison",
    "MlpAndCnn",
    "SkipConnections",
    "SkipRun",
    "ThreeLayers",
    "Tour",
    "compare_with_loops",
    "convolve_by_loops",
    "demo_folder",
    "foreground_iou",
    "mlp_and_cnn",
    "photograph_input",
    "skip_connections",
    "take_tour",
    "three_layers",
]
