"""Image metrics of a drawn mouth against the real one, by region; all at crop resolution, lossless, grain off.

In: batches of crops [T, 3, H, W], sRGB in [0, 1], and masks [T, 1, H, W]. Out: one value a frame [T]. Two regions are
scored: a fixed *mouth box* of the crop and the whole *erased area*. Drawn pictures are
complete crops: what was drawn inside the erased area, the real pixels around it. Perceptual distances are in
`adapt.metrics.perceptual`, what the mouth does in `adapt.metrics.mouth`, steadiness over time in
`adapt.metrics.temporal`, sound against picture in `prior.motion.sync`.
"""

from collections.abc import Sequence
from types import EllipsisType

import cv2
import numpy as np
import torch
from kornia.filters import gaussian_blur2d
from kornia.metrics import ssim as kornia_ssim

from prior.renderer.perceptual import SqueezeNetTrunk, feature_distance

#: Top, bottom, left, right in px of a 256 px crop: lips of nearly every pose and opening lie inside.
MOUTH_BOX = (80, 176, 64, 192)
CROP_SIZE = 256
#: Texture is what a Gaussian of this deviation (px) takes away.
TEXTURE_SIGMA_PX = 1.5
#: Differences across the border of what was drawn are taken over this many px: a feather does not hide a step.
SEAM_REACH_PX = 3
SSIM_WINDOW = 11
LUMA = (0.2126, 0.7152, 0.0722)
#: Frames further apart than this are not neighbours in time.
NEIGHBOUR_SECONDS = 0.07


def mouth_box_mask(crops: torch.Tensor) -> torch.Tensor:
    """The fixed mouth box as a mask [T, 1, H, W] for crops [T, 3, H, W]."""
    mask = torch.zeros_like(crops[:, :1])
    top, bottom, left, right = (edge * crops.shape[-1] // CROP_SIZE for edge in MOUTH_BOX)
    mask[:, :, top:bottom, left:right] = 1
    return mask


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean [T] of values [T, C, H, W] over channels and mask [T, 1, H, W]."""
    area = mask.sum((1, 2, 3)).clamp(min=1e-6) * values.shape[1]
    return (values * mask).sum((1, 2, 3)) / area


def psnr(drawn: torch.Tensor, real: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Peak signal-to-noise ratio over a mask, dB [T], at most 60."""
    error = masked_mean((drawn - real).square(), mask)
    return -10 * torch.log10(error.clamp(min=1e-6))


def ssim(drawn: torch.Tensor, real: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Structural similarity (Wang et al. 2004, window 11) over a mask [T]."""
    part = rectangle_of(mask, SSIM_WINDOW // 2)  # what lies farther away does not count
    return masked_mean(kornia_ssim(drawn[part], real[part], SSIM_WINDOW), mask[part])


def rectangle_of(mask: torch.Tensor, margin_px: int = 0) -> tuple[EllipsisType, slice, slice]:
    """Index of the rectangle around a batch's mask [T, 1, H, W], widened by a margin."""
    used = mask.amax((0, 1)) > 0
    edges = []
    for along in (used.any(1), used.any(0)):
        places = along.nonzero()[:, 0]
        edges.append(slice(max(0, int(places[0]) - margin_px), int(places[-1]) + 1 + margin_px))
    return ..., edges[0], edges[1]


def squeezenet_distance(
    trunk: SqueezeNetTrunk, drawn: torch.Tensor, real: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """SqueezeNet feature distance [T] (LPIPS-like) of the rectangle around a batch's mask."""
    part = rectangle_of(mask)
    with torch.inference_mode():
        return torch.cat(
            [feature_distance(trunk, drawn[i : i + 1][part], real[i : i + 1][part]) for i in range(len(drawn))]
        )


def texture_ratio(drawn: torch.Tensor, real: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Fine texture of the drawn over that of the real [T]: ratio of root-mean-square luma above a Gaussian; 1 is right.

    The energy of a Laplacian-like band, as focus measures use it (Pertuz et al. 2013).
    """
    return (_texture_energy(drawn, mask) / _texture_energy(real, mask).clamp(min=1e-8)).sqrt()


def _texture_energy(rgb: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    gray = luma(rgb)
    size = 2 * round(3 * TEXTURE_SIGMA_PX) + 1
    fine = gray - gaussian_blur2d(gray, (size, size), (TEXTURE_SIGMA_PX, TEXTURE_SIGMA_PX))
    return masked_mean(fine.square(), mask)


def luma(rgb: torch.Tensor) -> torch.Tensor:
    """Luma [T, 1, H, W] of sRGB crops [T, 3, H, W] (ITU-R BT.709)."""
    return (rgb * rgb.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)


def native_texture_ratio(
    drawn: torch.Tensor, frames: Sequence[np.ndarray], crop_from_image: torch.Tensor
) -> torch.Tensor:
    """`texture_ratio` of the mouth box at the source's own resolution [T]; what a crop's resolution loses, counts.

    Args:
        drawn: [T, 3, H, W] complete crops.
        frames: the T source frames, uint8 [H', W', 3] sRGB.
        crop_from_image: [T, 2, 3] of these frames.
    """
    ratios = []
    for crop, frame, matrix in zip(drawn, frames, crop_from_image.numpy(), strict=True):
        top, bottom, left, right = (edge * crop.shape[-1] // CROP_SIZE for edge in MOUTH_BOX)
        corners = np.array([[left, top], [right, top], [left, bottom], [right, bottom]], np.float64)
        image_from_crop = cv2.invertAffineTransform(matrix)
        box = corners @ image_from_crop[:, :2].T + image_from_crop[:, 2]
        # The patch reaches as far beyond the box as the Gaussian does.
        margin = round(3 * TEXTURE_SIGMA_PX)
        (x0, y0), (x1, y1) = np.floor(box.min(0)) - margin, np.ceil(box.max(0)) + margin + 1
        x0, y0, x1, y1 = max(0, int(x0)), max(0, int(y0)), min(frame.shape[1], int(x1)), min(frame.shape[0], int(y1))
        if x1 - x0 <= 4 * margin or y1 - y0 <= 4 * margin:
            ratios.append(torch.tensor(float("nan")))
            continue
        # OpenCV puts pixel centres at whole numbers.
        shift = np.array([[1.0, 0.0, x0 + 0.5], [0.0, 1.0, y0 + 0.5], [0.0, 0.0, 1.0]])
        crop_from_patch = matrix @ shift - np.array([[0.0, 0.0, 0.5], [0.0, 0.0, 0.5]])
        size, pull = (x1 - x0, y1 - y0), cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        picture = np.ascontiguousarray(crop.permute(1, 2, 0).numpy(), dtype=np.float32)
        inside = np.zeros(picture.shape[:2], np.float32)
        inside[top:bottom, left:right] = 1
        moved = cv2.warpAffine(picture, crop_from_patch, size, flags=pull, borderMode=cv2.BORDER_REPLICATE)
        mask = cv2.warpAffine(inside, crop_from_patch, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        real = frame[y0:y1, x0:x1].astype(np.float32) / 255
        pair = torch.from_numpy(np.stack([moved.clip(0, 1), real])).permute(0, 3, 1, 2)
        ratios.append(
            texture_ratio(pair[:1], pair[1:], torch.from_numpy((mask > 0.5).astype(np.float32))[None, None])[0]
        )
    return torch.stack(ratios)


def seam_ratio(drawn: torch.Tensor, real: torch.Tensor, drawn_area: torch.Tensor) -> torch.Tensor:
    """Luma differences across the border of what was drawn, over those of the real [T]: 1 is right, above 1 is a seam.

    Gradient energy along the border of what was put back, which seamless cloning minimises (Perez et al. 2003): root
    mean square over all pairs of pixels, `SEAM_REACH_PX` apart along a row or column, of which one lies inside and one
    outside.

    Args:
        drawn: [T, 3, H, W].
        real: [T, 3, H, W].
        drawn_area: [T, 1, H, W], what was drawn, or what of it was put back.
    """
    return (_seam_energy(drawn, drawn_area) / _seam_energy(real, drawn_area).clamp(min=1e-8)).sqrt()


def _seam_energy(rgb: torch.Tensor, area: torch.Tensor) -> torch.Tensor:
    gray, inside = luma(rgb), area > 0.5
    total, count = torch.zeros(len(rgb)), torch.zeros(len(rgb))
    for axis in (2, 3):
        kept = gray.shape[axis] - SEAM_REACH_PX
        across = inside.narrow(axis, 0, kept) != inside.narrow(axis, SEAM_REACH_PX, kept)
        step = gray.narrow(axis, 0, kept) - gray.narrow(axis, SEAM_REACH_PX, kept)
        total += (step.square() * across).sum((1, 2, 3))
        count += across.sum((1, 2, 3))
    return total / count.clamp(min=1)


def outside_error(drawn: torch.Tensor, real: torch.Tensor, drawn_area: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference outside what was to be drawn [T], in 8-bit steps: 0 is right."""
    return 255 * masked_mean((drawn - real).abs(), 1 - drawn_area)


def flicker_ratio(
    drawn: torch.Tensor, real: torch.Tensor, mask: torch.Tensor, timestamps: torch.Tensor
) -> torch.Tensor:
    """Change from frame to frame of the drawn over that of the real: one value (0-d), 1 is right.

    Frames that are not neighbours in time are left out; NaN where there are none.
    """
    near = (timestamps[1:] - timestamps[:-1]) < NEIGHBOUR_SECONDS
    both = mask[1:] * mask[:-1]
    drawn_change = masked_mean((drawn[1:] - drawn[:-1]).abs(), both)[near]
    real_change = masked_mean((real[1:] - real[:-1]).abs(), both)[near]
    return drawn_change.mean() / real_change.mean()


def concordance(measured: torch.Tensor, wanted: torch.Tensor) -> float:
    """Concordance correlation coefficient of two series [T] (Lin 1989); 1 where they are equal.

    To report; what audio to motion learns by is `prior.training.motion.concordance_over_known`.
    """
    first, second = measured - measured.mean(), wanted - wanted.mean()
    spread = (first.square() + second.square()).mean() + (measured.mean() - wanted.mean()).square()
    return float(2 * (first * second).mean() / spread.clamp(min=1e-12))


def correlation(first: torch.Tensor, second: torch.Tensor) -> float:
    """Pearson correlation of two series [T]; NaN where one does not vary."""
    return float(torch.corrcoef(torch.stack([first, second]))[0, 1])


def score_frames(
    drawn: torch.Tensor,
    real: torch.Tensor,
    erased: torch.Tensor,
    timestamps: torch.Tensor,
    trunk: SqueezeNetTrunk | None,
) -> dict[str, dict[str, float]]:
    """All image metrics of one clip by region, means over frames.

    Args:
        drawn: [T, 3, H, W] complete crops.
        real: [T, 3, H, W].
        erased: [T, 1, H, W] the erased area.
        timestamps: [T] seconds.
        trunk: for the perceptual distance, which is left out without it.
    """
    scores = {}
    for region, mask in (("mouth", mouth_box_mask(real)), ("erased", erased)):
        values = {
            "psnr": psnr(drawn, real, mask),
            "ssim": ssim(drawn, real, mask),
            "texture": texture_ratio(drawn, real, mask),
            "flicker": flicker_ratio(drawn, real, mask, timestamps),
        }
        if trunk is not None:
            values["squeezenet"] = squeezenet_distance(trunk, drawn, real, mask)
        scores[region] = {name: float(value.mean()) for name, value in values.items()}
    return scores
