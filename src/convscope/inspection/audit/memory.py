"""How much memory a pass needs, against a limit."""

from __future__ import annotations

from collections.abc import Iterator

from convscope.inspection.audit.finding import Advice, Finding, NotChecked
from convscope.inspection.audit.subject import Subject
from convscope.trace import Trace

__all__ = ["kept_bytes", "memory_peak"]

_REMEDY = "A smaller batch or image, bfloat16, or checkpointing (Chen et al., arXiv:1604.06174) for training."
_FORWARD = Advice(
    "memory-peak",
    "error",
    "Above its limit a process is stopped, or swaps; temporary memory inside operators comes on top.",
    _REMEDY,
)
_TRAINING = Advice(
    "memory-peak",
    "warning",
    "A pass forward fits and a step of training does not: it keeps every operator's result for the way back.",
    _REMEDY,
)


def kept_bytes(trace: Trace) -> int:
    """Return the bytes of the inputs and of all results, as a step of training keeps them; views are free."""
    made = (
        number
        for record in trace.records
        if not record.operator.endswith("_")
        and (not record.hidden or record.short_operator in ("clone", "_to_copy"))
        for number in record.outputs
    )
    return sum(trace.tensors[number].size_bytes for number in (*trace.inputs, *made))


def memory_peak(subject: Subject) -> Iterator[Finding]:
    """Find a need of memory above the limit, for a pass forward and for a step of training."""
    limit = subject.memory_limit
    if limit is None:
        raise NotChecked("needs a memory_limit")
    trace = subject.trace
    weights = sum(parameter.numel() * parameter.element_size() for parameter in trace.network.parameters())
    trained = sum(p.numel() * p.element_size() for p in trace.network.parameters() if p.requires_grad)
    weights += sum(buffer.numel() * buffer.element_size() for buffer in trace.network.buffers())
    forward = weights + trace.peak_bytes
    training = weights + trained + kept_bytes(trace)
    numbers: dict[str, int | float] = {
        "limit_bytes": limit,
        "weights_bytes": weights,
        "peak_bytes": trace.peak_bytes,
        "forward_bytes": forward,
        "training_bytes": training,
    }
    if max(forward, training) <= limit:
        return
    shape = trace.tensors[trace.inputs[0]].shape
    fact = (
        f"limit {_size(limit)}, batch {shape[0] if shape else 1}: forward {_size(forward)} ({_size(weights)} of "
        f"weights, {_size(trace.peak_bytes)} of activations at once); a step of training {_size(training)} and the "
        "optimiser's state"
    )
    yield (_FORWARD if forward > limit else _TRAINING).at("", fact, numbers)


def _size(count: int) -> str:
    """Return bytes in the unit that people read, powers of 1000."""
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count} bytes"
