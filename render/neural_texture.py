"""Neural texture: a learnable feature map over uv, and how it is drawn into a crop.

A texture is [1 or B, TEXTURE_CHANNELS, TEXTURE_SIZE, TEXTURE_SIZE] float32. Its first channels hold sRGB colours in
[0, 1] of the skin and mouth as seen with the mouth closed, half open and open (`COLOUR_BINS` × 3); what the remaining
channels mean is learnt.
"""

import torch

from cuda_ext import ops
from render.gbuffer import GBuffer

TEXTURE_CHANNELS = 16
TEXTURE_SIZE = 256
COLOUR_BINS = 3
COLOUR_CHANNELS = 3 * COLOUR_BINS


def sample_texture(texture: torch.Tensor, buffer: GBuffer) -> torch.Tensor:
    """Draw a texture into crops: bilinear samples inside *inner*, 0 elsewhere.

    Crops have one scale, and a texel of the lower face is about a pixel there, so no mip levels are needed.

    Args:
        texture: [1 or B, C, H', W'] float32.
        buffer: of B crops.

    Returns:
        [B, C, H, W] float32, channels last; differentiable in the texture.
    """
    sampled = ops.texture(texture, buffer.uv, filter_mode="bilinear")
    return sampled * buffer.inner
