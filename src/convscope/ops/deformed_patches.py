"""The matrices behind a deformable convolution: the pixels that taps read, the patches they make, the way back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["DeformedCorners", "DeformedPatches", "DeformedSettings"]

_PATCH_ELEMENTS = 2**22  # of the patches held at once: 16 MiB in float32


class DeformedSettings(NamedTuple):
    """The operator's arguments after its tensors, named as torchvision names them."""

    stride_h: int
    stride_w: int
    pad_h: int
    pad_w: int
    dilation_h: int
    dilation_w: int
    groups: int
    offset_groups: int
    use_mask: bool


class DeformedCorners(NamedTuple):
    """Where the taps of some output positions read: the 4 pixels around each place, rows of the pixel table.

    Shapes:
        pixels (taps, 4), in the order top left, top right, bottom left, bottom right
        down, right (taps,): how far the place is from the top left pixel, 0 to 1
        mask (taps,), or None
    """

    pixels: Tensor
    down: Tensor
    right: Tensor
    mask: Tensor | None

    def shares(self) -> Tensor:
        """Return what each pixel counts, (taps, 4)."""
        down, up, left = self.down, 1 - self.down, 1 - self.right
        if self.mask is not None:
            down, up = down * self.mask, up * self.mask
        return torch.stack([up * left, up * self.right, down * left, down * self.right], 1)


class DeformedPatches:
    """One call as matrices: a row for each output position, a column for each tap and channel.

    Positions are the batch's, row by row; the columns of one are (K_h*K_w, offset_groups, C_in/offset_groups).
    """

    def __init__(
        self, input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor, settings: DeformedSettings
    ):
        self.settings = settings
        self.dtype = torch.float64 if input.dtype == torch.float64 else torch.float32
        self.batch, self.channels, self.height, self.width = input.shape
        self.kernel = weight.shape[2], weight.shape[3]
        self.taps = self.kernel[0] * self.kernel[1]
        self.out_height, self.out_width = offset.shape[2:]
        self.positions = self.out_height * self.out_width  # of one image
        self.rows = self.batch * self.positions
        self.weight = self._by_group(weight)
        groups = settings.offset_groups
        self.offset = self._by_position(offset, (groups, self.taps, 2)).transpose(1, 2)
        self.mask = (
            self._by_position(mask, (groups, self.taps)).transpose(1, 2) if settings.use_mask else None
        )
        # Pixels of all images, and one of zeros for what lies outside: (N*H*W*offset_groups + 1, C/offset_groups).
        self.outside = self.batch * self.height * self.width * groups
        self.table = input.new_zeros(self.outside + 1, self.channels // groups, dtype=self.dtype)
        self.pixel_maps(self.table).copy_(input)

    def _by_group(self, weight: Tensor) -> Tensor:
        """Return the kernels as (groups, K_h*K_w * C_in/groups, C_out/groups)."""
        kernels = weight.to(self.dtype).unflatten(0, (self.settings.groups, -1))
        return kernels.permute(0, 3, 4, 2, 1).flatten(1, 3)

    def weight_maps(self, kernels: Tensor) -> Tensor:
        """Return kernels, or their gradient, as (C_out, C_in/groups, K_h, K_w)."""
        return kernels.unflatten(1, (*self.kernel, -1)).permute(0, 4, 3, 1, 2).flatten(0, 1)

    def pixel_maps(self, table: Tensor) -> Tensor:
        """Return a pixel table, or its gradient, as (N, C_in, H, W)."""
        return table[:-1].view(self.batch, self.height, self.width, self.channels).permute(0, 3, 1, 2)

    def output_maps(self, by_position: Tensor) -> Tensor:
        """Return a row for each output position as (N, columns, H_out, W_out)."""
        return by_position.unflatten(0, (self.batch, self.out_height, self.out_width)).permute(0, 3, 1, 2)

    def _by_position(self, maps: Tensor, axes: tuple[int, ...]) -> Tensor:
        return maps.permute(0, 2, 3, 1).reshape(self.rows, *axes).to(self.dtype)

    def chunks(self) -> Iterator[slice]:
        """Yield the output positions, few enough at a time for their patches to be small."""
        step = max(1, _PATCH_ELEMENTS // (self.taps * self.channels))
        for start in range(0, self.rows, step):
            yield slice(start, min(start + step, self.rows))

    def corners(self, rows: slice) -> DeformedCorners:
        """Return where the taps of these positions read."""
        given = self.settings
        position = torch.arange(rows.start, rows.stop, device=self.table.device)
        image, place = position // self.positions, position % self.positions
        tap = torch.arange(self.taps, device=position.device)
        starts = (
            (place // self.out_width) * given.stride_h - given.pad_h,
            (place % self.out_width) * given.stride_w - given.pad_w,
        )
        steps = (tap // self.kernel[1]) * given.dilation_h, (tap % self.kernel[1]) * given.dilation_w
        shares: list[Tensor] = []
        pixels: list[tuple[Tensor, Tensor]] = []
        inside: list[tuple[Tensor, Tensor]] = []
        for axis, size in enumerate((self.height, self.width)):
            plain = (starts[axis][:, None] + steps[axis])[:, :, None]  # (rows, taps, 1)
            # Beyond one pixel outside nothing changes any more, and numbers stay small enough for integers.
            where = (self.offset[rows, ..., axis] + plain).clamp(-2, size)
            first = where.floor()
            shares.append((where - first).flatten())
            near = first.long()
            pixels.append((near, near + 1))
            inside.append(((near >= 0) & (near < size), (near >= -1) & (near < size - 1)))
        group = torch.arange(given.offset_groups, device=position.device)
        base = image[:, None, None] * self.height
        corners = [
            torch.where(
                inside[0][below] & inside[1][beside],
                ((base + pixels[0][below]) * self.width + pixels[1][beside]) * given.offset_groups + group,
                self.outside,
            ).flatten()
            for below in (0, 1)
            for beside in (0, 1)
        ]
        mask = None if self.mask is None else self.mask[rows].flatten()
        return DeformedCorners(torch.stack(corners, 1), shares[0], shares[1], mask)

    def patches(self, corners: DeformedCorners, shares: Tensor) -> Tensor:
        """Return what the taps read, (groups, rows, K_h*K_w * C_in/groups)."""
        read = F.embedding_bag(corners.pixels, self.table, mode="sum", per_sample_weights=shares)
        by_group = read.view(-1, self.taps, self.settings.groups, self.channels // self.settings.groups)
        return by_group.permute(2, 0, 1, 3).flatten(2)

    def from_groups(self, patches: Tensor) -> Tensor:
        """Return patches as the pixel table has them, (taps, C_in/offset_groups): `patches` turned back."""
        by_group = patches.unflatten(2, (self.taps, -1)).permute(1, 2, 0, 3)
        return by_group.reshape(-1, self.table.shape[1])

    def grad_by_groups(self, grad: Tensor) -> Tensor:
        """Return the output's gradient, (groups, N*H_out*W_out, C_out/groups)."""
        rows = grad.permute(0, 2, 3, 1).flatten(0, 2).unflatten(1, (self.settings.groups, -1))
        return rows.to(self.dtype).transpose(0, 1)

    def scatter(
        self, grad: Tensor, read: Tensor, corners: DeformedCorners, shares: Tensor, rows: slice
    ) -> None:
        """Add to the pixel table's gradient what each pixel gave to `read`, (taps, C_in/offset_groups).

        Sorted by pixel, this is an `embedding_bag` again: the sum of what was read from it, by its shares.
        """
        per_image = self.outside // self.batch
        first, last = rows.start // self.positions * per_image, -(-rows.stop // self.positions) * per_image
        # As int32, which torch sorts several times faster; those outside the images come last.
        pixels, order = (corners.pixels.flatten() - first).clamp(max=last - first).int().sort()
        edges = torch.searchsorted(pixels, torch.arange(last - first + 1, device=pixels.device).int())
        order = order[: edges[-1]]
        grad[first:last] += F.embedding_bag(
            order // 4,
            read,
            edges,
            mode="sum",
            per_sample_weights=shares.flatten()[order],
            include_last_offset=True,
        )

    def along_corners(self, read: Tensor, corners: DeformedCorners) -> tuple[Tensor, ...]:
        """Return the products of `read` (taps, C_in/offset_groups) with each of its 4 pixels, (taps,) each."""
        bags = torch.arange(len(read), device=read.device)
        products = torch.ops.aten._embedding_bag_per_sample_weights_backward(
            read, self.table, corners.pixels.flatten(), 4 * bags, bags.repeat_interleave(4), 0
        )
        return products.view(-1, 4).unbind(1)
