"""What a network shows: feature maps, filters, the arithmetic of a value, what it confuses."""

from convscope.inspection.activation_maximisation import ExcitingInput, activation_maximisation
from convscope.inspection.arithmetic import ChannelSum, ConvolutionValue, explain_convolution
from convscope.inspection.audit import Audit, Finding, audit
from convscope.inspection.calibration import Calibration, CalibrationBin, calibration
from convscope.inspection.class_activation import ActivationMethod, ClassActivation, class_activation
from convscope.inspection.confusion import (
    ConfusionMatrix,
    Mistake,
    Unsure,
    confused,
    confusion_matrix,
    mistakes,
    most_unsure,
)
from convscope.inspection.crops import ReceptiveCrop, SeenAxis, SeenInput, receptive_crop, seen_by
from convscope.inspection.display import OnOneScale, common_limit, min_max_image, on_one_scale
from convscope.inspection.exciting_patches import (
    ExcitedFilter,
    ExcitingPatch,
    ExcitingPatches,
    exciting_patches,
)
from convscope.inspection.explanation import Explanation, explain
from convscope.inspection.feature_maps import FeatureMaps, feature_maps, layer_names
from convscope.inspection.features import FeatureInfo, FeatureNetwork, features_only
from convscope.inspection.filters import FilterBank, filter_banks, filter_layers, filters
from convscope.inspection.preparation import PictureSet, known_preprocessing, normalisation_for, picture_of
from convscope.inspection.summary import Summary, SummaryRow, summary

__all__ = [
    "ActivationMethod",
    "Audit",
    "Calibration",
    "CalibrationBin",
    "ChannelSum",
    "ClassActivation",
    "ConfusionMatrix",
    "ConvolutionValue",
    "ExcitedFilter",
    "ExcitingInput",
    "ExcitingPatch",
    "ExcitingPatches",
    "Explanation",
    "FeatureInfo",
    "FeatureMaps",
    "FeatureNetwork",
    "FilterBank",
    "Finding",
    "Mistake",
    "OnOneScale",
    "PictureSet",
    "ReceptiveCrop",
    "SeenAxis",
    "SeenInput",
    "Summary",
    "SummaryRow",
    "Unsure",
    "activation_maximisation",
    "audit",
    "calibration",
    "class_activation",
    "common_limit",
    "confused",
    "confusion_matrix",
    "exciting_patches",
    "explain",
    "explain_convolution",
    "feature_maps",
    "features_only",
    "filter_banks",
    "filter_layers",
    "filters",
    "known_preprocessing",
    "layer_names",
    "min_max_image",
    "mistakes",
    "most_unsure",
    "normalisation_for",
    "on_one_scale",
    "picture_of",
    "receptive_crop",
    "seen_by",
    "summary",
]
