"""Native CPU kernels for what PyTorch leaves slow, and how far they are trusted on this machine."""

from convscope.kernels.cpu import Processor, processor
from convscope.kernels.deformable import deformable_backward, deformable_forward
from convscope.kernels.depthwise import depthwise_conv2d
from convscope.kernels.library import Library, load
from convscope.kernels.registry import Case, Verdict, families, native_for, self_test, verdict

__all__ = [
    "Case",
    "Library",
    "Processor",
    "Verdict",
    "deformable_backward",
    "deformable_forward",
    "depthwise_conv2d",
    "families",
    "load",
    "native_for",
    "processor",
    "self_test",
    "verdict",
]
