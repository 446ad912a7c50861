"""A batch of renderer training: items of people become what the network and the loss read.

In: `TrainingItem`s with a leading dimension P. Out: a `Drawing` of B = P · T samples, each the part of a crop that the
network sees; augmented copies are mirrored, tinted, and their expressions disturbed.
"""

from dataclasses import dataclass, replace

import torch

from prior.renderer.prior import RendererPrior
from prior.renderer.unwrapping import TextureFrames
from prior.training.renderer_items import TrainingItem
from render.drawing.erasure import erased_mask
from render.drawing.gbuffer import GBuffer, gbuffer
from render.drawing.neural_texture import sample_texture
from render.drawing.renderer import RenderInputs, seen_corners


@dataclass(frozen=True)
class Augmentation:
    """How augmented copies differ.

    Attributes:
        colour_jitter: largest change of gain of a person; a third of it between enrollment and target.
        code_noise: standard deviation added to normalised expressions.
    """

    colour_jitter: float
    code_noise: float


@dataclass(frozen=True)
class Drawing:
    """A batch as the network and the loss read it: texture samples and the rest, of B = P · T samples."""

    features: torch.Tensor
    inputs: RenderInputs

    def region_errors(self, rgb: torch.Tensor) -> dict[str, float]:
        """Mean absolute difference from the real crop on the mouth, the rest of the lower face, and around it."""
        buffer, erased = self.inputs.buffer, self.inputs.erased
        mouth, face = buffer.mouth * erased, buffer.lower_face * (1 - buffer.mouth) * erased
        regions = {"mouth": mouth, "face": face, "around": erased * (1 - mouth) * (1 - face)}
        off = (rgb.clamp(0, 1) - self.inputs.crop).abs().mean(1, keepdim=True)
        return {name: float((off * mask).sum() / mask.sum().clamp(min=1)) for name, mask in regions.items()}


def mirror_signs(prior: RendererPrior) -> torch.Tensor:
    """+1 for lower axes that a mirrored face keeps, −1 for those it turns round [E]."""
    model = prior.model
    mirror = model.mean.new_tensor([-1.0, 1.0, 1.0])
    partner = torch.cdist(model.mean * mirror, model.mean).argmin(1)
    agreement = (model.lower_basis * (model.lower_basis[:, partner] * mirror)).sum((1, 2))
    return torch.where(agreement < 0, -1.0, 1.0)


def prepare_drawing(
    prior: RendererPrior, item: TrainingItem, random: torch.Generator, augmentation: Augmentation | None = None
) -> Drawing:
    """Rasterize a batch, encode its textures and sample them; an augmented copy where asked."""
    people, targets = item.crops.shape[:2]
    enrollment, crop = item.enrollment(), item.crops.float() / 255
    if augmentation:
        spread = augmentation.colour_jitter
        gain = 1 + spread * (2 * torch.rand(people, 3, generator=random) - 1)
        other = gain * (1 + spread / 3 * (2 * torch.rand(people, 3, generator=random) - 1))
        gain, other = gain.to(crop.device), other.to(crop.device)
        crop = (crop * gain[:, None, :, None, None]).clamp(0, 1)
        tinted = (enrollment.crops * other[:, None, None, :, None, None]).clamp(0, 1)
        enrollment = TextureFrames(tinted, enrollment.clip_vertices, enrollment.opening)
    textures = prior.encode(enrollment)
    erased = erased_mask(prior.model, item.erasing_vertices.flatten(0, 1))
    buffer = gbuffer(prior.model, item.clip_vertices.flatten(0, 1))
    whole = RenderInputs(
        buffer, erased, erased, crop.flatten(0, 1), item.window.flatten(0, 1), item.log_scale.flatten()
    )
    inputs = whole.seen(seen_corners(erased)[0])
    # One person after the other: a repeated texture would cost its gradient once a frame.
    features = torch.cat(
        [
            sample_texture(texture[None], inputs.buffer.frames(slice(first, first + targets)))
            for texture, first in zip(textures, range(0, people * targets, targets), strict=True)
        ]
    )
    if augmentation:
        window = inputs.window
        noise = torch.randn(window.shape, generator=random).to(window.device)
        inputs = replace(inputs, window=window + augmentation.code_noise * prior.renderer.expression_scale * noise)
        if torch.rand((), generator=random) < 0.5:
            features, inputs = features.flip(-1), mirrored(prior, inputs)
    return Drawing(_channels_last(features), _laid_out(inputs))


def mirrored(prior: RendererPrior, inputs: RenderInputs) -> RenderInputs:
    """The same as a mirror shows it, expressions included."""
    images = {name: value.flip(-1) for name, value in vars(inputs.buffer).items() if name != "uv"}
    return RenderInputs(
        GBuffer(inputs.buffer.uv.flip(-2), **images),
        inputs.erased.flip(-1),
        inputs.put_back.flip(-1),
        inputs.crop.flip(-1),
        inputs.window * mirror_signs(prior).to(inputs.window.device),
        inputs.log_scale,
    )


def _laid_out(inputs: RenderInputs) -> RenderInputs:
    """The same in memory as the network works on it: all that network and loss read."""
    buffer = inputs.buffer
    buffer = replace(buffer, lower_face=_channels_last(buffer.lower_face), mouth=_channels_last(buffer.mouth))
    return replace(inputs, buffer=buffer, erased=_channels_last(inputs.erased), crop=_channels_last(inputs.crop))


def _channels_last(images: torch.Tensor) -> torch.Tensor:
    return images.contiguous(memory_format=torch.channels_last)
