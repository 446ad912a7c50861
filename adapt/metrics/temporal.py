"""Steadiness over time of a drawn mouth: does what moves in the real video move alike in the drawn one?

In: crops [T, 3, H, W], sRGB in [0, 1], in order of time, and masks [T, 1, H, W]. Out: ratios to the real video.
"""

import cv2
import numpy as np
import torch

from adapt.metrics.picture import NEIGHBOUR_SECONDS, luma, masked_mean

#: Forward and backward flow may differ by so much of their squared lengths, and so many px², where nothing is hidden.
OCCLUSION_SHARE, OCCLUSION_PX2 = 0.01, 0.5


def optical_flow(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Dense inverse search flow (Kroeger et al. 2016) [2, H, W] px from one crop [3, H, W] to another."""
    images = [(luma(crop[None])[0, 0].clamp(0, 1).numpy() * 255).round().astype(np.uint8) for crop in (first, second)]
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    start = np.zeros((*images[0].shape, 2), np.float32)
    return torch.from_numpy(np.asarray(finder.calc(images[0], images[1], start), np.float32)).permute(2, 0, 1)


def pull(picture: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """Picture [B, C, H, W] read where flow [B, 2, H, W] (px) points: aligned with the frame that the flow starts in."""
    height, width = picture.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    place = torch.stack([x + flow[:, 0], y + flow[:, 1]], -1) + 0.5
    grid = 2 * place / torch.tensor([width, height]) - 1
    return torch.nn.functional.grid_sample(picture, grid, padding_mode="border", align_corners=False)


def unhidden(forward: torch.Tensor, backward: torch.Tensor) -> torch.Tensor:
    """Mask [B, 1, H, W] of pixels seen in both frames, by agreement of flows [B, 2, H, W] (Sundaram et al. 2010)."""
    returned = pull(backward, forward)
    difference = (forward + returned).square().sum(1, keepdim=True)
    size = (forward.square() + returned.square()).sum(1, keepdim=True)
    return (difference < OCCLUSION_SHARE * size + OCCLUSION_PX2).to(forward.dtype)


class RealFlow:
    """Flow of the real crops between neighbours in time, found once and used for every method.

    Args:
        real: [T, 3, H, W].
        timestamps: [T] seconds.

    Attributes:
        first: [N] rows that have a neighbour right after them.
        flow: [N, 2, H, W] px from row `first` to the next.
        seen: [N, 1, H, W] where that flow holds.
    """

    def __init__(self, real: torch.Tensor, timestamps: torch.Tensor) -> None:
        self.first = (timestamps.diff() < NEIGHBOUR_SECONDS).nonzero()[:, 0]
        if not len(self.first):
            self.flow, self.seen = real.new_zeros(0, 2, *real.shape[-2:]), real.new_zeros(0, 1, *real.shape[-2:])
            return
        self.flow = torch.stack([optical_flow(real[i], real[i + 1]) for i in self.first])
        backward = torch.stack([optical_flow(real[i + 1], real[i]) for i in self.first])
        self.seen = unhidden(self.flow, backward)


def warping_error(crops: torch.Tensor, flow: RealFlow, mask: torch.Tensor) -> torch.Tensor:
    """Mean squared difference [N] between a frame and the next one brought back along the real flow.

    Lai et al. 2018 (E_warp), over pixels of mask [T, 1, H, W] that are hidden in neither frame. It judges steadiness
    only where the real motion was to be drawn: lips that move at other times leave the real flow, too.
    """
    error = (crops[flow.first] - pull(crops[flow.first + 1], flow.flow)).square()
    return masked_mean(error, flow.seen * mask[flow.first])


def warping_ratio(drawn: torch.Tensor, real: torch.Tensor, flow: RealFlow, mask: torch.Tensor) -> torch.Tensor:
    """Root of the drawn's mean warping error over that of the real: one value (0-d), 1 is right; NaN without pairs."""
    return (warping_error(drawn, flow, mask).mean() / warping_error(real, flow, mask).mean().clamp(min=1e-9)).sqrt()
