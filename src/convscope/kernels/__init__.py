"""Native CPU kernels for what PyTorch leaves slow, and how far they are trusted on this machine."""

from convscope.kernels.batch_norm import batch_norm_act
from convscope.kernels.cpu import Processor, processor
from convscope.kernels.depthwise import depthwise_conv2d
from convscope.kernels.library import Library, load
from convscope.kernels.max_pool import max_pool2d
from convscope.kernels.registry import Case, Verdict, families, self_test, verdict

__all__ = [
    "Case",
    "Library",
    "Processor",
    "Verdict",
    "batch_norm_act",
    "depthwise_conv2d",
    "families",
    "load",
    "max_pool2d",
    "processor",
    "self_test",
    "verdict",
]
