"""Parameters that a loss does not reach: one pass forward and back, after which everything is as before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from convscope.inspection.audit.finding import Advice, Finding, NotChecked
from convscope.inspection.audit.memory import kept_bytes
from convscope.inspection.audit.subject import Subject
from convscope.trace import Record, Trace
from convscope.trace.engines import rebuilt, tensors_in
from convscope.trace.guard import unchanged
from convscope.trace.index import NetworkIndex

__all__ = ["missing_gradients"]

_MACS_AT_MOST = 10_000_000_000  # about a second forward and back on two cores
_BYTES_AT_MOST = 2**30  # of activations kept for the way back
# What passes no gradient on; comparisons and whole numbers show by their type.
_CUTS = ("detach", "argmax", "argmin", "sign", "sgn", "round", "floor", "ceil", "trunc", "floor_divide")

_FAILS = Advice(
    "no-gradient",
    "error",
    "No parameter can be trained.",
    "Change no tensor in place that the way back still needs.",
)
_NONE = Advice(
    "no-gradient",
    "warning",
    "As far as autograd can tell the outputs do not depend on it (detach, no_grad, argmax, comparisons, rounding): it "
    "stays as initialised.",
    "Take away what cuts the graph, or freeze the parameter to say that it is meant.",
)
_ZERO = Advice(
    "zero-gradient",
    "note",
    "A factor of zero lies behind it: units that are off, or a scale that begins at 0 and wakes up after the first "
    "step (Goyal et al., arXiv:1706.02677, section 5.1).",
    "Nothing, if a scale of 0 is meant; else look for dead units behind it.",
)


def missing_gradients(subject: Subject) -> Iterator[Finding]:
    """Find parameters that take part in the pass and get no gradient, or only zeros."""
    if subject.gradients is False:
        raise NotChecked("gradients were not asked for")
    trace = subject.trace
    if subject.gradients is None and (trace.macs > _MACS_AT_MOST or kept_bytes(trace) > _BYTES_AT_MOST):
        raise NotChecked(
            f"a pass back would cost {3 * trace.macs / 1e9:.0f} GMACs and {kept_bytes(trace) / 1e9:.1f} GB; "
            "ask for gradients, or give a smaller input"
        )
    unused = set(trace.unused_parameters)
    wanted = {
        name: parameter
        for name, parameter in trace.network.named_parameters()
        if parameter.requires_grad and name not in unused
    }
    if not wanted:
        return
    if any(parameter.is_meta for parameter in wanted.values()):
        raise NotChecked("the parameters have no values")
    try:
        gradients = _gradients(trace, list(wanted.values()))
    except _BackwardError as error:
        count = sum(parameter.numel() for parameter in wanted.values())
        yield _FAILS.at("", f"the pass back raises: {error}", {"num_params": count})
        return
    yield from _judged(subject, wanted, gradients)


def _judged(
    subject: Subject, wanted: dict[str, nn.Parameter], gradients: list[Tensor | None]
) -> Iterator[Finding]:
    none_at_all = all(gradient is None for gradient in gradients)
    for (name, parameter), gradient in zip(wanted.items(), gradients, strict=True):
        count = parameter.numel()
        if gradient is None:
            cuts = _cuts_behind(subject, name)
            because = f"; cut off by {', '.join(cuts[:2])}" if cuts else ""
            fact = f"its {count:,} elements are used and get no gradient{because}"
            yield _NONE.at(name, fact, {"num_params": count}, "error" if none_at_all else "warning")
        elif not gradient.any():
            zeros = _zeros_behind(subject, name, wanted)
            because = f"; behind it are zeros: {', '.join(zeros[:2])}" if zeros else ""
            fact = f"all its {count:,} elements get the gradient 0 at these weights, for this input{because}"
            yield _ZERO.at(name, fact, {"num_params": count})


class _BackwardError(Exception):
    pass


def _gradients(trace: Trace, parameters: list[nn.Parameter]) -> list[Tensor | None]:
    """Return the gradient of a random weighting of all outputs; None where there is no way to it."""
    generator = torch.Generator().manual_seed(0)
    index = NetworkIndex(trace.network)
    written = _written_parameters(trace)
    with unchanged(index, trace.mode) as copies, torch.inference_mode(False), torch.enable_grad():
        given = _filled(trace.arguments, parameters[0].device, generator)
        before = [
            (parameter, parameter.detach().clone())
            for name, parameter in index.parameters.items()
            if name in written
        ]
        before += [(buffer, buffer.detach().clone()) for buffer in index.buffers.values()]
        try:
            return _passed(trace.network, given, parameters, generator)
        finally:
            copies.update((id(pair[0]), pair) for pair in before if not torch.equal(*pair))


def _passed(
    network: nn.Module, given: Any, parameters: list[nn.Parameter], generator: torch.Generator
) -> list[Tensor | None]:
    try:
        result = network(*given[0], **given[1])
    except Exception as error:  # whatever a network raises on such an input
        raise NotChecked(f"the pass on random values raises: {_shortened(error)}") from error
    outputs = [tensor for tensor in _outputs(result) if tensor.requires_grad]
    if not outputs:
        return [None] * len(parameters)
    weights = [torch.randn(tensor.shape, generator=generator).to(tensor) for tensor in outputs]
    try:
        return list(torch.autograd.grad(outputs, parameters, weights, allow_unused=True))
    except Exception as error:  # autograd's own errors and those of the network's functions
        raise _BackwardError(_shortened(error)) from error


def _filled(value: Any, device: torch.device, generator: torch.Generator) -> Any:
    """Return the arguments of the trace with random values for shapes, and copies of tensors."""
    if isinstance(value, Tensor):
        if not value.is_meta:
            return value.detach().clone()
        if value.is_floating_point():
            return torch.randn(value.shape, generator=generator).to(device, value.dtype)
        return torch.zeros(value.shape, dtype=value.dtype, device=device)
    if isinstance(value, dict):
        return {key: _filled(entry, device, generator) for key, entry in value.items()}
    if isinstance(value, (tuple, list)):
        return rebuilt(value, [_filled(entry, device, generator) for entry in value])
    return value


def _outputs(result: Any) -> list[Tensor]:
    found = tensors_in(dict(result.items()) if hasattr(result, "items") else result)
    return found or tensors_in(vars(result) if hasattr(result, "__dict__") else result)


def _written_parameters(trace: Trace) -> set[str]:
    """Return the parameters that the pass itself changes."""
    return {name for record in trace.records if record.operator.endswith("_") for name in record.parameters}


def _cuts_behind(subject: Subject, name: str) -> list[str]:
    """Return the operators at which the ways from a parameter to the outputs end."""
    return sorted({record.name for record in _behind(subject, name) if _cuts(subject, record)})


def _zeros_behind(subject: Subject, name: str, parameters: dict[str, nn.Parameter]) -> list[str]:
    """Return the factors on the ways to the outputs that are all zero; biases and tokens may well be."""
    read = {other for record in _behind(subject, name) for other in record.parameters} - {name}
    return [
        other
        for other in sorted(read & set(parameters))
        if other.endswith(("weight", "gamma", "scale")) and not parameters[other].any()
    ]


def _behind(subject: Subject, name: str) -> list[Record]:
    """Return the operators that a parameter reaches, up to where a way is cut."""
    trace = subject.trace
    waiting = [record.index for record in trace.records if name in record.parameters]
    met = set(waiting)
    while waiting:
        record = trace.records[waiting.pop()]
        if not _cuts(subject, record):
            readers = {index for number in record.outputs for index in trace.consumers.get(number, ())}
            waiting += readers - met
            met |= readers
    return [trace.records[index] for index in sorted(met)]


def _cuts(subject: Subject, record: Record) -> bool:
    kinds = [subject.trace.tensors[number].dtype for number in record.outputs]
    return record.short_operator in _CUTS or not any(
        kind.is_floating_point or kind.is_complex for kind in kinds
    )


def _shortened(error: Exception) -> str:
    message = " ".join(str(error).split()) or type(error).__name__
    return message if len(message) <= 200 else message[:197] + "..."
