"""Layers: torch's modules with what they lack. Each calls its function in `convscope.ops`."""

from convscope.nn.convolution import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
)
from convscope.nn.deformable_convolution import DeformableConv2d, DeformConv2d
from convscope.nn.global_pooling import (
    GlobalAvgPool1d,
    GlobalAvgPool2d,
    GlobalAvgPool3d,
    GlobalMaxPool1d,
    GlobalMaxPool2d,
    GlobalMaxPool3d,
)
from convscope.nn.heads import FlattenHead, GlobalAveragePoolHead
from convscope.nn.pooling import (
    AvgPool1d,
    AvgPool2d,
    AvgPool3d,
    BlurPool1d,
    BlurPool2d,
    BlurPool3d,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
)
from convscope.nn.stochastic_depth import StochasticDepth

__all__ = [
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "BlurPool1d",
    "BlurPool2d",
    "BlurPool3d",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "DeformConv2d",
    "DeformableConv2d",
    "FlattenHead",
    "GlobalAveragePoolHead",
    "GlobalAvgPool1d",
    "GlobalAvgPool2d",
    "GlobalAvgPool3d",
    "GlobalMaxPool1d",
    "GlobalMaxPool2d",
    "GlobalMaxPool3d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "StochasticDepth",
]
