"""What a layer costs: parameters, multiply-accumulates and bytes, each with its derivation.

One MAC is one multiplication and one addition, 2 FLOPs. Biases are parameters but no MACs: the convention of
torch's FlopCounterMode (which counts FLOPs) and of torchvision's published figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import prod

from convscope.errors import ShapeError
from convscope.geometry.derivation import Derivation
from convscope.geometry.integers import as_int
from convscope.geometry.transposed import TransposedWindow
from convscope.geometry.windows import Windows

__all__ = [
    "LayerCost",
    "check_groups",
    "conv_cost",
    "conv_macs",
    "conv_weight_shape",
    "dense_cost",
    "matmul_macs",
]


@dataclass(frozen=True, slots=True)
class LayerCost:
    """What one layer holds, computes and moves for one call.

    `input_bytes`, `weight_bytes` (with the bias) and `output_bytes` count each element once: the traffic that no
    implementation can avoid.
    """

    num_params: int
    macs: int
    input_bytes: int
    weight_bytes: int
    output_bytes: int
    output_shape: tuple[int, ...]
    params_derivation: Derivation
    macs_derivation: Derivation
    bytes_derivation: Derivation

    @property
    def derivations(self) -> tuple[Derivation, Derivation, Derivation]:
        """Return the derivations of the parameters, the MACs and the bytes."""
        return self.params_derivation, self.macs_derivation, self.bytes_derivation

    def to_dict(self) -> dict[str, object]:
        """Return the cost as plain values for JSON."""
        facts = {key: value for key, value in asdict(self).items() if not key.endswith("_derivation")}
        facts["output_shape"] = list(self.output_shape)
        facts["derivations"] = [derivation.to_dict() for derivation in self.derivations]
        return facts


def check_groups(in_channels: int, out_channels: int, groups: int) -> None:
    """Raise ShapeError unless `groups` divides both channel counts.

    Example:
        >>> check_groups(6, 8, 4)
        Traceback (most recent call last):
        convscope.errors.ShapeError: groups is 4; it must divide in_channels 6 and out_channels 8. Both allow 1 or 2.
    """
    in_channels = as_int("in_channels", in_channels, at_least=1)
    out_channels = as_int("out_channels", out_channels, at_least=1)
    groups = as_int("groups", groups, at_least=1)
    if in_channels % groups or out_channels % groups:
        fits = [str(n) for n in range(1, in_channels + 1) if in_channels % n == 0 and out_channels % n == 0]
        allowed = " or ".join([", ".join(fits[:-1]), fits[-1]] if len(fits) > 1 else fits)
        raise ShapeError(
            f"groups is {groups}; it must divide in_channels {in_channels} and out_channels {out_channels}. "
            f"Both allow {allowed}."
        )


def conv_weight_shape(
    in_channels: int,
    out_channels: int,
    kernel_size: Sequence[int],
    groups: int = 1,
    *,
    transposed: bool = False,
) -> tuple[int, ...]:
    """Return the shape of a convolution's weight, (C_out, C_in/groups, *K), or transposed (C_in, C_out/groups, *K).

    Example:
        >>> conv_weight_shape(32, 64, (3, 3), groups=32)
        (64, 1, 3, 3)
    """
    check_groups(in_channels, out_channels, groups)
    if transposed:
        return (in_channels, out_channels // groups, *kernel_size)
    return (out_channels, in_channels // groups, *kernel_size)


def conv_macs(batch_size: int, places: Sequence[int], weight_shape: Sequence[int]) -> int:
    """Return the MACs of a convolution that spends its whole weight once on each place of each image.

    Places are output positions; of a transposed convolution input positions. Taps in the padding count.

    Example:
        >>> conv_macs(1, (112, 112), (64, 3, 7, 7))
        118013952
    """
    return batch_size * prod(places) * prod(weight_shape)


def matmul_macs(rows: int, inner: int, columns: int, batch_size: int = 1) -> int:
    """Return the MACs of `batch_size` products of a (rows, inner) and an (inner, columns) matrix.

    Example:
        >>> matmul_macs(1, 3072, 512)
        1572864
    """
    return batch_size * rows * inner * columns


def conv_cost(
    in_channels: int,
    out_channels: int,
    windows: Windows,
    input_size: Sequence[int],
    groups: int = 1,
    bias: bool = True,
    *,
    batch_size: int = 1,
    element_bytes: int = 4,
) -> LayerCost:
    """Return the parameters, MACs and bytes of a convolution, or of a transposed one if `windows` are.

    Every tap counts, also those that read padding, as all published figures do.

    Args:
        input_size: pixels along each axis of `windows`.
        element_bytes: bytes of one number; 4 for float32.
    Raises:
        ShapeError: groups that do not divide the channels; a kernel that does not fit.
    Example:
        >>> cost = conv_cost(3, 64, Windows.of(2, 7, stride=2, padding=3), (224, 224), bias=False)
        >>> cost.num_params, cost.macs
        (9408, 118013952)
        >>> print(cost.params_derivation)
        num_params = kernel * (in_channels/groups) * out_channels
                   = 7*7 * (3/1) * 64
                   = 9408
    """
    transposed = isinstance(windows.axes[0], TransposedWindow)
    weight_shape = conv_weight_shape(
        in_channels, out_channels, windows.kernel_size, groups, transposed=transposed
    )
    sizes = tuple(input_size)
    outputs = windows.output_size(sizes)
    batch_size = as_int("batch_size", batch_size, at_least=0)
    weights = prod(weight_shape)
    num_params = weights + (out_channels if bias else 0)

    kernel = "*".join(map(str, windows.kernel_size))
    more = f" + {out_channels}" if bias else ""
    params = Derivation(
        "num_params",
        (
            "kernel * (in_channels/groups) * out_channels" + (" + out_channels" if bias else ""),
            f"{kernel} * ({in_channels}/{groups}) * {out_channels}{more}",
            str(num_params),
        ),
        num_params,
    )

    # A convolution spends a kernel on each output; a transposed one spends it on each input.
    places = sizes if transposed else outputs
    macs = conv_macs(batch_size, places, weight_shape)
    spread = "*".join(map(str, places))
    macs_derivation = Derivation(
        "macs",
        (
            f"batch * {'input' if transposed else 'output'} pixels"
            " * kernel * (in_channels/groups) * out_channels",
            f"{batch_size} * {spread} * {kernel} * ({in_channels}/{groups}) * {out_channels}",
            str(macs),
        ),
        macs,
    )
    input_shape = (batch_size, in_channels, *sizes)
    return _with_bytes(
        input_shape,
        num_params,
        (batch_size, out_channels, *outputs),
        macs,
        params,
        macs_derivation,
        element_bytes,
    )


def dense_cost(
    in_features: int, out_features: int, bias: bool = True, *, batch_size: int = 1, element_bytes: int = 4
) -> LayerCost:
    """Return the parameters, MACs and bytes of a fully connected layer.

    Example:
        >>> cost = dense_cost(3072, 512)
        >>> cost.num_params, cost.macs
        (1573376, 1572864)
    """
    in_features = as_int("in_features", in_features, at_least=1)
    out_features = as_int("out_features", out_features, at_least=1)
    batch_size = as_int("batch_size", batch_size, at_least=0)
    num_params = in_features * out_features + (out_features if bias else 0)
    params = Derivation(
        "num_params",
        (
            "in_features * out_features" + (" + out_features" if bias else ""),
            f"{in_features} * {out_features}" + (f" + {out_features}" if bias else ""),
            str(num_params),
        ),
        num_params,
    )
    macs = matmul_macs(batch_size, in_features, out_features)
    macs_derivation = Derivation(
        "macs",
        ("batch * in_features * out_features", f"{batch_size} * {in_features} * {out_features}", str(macs)),
        macs,
    )
    return _with_bytes(
        (batch_size, in_features),
        num_params,
        (batch_size, out_features),
        macs,
        params,
        macs_derivation,
        element_bytes,
    )


def _with_bytes(
    input_shape: tuple[int, ...],
    num_params: int,
    output_shape: tuple[int, ...],
    macs: int,
    params_derivation: Derivation,
    macs_derivation: Derivation,
    element_bytes: int,
) -> LayerCost:
    element_bytes = as_int("element_bytes", element_bytes, at_least=1)
    inputs, outputs = prod(input_shape), prod(output_shape)
    total = element_bytes * (inputs + num_params + outputs)
    moved = Derivation(
        "bytes",
        (
            "element_bytes * (input + parameters + output)",
            f"{element_bytes} * ({inputs} + {num_params} + {outputs})",
            str(total),
        ),
        total,
    )
    return LayerCost(
        num_params=num_params,
        macs=macs,
        input_bytes=element_bytes * inputs,
        weight_bytes=element_bytes * num_params,
        output_bytes=element_bytes * outputs,
        output_shape=output_shape,
        params_derivation=params_derivation,
        macs_derivation=macs_derivation,
        bytes_derivation=moved,
    )
