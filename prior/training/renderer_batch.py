"""Renderer training's settings, what a prior starts from, and its batches: items become what network and loss read.

In: `TrainingItem`s with a leading dimension P. Out: a `Drawing` of B = P · T samples, each the part of a crop that the
network sees; augmented copies are mirrored, tinted, and their expressions disturbed.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from prior.cache.prepared import prepared_clips
from prior.renderer.bank_choice import bank_of
from prior.renderer.prior import RendererPrior, extreme_expressions
from prior.renderer.unwrapping import TextureFrames
from prior.training.renderer_items import RendererDataset, TrainingItem, good_frames
from render.drawing.erasure import erased_mask
from render.drawing.gbuffer import GBuffer, gbuffer
from render.drawing.look import Look, Samples, sample_look
from render.drawing.neural_texture import COLOUR_CHANNELS
from render.drawing.renderer import RenderInputs, seen_corners
from render.errors import ConfigError

#: How many people's enrollments the mean texture starts from.
MEAN_PEOPLE = 64
#: What a mirror does to pitch and yaw.
MIRRORED_TURN = (1.0, -1.0)


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of a training run.

    Attributes:
        people: items a batch; targets: neighbouring frames an item.
        minutes: of training, over all resumed runs; steps: instead of minutes, where not 0.
        learning_rate: highest; it rises over `warmup_steps` and falls to a fiftieth along a cosine.
        save_minutes: between checkpoints, each with a validation.
        colour_jitter: largest change of gain of a person; a third of it between enrollment and target.
        code_noise: standard deviation added to normalised expressions; code_dropout: share withheld.
        adversarial: size of the judge's say, as a share of the gradient of all else; 0 for none.
        adversarial_from: part of the run before the judge; teaching: steps in which real mouths teach it before that.
        shape: weight of how differently a drawn mouth's shape reads from the real one's; 0 for no lip reader.
        reading: steps in which real mouths teach the lip reader before anything is drawn.
        use_scale, use_window: whether the network gets the source's scale, and the expression window (ablations).
        every_person: learn from one person in so many (ablation); the people kept out stay the same.
        seed: of everything.

    Raises:
        ConfigError: a run without a step or an end.
    """

    people: int = 6
    targets: int = 2
    minutes: float = 60.0
    steps: int = 0
    learning_rate: float = 8e-4
    warmup_steps: int = 100
    save_minutes: float = 4.0
    colour_jitter: float = 0.25
    code_noise: float = 0.15
    code_dropout: float = 0.1
    adversarial: float = 0.3
    adversarial_from: float = 0.5
    teaching: int = 400
    shape: float = 0.02
    reading: int = 1200
    use_scale: bool = True
    use_window: bool = True
    every_person: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 0 or not (self.steps or self.minutes > 0):
            raise ConfigError(f"--steps {self.steps}, --minutes {self.minutes:g}: one of them must be above 0")


def start_prior(cache: Path, prior: RendererPrior, people: list[str]) -> None:
    """Set what is counted, not learnt: expression statistics, fixed expressions, mean texture."""
    expressions = []
    for clip in prepared_clips(cache):
        if clip.person in people:
            frames = good_frames(clip)
            chosen = torch.linspace(0, max(0, len(frames) - 1), min(len(frames), 60)).long()
            expressions.append(clip.track.lower_expression[frames[chosen]])
    lower = torch.cat(expressions)
    prior.renderer.expression_mean.copy_(lower.mean(0))
    prior.renderer.expression_scale.copy_(lower.std(0).clamp(min=1e-3))
    prior.erasing_expressions.copy_(extreme_expressions(prior.model, lower))
    dataset = RendererDataset(cache, prior.model, prior.erasing_expressions, people, targets=1)
    total = torch.zeros(COLOUR_CHANNELS, *prior.mean_texture.shape[1:])
    weight = torch.zeros_like(total)
    for index in range(MEAN_PEOPLE):
        rgb, seen = prior.unwrapped(TrainingItem.stack([dataset[index]]).enrollment())
        total += (rgb * seen)[0].flatten(0, 1)
        weight += seen.expand_as(rgb)[0].flatten(0, 1)
    with torch.no_grad():
        overall = total.sum((1, 2), keepdim=True) / weight.sum((1, 2), keepdim=True)
        prior.mean_texture[:COLOUR_CHANNELS] = (total + 0.05 * overall) / (weight + 0.05)


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
    """A batch as the network and the loss read it, of B = P · T samples.

    Attributes:
        samples: of the looks.
        inputs: the rest, with the real crops.
        surround: [B, 3, H, W] what the network sees in place of the crops.
        known: [B, 3, H', W'] another crop of each person; known_mouth: [B, 1, H', W'] its mouth.
    """

    samples: Samples
    inputs: RenderInputs
    surround: torch.Tensor
    known: torch.Tensor
    known_mouth: torch.Tensor

    @property
    def shown(self) -> RenderInputs:
        """The inputs as the network gets them."""
        return replace(self.inputs, crop=self.surround)

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
    """Rasterize a batch, encode its looks and sample them; an augmented copy where asked."""
    people, targets = item.crops.shape[:2]
    enrollment, bank_frames = item.enrollment(), item.bank()
    crop, surround = item.crops.float() / 255, item.surround.float() / 255
    if augmentation:
        spread = augmentation.colour_jitter
        gain = 1 + spread * (2 * torch.rand(people, 3, generator=random) - 1)
        other = gain * (1 + spread / 3 * (2 * torch.rand(people, 3, generator=random) - 1))
        gain, other = gain.to(crop.device), other.to(crop.device)
        crop, surround = ((image * gain[:, None, :, None, None]).clamp(0, 1) for image in (crop, surround))
        tinted = (enrollment.crops * other[:, None, None, :, None, None]).clamp(0, 1)
        enrollment = TextureFrames(tinted, enrollment.clip_vertices, enrollment.opening)
        bank_frames = replace(bank_frames, crops=(bank_frames.crops * other[:, None, :, None, None]).clamp(0, 1))
    textures = prior.encode(enrollment)
    bank = bank_of(prior.model, bank_frames).without(item.bank_hidden)
    erased = erased_mask(prior.model, item.erasing_vertices.flatten(0, 1))
    buffer = gbuffer(prior.model, item.clip_vertices.flatten(0, 1))
    whole = RenderInputs(
        buffer,
        erased,
        erased,
        crop.flatten(0, 1),
        item.window.flatten(0, 1),
        item.log_scale.flatten(),
        item.turn.flatten(0, 1),
    )
    corners = seen_corners(erased)[0]
    inputs = whole.seen(corners)
    seen_surround = replace(whole, crop=surround.flatten(0, 1)).seen(corners).crop
    # One person after the other: a repeated texture would cost its gradient once a frame.
    samples = Samples.joined(
        [
            sample_look(
                Look(textures[number][None], bank.of(number)),
                inputs.buffer.frames(slice(number * targets, (number + 1) * targets)),
            )
            for number in range(people)
        ]
    )
    if augmentation:
        window = inputs.window
        noise = torch.randn(window.shape, generator=random).to(window.device)
        inputs = replace(inputs, window=window + augmentation.code_noise * prior.renderer.expression_scale * noise)
        if torch.rand((), generator=random) < 0.5:
            samples, inputs = mirrored_samples(prior, samples), mirrored(prior, inputs)
            seen_surround = seen_surround.flip(-1)
    samples = replace(samples, features=_channels_last(samples.features))
    chosen = torch.randint(bank_frames.crops.shape[1], (people,), generator=random)
    known = bank_frames.crops[torch.arange(people), chosen].repeat_interleave(targets, 0)
    vertices = bank_frames.clip_vertices[torch.arange(people), chosen]
    known_mouth = gbuffer(prior.model, vertices).mouth.repeat_interleave(targets, 0)
    return Drawing(samples, _laid_out(inputs), _channels_last(seen_surround), known, known_mouth)


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
        inputs.turn * inputs.turn.new_tensor(MIRRORED_TURN),
    )


def mirrored_samples(prior: RendererPrior, samples: Samples) -> Samples:
    """The same as a mirror shows it, expressions and turns of the bank included."""
    return Samples(
        samples.features.flip(-1),
        samples.colours.flip(-1),
        samples.seen.flip(-1),
        samples.expression * mirror_signs(prior).to(samples.expression.device),
        samples.turn * samples.turn.new_tensor(MIRRORED_TURN),
    )


def _laid_out(inputs: RenderInputs) -> RenderInputs:
    """The same in memory as the network works on it: all that network and loss read."""
    buffer = inputs.buffer
    buffer = replace(buffer, lower_face=_channels_last(buffer.lower_face), mouth=_channels_last(buffer.mouth))
    return replace(inputs, buffer=buffer, erased=_channels_last(inputs.erased), crop=_channels_last(inputs.crop))


def _channels_last(images: torch.Tensor) -> torch.Tensor:
    return images.contiguous(memory_format=torch.channels_last)
