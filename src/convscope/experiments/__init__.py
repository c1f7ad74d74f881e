"""The source document's claims as experiments that run and are measured."""

from convscope.experiments.catalogue import get_experiment, list_experiments
from convscope.experiments.demo_folder import demo_folder
from convscope.experiments.experiment import Effort, Experiment, ExperimentResult
from convscope.experiments.learning import Learning, fit, hits, pixels
from convscope.experiments.mlp_and_cnn import Contestant, MlpAndCnn, mlp_and_cnn
from convscope.experiments.outcome import (
    Chart,
    Curve,
    Interval,
    Outcome,
    PictureRow,
    Row,
    Verdict,
    verdict_on,
)
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
    "Chart",
    "Contestant",
    "Curve",
    "Effort",
    "Experiment",
    "ExperimentResult",
    "Interval",
    "Learning",
    "LoopComparison",
    "MlpAndCnn",
    "Outcome",
    "PictureRow",
    "Row",
    "SkipConnections",
    "SkipRun",
    "ThreeLayers",
    "Tour",
    "Verdict",
    "compare_with_loops",
    "convolve_by_loops",
    "demo_folder",
    "fit",
    "foreground_iou",
    "get_experiment",
    "hits",
    "list_experiments",
    "mlp_and_cnn",
    "photograph_input",
    "pixels",
    "skip_connections",
    "take_tour",
    "three_layers",
    "verdict_on",
]
