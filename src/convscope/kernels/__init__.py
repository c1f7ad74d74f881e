"""Native CPU kernels for what PyTorch leaves slow, and how far they are trusted on this machine."""

from convscope.kernels.cpu import Processor, processor
from convscope.kernels.depthwise import depthwise_conv2d
from convscope.kernels.grouped import grouped_conv2d
from convscope.kernels.library import Library, load
from convscope.kernels.registry import Case, Verdict, families, self_test, verdict
from convscope.kernels.stem import stem_conv2d

__all__ = [
    "Case",
    "Library",
    "Processor",
    "Verdict",
    "depthwise_conv2d",
    "families",
    "grouped_conv2d",
    "load",
    "processor",
    "self_test",
    "stem_conv2d",
    "verdict",
]
