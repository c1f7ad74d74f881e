"""Native CPU kernels for what PyTorch leaves slow, and how far they are trusted on this machine."""

from convscope.kernels.batch_norm import batch_norm_act
from convscope.kernels.cases import PASSES, Operands
from convscope.kernels.cpu import Processor, processor
from convscope.kernels.depthwise import depthwise_conv2d
from convscope.kernels.layouts import channels_last
from convscope.kernels.library import Library, load
from convscope.kernels.registry import Case, Verdict, families, self_test, verdict
from convscope.kernels.routes import Recording, conv2d, recording
from convscope.kernels.tuning import Timing, time_routes, tune

__all__ = [
    "batch_norm_act",
    "PASSES",
    "Case",
    "Library",
    "Operands",
    "Processor",
    "Recording",
    "Timing",
    "Verdict",
    "channels_last",
    "conv2d",
    "depthwise_conv2d",
    "families",
    "load",
    "processor",
    "recording",
    "self_test",
    "time_routes",
    "tune",
    "verdict",
]
