"""All checks, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn

from convscope.errors import ShapeError, UsageError
from convscope.geometry import as_int
from convscope.inspection.audit.fields import shrunk_maps, small_receptive_field, unproductive_layers
from convscope.inspection.audit.finding import SEVERITIES, Finding, NotChecked
from convscope.inspection.audit.gradients import missing_gradients
from convscope.inspection.audit.memory import memory_peak
from convscope.inspection.audit.parameters import (
    bias_before_norm,
    dense_concentration,
    frozen_parameters,
    tied_parameters,
    unused_parameters,
)
from convscope.inspection.audit.refusal import finding_of, is_refusal
from convscope.inspection.audit.result import Audit
from convscope.inspection.audit.speed import not_counted, odd_channels, slow_operators
from convscope.inspection.audit.subject import Subject
from convscope.inspection.audit.values import dead_units, saturated_activations
from convscope.inspection.audit.windows import (
    aliasing,
    checkerboard,
    dropped_pixels,
    kernel_wider_than_input,
    mostly_padding,
)
from convscope.trace import Trace, trace
from convscope.trace.guard import Mode

__all__ = ["CHECKS", "audit"]

# The kinds that a check finds, and the check; told in this order.
CHECKS: tuple[tuple[tuple[str, ...], Callable[[Subject], Iterable[Finding]]], ...] = (
    (("input-too-small",), shrunk_maps),
    (("dropped-pixels",), dropped_pixels),
    (("small-receptive-field",), small_receptive_field),
    (("unproductive-layers",), unproductive_layers),
    (("aliasing",), aliasing),
    (("checkerboard",), checkerboard),
    (("kernel-wider-than-input",), kernel_wider_than_input),
    (("mostly-padding",), mostly_padding),
    (("dense-concentration",), dense_concentration),
    (("bias-before-norm",), bias_before_norm),
    (("unused-parameters",), unused_parameters),
    (("tied-parameters",), tied_parameters),
    (("frozen-parameters",), frozen_parameters),
    (("no-gradient", "zero-gradient"), missing_gradients),
    (("dead-units",), dead_units),
    (("saturated-activations",), saturated_activations),
    (("odd-channels",), odd_channels),
    (("slow-operator",), slow_operators),
    (("memory-peak",), memory_peak),
    (("not-counted",), not_counted),
)


def audit(
    network: nn.Module,
    input: Any,
    *,
    object_size: int | None = None,
    memory_limit: int | None = None,
    values: bool | None = None,
    gradients: bool | None = None,
    mode: Mode = "same",
) -> Audit:
    """Look for what is odd about an architecture on an input, before hours are spent on it.

    Nothing is trained. The network, its gradients, buffers, modes and hooks and torch's random state are as
    before afterwards; hooks that the network brings along run, as in any pass.

    Args:
        input: what `trace` takes: a shape, a tensor, a tuple or dict of them; or a trace of this network.
        object_size: pixels of the smallest thing that is to be recognised: the last map's receptive field is
            compared with it, without it with half of a classifier's input.
        memory_limit: bytes that a pass may take.
        values: look at activations (dead units, saturation): by default where a tensor was given.
        gradients: run once forward and back, on random values for a shape: by default where that is quick.
        mode: audit the network in `train` or `eval` mode, or in the one that it is in.
    Raises:
        UsageError: no module, no input, a trace of another network, `values` of a shape. A network that cannot
            take the input is no error but a finding.
    Cost:
        A trace; for gradients a pass forward and back; for values two more that keep activations.
    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 16, 1, stride=2), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1))
        >>> found = audit(net, (1, 3, 32, 32)).of("warning")
        >>> [(finding.kind, finding.place, finding.fact) for finding in found]
        [('dropped-pixels', '0', 'no window reads 75.0% of its 32 x 32 map: 16 along height, 16 along width')]
    """
    try:
        for name, given in (("object_size", object_size), ("memory_limit", memory_limit)):
            if given is not None:
                as_int(name, given, at_least=1)
    except UsageError as error:
        raise error.at("audit") from error
    if isinstance(input, Trace):
        if input.network is not network:
            raise UsageError(
                "the trace is of another network; give the network that was traced.", call="audit"
            )
        if mode not in ("same", input.mode):
            raise UsageError(f"the trace was made in mode {input.mode!r}; leave `mode` out.", call="audit")
        found = input
    else:
        try:
            found = trace(network, input, mode=mode)
        except ShapeError as error:
            if not is_refusal(error):
                raise error.at("audit") from error
            return _refused(network, input, error)
        except UsageError as error:
            raise error.at("audit") from error
    if values and not found.has_values:
        raise UsageError("values were asked for and the input is a shape; give a tensor.", call="audit")
    return _audited(Subject(found, object_size, memory_limit, values, gradients))


def _audited(subject: Subject) -> Audit:
    findings: list[Finding] = []
    checked: list[str] = []
    skipped: dict[str, str] = {}
    for kinds, check in CHECKS:
        try:
            findings += check(subject)
        except NotChecked as reason:
            skipped |= dict.fromkeys(kinds, str(reason))
        else:
            checked += kinds
    checked.append("input-refused")  # the network ran
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return Audit(_title(subject.trace), tuple(findings), tuple(checked), skipped, subject.trace)


def _title(found: Trace) -> str:
    shapes = ", ".join("x".join(map(str, found.tensors[number].shape)) for number in found.inputs)
    return f"{type(found.network).__name__} on {shapes}"


def _refused(network: nn.Module, input: Any, error: ShapeError) -> Audit:
    shape = getattr(input, "shape", input)
    plain = isinstance(shape, (tuple, list)) and all(isinstance(length, int) for length in shape)
    finding = finding_of(error, tuple(shape) if plain else None)
    kinds = [kind for group, _ in CHECKS for kind in group if kind != "input-too-small"]
    title = f"{type(network).__name__} on {'x'.join(map(str, shape)) if plain else 'these inputs'}"
    skipped = dict.fromkeys(kinds, "the network did not run")
    return Audit(title, (finding,), ("input-too-small", "input-refused"), skipped)
