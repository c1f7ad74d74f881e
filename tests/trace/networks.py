"""Small networks, each with something that tracing tools get wrong; built fresh by each call."""

import torch
import torch.nn.functional as F
from torch import nn


class Functional(nn.Module):
    """No modules at all: bare parameters and functional calls."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(4, 3, 3, 3))
        self.bias = nn.Parameter(torch.rand(4))
        self.last = nn.ParameterList([nn.Parameter(torch.rand(5, 4, 1, 1))])

    def forward(self, x):
        x = F.relu(F.conv2d(x, self.weight, self.bias, stride=2, padding=1))
        return F.conv2d(F.max_pool2d(x, 2), self.last[0])


class Reused(nn.Module):
    """One convolution called three times."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return self.conv(self.conv(self.conv(x)))


class Residual(nn.Module):
    def __init__(self, inplace=True):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 6, 3, padding=1)
        self.short = nn.Conv2d(3, 6, 1, 2)
        self.act = nn.ReLU(inplace=inplace)

    def forward(self, x):
        y = self.second(self.act(self.first(x)))
        y += self.short(x)
        return self.act(y)


class Inception(nn.Module):
    """Branches of different kernels, concatenated."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(3, 2, 1)
        self.three = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Conv2d(2, 3, 3, padding=1))
        self.five = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Conv2d(2, 3, 5, padding=2))
        self.pool = nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Conv2d(3, 2, 1))

    def forward(self, x):
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], 1)


class UNet(nn.Module):
    """Two levels, transposed convolutions up, skips concatenated."""

    def __init__(self):
        super().__init__()
        self.enter = nn.Conv2d(3, 4, 3, padding=1)
        self.down = nn.Conv2d(4, 8, 3, padding=1)
        self.deep = nn.Conv2d(8, 8, 3, padding=1)
        self.up2, self.up1 = nn.ConvTranspose2d(8, 8, 2, 2), nn.ConvTranspose2d(8, 4, 2, 2)
        self.mix2, self.mix1 = nn.Conv2d(16, 8, 3, padding=1), nn.Conv2d(8, 2, 3, padding=1)

    def forward(self, x):
        a = self.enter(x)
        b = self.down(F.max_pool2d(a, 2))
        c = self.deep(F.max_pool2d(b, 2))
        b = self.mix2(torch.cat([self.up2(c), b], 1))
        return self.mix1(torch.cat([self.up1(b), a], 1))


class CroppingUNet(nn.Module):
    """Unpadded: the skip is cropped to fit."""

    def __init__(self):
        super().__init__()
        self.enter, self.deep = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 8, 3)
        self.up, self.mix = nn.ConvTranspose2d(8, 4, 2, 2), nn.Conv2d(8, 2, 3)

    def forward(self, x):
        a = self.enter(x)
        b = self.up(self.deep(F.max_pool2d(a, 2)))
        top, left = (a.shape[2] - b.shape[2]) // 2, (a.shape[3] - b.shape[3]) // 2
        a = a[:, :, top : top + b.shape[2], left : left + b.shape[3]]
        return self.mix(torch.cat([a, b], 1))


class Dilated(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.Conv2d(4, 4, 3, padding=2, dilation=2),
            nn.Conv2d(4, 4, 3, padding=4, dilation=4),
        )

    def forward(self, x):
        return self.layers(x)


class Pyramid(nn.Module):
    """Atrous branches beside image pooling, as in DeepLab."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 2, 1)
        self.branches = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=d, dilation=d) for d in (1, 2, 3))
        self.image = nn.Conv2d(4, 4, 1)
        self.mix = nn.Conv2d(16, 5, 1)

    def forward(self, x):
        x = self.stem(x)
        pooled = self.image(F.adaptive_avg_pool2d(x, 1))
        pooled = F.interpolate(pooled, x.shape[-2:], mode="bilinear", align_corners=False)
        return self.mix(torch.cat([*(branch(x) for branch in self.branches), pooled], 1))


class Asymmetric(nn.Module):
    """More padding after than before, kernels longer one way, an even kernel."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, (3, 5), (2, 1)), nn.Conv2d(4, 4, 2)

    def forward(self, x):
        x = self.first(F.pad(x, (1, 3, 0, 2)))
        return self.second(F.pad(x, (0, 1, 1, 0)))


class Circular(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular")

    def forward(self, x):
        return F.relu(self.conv(x))


class Reflecting(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 5, padding=2, padding_mode="reflect")

    def forward(self, x):
        return F.avg_pool2d(self.conv(x), 2)


class SqueezeExcite(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.depthwise = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 5, 2, 2, groups=8)
        self.squeeze, self.excite = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)

    def forward(self, x):
        x = self.depthwise(F.silu(self.conv(x)))
        scale = torch.sigmoid(self.excite(F.silu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        return x * scale


class Transposed(nn.Module):
    """A kernel that is no multiple of the stride, output padding, dilation."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 4, 3, 2, 1)
        self.up = nn.ConvTranspose2d(4, 3, 3, 2, 1, output_padding=1)
        self.wide = nn.ConvTranspose2d(3, 2, 3, 1, 1, dilation=2, groups=1)

    def forward(self, x):
        return self.wide(self.up(self.down(x)))


class GroupedTransposed(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.ConvTranspose2d(4, 8, 4, 3, 1, groups=2)

    def forward(self, x):
        return self.up(x)


class FourDimensionalLinear(nn.Module):
    """ConvNeXt's block: depthwise, then dense layers on channels last."""

    def __init__(self):
        super().__init__()
        self.depthwise = nn.Conv2d(8, 8, 7, padding=3, groups=8)
        self.norm = nn.LayerNorm(8)
        self.wide, self.narrow = nn.Linear(8, 32), nn.Linear(32, 8)
        self.scale = nn.Parameter(torch.full((8, 1, 1), 0.5))

    def forward(self, x):
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.narrow(F.gelu(self.wide(y))).permute(0, 3, 1, 2)
        return x + self.scale * y


class Attention(nn.Module):
    """A small vision transformer: patches, self-attention, class token."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        x = x + self.attention(x, x, x, need_weights=True)[0]
        return self.head(x[:, 0])


class TiedWeights(nn.Module):
    """An encoder and a decoder that share one weight, a bias on each side, and a layer that is never used."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(6, 4), nn.Linear(4, 6)
        self.decoder.weight = nn.Parameter(self.encoder.weight.detach().t().contiguous())
        self.encoder2 = nn.Linear(6, 4, bias=False)
        self.encoder2.weight = self.encoder.weight
        self.unused = nn.Linear(3, 7)

    def forward(self, x):
        return self.decoder(self.encoder(x) + self.encoder2(x))


class DictAndList(nn.Module):
    """Takes a dict, returns a dict with a list in it."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 3), nn.Conv2d(1, 4, 3)

    def forward(self, batch):
        a, b = self.left(batch["image"]), self.right(batch["depth"])
        return {"sum": a + b, "parts": [a, b]}


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.image, self.depth = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(1, 4, 5, padding=2)

    def forward(self, image, depth):
        return torch.cat((self.image(image), self.depth(depth)), 1)


class Signal(nn.Module):
    """One axis, with a matrix product written by hand."""

    def __init__(self):
        super().__init__()
        self.conv, self.up = nn.Conv1d(2, 6, 5, 2, 2), nn.ConvTranspose1d(6, 3, 4, 2, 1)
        self.mix = nn.Parameter(torch.rand(3, 3))

    def forward(self, x):
        return torch.einsum("dc,ncl->ndl", self.mix, self.up(F.relu(self.conv(x))))


class Volume(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.pool = nn.Conv3d(2, 4, 3, (1, 2, 2), 1), nn.AvgPool3d(2)

    def forward(self, x):
        return self.pool(self.conv(x))


class Sliced(nn.Module):
    """Space to depth by strided slices, a flip, a roll."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(12, 4, 3, padding=1)

    def forward(self, x):
        parts = [x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]]
        return self.conv(torch.cat(parts, 1))


class Shuffled(nn.Module):
    """Pixel shuffle, and the same by views."""

    def __init__(self):
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x):
        y = self.conv(x)
        n, c, h, w = y.shape
        by_hand = y.view(n, c // 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3).reshape(n, c // 4, 2 * h, 2 * w)
        return self.last(F.pixel_shuffle(y, 2) + by_hand)


class Interpolated(nn.Module):
    def __init__(self, mode="bilinear", align_corners=False):
        super().__init__()
        self.down, self.last = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 2, 3, padding=1)
        self.options = {"mode": mode} if mode == "nearest" else {"mode": mode, "align_corners": align_corners}

    def forward(self, x):
        return self.last(F.interpolate(self.down(x), scale_factor=2, **self.options))


class Adaptive(nn.Module):
    """Bins of unequal size, then a flattened dense layer."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4 * 9, 5)

    def forward(self, x):
        return self.head(F.adaptive_avg_pool2d(self.conv(x), 3).flatten(1))


class WritesInto(nn.Module):
    """Fills a tensor of its own piece by piece, and changes a view in place."""

    def __init__(self):
        super().__init__()
        self.near, self.far = nn.Conv2d(3, 2, 3, padding=1), nn.Conv2d(3, 2, 7, padding=3)

    def forward(self, x):
        out = x.new_zeros(x.shape[0], 4, x.shape[2], x.shape[3])
        out[:, :2] = self.near(x)
        out[:, 2:] = self.far(x)
        out[:, 1:3].mul_(2)
        return out


class Dynamic(nn.Module):
    """As many layers as the input is high."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        for _ in range(x.shape[-1] // 8):
            x = self.conv(x)
        return x


class Normalised(nn.Module):
    """Every normalisation, with weights made by a computation of their own."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.batch, self.group, self.instance = nn.BatchNorm2d(8), nn.GroupNorm(2, 8), nn.InstanceNorm2d(8)

    def forward(self, x):
        weight = self.conv.weight
        weight = (weight - weight.mean((1, 2, 3), keepdim=True)) / (
            weight.std((1, 2, 3), keepdim=True) + 1e-5
        )
        return self.instance(self.group(self.batch(F.conv2d(x, weight, padding=1))))


class Windowed(nn.Module):
    """Attention inside 4x4 windows, by views."""

    def __init__(self):
        super().__init__()
        self.enter, self.mix = nn.Conv2d(3, 8, 2, 2), nn.Linear(8, 8)

    def forward(self, x):
        x = self.enter(x).permute(0, 2, 3, 1)
        n, h, w, c = x.shape
        y = x.view(n, h // 4, 4, w // 4, 4, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 16, c)
        y = (y @ y.transpose(1, 2)).softmax(-1) @ self.mix(y)
        y = y.view(n, h // 4, w // 4, 4, 4, c).permute(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)
        return y.permute(0, 3, 1, 2)


# name: (network, input); what the counts and the receptive fields are compared on.
CASES = {
    "functional": (Functional, (2, 3, 17, 21)),
    "reused": (Reused, (1, 3, 12, 15)),
    "residual": (Residual, (1, 3, 17, 22)),
    "inception": (Inception, (1, 3, 11, 14)),
    "u-net": (UNet, (1, 3, 24, 32)),
    "cropping u-net": (CroppingUNet, (1, 3, 26, 30)),
    "dilated": (Dilated, (1, 3, 19, 26)),
    "pyramid": (Pyramid, (1, 3, 22, 26)),
    "asymmetric": (Asymmetric, (1, 3, 13, 17)),
    "circular": (Circular, (1, 3, 9, 12)),
    "reflecting": (Reflecting, (1, 3, 13, 16)),
    "squeeze-excite": (SqueezeExcite, (1, 3, 13, 16)),
    "transposed": (Transposed, (1, 3, 14, 18)),
    "grouped transposed": (GroupedTransposed, (1, 4, 5, 7)),
    "4-D linear": (FourDimensionalLinear, (1, 8, 14, 17)),
    "attention": (Attention, (2, 3, 16, 20)),
    "signal": (Signal, (2, 2, 33)),
    "volume": (Volume, (1, 2, 6, 11, 13)),
    "sliced": (Sliced, (1, 3, 12, 16)),
    "shuffled": (Shuffled, (1, 3, 8, 11)),
    "bilinear": (Interpolated, (1, 3, 12, 17)),
    "bicubic": (lambda: Interpolated("bicubic"), (1, 3, 12, 18)),
    "corners": (lambda: Interpolated("bilinear", True), (1, 3, 9, 12)),
    "nearest": (lambda: Interpolated("nearest"), (1, 3, 12, 17)),
    "adaptive": (Adaptive, (1, 3, 13, 12)),
    "writes into": (WritesInto, (1, 3, 12, 15)),
    "dynamic": (Dynamic, (1, 3, 12, 25)),
    "normalised": (Normalised, (2, 3, 9, 11)),
    "windowed": (Windowed, (1, 3, 16, 24)),
    "tied weights": (TiedWeights, (2, 6)),
    "dict and list": (DictAndList, {"image": (1, 3, 9, 12), "depth": (1, 1, 9, 12)}),
    "two inputs": (TwoInputs, ((1, 3, 9, 12), (1, 1, 9, 12))),
}


def made(name, seed=0):
    """Return a network of the table, in evaluation mode, and its input as a shape."""
    build, shape = CASES[name]
    torch.manual_seed(seed)
    return build().eval(), shape


def filled(shape, dtype=torch.float32, seed=0):
    """Return tensors for a shape, a tuple of shapes or a dict of them."""
    generator = torch.Generator().manual_seed(seed)
    if isinstance(shape, dict):
        return {key: filled(entry, dtype, seed) for key, entry in shape.items()}
    if isinstance(shape[0], tuple):
        return tuple(filled(entry, dtype, seed) for entry in shape)
    return torch.randn(shape, dtype=dtype, generator=generator)
