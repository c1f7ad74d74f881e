"""What a network shows: feature maps, filters, the arithmetic of a value, what it confuses."""

from convscope.inspection.arithmetic import ChannelSum, ConvolutionValue, explain_convolution
from convscope.inspection.attribution import Attribution
from convscope.inspection.audit import Audit, Finding, audit
from convscope.inspection.calibration import Calibration, CalibrationBin, calibration
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
from convscope.inspection.integrated_gradients import IntegratedGradients, integrated_gradients
from convscope.inspection.occlusion import Occlusion, occlusion
from convscope.inspection.saliency import saliency
from convscope.inspection.summary import Summary, SummaryRow, summary

__all__ = [
    "Attribution",
    "Audit",
    "Calibration",
    "CalibrationBin",
    "ChannelSum",
    "ConfusionMatrix",
    "ConvolutionValue",
    "Explanation",
    "FeatureInfo",
    "FeatureMaps",
    "FeatureNetwork",
    "FilterBank",
    "Finding",
    "IntegratedGradients",
    "Mistake",
    "Occlusion",
    "OnOneScale",
    "Summary",
    "SummaryRow",
    "Unsure",
    "audit",
    "calibration",
    "common_limit",
    "confusion_matrix",
    "explain",
    "explain_convolution",
    "feature_maps",
    "features_only",
    "filter_banks",
    "filter_layers",
    "filters",
    "integrated_gradients",
    "layer_names",
    "min_max_image",
    "mistakes",
    "most_unsure",
    "occlusion",
    "on_one_scale",
    "saliency",
    "summary",
]
