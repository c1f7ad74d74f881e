"""Receptive fields from the inputs to every tensor of a trace, record by record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from convscope.geometry import AxisField, TableField
from convscope.trace.fields import Fields, FieldState
from convscope.trace.record import Record, TensorFacts
from convscope.trace.rules import Call, rule_of

__all__ = ["pass_through", "propagate"]


def propagate(
    tensors: Sequence[TensorFacts],
    records: Sequence[Record],
    inputs: Sequence[int],
    kind: type[AxisField] | type[TableField],
) -> Fields:
    """Return what each tensor sees of the inputs."""
    tensors = list(tensors)
    states: dict[int, FieldState] = {}
    given = [tensors[number] for number in inputs]
    # The first axis of an image without batch axis is a channel, that of a signal with one too: which of the two
    # a tensor of three axes is, the first convolution tells.
    channel_axes = {(place, 1) for place, facts in enumerate(given) if len(facts.shape) == 3}
    fields = Fields(kind, states, channel_axes)
    for facts in tensors:
        if facts.producer is None:
            states[facts.index] = fields.blank(facts.shape)
    for place, facts in enumerate(given):
        ndim = len(facts.shape)
        axes = range(2, ndim) if ndim > 3 else range(1, ndim) if ndim == 3 else range(0)
        states[facts.index] = fields.identity(facts.shape, {axis: (place, axis) for axis in axes})
    for record in records:
        pass_through(record, tensors, fields)
    return fields


def pass_through(record: Record, tensors: list[TensorFacts], fields: Fields) -> None:
    """Work out what the outputs of one operator see, from what its inputs see."""
    fields.reason = record.name or record.operator
    states, rule = fields.states, rule_of(record.operator)
    read = [states[number] for number in dict.fromkeys(record.inputs)]
    seen = [state for state in read if state.sources]
    for number in record.outputs:
        states[number] = fields.blank(tensors[number].shape)
    if not seen or not record.outputs:
        return
    if rule is None or rule.field is None:
        for number in record.outputs:
            states[number] = fields.unknown(seen, tensors[number].shape)
        return
    fields.blurred = False
    made = rule.field(Call(record, tensors), fields)
    results = made if isinstance(made, list) else [made]
    if fields.blurred:
        results = [replace(state, unknown=(*state.unknown, fields.reason)) for state in results]
    states.update(zip(record.outputs, results, strict=False))
    for number in record.outputs[len(results) :]:
        # Statistics and indices beside the result: of the result's shape they see what it sees.
        same = tensors[number].shape == tensors[record.outputs[0]].shape
        states[number] = results[0] if same else fields.unknown(seen, tensors[number].shape)
