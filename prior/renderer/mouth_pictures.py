"""Pictures around mouths, as networks that look at mouths see them.

In: crops [B, C, H, W] and masks of their mouths [B, 1, H, W]. Out: cuts of one size around the middle of each mouth.
"""

import torch


def mouth_corners(mouth: torch.Tensor, size_px: tuple[int, int]) -> torch.Tensor:
    """Top and left [B, 2] (int64) of rectangles of a size around the middle of each mouth, within the picture."""
    corners = []
    for mask in mouth:
        corner = []
        for axis, length in zip((1, 2), size_px, strict=True):
            there = mask.amax((0, 3 - axis)).nonzero()
            size = mask.shape[axis]
            middle = float(there.float().mean()) if len(there) else size / 2
            corner.append(min(max(round(middle - length / 2), 0), size - length))
        corners.append(corner)
    return torch.tensor(corners)


def cut_out(images: torch.Tensor, corners: torch.Tensor, size_px: tuple[int, int]) -> torch.Tensor:
    """Rectangles [B, C, *size_px] of images [B, C, H, W] from corners [B, 2] on; differentiable in the images."""
    height, width = size_px
    return torch.stack(
        [
            image[:, top : top + height, left : left + width]
            for image, (top, left) in zip(images, corners.tolist(), strict=True)
        ]
    )
