"""Image metrics of a drawn mouth against the real one, by region; all at crop resolution, lossless, grain off.

In: batches of crops [T, 3, H, W], sRGB in [0, 1], and masks [T, 1, H, W]. Out: one value a frame [T]. Two regions are
scored: a fixed *mouth box* of the crop and the whole *erased area* (the renderer's *outer* mask). Drawn pictures are
complete crops: what was drawn inside outer, the real pixels around it.
"""

import torch
from kornia.filters import gaussian_blur2d
from kornia.metrics import ssim as kornia_ssim

from prior.losses import SqueezeNetTrunk, feature_distance

#: Top, bottom, left, right in px of a 256 px crop: lips of nearly every pose and opening lie inside.
MOUTH_BOX = (80, 176, 64, 192)
CROP_SIZE = 256
#: Texture is what a Gaussian of this deviation (px) takes away.
TEXTURE_SIGMA_PX = 1.5
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
    return masked_mean(kornia_ssim(drawn, real, 11), mask)


def squeezenet_distance(
    trunk: SqueezeNetTrunk, drawn: torch.Tensor, real: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """SqueezeNet feature distance [T] (LPIPS-like, see `prior.losses`) of the rectangle around a batch's mask."""
    used = mask.amax((0, 1)) > 0
    rows, columns = used.any(1).nonzero()[:, 0], used.any(0).nonzero()[:, 0]
    part = (..., slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
    with torch.inference_mode():
        return torch.cat(
            [feature_distance(trunk, drawn[i : i + 1][part], real[i : i + 1][part]) for i in range(len(drawn))]
        )


def texture_ratio(drawn: torch.Tensor, real: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Fine texture of the drawn over that of the real [T]: ratio of root-mean-square luma above a Gaussian."""
    return (_texture_energy(drawn, mask) / _texture_energy(real, mask).clamp(min=1e-8)).sqrt()


def _texture_energy(rgb: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    luma = (rgb * rgb.new_tensor([0.2126, 0.7152, 0.0722])[:, None, None]).sum(1, keepdim=True)
    size = 2 * round(3 * TEXTURE_SIGMA_PX) + 1
    fine = luma - gaussian_blur2d(luma, (size, size), (TEXTURE_SIGMA_PX, TEXTURE_SIGMA_PX))
    return masked_mean(fine.square(), mask)


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
    """Concordance correlation coefficient of two series [T] (Lin 1989); 1 where they are equal."""
    covariance = ((measured - measured.mean()) * (wanted - wanted.mean())).mean()
    spread = measured.var(correction=0) + wanted.var(correction=0) + (measured.mean() - wanted.mean()).square()
    return float(2 * covariance / spread.clamp(min=1e-12))


def correlation(first: torch.Tensor, second: torch.Tensor) -> float:
    """Pearson correlation of two series [T]; NaN where one does not vary."""
    return float(torch.corrcoef(torch.stack([first, second]))[0, 1])


def score_frames(
    drawn: torch.Tensor,
    real: torch.Tensor,
    outer: torch.Tensor,
    timestamps: torch.Tensor,
    trunk: SqueezeNetTrunk | None,
) -> dict[str, dict[str, float]]:
    """All image metrics of one clip by region, means over frames.

    Args:
        drawn: [T, 3, H, W] complete crops.
        real: [T, 3, H, W].
        outer: [T, 1, H, W] the erased area.
        timestamps: [T] seconds.
        trunk: for the perceptual distance, which is left out without it.
    """
    scores = {}
    for region, mask in (("mouth", mouth_box_mask(real)), ("erased", outer)):
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
