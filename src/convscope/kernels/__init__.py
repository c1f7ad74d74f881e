"""Native CPU kernels for what PyTorch leaves slow, and how far they are trusted on this machine."""

from convscope.kernels.allocation import apart, keep_memory
from convscope.kernels.batch_norm import batch_norm_act
from convscope.kernels.cases import PASSES, Case, Operands
from convscope.kernels.cpu import Processor, processor
from convscope.kernels.deformable import deformable_backward, deformable_forward
from convscope.kernels.depthwise import depthwise_conv2d
from convscope.kernels.gelu import gelu
from convscope.kernels.grouped import grouped_conv2d
from convscope.kernels.layer_norm import layer_norm_act
from convscope.kernels.layouts import channels_last
from convscope.kernels.library import Library, load
from convscope.kernels.max_pool import max_pool2d
from convscope.kernels.registry import Comparison, Verdict, families, native_for, self_test, verdict
from convscope.kernels.routes import Recording, choose, conv2d, recording
from convscope.kernels.scale import scale_maps
from convscope.kernels.stem import stem_conv2d
from convscope.kernels.tuning import Timing, time_routes, tune

__all__ = [
    "PASSES",
    "Case",
    "Comparison",
    "Library",
    "Operands",
    "Processor",
    "Recording",
    "Timing",
    "Verdict",
    "apart",
    "batch_norm_act",
    "channels_last",
    "choose",
    "conv2d",
    "deformable_backward",
    "deformable_forward",
    "depthwise_conv2d",
    "families",
    "gelu",
    "grouped_conv2d",
    "keep_memory",
    "layer_norm_act",
    "load",
    "max_pool2d",
    "native_for",
    "processor",
    "recording",
    "scale_maps",
    "self_test",
    "stem_conv2d",
    "time_routes",
    "tune",
    "verdict",
]
