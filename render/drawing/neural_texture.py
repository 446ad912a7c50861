"""Neural texture: a learnable feature map over uv, and how it is drawn into a crop.

A texture is [1 or B, TEXTURE_CHANNELS, TEXTURE_SIZE, TEXTURE_SIZE] float32. Its first channels hold sRGB colours in
[0, 1] of the skin and mouth as seen with the mouth closed, half open and open (`COLOUR_BINS` × 3); what the remaining
channels mean is learnt.
"""

import torch

from cuda_ext import ops
from render.drawing.gbuffer import GBuffer

TEXTURE_CHANNELS = 16
COLOUR_BINS = 3
COLOUR_CHANNELS = 3 * COLOUR_BINS


def sample_texture(texture: torch.Tensor, buffer: GBuffer) -> torch.Tensor:
    """Draw a texture into crops: bilinear samples wherever the face model is seen, 0 elsewhere.

    Crops have one scale, and a texel of the lower face is about a pixel there, so no mip levels are needed. What is
    seen beside the lower face (jaw line, neck, cheeks) helps to fill the rest of the erased area.

    Args:
        texture: [1 or B, C, H', W'] float32.
        buffer: of B crops.

    Returns:
        [B, C + 2, H, W] float32; the last channels are 1 where the model is seen, and on skin that a dub leaves alone.
        Differentiable in the texture.
    """
    sampled = ops.texture(texture, buffer.uv, filter_mode="bilinear")
    return torch.cat([sampled * buffer.covered, buffer.covered, buffer.still], 1)
