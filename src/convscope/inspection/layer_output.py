"""Where the values of a layer are: which tensor of a trace, and which of its axes holds the filters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from convscope.errors import ShapeError, UsageError
from convscope.geometry import TableField, as_int
from convscope.trace import Trace

__all__ = ["LayerOutput"]


@dataclass(frozen=True, slots=True)
class LayerOutput:
    """The output of one layer for one image, axis by axis.

    Attributes:
        kind: class of the module; the operator's name where a function was named.
        module: whether the layer is a module; else it is an operator.
        owner: path of the module whose outputs a trace must keep to have these values.
        number: of the tensor in the trace.
        channel: the axis of the filters, counted with the batch axis.
        positions: lengths of the axes that are neither batch nor channels.
    """

    layer: str
    kind: str
    module: bool
    owner: str
    number: int
    channel: int
    num_channels: int
    positions: tuple[int, ...]

    @classmethod
    def of(cls, found: Trace, layer: str, call: str) -> LayerOutput:
        """Return where a layer's values are in the trace of one image.

        The filters' axis is the first behind the batch along which elements do not see different places of the
        image: axis 1 of (N, C, H, W), axis 3 where a network works channels-last.

        Raises:
            UnknownNameError: no such layer; the nearest names are told.
            UsageError: it has no batch axis or no further one, or sees no pixel of the image.
        Example:
            >>> from torch import nn
            >>> from convscope.trace import trace
            >>> LayerOutput.of(trace(nn.Conv2d(3, 8, 3), (1, 3, 9, 9)), "output", "here").positions
            (7, 7)
        """
        facts = found.tensor_of(layer, call)
        module = dict(found.network.named_modules(remove_duplicate=False)).get(layer)
        record = found.producer(facts.index)
        if len(facts.shape) < 2 or facts.shape[0] != 1 or record is None:
            raise UsageError(
                f"layer {layer!r} returns the shape {facts.shape} for one image; it must have a batch axis, then "
                "channels, (N, C, ...).",
                call=call,
            )
        state = found.fields(TableField).of(facts.index)
        if not state.sources and any(len(found.tensors[number].shape) > 2 for number in found.inputs):
            raise UsageError(f"layer {layer!r} sees no pixel of the image.", call=call)
        still = [
            axis for axis, dim in enumerate(state.dims) if axis and not any(factor.fields for factor in dim)
        ]
        channel = still[0] if still else 1
        return cls(
            layer,
            record.short_operator.strip("_") if module is None else type(module).__name__,
            module is not None,
            record.path if module is None else layer,
            facts.index,
            channel,
            facts.shape[channel],
            tuple(size for axis, size in enumerate(facts.shape) if axis not in (0, channel)),
        )

    def at(self, channel: int, position: int) -> tuple[int, ...]:
        """Return the index in the output, without the batch axis, of a flat position of a channel."""
        place: list[int] = []
        for size in reversed(self.positions):
            position, rest = divmod(position, size)
            place.append(rest)
        place.reverse()
        return self.index(channel, place)

    def index(self, channel: int, position: Sequence[int]) -> tuple[int, ...]:
        """Return the index in the output, without the batch axis, of a position of a channel."""
        place = list(position)
        place.insert(self.channel - 1, channel)
        return tuple(place)

    def check_channel(self, channel: int, call: str) -> int:
        """Return a channel if the layer has it.

        Raises:
            UsageError: it has not; those that it has are told.
        """
        try:
            number = as_int("channel", channel, at_least=0)
        except ShapeError as error:
            raise error.at(call) from error
        if number >= self.num_channels:
            raise UsageError(
                f"channel {number} is outside layer {self.layer!r}, which has {self.num_channels}: 0 to "
                f"{self.num_channels - 1}.",
                call=call,
            )
        return number
