"""Parameters in the wrong place: too many in one layer, cancelled, unused, shared, frozen."""

from __future__ import annotations

from collections.abc import Iterator

from convscope.inspection.audit.finding import Advice, Finding, NotChecked
from convscope.inspection.audit.subject import Subject, family_of
from convscope.trace import Record

__all__ = [
    "bias_before_norm",
    "dense_concentration",
    "frozen_parameters",
    "tied_parameters",
    "unused_parameters",
]

_MOST = 0.5  # share of all parameters from which one dense layer is told

_DENSE = Advice(
    "dense-concentration",
    "warning",
    "Most of what is learned, stored and sent sits in one dense layer, which is tied to one input size and prone "
    "to overfitting (Lin et al., Network in Network, arXiv:1312.4400, section 3.2).",
    "Average-pool the last maps over all positions before the dense layer.",
)
_BIAS = Advice(
    "bias-before-norm",
    "note",
    "Batch norm subtracts the mean of each channel, and the bias with it; its own shift takes over (Ioffe & "
    "Szegedy, arXiv:1502.03167, section 3.2).",
    "Build the layer with bias=False.",
)
_UNUSED = Advice(
    "unused-parameters",
    "warning",
    "It is stored, loaded and counted, and takes no part in this pass; training leaves it as it is. Branches for "
    "training only are unused in evaluation mode.",
    "Delete the layer, or use it.",
)
_TIED = Advice(
    "tied-parameters",
    "note",
    "Several names hold one parameter: it gets the sum of their gradients, and some tools count it several times.",
    "Nothing, if it is meant.",
)
_FROZEN = Advice(
    "frozen-parameters",
    "note",
    "It keeps its value, whatever the loss.",
    "Nothing, if it is meant; else requires_grad_(True).",
)


def dense_concentration(subject: Subject) -> Iterator[Finding]:
    """Find a dense layer that holds more than half of a convolutional network's parameters."""
    if not subject.convolutions:
        raise NotChecked("no convolution")
    sizes, total = subject.trace.parameter_names, subject.trace.num_params
    for record in subject.records:
        held = sum(sizes[name] for name in record.parameters)
        if held <= _MOST * total or not _is_dense(subject, record):
            continue
        macs = record.macs / max(subject.trace.macs, 1)
        yield _DENSE.at(
            record.name,
            f"holds {held:,} of {total:,} parameters ({held / total:.0%}) and {macs:.1%} of the MACs",
            {"num_params": held, "total_params": total, "params_share": held / total, "macs_share": macs},
        )


def _is_dense(subject: Subject, record: Record) -> bool:
    """Tell whether every output reads a whole map: a matrix product, or a kernel as large as its map."""
    if family_of(record) == "dense":
        return True
    for reading in subject.convolutions:
        if reading.record is record and reading.taps > 1:
            return reading.sizes == tuple(window.kernel_size for window in reading.windows)
    return False


def bias_before_norm(subject: Subject) -> Iterator[Finding]:
    """Find biases that the batch norm behind them subtracts again."""
    returned = {record.index for record in subject.last}
    for bias, (record, norm) in _subtracted(subject, returned).items():
        count = subject.trace.parameter_names[bias]
        fact = f"{count:,} parameters, {bias}, subtracted again by {norm.name}"
        yield _BIAS.at(record.name, fact, {"num_params": count})


def _subtracted(subject: Subject, returned: set[int]) -> dict[str, tuple[Record, Record]]:
    """Return the biases that a batch norm subtracts wherever they are added, with the first such place."""
    found: dict[str, tuple[Record, Record]] = {}
    kept: set[str] = set()
    for call in subject.calls("convolution", "dense"):
        record = call.record
        # Of a product with a sum, `self` is what is added.
        added = "bias" if family_of(record) == "convolution" else "self" if "mat1" in record.arguments else ""
        bias = subject.parameter(call, added)
        readers = subject.readers(record)
        if bias is None:
            continue
        if len(readers) == 1 and record.index not in returned and "batch_norm" in readers[0].operator:
            found.setdefault(bias, (record, readers[0]))
        else:
            kept.add(bias)
    return {bias: places for bias, places in found.items() if bias not in kept}


def unused_parameters(subject: Subject) -> Iterator[Finding]:
    """Find parameters that no operator read."""
    sizes = subject.trace.parameter_names
    for name in subject.trace.unused_parameters:
        yield _UNUSED.at(name, f"no operator reads its {sizes[name]:,} elements", {"num_params": sizes[name]})


def tied_parameters(subject: Subject) -> Iterator[Finding]:
    """Find parameters that are registered under several names."""
    names: dict[int, list[str]] = {}
    for name, parameter in subject.network.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    sizes = subject.trace.parameter_names
    for first, *others in names.values():
        if others:
            fact = f"is also {', '.join(others)}: {sizes[first]:,} elements, counted once"
            yield _TIED.at(first, fact, {"num_params": sizes[first], "names": 1 + len(others)})


def frozen_parameters(subject: Subject) -> Iterator[Finding]:
    """Find parameters that are not to be trained."""
    for name, parameter in subject.network.named_parameters():
        if not parameter.requires_grad:
            count = parameter.numel()
            yield _FROZEN.at(name, f"{count:,} elements with requires_grad=False", {"num_params": count})
