"""A U-Net on images: per-pixel channel norms, strided convolutions down, bilinear up, added skips.

The norm is a layer norm over channels at each pixel: it has no statistics over the image, so colours do not shift with
the crop and a part of an image gives the same result as the whole. A condition vector scales and shifts every block
(FiLM, Perez et al. 2018). It computes in bfloat16 where that is faster, whatever the type of its weights.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn


def prefers_bfloat16(device: str | torch.device) -> bool:
    """Whether a device multiplies bfloat16 faster than float32: CUDA, and processors with AVX-512 BF16 or AMX."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported()
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


class ChannelNorm(nn.Module):
    """Layer norm over the channels of [B, C, H, W], pixel by pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise; shape and dtype stay."""
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        return F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2], weight, bias).permute(0, 3, 1, 2)


class Block(nn.Module):
    """Residual block of two 3×3 convolutions, scaled and shifted by a condition vector if there is one."""

    def __init__(self, channels: int, condition_size: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.film = nn.Linear(condition_size, 2 * channels) if condition_size else None
        nn.init.normal_(self.second.weight, std=0.1 / (9 * channels) ** 0.5)
        if self.film is not None:
            nn.init.normal_(self.film.weight, std=0.1 / condition_size**0.5)
            nn.init.zeros_(self.film.bias)

    def forward(self, x: torch.Tensor, condition: torch.Tensor | None) -> torch.Tensor:
        """[B, C, H, W] and condition [B, condition_size] to [B, C, H, W]."""
        y = self.norm(x)
        if self.film is not None and condition is not None:
            scale, shift = self.film(condition).to(y.dtype)[:, :, None, None].chunk(2, 1)
            y = y * (1 + scale) + shift
        return x + self.second(F.silu(self.first(F.silu(y))))


class UNet(nn.Module):
    """Image to image at the input's resolution.

    Args:
        in_channels, out_channels: of the images.
        widths: channels at full, half, quarter … resolution.
        condition_size: length of the condition vector; 0 for none.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        widths: Sequence[int] = (16, 32, 64, 128, 256),
        condition_size: int = 0,
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            nn.Conv2d(fine, coarse, 3, stride=2, padding=1) for fine, coarse in zip(widths, widths[1:], strict=False)
        )
        # Each level's stream starts at unit scale: without that it grows from level to level until the last norm has
        # no gradient left.
        self.down_norm = nn.ModuleList(ChannelNorm(width) for width in widths[1:])
        self.up_norm = nn.ModuleList(ChannelNorm(width) for width in widths[:-1])
        self.encode = nn.ModuleList(Block(width, condition_size) for width in widths[1:])
        self.bottom = Block(widths[-1], condition_size)
        self.up = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in zip(widths, widths[1:], strict=False))
        self.decode = nn.ModuleList(Block(width, condition_size) for width in widths[:-1])
        self.norm = ChannelNorm(widths[0])
        self.head = nn.Conv2d(widths[0], out_channels, 3, padding=1)
        nn.init.normal_(self.head.weight, std=0.02 / (9 * widths[0]) ** 0.5)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def forward(self, x: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        """[B, in_channels, H, W] to float32 [B, out_channels, H, W]; H and W divisible by 2 ** (levels − 1)."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=prefers_bfloat16(x.device)):
            return self._image(x.contiguous(memory_format=torch.channels_last), condition).float()

    def _image(self, x: torch.Tensor, condition: torch.Tensor | None) -> torch.Tensor:
        x = self.stem(x)
        skips = []
        for down, norm, encode in zip(self.down, self.down_norm, self.encode, strict=True):
            skips.append(x)
            x = encode(norm(down(x)), condition)
        x = self.bottom(x, condition)
        for up, norm, decode in zip(*(reversed(part) for part in (self.up, self.up_norm, self.decode)), strict=True):
            x = F.interpolate(norm(up(x)), scale_factor=2, mode="bilinear", align_corners=False) + skips.pop()
            x = decode(x, condition)
        return self.head(F.silu(self.norm(x)))
