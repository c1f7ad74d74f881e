"""Functional layers: torch's own functions where they are right, and what they lack."""

from convscope.ops.adaptive_pooling import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    global_avg_pool,
    global_max_pool,
)
from convscope.ops.blur_pooling import blur_pool1d, blur_pool2d, blur_pool3d
from convscope.ops.convolution import (
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)
from convscope.ops.deformable_convolution import deform_conv2d
from convscope.ops.losses import Reduction, multiclass_hinge_loss, softmax_cross_entropy
from convscope.ops.lp_pooling import lp_pool1d, lp_pool2d, lp_pool3d
from convscope.ops.padding import PADDING_MODES, PaddingMode, pad
from convscope.ops.pooling import (
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
)

__all__ = [
    "PADDING_MODES",
    "PaddingMode",
    "Reduction",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "blur_pool1d",
    "blur_pool2d",
    "blur_pool3d",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "deform_conv2d",
    "global_avg_pool",
    "global_max_pool",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "multiclass_hinge_loss",
    "pad",
    "softmax_cross_entropy",
]
