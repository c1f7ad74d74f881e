"""The source document's claims as experiments that run and are measured."""

from convscope.experiments.catalogue import get_experiment, list_experiments
from convscope.experiments.demo_folder import demo_folder
from convscope.experiments.equal_parameters import least_width
from convscope.experiments.experiment import Effort, Experiment, ExperimentResult
from convscope.experiments.learning import (
    Learning,
    class_scores,
    fit,
    fit_batches,
    hits,
    num_params,
    pixels,
    seeded,
)
from convscope.experiments.mlp_and_cnn import Contestant, MlpAndCnn, mlp_and_cnn
from convscope.experiments.outcome import (
    Chart,
    Curve,
    Interval,
    Outcome,
    PictureRow,
    Row,
    Verdict,
    verdict_of_all,
    verdict_on,
)
from convscope.experiments.outlines import outline_agreement, sobel_magnitude
from convscope.experiments.probe import Probe, linear_probe
from convscope.experiments.rates import choose_rate
from convscope.experiments.scenes import Scene, backdrops, compose
from convscope.experiments.skip_connections import (
    SkipConnections,
    SkipRun,
    foreground_iou,
    near_outlines,
    skip_connections,
)
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
    "Probe",
    "Row",
    "Scene",
    "SkipConnections",
    "SkipRun",
    "ThreeLayers",
    "Tour",
    "Verdict",
    "backdrops",
    "choose_rate",
    "class_scores",
    "compare_with_loops",
    "compose",
    "convolve_by_loops",
    "demo_folder",
    "fit",
    "fit_batches",
    "foreground_iou",
    "get_experiment",
    "hits",
    "least_width",
    "linear_probe",
    "list_experiments",
    "mlp_and_cnn",
    "near_outlines",
    "num_params",
    "outline_agreement",
    "photograph_input",
    "pixels",
    "seeded",
    "skip_connections",
    "sobel_magnitude",
    "take_tour",
    "three_layers",
    "verdict_of_all",
    "verdict_on",
]
