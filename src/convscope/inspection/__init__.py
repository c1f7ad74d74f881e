"""What a network shows: feature maps, filters, the arithmetic of a value, what it confuses."""

from convscope.inspection.arithmetic import ChannelSum, ConvolutionValue, explain_convolution
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
from convscope.inspection.display import (
    OnOneScale,
    Scale,
    averaged,
    common_limit,
    min_max_image,
    on_one_scale,
    scale_of,
)
from convscope.inspection.explanation import Explanation, explain
from convscope.inspection.feature_maps import (
    FeatureMaps,
    feature_maps,
    last_of_each_size,
    layer_names,
)
from convscope.inspection.features import FeatureInfo, FeatureNetwork, features_only
from convscope.inspection.film import Film, feature_films, film_of, filter_films
from convscope.inspection.filters import FilterBank, filter_banks, filter_layers, filters
from convscope.inspection.shifts import ShiftConsistency, shift_consistency, shifted
from convscope.inspection.spectra import DownSampling, Spectra, Spectrum, down_samplings, spectrum
from convscope.inspection.summary import Summary, SummaryRow, summary

__all__ = [
    "Audit",
    "Calibration",
    "CalibrationBin",
    "ChannelSum",
    "ConfusionMatrix",
    "ConvolutionValue",
    "DownSampling",
    "Explanation",
    "FeatureInfo",
    "FeatureMaps",
    "FeatureNetwork",
    "Film",
    "FilterBank",
    "Finding",
    "Mistake",
    "OnOneScale",
    "Scale",
    "ShiftConsistency",
    "Spectra",
    "Spectrum",
    "Summary",
    "SummaryRow",
    "Unsure",
    "audit",
    "averaged",
    "calibration",
    "common_limit",
    "confusion_matrix",
    "down_samplings",
    "explain",
    "explain_convolution",
    "feature_films",
    "feature_maps",
    "features_only",
    "film_of",
    "filter_banks",
    "filter_films",
    "filter_layers",
    "filters",
    "last_of_each_size",
    "layer_names",
    "min_max_image",
    "mistakes",
    "most_unsure",
    "on_one_scale",
    "scale_of",
    "shift_consistency",
    "shifted",
    "spectrum",
    "summary",
]
