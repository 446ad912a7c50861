"""Erasure: which part of a crop is taken away before the network sees it, and how it is filled.

The erased area is the union over a fixed set of expressions at the frame's head pose, plus a margin; the frame's own
expression takes no part, so that the shape of the erased area does not tell it. Out: masks and filled crops.
"""

import torch
import torch.nn.functional as F

from render.drawing.crop import CROP_SIZE
from render.drawing.masks import dilate, lower_face_mask
from render.head.face_model import FaceModel
from render.head.track import Track

#: Widening of the erased area (sideways and down, and up) and of what is put back, px of a 256 px crop.
ERASED_MARGIN_PX = 10
ERASED_MARGIN_UP_PX = 4  # what lies above hardly moves, and the nose should stay


def erased_mask(model: FaceModel, clip_vertices: torch.Tensor, size: int = CROP_SIZE) -> torch.Tensor:
    """What is erased from the input [B, 1, H, W].

    Args:
        model: the face model.
        clip_vertices: [B, K, V, 4], the frames' head poses with the fixed expressions (not the frames' own).
        size: px of the square crop.
    """
    batch, count = clip_vertices.shape[:2]
    masks = lower_face_mask(model, clip_vertices.flatten(0, 1), size)
    union = masks.view(batch, count, 1, size, size).amax(1)
    return dilate(union, ERASED_MARGIN_PX * size // CROP_SIZE, ERASED_MARGIN_UP_PX * size // CROP_SIZE)


#: Width of the window over which the matte's own edge is closed, px (odd).
RIM_PX = 9
#: How often colour differences are spread by two sixteenths of a crop, and how large they may be.
SHIFT_ROUNDS = 4
LARGEST_SHIFT = 0.4


def colour_shift(difference: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Smooth field that carries colour differences [B, C, H, W] from where weight [B, 1, H, W] is to everywhere.

    An actor was enrolled in one light and stands in another: real pixels and texture differ by it on the skin that is
    not erased. H and W are divisible by 16; 0 where no weight is near.
    """
    amount, support = F.avg_pool2d(difference * weight, 16), F.avg_pool2d(weight, 16)
    for _ in range(SHIFT_ROUNDS):
        amount, support = F.avg_pool2d(amount, 5, 1, 2), F.avg_pool2d(support, 5, 1, 2)
    field = (amount / (support + 1e-5)).clamp(-LARGEST_SHIFT, LARGEST_SHIFT)
    return F.interpolate(field, scale_factor=16, mode="bilinear", align_corners=False)


def fill_erased(crop: torch.Tensor, erased: torch.Tensor) -> torch.Tensor:
    """Fill the erased area of crops [B, 3, H, W] smoothly from the pixels around (pull-push, Gortler et al. 1996).

    The pixels inside the erased area take no part. H and W are divisible by 16.
    """
    weight = 1 - erased
    colour = torch.where(erased > 0, torch.zeros_like(crop), crop)
    levels = []
    for _ in range(4):
        levels.append((colour, weight))
        colour, weight = F.avg_pool2d(colour, 2), F.avg_pool2d(weight, 2)
    for _ in range(8):
        empty = weight <= 0
        colour = torch.where(empty, F.avg_pool2d(colour, 3, 1, 1), colour)
        weight = torch.where(empty, F.avg_pool2d(weight, 3, 1, 1), weight)
    filled = colour / weight.clamp(min=1e-6)
    for colour, weight in reversed(levels):
        filled = F.interpolate(filled, scale_factor=2, mode="bilinear", align_corners=False)
        filled = torch.where(weight > 0, colour / weight.clamp(min=1e-6), filled)
    return filled


def erased_area(model: FaceModel, track: Track, erasing_expressions: torch.Tensor) -> torch.Tensor:
    """The erased area [T, 1, H, W] of every row of a track, from its head pose alone."""
    clips = [
        track.clip_vertices(model, torch.full((len(erasing_expressions),), row), erasing_expressions)
        for row in range(len(track))
    ]
    return erased_mask(model, torch.stack(clips), track.crop_size)
