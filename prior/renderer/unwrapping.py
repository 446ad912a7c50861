"""Unwrapping: an actor's crops laid out over uv, in bins by mouth opening; what starts the actor's texture.

Crops are float32 [N, 3, H, W] sRGB in [0, 1]; unwrapped colours [N, 3, H, W] over uv with a weight [N, 1, H, W].
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from cuda_ext import ops
from cuda_ext.types import Raster
from render.drawing.crop import CROP_SIZE
from render.drawing.gbuffer import TEXTURE_SIZE
from render.drawing.masks import pick_faces
from render.head.camera import FAR_CM, NEAR_CM
from render.head.face_model import FaceModel
from render.head.track import Track

#: Frames per bin: the second only fills what the first does not show.
FRAMES_PER_BIN = 2
#: Ranks of opening from which the closed and the open bin are taken; extremes themselves are often tracking errors.
CLOSED_RANKS = (0.03, 0.12)
OPEN_RANKS = (0.97, 0.88)
SECOND_WEIGHT = 0.05
#: A texel counts as seen where the surface it lies on is at most this much behind the visible one.
VISIBLE_CM = 0.4
#: So near to the lips, px of a crop, what lies behind them hardly counts: colours run together there, and tracks of
#: lips are not exact. So a light line of lip on the teeth is not carried to other mouths.
BORDER_PX, BORDER_WEIGHT = 2, 0.02
#: The fixed "widest" expression goes this much beyond the widest one seen.
WIDEST_FACTOR = 1.15


@dataclass(frozen=True)
class TextureFrames:
    """The frames from which textures of P people are encoded.

    Attributes:
        crops: [P, COLOUR_BINS, FRAMES_PER_BIN, 3, H, W] sRGB in [0, 1].
        clip_vertices: [P, COLOUR_BINS, FRAMES_PER_BIN, V, 4].
        opening: [P, COLOUR_BINS] coefficient of the first lower axis, mean of the bin's frames.
    """

    crops: torch.Tensor
    clip_vertices: torch.Tensor
    opening: torch.Tensor


def choose_bins(opening: torch.Tensor) -> torch.Tensor:
    """Pick frames for the bins closed, half open, open from their opening [N]; returns int64 [bins, FRAMES_PER_BIN]."""
    order = opening.argsort(stable=True)
    last = len(order) - 1
    closed = [int(order[round(rank * last)]) for rank in CLOSED_RANKS]
    wide = [int(order[round(rank * last)]) for rank in OPEN_RANKS]
    middle = (opening[closed[0]] + opening[wide[0]]) / 2
    half = (opening - middle).abs().argsort(stable=True)[:FRAMES_PER_BIN].tolist()
    half += half[-1:] * (FRAMES_PER_BIN - len(half))
    return torch.tensor([closed, half, wide])


def unwrap(
    model: FaceModel,
    clip_vertices: torch.Tensor,
    crops: torch.Tensor,
    texels: int = TEXTURE_SIZE,
    mode: str = "bilinear",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Bring crops into uv.

    Args:
        model: the face model.
        clip_vertices: [N, V, 4] of each crop.
        crops: [N, C, H, W] sRGB in [0, 1], or anything else that goes with their pixels.
        texels: side of the square of uv.
        mode: of `torch.nn.functional.grid_sample`; "bicubic" keeps what is fine.

    Returns:
        values [N, C, texels, texels] and weight [N, 1, …] in [0, 1]: 0 where the texel is not seen, else crop pixels
        per texel, at most 1; next to nothing at the borders of what is seen between the lips.
    """
    count, size = len(crops), crops.shape[-1]
    faces = model.faces.long()
    flat = torch.stack([2 * model.uv[:, 0] - 1, 1 - 2 * model.uv[:, 1]], -1)
    at_uv = torch.cat([flat, torch.zeros_like(flat[:, :1]), torch.ones_like(flat[:, :1])], -1)
    flat_raster = ops.rasterize(at_uv[None].contiguous(), model.faces, (texels, texels))
    raster = Raster(
        flat_raster.face_id.expand(count, -1, -1).contiguous(),
        flat_raster.barycentrics.expand(count, -1, -1, -1).contiguous(),
        flat_raster.depth.expand(count, -1, -1).contiguous(),
    )
    clip = ops.interpolate(clip_vertices, raster, model.faces)  # [N, H', W', 4]
    depth_cm = clip[..., 3]
    position = clip[..., :2] / depth_cm.clamp(min=NEAR_CM)[..., None]
    grid = torch.stack([position[..., 0], -position[..., 1]], -1)
    rgb = F.grid_sample(crops, grid, mode=mode, padding_mode="border", align_corners=False)
    seen = ops.rasterize(clip_vertices, model.faces, (size, size))
    image_depth = seen.depth
    image_cm = 2 * FAR_CM * NEAR_CM / (FAR_CM + NEAR_CM - image_depth * (FAR_CM - NEAR_CM))
    between_lips = model.faces_in("mouth_upper", "mouth_lower")
    opened = pick_faces(between_lips, seen.face_id)[:, 0]
    looked_up = torch.stack([image_cm, opened, _least_around(opened, BORDER_PX * size // CROP_SIZE)], 1)
    front_cm, there, well_there = F.grid_sample(looked_up, grid, "nearest", "border", align_corners=False).unbind(1)
    ndc = clip_vertices[..., :2] / clip_vertices[..., 3:]
    density = _areas(ndc, faces) * size**2 / (_areas(flat[None], faces) * texels**2).clamp(min=1e-9)  # [N, F]
    density = torch.cat([density.clamp(0, 1), density.new_zeros(count, 1)], 1)
    weight = density.gather(1, raster.face_id.long().flatten(1) % density.shape[1]).view_as(depth_cm)
    inside = (position.abs() < 1).all(-1) & (depth_cm < front_cm + VISIBLE_CM)
    # Behind the lips, but close, is not between them.
    counts = torch.where(well_there > 0, 1.0, BORDER_WEIGHT * there)
    in_mouth = pick_faces(between_lips, raster.face_id)[:, 0] > 0
    return rgb, (weight * inside * torch.where(in_mouth, counts, 1.0))[:, None]


def _least_around(values: torch.Tensor, reach_px: int) -> torch.Tensor:
    """Least of values [N, H, W] in the square that reaches so far; by shifts, many times faster than pooling."""
    for axis in (1, 2):
        size = values.shape[axis]
        margin = [0, 0, reach_px, reach_px] if axis == 1 else [reach_px, reach_px, 0, 0]
        padded = F.pad(values, margin, value=torch.inf)
        for shift in range(2 * reach_px + 1):
            values = torch.minimum(values, padded.narrow(axis, shift, size))
    return values


def _areas(points: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    """Signed areas [N, F] of triangles in points [N, V, 2], positive where counter-clockwise with y up."""
    a, b, c = (points[:, faces[:, corner]] for corner in range(3))
    ab, ac = b - a, c - a
    return (ab[..., 0] * ac[..., 1] - ab[..., 1] * ac[..., 0]) / 2


def enrollment_of(model: FaceModel, *parts: tuple[Track, torch.Tensor, torch.Tensor]) -> TextureFrames:
    """Choose the frames of the bins; arguments as for `RendererPrior.encode_look`; one person."""
    opening = torch.cat([track.lower_expression[frames, 0] for track, frames, _ in parts])
    owner = [(part, row) for part, (_, frames, _) in enumerate(parts) for row in range(len(frames))]
    bins = choose_bins(opening)
    crops, clip = [], []
    for index in bins.flatten().tolist():
        part, row = owner[index]
        track, frames, pictures = parts[part]
        crops.append(pictures[row])
        clip.append(track.clip_vertices(model, frames[row : row + 1])[0])
    return TextureFrames(
        torch.stack(crops).unflatten(0, bins.shape)[None],
        torch.stack(clip).unflatten(0, bins.shape)[None],
        opening[bins].mean(1)[None],
    )
