"""Mouths copied from the enrollment: one frozen mouth, or the nearest one; every table carries both beside ours.

They take only enrollment frames and, of the query frame, its head pose and the pixels outside the erased area. The
picture is brought onto the query's head by a similarity between the projections of points that the jaw does not move,
matched in colour along the border of the erased area, and feathered into it. Crops are [N, 3, H, W], sRGB in [0, 1].
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from kornia.geometry.transform import warp_affine

from adapt.baselines.contract import Enrollment
from prior.face.points import RIGID_POINTS
from render.drawing.masks import dilate
from render.head.face_model import FaceModel
from render.head.track import Track

FEATHER_PX = 6
BORDER_PX = 8
#: How much a turn of the head by one radian weighs against one standard deviation of an expression axis.
POSE_WEIGHT = 4.0


@dataclass(frozen=True)
class EnrollmentFrames:
    """Frames that a baseline may copy from: [N] frames of a track, and their crops [N, 3, H, W]."""

    track: Track
    frames: torch.Tensor
    crops: torch.Tensor


def frames_of(enrollment: Enrollment) -> EnrollmentFrames:
    """The enrollment as the cheap baselines read it."""
    return EnrollmentFrames(enrollment.track, torch.arange(len(enrollment)), enrollment.crops.float() / 255)


def frozen_mouth(
    model: FaceModel,
    enrollment: EnrollmentFrames,
    track: Track,
    frames: torch.Tensor,
    crops: torch.Tensor,
    erased: torch.Tensor,
) -> torch.Tensor:
    """The most closed mouth of the enrollment in every frame; arguments and result as `nearest_mouth`."""
    closed = int(enrollment.track.lower_expression[enrollment.frames, 0].argmin())
    chosen = torch.full((len(frames),), closed)
    return _transplant(model, enrollment, chosen, track, frames, crops, erased)


def nearest_mouth(
    model: FaceModel,
    enrollment: EnrollmentFrames,
    track: Track,
    frames: torch.Tensor,
    crops: torch.Tensor,
    erased: torch.Tensor,
) -> torch.Tensor:
    """The enrollment's mouth that is nearest in lower expression and head pose, colour-matched.

    Args:
        model: the face model.
        enrollment: frames to copy from.
        track: of the query frames.
        frames: [B] int64 rows of it.
        crops: [B, 3, H, W]; read outside the erased area only.
        erased: [B, 1, H, W].

    Returns:
        [B, 3, H, W] complete crops.
    """
    spread = enrollment.track.lower_expression[enrollment.frames].std(0).clamp(min=0.1)
    mouths = torch.cat(
        [
            enrollment.track.lower_expression[enrollment.frames] / spread,
            POSE_WEIGHT * enrollment.track.rotation[enrollment.frames],
        ],
        1,
    )
    queries = torch.cat([track.lower_expression[frames] / spread, POSE_WEIGHT * track.rotation[frames]], 1)
    chosen = torch.cdist(queries, mouths).argmin(1)
    return _transplant(model, enrollment, chosen, track, frames, crops, erased)


def _transplant(
    model: FaceModel,
    enrollment: EnrollmentFrames,
    chosen: torch.Tensor,
    track: Track,
    frames: torch.Tensor,
    crops: torch.Tensor,
    erased: torch.Tensor,
) -> torch.Tensor:
    source = _rigid_points(model, enrollment.track, enrollment.frames[chosen])
    target = _rigid_points(model, track, frames)
    size = (crops.shape[-2], crops.shape[-1])
    moved = warp_affine(enrollment.crops[chosen], _similarity(source, target), size, padding_mode="border")
    border = (dilate(erased, BORDER_PX) - erased).clamp(min=0)
    area = border.sum((2, 3), keepdim=True).clamp(min=1)
    shift = ((crops - moved) * border).sum((2, 3), keepdim=True) / area
    size_px = 2 * FEATHER_PX + 1
    # Wide enough inside the erased area to fade, and exactly 0 outside it.
    inside = F.avg_pool2d(1 - dilate(1 - erased, FEATHER_PX), size_px, 1, FEATHER_PX) * erased
    surround = torch.where(erased > 0, moved + shift, crops)
    return torch.lerp(surround, moved + shift, inside).clamp(0, 1)


def _rigid_points(model: FaceModel, track: Track, frames: torch.Tensor) -> torch.Tensor:
    """Crop positions [B, P, 2] px of the points that the jaw does not move, at the mean expression."""
    still = track.lower_expression.new_zeros(len(frames), track.lower_expression.shape[1])
    clip = track.clip_vertices(model, frames, still)[:, list(RIGID_POINTS)]
    ndc = clip[..., :2] / clip[..., 3:]
    return torch.stack([(ndc[..., 0] + 1) / 2, (1 - ndc[..., 1]) / 2], -1) * track.crop_size - 0.5


def _similarity(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Least-squares similarities [B, 2, 3] of points [B, P, 2] onto others (complex regression)."""
    a = torch.view_as_complex((source - source.mean(1, keepdim=True)).contiguous())
    b = torch.view_as_complex((target - target.mean(1, keepdim=True)).contiguous())
    ratio = (a.conj() * b).sum(1) / (a.abs().square()).sum(1)
    linear = torch.stack([torch.stack([ratio.real, -ratio.imag], -1), torch.stack([ratio.imag, ratio.real], -1)], 1)
    shift = target.mean(1) - (linear @ source.mean(1)[..., None])[..., 0]
    return torch.cat([linear, shift[..., None]], -1)
