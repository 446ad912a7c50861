"""The renderer prior: network, mean texture and texture encoder, learnt from many people; what every actor starts from.

A new actor's texture needs no step of training: chosen frames (mouth closed, half open, open) are unwrapped into uv,
holes are filled from each other and from the mean texture, and a small network corrects the result and writes the
channels that are not colours. Stored in 8 bits a weight as `prior/weights/renderer.safetensors`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from cuda_ext import ops
from prior.face_model import lip_gap, load_face_model
from render.camera import FAR_CM, NEAR_CM
from render.errors import StoreError
from render.face_model import FaceModel
from render.neural_texture import COLOUR_BINS, COLOUR_CHANNELS, TEXTURE_CHANNELS, TEXTURE_SIZE
from render.renderer import Renderer
from render.store import file_sha256, load_tensors, save_tensors
from render.track import Track
from render.unet import UNet

KIND = "adapt-renderer-prior"
KIND_VERSION = 1
WEIGHTS = Path(__file__).parent / "weights" / "renderer.safetensors"
#: Frames per bin: the second only fills what the first does not show.
FRAMES_PER_BIN = 2
#: Ranks of opening from which the closed and the open bin are taken; extremes themselves are often tracking errors.
CLOSED_RANKS = (0.03, 0.12)
OPEN_RANKS = (0.97, 0.88)
SECOND_WEIGHT = 0.05
#: A texel counts as seen where the surface it lies on is at most this much behind the visible one.
VISIBLE_CM = 0.4
#: The fixed "widest" expression goes this much beyond the widest one seen.
WIDEST_FACTOR = 1.15
#: Matrices and convolutions of at least so many weights are stored in 8 bits; what their scales are called.
QUANTISED_NUMEL = 4096
SCALE = "/scale"


@dataclass(frozen=True)
class Enrollment:
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


def unwrap(model: FaceModel, clip_vertices: torch.Tensor, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Bring crops into uv.

    Args:
        model: the face model.
        clip_vertices: [N, V, 4] of each crop.
        crops: [N, 3, H, W] sRGB in [0, 1].

    Returns:
        rgb [N, 3, TEXTURE_SIZE, TEXTURE_SIZE] and weight [N, 1, …] in [0, 1]: 0 where the texel is not seen, else
        crop pixels per texel, at most 1.
    """
    count, size = len(crops), crops.shape[-1]
    faces = model.faces.long()
    flat = torch.stack([2 * model.uv[:, 0] - 1, 1 - 2 * model.uv[:, 1]], -1)
    at_uv = torch.cat([flat, torch.zeros_like(flat[:, :1]), torch.ones_like(flat[:, :1])], -1)
    texels = ops.rasterize(at_uv[None].contiguous(), model.faces, (TEXTURE_SIZE, TEXTURE_SIZE))
    raster = ops.Raster(
        texels.face_id.expand(count, -1, -1).contiguous(),
        texels.barycentrics.expand(count, -1, -1, -1).contiguous(),
        texels.depth.expand(count, -1, -1).contiguous(),
    )
    clip = ops.interpolate(clip_vertices, raster, model.faces)  # [N, H', W', 4]
    depth_cm = clip[..., 3]
    position = clip[..., :2] / depth_cm.clamp(min=NEAR_CM)[..., None]
    grid = torch.stack([position[..., 0], -position[..., 1]], -1)
    rgb = F.grid_sample(crops, grid, mode="bilinear", padding_mode="border", align_corners=False)
    seen = ops.rasterize(clip_vertices, model.faces, (size, size)).depth
    seen_cm = 2 * FAR_CM * NEAR_CM / (FAR_CM + NEAR_CM - seen * (FAR_CM - NEAR_CM))
    front_cm = F.grid_sample(seen_cm[:, None], grid, mode="nearest", padding_mode="border", align_corners=False)[:, 0]
    ndc = clip_vertices[..., :2] / clip_vertices[..., 3:]
    density = _areas(ndc, faces) * size**2 / (_areas(flat[None], faces) * TEXTURE_SIZE**2).clamp(min=1e-9)  # [N, F]
    density = torch.cat([density.clamp(0, 1), density.new_zeros(count, 1)], 1)
    weight = density.gather(1, raster.face_id.long().flatten(1) % density.shape[1]).view_as(depth_cm)
    inside = (position.abs() < 1).all(-1) & (depth_cm < front_cm + VISIBLE_CM)
    return rgb, (weight * inside)[:, None]


def _areas(points: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    """Signed areas [N, F] of triangles in points [N, V, 2], positive where counter-clockwise with y up."""
    a, b, c = (points[:, faces[:, corner]] for corner in range(3))
    ab, ac = b - a, c - a
    return (ab[..., 0] * ac[..., 1] - ab[..., 1] * ac[..., 0]) / 2


def extreme_expressions(model: FaceModel, lower_expression: torch.Tensor) -> torch.Tensor:
    """The fixed expressions of *outer* [4, E] from many tracked ones [N, E]: closed, widest, smile, pucker."""
    vertices = model.vertices(torch.zeros(model.shape_basis.shape[0]), lower_expression)
    gap = lip_gap(vertices)
    width = (vertices[:, 61] - vertices[:, 291]).norm(dim=-1)  # mouth corners
    last = len(gap) - 1
    closed, widest = (int(gap.argsort()[round(rank * last)]) for rank in (0.01, 0.998))
    pucker, smile = (int(width.argsort()[round(rank * last)]) for rank in (0.005, 0.995))
    chosen = lower_expression[[closed, widest, smile, pucker]].clone()
    chosen[1] *= WIDEST_FACTOR
    return chosen


class RendererPrior(nn.Module):
    """Network, encoder and mean texture.

    Args:
        model: the face model that the prior belongs to.
        renderer: arguments of `Renderer`, without `expression_size`.
        outer_count: how many fixed expressions *outer* has.

    Attributes:
        renderer: `Renderer`.
        mean_texture: [TEXTURE_CHANNELS, TEXTURE_SIZE, TEXTURE_SIZE].
        outer_expressions: [K, E] for `render_inputs`.
        facts: how and on what it was trained, and "sha256" where it was read from a file.
    """

    outer_expressions: torch.Tensor

    def __init__(self, model: FaceModel, renderer: Mapping[str, Any] | None = None, outer_count: int = 4) -> None:
        super().__init__()
        self.model = model
        expressions = model.lower_basis.shape[0]
        self.renderer = Renderer(expressions, **(renderer or {}))
        self.encoder = UNet(
            COLOUR_CHANNELS + 2 * COLOUR_BINS + TEXTURE_CHANNELS, TEXTURE_CHANNELS, (16, 32, 64, 96, 128)
        )
        self.mean_texture = nn.Parameter(torch.zeros(TEXTURE_CHANNELS, TEXTURE_SIZE, TEXTURE_SIZE))
        self.register_buffer("outer_expressions", torch.zeros(outer_count, expressions))
        self.facts: dict[str, Any] = {}

    def encode(self, enrollment: Enrollment) -> torch.Tensor:
        """Textures [P, TEXTURE_CHANNELS, TEXTURE_SIZE, TEXTURE_SIZE] of P people; differentiable in the encoder."""
        people = len(enrollment.crops)
        rgb, seen = self.unwrapped(enrollment)
        colours = rgb.flatten(1, 2)  # [P, 3 · bins, H, W]
        renderer = self.renderer
        opening = (enrollment.opening - renderer.expression_mean[0]) / renderer.expression_scale[0]
        planes = opening[..., None, None].expand(-1, -1, *colours.shape[-2:])
        mean = self.mean_texture.expand(people, -1, -1, -1)
        image = torch.cat([colours, seen.flatten(1, 2), planes, mean], 1)
        correction = self.encoder(image)
        rest = mean[:, COLOUR_CHANNELS:]
        return (torch.cat([colours, rest], 1) + correction).contiguous(memory_format=torch.channels_last)

    def unwrapped(self, enrollment: Enrollment) -> tuple[torch.Tensor, torch.Tensor]:
        """Colours [P, bins, 3, H, W] by bin, holes filled, and how much of each texel was seen [P, bins, 1, H, W]."""
        people = len(enrollment.crops)
        with torch.no_grad():
            rgb, weight = unwrap(self.model, enrollment.clip_vertices.flatten(0, 2), enrollment.crops.flatten(0, 2))
            rgb, weight = (value.unflatten(0, (people, COLOUR_BINS, FRAMES_PER_BIN)) for value in (rgb, weight))
            share = weight.clone()
            share[:, :, 1:] *= SECOND_WEIGHT
            rgb = (rgb * share).sum(2) / share.sum(2).clamp(min=1e-6)  # [P, bins, 3, H, W]
            seen = weight.amax(2)  # [P, bins, 1, H, W]
            others = (rgb * seen).sum(1, keepdim=True) / seen.sum(1, keepdim=True).clamp(min=1e-6)
            ever = (seen.amax(1, keepdim=True) / 0.2).clamp(0, 1)
            here = (seen / 0.2).clamp(0, 1)
            mean = self.mean_texture[:COLOUR_CHANNELS].unflatten(0, (COLOUR_BINS, 3))[None]
            # The mean texture takes the person's average colour before it fills what no bin shows.
            tint = ((rgb - mean) * seen).sum((1, 3, 4), keepdim=True) / seen.sum((1, 3, 4), keepdim=True).clamp(min=1)
            fallback = others * ever + (mean + tint) * (1 - ever)
            return rgb * here + fallback * (1 - here), seen

    def encode_texture(self, *parts: tuple[Track, torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Texture [1, C, H, W] of one person without any training step.

        Args:
            parts: for each clip of the enrollment its track, confident frames [N] int64 of it, and their crops
                [N, 3, H, W] sRGB in [0, 1]; the best for the bins are chosen among all.
        """
        with torch.no_grad():
            return self.encode(enrollment_of(self.model, *parts))

    def save(self, path: Path = WEIGHTS) -> None:
        """Write in 8 bits (see `packed`), atomically."""
        tensors = packed(self.state_dict())
        arguments = {key: value for key, value in self.renderer.arguments.items() if key != "expression_size"}
        facts = {**self.facts, "renderer": arguments, "outer_count": len(self.outer_expressions)}
        save_tensors(path, KIND, KIND_VERSION, tensors, {key: facts[key] for key in facts if key != "sha256"})


def packed(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights as they are stored: large ones in 8 bits with a scale a row, the rest in half precision."""
    stored = {}
    for name, value in tensors.items():
        if "expression" in name or not value.is_floating_point():
            stored[name] = value
        elif value.ndim < 2 or value.numel() < QUANTISED_NUMEL:
            stored[name] = value.half()
        else:
            scale = value.flatten(1).abs().amax(1).clamp(min=1e-12) / 127
            stored[name] = (value / _column(scale, value)).round().to(torch.int8)
            stored[name + SCALE] = scale
    return stored


def unpacked(stored: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Float32 weights from `packed` ones."""
    tensors = {}
    for name, value in stored.items():
        if name + SCALE in stored:
            tensors[name] = value.float() * _column(stored[name + SCALE], value)
        elif not name.endswith(SCALE):
            tensors[name] = value.float()
    return tensors


def _column(scale: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """One factor [N] a row of value [N, ...], ready to multiply."""
    return scale.float().view(-1, *[1] * (value.ndim - 1))


def enrollment_of(model: FaceModel, *parts: tuple[Track, torch.Tensor, torch.Tensor]) -> Enrollment:
    """Choose the frames of the bins; arguments as for `RendererPrior.encode_texture`; one person."""
    opening = torch.cat([track.lower_expression[frames, 0] for track, frames, _ in parts])
    owner = [(part, row) for part, (_, frames, _) in enumerate(parts) for row in range(len(frames))]
    bins = choose_bins(opening)
    crops, clip = [], []
    for index in bins.flatten().tolist():
        part, row = owner[index]
        track, frames, pictures = parts[part]
        crops.append(pictures[row])
        clip.append(track.clip_vertices(model, frames[row : row + 1])[0])
    return Enrollment(
        torch.stack(crops).unflatten(0, bins.shape)[None],
        torch.stack(clip).unflatten(0, bins.shape)[None],
        opening[bins].mean(1)[None],
    )


def load_renderer_prior(
    path: Path | None = None, device: str | torch.device = "cpu", model: FaceModel | None = None
) -> RendererPrior:
    """Read a renderer prior, the shipped one by default.

    Raises:
        StoreError, StoreVersionError: missing, damaged, of another version, or made for another face model.
    """
    path = WEIGHTS if path is None else path
    tensors, facts = load_tensors(path, KIND, KIND_VERSION)
    prior = RendererPrior(load_face_model() if model is None else model, facts["renderer"], facts["outer_count"])
    try:
        prior.load_state_dict(unpacked(tensors))
    except RuntimeError as error:
        raise StoreError(
            f"{path}: does not fit the face model in use ({str(error).splitlines()[-1].strip()})"
        ) from error
    prior.facts = {**facts, "sha256": file_sha256(path)}
    prior.model = prior.model.to(device)
    return prior.eval().requires_grad_(False).to(device)
