"""Losses of the renderer, for pretraining and for fitting alike, and the perceptual distance behind one of them.

All compare a drawn rgb with the real crop inside the erased area; the mouth counts more, because it is a twentieth of
the area and all of the purpose. High-frequency terms are weighted by how much detail the source has: a small face
scaled up would teach blur. The matte is supervised by geometry alone.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from prior.renderer.perceptual import TRAINING_TAPS, SqueezeNetTrunk, feature_differences, over_places
from render.drawing.masks import dilate
from render.drawing.renderer import RenderInputs
from render.drawing.unet import prefers_bfloat16

#: Bands of texture whose strength is compared; two boxes of 3 px make about a Gaussian of 1.2 px, of 5 px one of 2 px.
TEXTURE_BOXES_PX = (3, 5)


@dataclass(frozen=True)
class LossWeights:
    """Weight of each term of `renderer_loss`.

    Attributes:
        colour: mean absolute difference over the erased area.
        lower_face, mouth: how much more these count in it than the rest of the erased area.
        detail: mean absolute difference of horizontal and vertical differences.
        texture: difference of local fine-texture strength, wherever its detail lies; without it, what cannot be
            foreseen exactly is drawn as blur.
        perceptual: SqueezeNet feature distance; 0 without a trunk.
        perceptual_mouth: the same over the mouth alone, of which there is little in the whole.
        matte: cross entropy against the drawn lower face.
    """

    colour: float = 1.0
    lower_face: float = 1.0
    mouth: float = 8.0
    detail: float = 1.0
    # Four times as much in a fit was tried: texture .945 → .948, but feature distance over the erased area 1.55 → 1.63.
    texture: float = 1.0
    perceptual: float = 0.08
    perceptual_mouth: float = 0.03
    matte: float = 0.02


def detail_weight(log_scale: torch.Tensor) -> torch.Tensor:
    """How much a source's detail can be trusted [B]: 0 at half a source pixel per crop pixel, 1 from one on."""
    return ((log_scale.exp() - 0.5) / 0.5).clamp(0, 1)


def texture_strength(rgb: torch.Tensor, mask: torch.Tensor, box_px: int) -> torch.Tensor:
    """Local strength of fine texture: root mean square of what two box filters in a row take away.

    Args:
        rgb: [B, C, H, W].
        mask: [B, 1, H, W]; pixels outside it take no part.
        box_px: side of the boxes, odd.

    Returns:
        [B, C, H / 8 - 1, W / 8 - 1], over windows of 16 px.
    """
    fine = rgb - box_filter(box_filter(rgb, box_px), box_px)
    return (_windows(fine.square() * mask) + 1e-6).sqrt()


def box_filter(images: torch.Tensor, size_px: int) -> torch.Tensor:
    """Mean over squares of an odd size, edges repeated; images [B, C, H, W]. Many times faster than `avg_pool2d`."""
    margin = size_px // 2
    height, width = images.shape[-2:]
    padded = F.pad(images.contiguous(), (margin, margin, margin, margin), mode="replicate")
    down = padded[..., :height, :]
    for shift in range(1, size_px):
        down = down + padded[..., shift : shift + height, :]
    both = down[..., :width]
    for shift in range(1, size_px):
        both = both + down[..., shift : shift + width]
    return both / size_px**2


def _windows(images: torch.Tensor) -> torch.Tensor:
    """Means over overlapping windows of 16 px, 8 px apart."""
    return F.avg_pool2d(F.avg_pool2d(images.contiguous(), 8), 2, 1)


def completed(rgb: torch.Tensor, inputs: RenderInputs) -> torch.Tensor:
    """The whole crop [B, 3, H, W]: what was drawn where it was erased, hardly clamped, and the real pixels around."""
    return torch.where(inputs.erased > 0, rgb.clamp(-0.2, 1.2), inputs.crop)


def renderer_loss(
    drawn: tuple[torch.Tensor, torch.Tensor],
    inputs: RenderInputs,
    weights: LossWeights | None = None,
    trunk: SqueezeNetTrunk | None = None,
) -> dict[str, torch.Tensor]:
    """Loss of a batch.

    Args:
        drawn: rgb [B, 3, H, W], not clamped, and the matte's logit [B, 1, H, W], as `draw_trainable` gives them.
        inputs: what was drawn from; its crop is the real frame, here read inside the erased area, too.
        weights: of the terms.
        trunk: for the perceptual term; left out where not given.

    Returns:
        Scalars by term, unweighted, and their weighted sum as "total".
    """
    weights = LossWeights() if weights is None else weights
    (rgb, matte_logit), crop, erased, lower_face = drawn, inputs.crop, inputs.erased, inputs.buffer.lower_face
    near_mouth = dilate(inputs.buffer.mouth, 6)
    importance = erased * (1 + weights.lower_face * lower_face + weights.mouth * near_mouth)
    area = importance.sum().clamp(min=1)
    difference = rgb - crop
    detail = detail_weight(inputs.log_scale)[:, None, None, None]
    fine = detail * importance
    across = (difference[..., 1:] - difference[..., :-1]).abs() * fine[..., 1:]
    down = (difference[..., 1:, :] - difference[..., :-1, :]).abs() * fine[..., 1:, :]
    terms = {
        "colour": (difference.abs() * importance).sum() / (3 * area),
        "detail": (across.sum() + down.sum()) / (3 * area),
        "matte": F.binary_cross_entropy_with_logits(matte_logit, lower_face, erased, reduction="sum")
        / erased.sum().clamp(1),
    }
    whole = completed(rgb, inputs)
    if weights.texture:
        place = _windows(fine)
        terms["texture"] = rgb.new_zeros(())
        for box_px in TEXTURE_BOXES_PX:
            wanted = texture_strength(crop, erased, box_px)
            off = (texture_strength(whole, erased, box_px) - wanted).abs()
            terms["texture"] = terms["texture"] + (off * place).sum() / (3 * place.sum().clamp(min=1))
    if trunk is not None and weights.perceptual:
        with torch.autocast(crop.device.type, torch.bfloat16, enabled=prefers_bfloat16(crop.device)):
            differences = feature_differences(trunk, whole, crop, TRAINING_TAPS)
        trusted = 0.25 + 0.75 * detail[:, 0, 0, 0]
        terms["perceptual"] = (over_places(differences) * trusted).mean()
        terms["perceptual_mouth"] = (over_places(differences, erased * near_mouth) * trusted).mean()
    terms["total"] = torch.stack([getattr(weights, name) * value for name, value in terms.items()]).sum()
    return terms
