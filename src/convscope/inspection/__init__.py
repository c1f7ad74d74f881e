"""What a network shows: feature maps, filters, the arithmetic of a value, what it confuses."""

from convscope.inspection.arithmetic import ChannelSum, ConvolutionValue, explain_convolution
from convscope.inspection.audit import Audit, Finding, audit
from convscope.inspection.calibration import Calibration, CalibrationBin, calibration
from convscope.inspection.class_activation import ActivationMethod, ClassActivation, class_activation
from convscope.inspection.confusion import (
    ConfusionMatrix,
    Mistake,
    Unsure,
    confusion_matrix,
    mistakes,
    most_unsure,
)
from convscope.inspection.display import OnOneScale, common_limit, min_max_image, on_one_scale
from convscope.inspection.explanation import Explanation, explain
from convscope.inspection.feature_maps import FeatureMaps, feature_maps, layer_names
from convscope.inspection.features import FeatureInfo, FeatureNetwork, features_only
from convscope.inspection.filters import FilterBank, filter_banks, filter_layers, filters
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
    "Explanation",
    "FeatureInfo",
    "FeatureMaps",
    "FeatureNetwork",
    "FilterBank",
    "Finding",
    "Mistake",
    "OnOneScale",
    "Summary",
    "SummaryRow",
    "Unsure",
    "audit",
    "calibration",
    "class_activation",
    "common_limit",
    "confusion_matrix",
    "explain",
    "explain_convolution",
    "feature_maps",
    "features_only",
    "filter_banks",
    "filter_layers",
    "filters",
    "layer_names",
    "min_max_image",
    "mistakes",
    "most_unsure",
    "on_one_scale",
    "summary",
]
