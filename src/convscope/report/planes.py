"""Feature maps and filters as pictures: of one network, of two side by side, of one over its epochs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image
from torch import Tensor

from convscope.errors import UsageError
from convscope.inspection import FeatureMaps, Film, FilterBank, OnOneScale, Scale, scale_of
from convscope.report.mosaic import Block, Row, draw_mosaic

__all__ = [
    "above_of",
    "blocks_of_films",
    "blocks_of_planes",
    "draw_before_after",
    "draw_films",
    "draw_planes",
]


def draw_planes(
    layers: Sequence[FeatureMaps | FilterBank],
    picture: np.ndarray | None = None,
    seen: np.ndarray | None = None,
) -> Image.Image:
    """Draw all feature maps or filters of some layers, each layer on its own scale.

    Filters of three input channels are drawn in colour, others as a table: a row a filter, a column an input channel.

    Args:
        picture, seen: drawn above; see `above_of`.
    Raises:
        UsageError: no layer has planes to draw, or there are too many.
    """
    alt = "the picture, and what layers make of it" if picture is not None else ""
    return draw_mosaic(blocks_of_planes(layers), above_of(picture, seen), alt)


def blocks_of_planes(layers: Sequence[FeatureMaps | FilterBank]) -> list[Block]:
    """Return the blocks of layers that have maps with a height and a width, or filters.

    Raises:
        UsageError: none has.
    """
    blocks = []
    for entry in layers:
        if not entry.are_pictures:
            continue
        if isinstance(entry, FilterBank):
            blocks.append(_block(_filters_title(entry.layer, entry.kind, entry.values), [("", entry.values)]))
        else:
            title = _maps_title(f"{entry.name} ({entry.kind})", entry.planes)
            blocks.append(_block(title, [("", entry.planes)]))
    if not blocks:
        raise UsageError("none of the layers has maps with a height and a width.", call="draw_planes")
    return blocks


def draw_films(
    films: Sequence[Film], picture: np.ndarray | None = None, seen: np.ndarray | None = None
) -> Image.Image:
    """Draw films, a block a layer: its frames one below the other, all on one scale.

    Args:
        picture, seen: drawn above; see `above_of`.
    Raises:
        UsageError: there is none, or there are too many maps.
    """
    alt = "layers of several networks, each layer on one scale"
    return draw_mosaic(blocks_of_films(films), above_of(picture, seen), alt)


def blocks_of_films(films: Sequence[Film]) -> list[Block]:
    """Return the block of each film, a row a frame.

    Raises:
        UsageError: there is none.
    """
    if not films:
        raise UsageError("there are no frames to draw.", call="draw_films")
    blocks = []
    for film in films:
        frame, lead = film.frames[0], f"{film.layer} ({film.kind})" if film.kind else film.layer
        if frame.dim() == 3:
            title = _maps_title(lead, frame, film.noun, film.total)
        else:
            title = _filters_title(film.layer, film.kind, frame, film.total)
        blocks.append(_block(title, list(zip(film.names, film.frames, strict=True)), film.scale))
    return blocks


def above_of(picture: np.ndarray | None, seen: np.ndarray | None = None) -> list[tuple[str, np.ndarray]]:
    """Return what is drawn above layers, with titles.

    Args:
        picture: (H, W) or (H, W, 3) uint8.
        seen: the same as the network got it, cropped, resized, scaled; (H, W, C) uint8.
    """
    shown = [] if picture is None else [("the picture", picture)]
    if seen is not None and seen.shape[-1] in (1, 3):
        shown.append((f"what the network sees, {seen.shape[0]} x {seen.shape[1]}", seen))
    return shown


def draw_before_after(pairs: Sequence[OnOneScale], what: str) -> Image.Image:
    """Draw all maps or filters before training over the same ones after it, on one scale a layer.

    Args:
        what: `maps` or `filters`, for the titles.
    """
    blocks = []
    for pair in pairs:
        before, after = pair.root_mean_squares
        if pair.before.dim() == 4:
            title = _filters_title(pair.name, "", pair.before)
        else:
            title = _maps_title(pair.name, pair.before, what)
        title += f"; root mean square {before:.2g} before, {after:.2g} after"
        blocks.append(_block(title, [("before", pair.before), ("after", pair.after)], pair.scale))
    return draw_mosaic(blocks, alt=f"{what} before and after training on one scale")


def _maps_title(lead: str, planes: Tensor, noun: str = "maps", total: int | None = None) -> str:
    count, height, width = planes.shape
    some = f"the first {count:,} of {total:,}" if total is not None and total > count else f"{count:,}"
    noun = noun.removesuffix("s") if count == 1 else noun
    return f"{lead}: {some} {noun} of {height} x {width}"


def _filters_title(layer: str, kind: str, values: Tensor, total: int | None = None) -> str:
    filters, channels, height, width = values.shape
    lead = f"{layer} ({kind})" if kind else layer
    if filters == channels == 1:
        return f"{lead}: one plane of {height:,} x {width:,}"
    form = "" if channels in (1, 3) else f"; a row a filter, a column one of {channels:,} input channels"
    some = f"the first {filters:,} of {total:,}" if total is not None and total > filters else f"{filters:,}"
    return f"{lead}: {some} kernels of {height} x {width}{form}"


def _block(title: str, rows: Sequence[tuple[str, Tensor]], scale: Scale | None = None) -> Block:
    shape = rows[0][1].shape
    scale = scale_of([values for _, values in rows]) if scale is None else scale
    columns = None
    if len(shape) == 4 and shape[1] != 3:
        columns = shape[1] if shape[1] > 1 else None  # a table: as many as the filters have input channels
        rows = [(label, values.flatten(0, 1)) for label, values in rows]
    return Block(title, scale, [Row(label, values) for label, values in rows], columns)
