"""The renderer prior: network, mean texture and texture encoder, learnt from many people; what every actor starts from.

A new actor's texture needs no step of training: chosen frames (mouth closed, half open, open) are unwrapped into uv,
holes are filled from what is seen beside them inside the mouth, from each other and from the mean texture, and a small
network corrects the result and writes the channels that are not colours. Stored in 8 bits a weight as
`prior/weights/renderer.safetensors`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from prior.face.model import load_face_model
from prior.face.points import lip_gap
from prior.network import stored_network, unpacked_weights
from prior.renderer.bank_choice import EnrollmentPart, bank_frames, bank_of
from prior.renderer.sheets import carried_on, sheet_masks
from prior.renderer.unwrapping import FRAMES_PER_BIN, SECOND_WEIGHT, WIDEST_FACTOR, TextureFrames, enrollment_of, unwrap
from render.drawing.gbuffer import TEXTURE_SIZE
from render.drawing.look import Look
from render.drawing.neural_texture import COLOUR_BINS, COLOUR_CHANNELS, TEXTURE_CHANNELS
from render.drawing.renderer import Renderer
from render.drawing.unet import UNet
from render.head.face_model import FaceModel
from render.store import file_sha256, load_tensors, packed, save_tensors

KIND = "adapt-renderer-prior"
#: What files of this version call the fixed expressions, and how many there are.
STORED, COUNT = {"erasing_expressions": "outer_expressions"}, "outer_count"
KIND_VERSION = 3

WEIGHTS = Path(__file__).parents[1] / "weights" / "renderer.safetensors"


def extreme_expressions(model: FaceModel, lower_expression: torch.Tensor) -> torch.Tensor:
    """The fixed expressions of the erased area [4, E] from many tracked ones [N, E]: closed, widest, smile, pucker."""
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
        erasing_count: how many fixed expressions the erased area has.

    Attributes:
        renderer: `Renderer`.
        mean_texture: [TEXTURE_CHANNELS, TEXTURE_SIZE, TEXTURE_SIZE].
        erasing_expressions: [K, E] for `render_inputs`.
        facts: how and on what it was trained, and "sha256" where it was read from a file.
    """

    erasing_expressions: torch.Tensor

    def __init__(self, model: FaceModel, renderer: Mapping[str, Any] | None = None, erasing_count: int = 4) -> None:
        super().__init__()
        self.model = model
        expressions = model.lower_basis.shape[0]
        self.renderer = Renderer(expressions, **(renderer or {}))
        self.encoder = UNet(
            COLOUR_CHANNELS + 2 * COLOUR_BINS + TEXTURE_CHANNELS, TEXTURE_CHANNELS, (16, 32, 64, 96, 128)
        )
        self.mean_texture = nn.Parameter(torch.zeros(TEXTURE_CHANNELS, TEXTURE_SIZE, TEXTURE_SIZE))
        self.register_buffer("erasing_expressions", torch.zeros(erasing_count, expressions))
        self.facts: dict[str, Any] = {}

    @property
    def sha256(self) -> str:
        """Hash of the file it was read from; raises `ValueError` for one that was not."""
        if "sha256" not in self.facts:
            raise ValueError("RendererPrior.sha256: not read from a file")
        return str(self.facts["sha256"])

    def encode(self, enrollment: TextureFrames) -> torch.Tensor:
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

    def unwrapped(self, enrollment: TextureFrames) -> tuple[torch.Tensor, torch.Tensor]:
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
            fallback = torch.lerp(fallback, *carried_on(rgb, seen, sheet_masks(self.model, rgb.shape[-1])))
            return rgb * here + fallback * (1 - here), seen

    def encode_look(self, *parts: EnrollmentPart) -> Look:
        """Look of one person without any training step.

        Args:
            parts: for each clip of the enrollment its track, confident frames [N] int64 of it, and their crops
                [N, 3, H, W] sRGB in [0, 1]; the best for bins and bank are chosen among all.
        """
        with torch.no_grad():
            texture = self.encode(enrollment_of(self.model, *parts))
            return Look(texture, bank_of(self.model, bank_frames(self.model, self.renderer, *parts)[0]))

    def save(self, path: Path = WEIGHTS) -> None:
        """Write in 8 bits (see `packed`), atomically."""
        tensors = {STORED.get(name, name): value for name, value in packed(self.state_dict()).items()}
        arguments = {key: value for key, value in self.renderer.arguments.items() if key != "expression_size"}
        facts = {**self.facts, "renderer": arguments, COUNT: len(self.erasing_expressions)}
        save_tensors(path, KIND, KIND_VERSION, tensors, {key: facts[key] for key in facts if key != "sha256"})


def load_renderer_prior(
    path: Path | None = None, device: str | torch.device = "cpu", model: FaceModel | None = None
) -> RendererPrior:
    """Read a renderer prior, the shipped one by default.

    Raises:
        StoreError, StoreVersionError: missing, damaged, of another version, or made for another face model.
    """
    path = WEIGHTS if path is None else path
    tensors, facts = load_tensors(path, KIND, KIND_VERSION)
    face_model = load_face_model() if model is None else model

    def build(erasing_count: int, **renderer: Any) -> RendererPrior:
        return RendererPrior(face_model, renderer, erasing_count)

    names = {stored: name for name, stored in STORED.items()}
    weights = {names.get(name, name): value for name, value in unpacked_weights(tensors, path).items()}
    renderer = facts.get("renderer")
    sizes = {**renderer, "erasing_count": facts.get(COUNT)} if isinstance(renderer, dict) else None
    prior = stored_network(build, sizes, weights, path, ["renderer.expression_scale"])
    prior.facts = {**facts, "sha256": file_sha256(path)}
    prior.model = prior.model.to(device)
    return prior.eval().requires_grad_(False).to(device)
