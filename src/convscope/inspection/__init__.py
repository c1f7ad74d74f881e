"""What a network shows: feature maps, filters, the arithmetic of a value, what it confuses."""

from convscope.inspection.activation_maximisation import ExcitingInput, activation_maximisation
from convscope.inspection.arithmetic import ChannelSum, ConvolutionValue, explain_convolution
from convscope.inspection.attribution import Attribution
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
from convscope.inspection.display import (
    OnOneScale,
    Scale,
    averaged,
    common_limit,
    min_max_image,
    on_one_scale,
    scale_of,
)
from convscope.inspection.exciting_patches import (
    ExcitedFilter,
    ExcitingPatch,
    ExcitingPatches,
    exciting_patches,
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
from convscope.inspection.integrated_gradients import IntegratedGradients, integrated_gradients
from convscope.inspection.occlusion import Occlusion, occlusion
from convscope.inspection.preparation import PictureSet, known_preprocessing, normalisation_for, picture_of
from convscope.inspection.saliency import saliency
from convscope.inspection.shifts import ShiftConsistency, shift_consistency, shifted
from convscope.inspection.spectra import DownSampling, Spectra, Spectrum, down_samplings, spectrum
from convscope.inspection.summary import Summary, SummaryRow, summary

__all__ = [
    "ActivationMethod",
    "Attribution",
    "Audit",
    "Calibration",
    "CalibrationBin",
    "ChannelSum",
    "ClassActivation",
    "ConfusionMatrix",
    "ConvolutionValue",
    "DownSampling",
    "ExcitedFilter",
    "ExcitingInput",
    "ExcitingPatch",
    "ExcitingPatches",
    "Explanation",
    "FeatureInfo",
    "FeatureMaps",
    "FeatureNetwork",
    "Film",
    "FilterBank",
    "Finding",
    "IntegratedGradients",
    "Mistake",
    "Occlusion",
    "OnOneScale",
    "PictureSet",
    "ReceptiveCrop",
    "Scale",
    "SeenAxis",
    "SeenInput",
    "ShiftConsistency",
    "Spectra",
    "Spectrum",
    "Summary",
    "SummaryRow",
    "Unsure",
    "activation_maximisation",
    "audit",
    "averaged",
    "calibration",
    "class_activation",
    "common_limit",
    "confused",
    "confusion_matrix",
    "down_samplings",
    "exciting_patches",
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
    "integrated_gradients",
    "known_preprocessing",
    "last_of_each_size",
    "layer_names",
    "min_max_image",
    "mistakes",
    "most_unsure",
    "normalisation_for",
    "occlusion",
    "on_one_scale",
    "picture_of",
    "receptive_crop",
    "saliency",
    "scale_of",
    "seen_by",
    "shift_consistency",
    "shifted",
    "spectrum",
    "summary",
]
