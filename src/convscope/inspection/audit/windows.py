"""What windows leave unread, fold, write unevenly, or read beyond the border."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import prod
from typing import cast

from convscope.geometry import Reads, TransposedWindow, Window
from convscope.inspection.audit.finding import Advice, Finding
from convscope.inspection.audit.subject import Subject, family_of
from convscope.trace import Record
from convscope.trace.rules.convolution import convolution_windows

__all__ = ["aliasing", "checkerboard", "dropped_pixels", "kernel_wider_than_input", "mostly_padding"]

_SERIOUS_LOSS = 0.1  # share of a map that is read by no window from which it is a warning
_PADDED_SHARE = 1 / 3  # share of outputs that mostly see padding from which it is told

_BETWEEN = Advice(
    "dropped-pixels",
    "warning",
    "The kernel is narrower than the stride: the pixels between its windows enter no output, and what is left is "
    "subsampled without low-pass (He et al., Bag of Tricks, arXiv:1812.01187, section 4).",
    "Average-pool with the stride first and convolve with stride 1 (ResNet-D), or take a kernel at least as "
    "wide as the stride.",
)
_BEHIND = Advice(
    "dropped-pixels",
    "warning",
    "The stride does not divide the room that the kernel leaves: the last pixels enter no output, always at the "
    "same border (Alsallakh et al., Mind the Pad, arXiv:2010.02178).",
    "Choose an input size that the strides divide, pad the end, or let pooling use ceil_mode.",
)
_WIDE = Advice(
    "kernel-wider-than-input",
    "warning",
    "The dilated kernel spans more than the map, so these taps read padding in every window: the kernel shrinks "
    "towards its centre (Chen et al., DeepLabv3, arXiv:1706.05587, section 3.3), and such weights are never trained.",
    "Lower the dilation or the kernel, subsample less before it, or give a larger input.",
)
_PADDING = Advice(
    "mostly-padding",
    "warning",
    "What these outputs say depends on where the border is more than on the image; networks learn to use that "
    "(Islam et al., arXiv:2001.08248).",
    "Give a larger input, subsample less before it, or take a smaller kernel.",
)
_ALIASING = Advice(
    "aliasing",
    "note",
    "Without a low-pass before the stride fine patterns fold into coarse ones, and the outputs change when the "
    "image moves by a pixel (Zhang, arXiv:1904.11486).",
    "Where shifts matter: blur before the stride (convscope.nn.BlurPool2d), or average-pool.",
)
_CHECKERBOARD = Advice(
    "checkerboard",
    "warning",
    "Neighbouring outputs get unequal numbers of products, which shows as a checkerboard (Odena et al., "
    "Distill 2016).",
    "Make the kernel a multiple of the stride (4 for 2), or upsample by interpolation and convolve.",
)


def dropped_pixels(subject: Subject) -> Iterator[Finding]:
    """Find pixels of a map that no window reads."""
    for reading in subject.readings:
        axes = [
            (window, size, len(window.unread_pixels(size)))
            for window, size in zip(reading.windows, reading.sizes, strict=True)
        ]
        lost = [entry for entry in axes if entry[2]]
        if not lost:
            continue
        share = 1 - prod((size - count) / size for _, size, count in axes)
        between = any(w.span < w.stride or count > w.dropped_pixels(size) for w, size, count in lost)
        if between and _smoothed(subject, reading.record):
            continue  # what is left out was averaged into its neighbours
        others = [record.name for record in subject.other_readers(reading.record)]
        numbers: dict[str, int | float] = {"unread_share": share, "other_readers": len(others)}
        for window, size, count in axes:
            numbers |= {window.axis: size, f"unread_{window.axis}": count}
        told = ", ".join(f"{count} along {window.axis}" for window, _, count in lost)
        fact = f"no window reads {share:.1%} of its {reading.map_text} map: {told}"
        if others:
            fact += f"; {others[0]} reads it too"
        severe = between or share > _SERIOUS_LOSS
        yield (_BETWEEN if between else _BEHIND).at(
            reading.name, fact, numbers, "warning" if severe else "note"
        )


def kernel_wider_than_input(subject: Subject) -> Iterator[Finding]:
    """Find kernels that span more than the map, so that some taps never read a pixel."""
    for reading in subject.convolutions:
        axes = list(zip(reading.windows, reading.sizes, strict=True))
        wide = [(window, size) for window, size in axes if window.span > size]
        if not wide or reading.is_point or not reading.dead_taps:
            continue  # a map of one pixel is told as such
        numbers: dict[str, int | float] = {"taps": reading.taps, "dead_taps": reading.dead_taps}
        for window, size in axes:
            numbers |= {window.axis: size, f"span_{window.axis}": window.span}
        told = ", ".join(f"{window.span} over {size} along {window.axis}" for window, size in wide)
        fact = f"spans {told}: {reading.dead_taps} of {reading.taps} taps never read a pixel"
        yield _WIDE.at(reading.name, fact, numbers)


def mostly_padding(subject: Subject) -> Iterator[Finding]:
    """Find operators many of whose outputs read more padding than map."""
    for reading in subject.readings:
        if reading.taps == 1 or reading.is_point:
            continue
        inside = Counter({1: 1})  # pixels that an output reads: how many outputs read so many
        for window, size in zip(reading.windows, reading.sizes, strict=True):
            inside = _products(inside, _taps_inside(window, size))
        outputs = sum(inside.values())
        padded = sum(count for pixels, count in inside.items() if 2 * pixels < reading.taps)
        share = padded / outputs
        if share <= _PADDED_SHARE:
            continue
        kernel = " x ".join(str(window.kernel_size) for window in reading.windows)
        widest = max(window.dilation for window in reading.windows)
        dilated = f" of dilation {widest}" if widest > 1 else ""
        yield _PADDING.at(
            reading.name,
            f"{padded} of {outputs} outputs ({share:.0%}): {kernel} kernel{dilated} on a {reading.map_text} map",
            {"outputs": outputs, "padded_outputs": padded, "padded_share": share},
            "warning" if share > 0.5 else "note",
        )


def _taps_inside(window: Window, size: int) -> Counter[int]:
    reads = Reads.of(window, size)
    return Counter(len(reads.inside(output, size)) for output in range(window.output_size(size)))


def _products(first: Counter[int], second: Counter[int]) -> Counter[int]:
    found: Counter[int] = Counter()
    for a, many in first.items():
        for b, times in second.items():
            found[a * b] += many * times
    return found


def aliasing(subject: Subject) -> Iterator[Finding]:
    """Find strides without a low-pass before them."""
    for reading in subject.readings:
        strided = [window for window in reading.windows if window.stride > 1]
        if not strided or _low_pass(subject, reading.record):
            continue
        if any(window.span < window.stride for window in strided):
            continue  # told as dropped pixels, with the same remedy
        if _smoothed(subject, reading.record):
            continue
        operator = "convolution" if reading.is_convolution else "max pooling"
        stride = " x ".join(str(window.stride) for window in reading.windows)
        yield _ALIASING.at(
            reading.name,
            f"{operator} with stride {stride} on a {reading.map_text} map",
            {f"stride_{window.axis}": window.stride for window in reading.windows},
        )


def _smoothed(subject: Subject, record: Record) -> bool:
    """Tell whether the map that an operator reads was averaged just before, padding passed over."""
    found = subject.sources(record)
    while found and all("pad" in entry.operator and family_of(entry) == "move" for entry in found):
        found = [source for entry in found for source in subject.sources(entry)]
    return any(_low_pass(subject, entry) for entry in found)


def _low_pass(subject: Subject, record: Record) -> bool:
    """Tell whether an operator averages: mean pooling, or a fixed depthwise kernel of no negative weight."""
    if family_of(record) == "pooling":
        return "avg_pool" in record.operator
    if family_of(record) != "convolution" or "deform" in record.operator:
        return False
    call = subject.call(record)
    weight = call.facts("weight")
    if weight.shape[1] != 1 or call["transposed"] or subject.depends_on_parameters(weight.index):
        return False
    buffer = dict(subject.network.named_buffers()).get(weight.name) if weight.kind == "buffer" else None
    return buffer is None or buffer.is_meta or bool((buffer >= 0).all())


def checkerboard(subject: Subject) -> Iterator[Finding]:
    """Find transposed convolutions whose neighbouring outputs get unequal numbers of products."""
    for call in subject.calls("convolution"):
        if not call.get("transposed"):
            continue
        windows = cast("tuple[TransposedWindow, ...]", convolution_windows(call).axes)
        uneven = [window for window in windows if window.overlaps_unevenly]
        if not uneven:
            continue
        sizes = call.shape("input")[-len(windows) :]
        products = [
            [len(taps) for taps in Reads.of(window, size).taps]
            for window, size in zip(windows, sizes, strict=True)
        ]
        fewest, most = prod(map(min, products)), prod(map(max, products))
        numbers: dict[str, int | float] = {"fewest_products": fewest, "most_products": most}
        for window in windows:
            numbers |= {f"kernel_{window.axis}": window.kernel_size, f"stride_{window.axis}": window.stride}
        told = ", ".join(f"kernel {w.kernel_size}, stride {w.stride} along {w.axis}" for w in uneven)
        fact = f"{told}: {fewest} to {most} products for an output and a channel"
        yield _CHECKERBOARD.at(call.record.name, fact, numbers)
