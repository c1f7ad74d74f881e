"""Convolution, cross-correlation and autocorrelation, of arrays, tensors and sampled continuous signals.

Importing this package does not import torch.
"""

from convscope.signal.convolution import autocorrelate, convolve, correlate
from convscope.signal.cost import MethodCost, choose_method, method_cost
from convscope.signal.naming import WAVEFORMS, named_signals, slide_all
from convscope.signal.sampled import Sampled
from convscope.signal.slide import Slide, slide_autocorrelation, slide_convolution, slide_cross_correlation
from convscope.signal.waveforms import exponential_decay, gaussian, ramp, rect, triangle

__all__ = [
    "WAVEFORMS",
    "MethodCost",
    "Sampled",
    "Slide",
    "autocorrelate",
    "choose_method",
    "convolve",
    "correlate",
    "exponential_decay",
    "gaussian",
    "method_cost",
    "named_signals",
    "ramp",
    "rect",
    "slide_all",
    "slide_autocorrelation",
    "slide_convolution",
    "slide_cross_correlation",
    "triangle",
]
