"""Occlusion: by how much a class score falls when a window of the image is covered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn

from convscope.errors import ShapeError
from convscope.geometry import Spans, Window, as_int, as_ints
from convscope.inspection.attribution import Attribution
from convscope.inspection.class_scores import (
    Target,
    check_images,
    chosen_scores,
    chosen_targets,
    class_scores,
    refusing,
)
from convscope.inspection.integrated_gradients import baseline_images
from convscope.inspection.patches import Patches, SharedMap
from convscope.inspection.recomputation import NotRecomputable, Recomputation
from convscope.trace.guard import unchanged
from convscope.trace.index import NetworkIndex

__all__ = ["Occlusion", "occlusion"]

_MOST_CASES = 256
_WHOLE_PASSES = 16  # at once, where nothing is known of the network
_BYTES = 2**28  # for the maps of a batch
_CALL = "occlusion"


@dataclass(frozen=True, eq=False)
class Occlusion(Attribution):
    """The fall of a class score for each place of a window that covers part of an image.

    Attributes:
        drops: (N, rows, columns): the score of the image minus that of the image with the window there covered.
        window, stride: pixels along height and width.
        share: multiply-accumulates that were computed, as a share of those of a whole forward pass a window.
        whole_because: why whole forward passes were run; "" where only what a window can reach was computed.
    """

    drops: Tensor
    window: tuple[int, int]
    stride: tuple[int, int]
    share: float = 1.0
    whole_because: str = ""

    def to_dict(self) -> dict[str, object]:
        """Return also the drops, window and stride."""
        return {
            **super().to_dict(),
            "window": list(self.window),
            "stride": list(self.stride),
            "drops": self.drops.tolist(),
            "share": self.share,
            "whole_because": self.whole_because,
        }


def occlusion(
    network: nn.Module,
    inputs: Tensor,
    target: Target = None,
    *,
    window: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    baseline: float | Tensor = 0.0,
    batch_size: int | None = None,
) -> Occlusion:
    """Cover a window of the image at every place of a grid, and take the fall of the class score for each.

    A pixel's attribution is the mean fall over the windows that cover it: positive where covering it lowers the score.
    The last windows along an axis are cut at the image's end, so that every pixel is covered.

    What a window cannot reach is not computed again: each operator runs on a crop as large as what the window alters in
    its output, undisturbed values around it. Scores are those of whole forward passes, to rounding. Networks whose
    operators cannot be followed so (`whole_because`) run whole. The network is treated as by `saliency`.

    Shapes:
        inputs (N, C, H, W), prepared as the network expects them; maps (N, H, W)
    Args:
        target: as in `saliency`.
        window: pixels along height and width, one int for both.
        stride: pixels from one place to the next; half a window by default.
        baseline: what windows are filled with: a number, or a tensor that is broadcast to `inputs`, such as a colour
            (C, 1, 1).
        batch_size: windows at once; it bounds memory and changes nothing else. By default what fits 256 MB.
    Raises:
        UsageError: as in `saliency`.
        ShapeError: a window larger than the image, a stride longer than the window; as in `saliency`.
    Cost:
        Early layers cost a window's share of the map; a layer whose outputs see nearly all of the image costs what it
        always does. For ResNet-18 at 224 pixels and windows of 16 that is 0.28 of a forward pass a window.
    Source:
        Zeiler & Fergus, arXiv:1311.2901, section 4.2; the mean over windows is captum's.
    Example:
        >>> network = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> _ = nn.init.ones_(network[0].weight)
        >>> found = occlusion(network, torch.arange(16.0).reshape(1, 1, 4, 4), window=2)
        >>> found.drops[0, :, 0].tolist(), found.maps.shape
        ([0.625, 1.625, 2.625], torch.Size([1, 4, 4]))
    """
    network, images = check_images(network, inputs, _CALL)
    images = images.detach()
    try:
        windows = _windows(images, window, stride)
        if batch_size is not None:
            batch_size = as_int("batch_size", batch_size, at_least=1)
    except ShapeError as error:
        raise error.at(_CALL) from error
    covers = baseline_images(images, baseline, _CALL)
    places = [_places(each, size) for each, size in zip(windows, images.shape[2:], strict=True)]
    with unchanged(NetworkIndex(network), "eval"), torch.no_grad():
        with refusing(network, images, _CALL):
            results = [network(image.clone()) for image in images.split(1)]
        scores = torch.cat([class_scores(result, 1, _CALL) for result in results])
        targets = chosen_targets(scores, target, _CALL)
        found = [
            _one_image(network, image, cover, result, asked, places, batch_size)
            for image, cover, result, asked in zip(
                images.split(1), covers.split(1), results, targets, strict=True
            )
        ]
    maps = torch.stack([_mean_over_windows(drops, places) for drops, _, _ in found])
    return Occlusion(
        "occlusion",
        targets,
        tuple(chosen_scores(scores, targets).tolist()),
        maps.to(images.dtype),
        torch.stack([drops for drops, _, _ in found]),
        (windows[0].kernel_size, windows[1].kernel_size),
        (windows[0].stride, windows[1].stride),
        sum(share for _, share, _ in found) / len(found),
        next((because for _, _, because in found if because), ""),
    )


def _windows(
    images: Tensor, window: int | Sequence[int], stride: int | Sequence[int] | None
) -> tuple[Window, ...]:
    """Return the window along height and width.

    Raises:
        ShapeError: it is larger than the image, or leaves pixels between its places.
    """
    lengths = as_ints("window", window, 2, at_least=1)
    half = [max(1, length // 2) for length in lengths]
    steps = as_ints("stride", half if stride is None else stride, 2, at_least=1)
    axes = list(zip(("height", "width"), images.shape[2:], lengths, steps, strict=True))
    for axis, size, length, step in axes:
        if length > size:
            raise ShapeError(
                f"window is {length} pixels along {axis}, but the image has {size}; give at most {size}."
            )
        if step > length and length < size:
            raise ShapeError(
                f"stride is {step} pixels along {axis}, longer than the window's {length}: pixels between two places "
                f"would never be covered; give at most {length}."
            )
    return tuple(Window(length, step, ceil_mode=True, axis=axis) for axis, _, length, step in axes)


def _places(window: Window, size: int) -> Spans:
    """Return the pixels that each place of a window covers, the last ones cut at the image's end."""
    taps = (window.taps(place, size) for place in range(window.output_size(size)))
    return Spans(tuple((each[0], min(each[-1], size - 1)) for each in taps), size)


def _one_image(
    network: nn.Module,
    image: Tensor,
    cover: Tensor,
    result: Any,
    target: int,
    places: Sequence[Spans],
    batch_size: int | None,
) -> tuple[Tensor, float, str]:
    """Return the falls of one image's score (rows, columns), the share that was computed, and why not less."""
    shared, covering = SharedMap(image), SharedMap(cover)

    def grids_of(most: int) -> tuple[list[tuple[list[int], list[int]]], list[Patches]]:
        blocks = _blocks(len(places[0].spans), len(places[1].spans), most)
        return blocks, [
            _covered(shared, covering, places[0].taken(rows), places[1].taken(columns))
            for rows, columns in blocks
        ]

    share, because = 1.0, ""
    try:
        recomputed = Recomputation(network, image, result)
    except NotRecomputable as error:
        because, most = str(error), 1 if error.alone else batch_size or _WHOLE_PASSES
        blocks, grids = grids_of(most)
        base = class_scores(result, 1, _CALL)[0]
        parts = [part for patches in grids for part in shared.whole(patches).split(most)]
        scores = torch.cat([class_scores(network(part), len(part), _CALL) for part in parts])
    else:
        if batch_size is None:
            middle = [len(each.spans) // 2 for each in places]
            probe = _covered(shared, covering, places[0].taken(middle[:1]), places[1].taken(middle[1:]))
            batch_size = max(1, min(_MOST_CASES, _BYTES // recomputed.bytes_a_case(probe)))
        blocks, grids = grids_of(batch_size)
        base, scores = recomputed.base_scores, recomputed.scores(grids)
        share = recomputed.share
    falls = (base[target] - scores[:, target]).split([patches.count for patches in grids])
    drops = torch.empty(len(places[0].spans), len(places[1].spans), dtype=base.dtype)
    for (rows, columns), part in zip(blocks, falls, strict=True):
        drops[torch.tensor(rows).unsqueeze(1), torch.tensor(columns)] = part.reshape(len(rows), len(columns))
    return drops, share, because


def _blocks(rows: int, columns: int, most: int) -> list[tuple[list[int], list[int]]]:
    """Cut a grid of places into blocks, of rows and of columns that lie about equally far from the image's borders.

    The change of such places is cut off by the borders of deep maps at about the same length.
    """
    height = min(rows, max(1, isqrt(most)))
    return [(up, across) for up in _parts(rows, height) for across in _parts(columns, max(1, most // height))]


def _parts(count: int, most: int) -> list[list[int]]:
    """Return places along an axis in parts of about one size, the outermost first.

    Example:
        >>> _parts(7, 3)
        [[0, 6], [1, 5], [2, 3, 4]]
    """
    inwards = sorted(range(count), key=lambda place: min(place, count - 1 - place))
    parts = -(-count // most)
    ends = [count * part // parts for part in range(parts + 1)]
    return [sorted(inwards[first:end]) for first, end in pairwise(ends)]


def _covered(image: SharedMap, cover: SharedMap, rows: Spans, columns: Spans) -> Patches:
    """Return the changed boxes of a block of places."""
    size = rows.length, columns.length
    boxes, fill = (each.boxes(rows.starts, columns.starts, size) for each in (image, cover))
    inside = _inside(rows)[:, None, :, None] & _inside(columns)[None, :, None, :]
    return Patches(torch.where(inside.flatten(0, 1).unsqueeze(1), fill, boxes), rows, columns)


def _inside(spans: Spans) -> Tensor:
    """Return which positions of each box its window covers: (boxes, length)."""
    positions = torch.tensor(spans.starts).unsqueeze(1) + torch.arange(spans.length)
    first, last = torch.tensor(spans.spans).unsqueeze(2).unbind(1)
    return (positions >= first) & (positions <= last)


def _mean_over_windows(drops: Tensor, places: Sequence[Spans]) -> Tensor:
    """Return for each pixel the mean fall over the windows that cover it, (H, W) in float64."""
    rows, columns = (_covering(spans) for spans in places)
    return rows.t() @ drops.double() @ columns / torch.outer(rows.sum(0), columns.sum(0))


def _covering(spans: Spans) -> Tensor:
    """Return 1 where a window covers a position of the axis, (windows, positions)."""
    positions = torch.arange(spans.size)
    first, last = torch.tensor(spans.spans).unsqueeze(2).unbind(1)
    return ((positions >= first) & (positions <= last)).double()
