"""The deferred neural renderer: a sampled look and the real pixels around it become a mouth.

In, per crop: samples of the actor's texture and bank of frames, real pixels outside the erased area (those inside are
erased here and filled smoothly from the rest, before the network sees them), both masks, the log of source pixels per
crop pixel, how the head is turned, and the lower expression of a short window of frames. Out: rgb over all of the
erased area and a matte. Colours are sRGB in [0, 1].

The network sees a fixed part of the crop around the erased area and runs at one fixed batch size, so that the same
frame gives the same bytes in any batch.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from render.drawing.crop import CROP_SIZE
from render.drawing.erasure import RIM_PX, colour_shift, erased_mask, fill_erased
from render.drawing.frame_weights import LEAST_SEEN, QUERY, BankChoice
from render.drawing.gbuffer import GBuffer, gbuffer
from render.drawing.look import Look, Samples, sample_look
from render.drawing.masks import lower_face_mask, put_back_mask
from render.drawing.neural_texture import COLOUR_BINS, COLOUR_CHANNELS, TEXTURE_CHANNELS
from render.drawing.unet import UNet, prefers_bfloat16
from render.errors import StoreError
from render.head.face_model import FaceModel
from render.head.track import Track

#: Times of the expression window around a frame, seconds.
WINDOW_SECONDS = (-0.08, -0.04, 0.0, 0.04, 0.08)
#: The frame's own place in it.
WINDOW_CENTRE = 2
FIXED_BATCH = 4
CONDITION_SIZE = 128
#: What the network says about every pixel: blend of the texture's colours, correction of the blend, how much the bank
#: counts beside the texture, a query to the frames of the bank, matte.
OUTPUTS = (COLOUR_BINS, 3, 1, QUERY, 1)
#: A turn that makes a frame of the bank fit as badly as one standard deviation of an expression axis, radians.
TURN_SCALE = 0.15
#: The bank's logit beside the texture's before anything is learnt.
BANK_LOGIT = -1.0
#: Rows and columns of a 256 px crop that the network sees, and where they start, where the erased area allows; other
#: starts are whole steps away, so that what is seen seldom moves.
SEEN_PX = (192, 224)
SEEN_START_PX = (40, 16)
SEEN_STEP_PX = 16

#: The matte's logit where the network does not look.
UNSEEN_LOGIT = -30.0


@dataclass(frozen=True)
class RenderInputs:
    """Everything the renderer reads for B frames, apart from the texture.

    Attributes:
        buffer: G-buffer of the expression to be drawn.
        erased: [B, 1, H, W], what is erased.
        put_back: [B, 1, H, W] mask of 0 and 1.
        crop: [B, 3, H, W] sRGB in [0, 1], the real frame; its pixels inside the erased area are never read.
        window: [B, W, E] lower expression around the frame, of `expression_window`.
        log_scale: [B] natural log of source px per crop px.
        turn: [B, 2] pitch and yaw of the head, radians.
    """

    buffer: GBuffer
    erased: torch.Tensor
    put_back: torch.Tensor
    crop: torch.Tensor
    window: torch.Tensor
    log_scale: torch.Tensor
    turn: torch.Tensor

    def __len__(self) -> int:
        return len(self.crop)

    def seen(self, corners: torch.Tensor) -> "RenderInputs":
        """The part that the network sees, from the corners of `seen_corners`."""
        rows, columns = seen_size(self.crop.shape[-1])

        def part(images: torch.Tensor, channels_last: bool = False) -> torch.Tensor:
            axes = (0, 1) if channels_last else (-2, -1)
            cuts = [
                image.narrow(axes[0], top, rows).narrow(axes[1], left, columns)
                for image, (top, left) in zip(images, corners.tolist(), strict=True)
            ]
            return torch.stack(cuts)

        names = [item.name for item in fields(GBuffer) if item.name != "uv"]
        buffer = GBuffer(part(self.buffer.uv, True), **{name: part(getattr(self.buffer, name)) for name in names})
        return replace(
            self, buffer=buffer, erased=part(self.erased), put_back=part(self.put_back), crop=part(self.crop)
        )

    def narrowed(self) -> "RenderInputs":
        """The part that the network sees, or all of it where any frame's erased area does not fit: for learning."""
        corners, fits = seen_corners(self.erased)
        return self.seen(corners) if bool(fits.all()) else self

    def rows(self, chosen: torch.Tensor) -> "RenderInputs":
        """The same of rows [N] (int64) of its frames."""
        buffer = self.buffer.frames(chosen)
        rest = {item.name: getattr(self, item.name)[chosen] for item in fields(self) if item.name != "buffer"}
        return RenderInputs(buffer, **rest)

    def to(self, device: torch.device) -> "RenderInputs":
        """The same on another device."""
        if self.crop.device == device:
            return self
        buffer = GBuffer(**{name: value.to(device) for name, value in vars(self.buffer).items()})
        rest = {name: value.to(device) for name, value in vars(self).items() if name != "buffer"}
        return RenderInputs(buffer, **rest)


@dataclass(frozen=True)
class RenderOutput:
    """What the renderer drew for B frames.

    Attributes:
        rgb: [B, 3, H, W] sRGB in [0, 1]; meaningful inside the erased area only.
        matte: [B, 1, H, W] in [0, 1], exactly 0 outside what is put back; not feathered.
        shares: [B, K, H, W] how much each frame of the bank counts beside the others, 0 where none shows anything.
        lower_face, erased, put_back: [B, 1, H, W] masks of 0 and 1.
    """

    rgb: torch.Tensor
    matte: torch.Tensor
    shares: torch.Tensor
    lower_face: torch.Tensor
    erased: torch.Tensor
    put_back: torch.Tensor


class Renderer(nn.Module):
    """U-Net from samples of a look and surrounding pixels to rgb and matte.

    The colour is a blend of the texture's own colour channels and of the bank's frames, chosen pixel by pixel (the
    surroundings' colour where neither is), plus a correction: detail of the actor passes straight through, light and
    motion are what is learnt.

    Args:
        expression_size: length of a full lower expression; its first `expression_axes` are used.
        expression_axes: how many.
        widths: of the U-Net.
    """

    expression_mean: torch.Tensor
    expression_scale: torch.Tensor

    def __init__(
        self, expression_size: int, expression_axes: int = 10, widths: Sequence[int] = (16, 32, 64, 128, 256)
    ) -> None:
        super().__init__()
        self.arguments = {
            "expression_size": expression_size,
            "expression_axes": expression_axes,
            "widths": list(widths),
        }
        self.expression_axes = expression_axes
        self.register_buffer("expression_mean", torch.zeros(expression_size))
        self.register_buffer("expression_scale", torch.ones(expression_size))
        window_size = len(WINDOW_SECONDS) * expression_axes
        self.condition = nn.Sequential(
            nn.Linear(window_size + 2, CONDITION_SIZE), nn.SiLU(), nn.Linear(CONDITION_SIZE, CONDITION_SIZE), nn.SiLU()
        )
        self.unet = UNet(TEXTURE_CHANNELS + 12, sum(OUTPUTS), widths, CONDITION_SIZE)
        self.bank = BankChoice(expression_axes)

    def forward(
        self, samples: Samples, inputs: RenderInputs, has_window: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Draw.

        Args:
            samples: of `sample_look`.
            inputs: of the same B frames.
            has_window: [B] 1 where the window may be read, 0 where it is withheld (training); default 1.

        Returns:
            rgb [B, 3, H, W] (not clamped), the matte's logit [B, 1, H, W], and how much each frame of the bank counts
            beside the others [B, K, H, W], float32.
        """
        features = samples.features
        lower_face, erased, log_scale = inputs.buffer.lower_face, inputs.erased, inputs.log_scale
        code = self._normalised(inputs.window).flatten(1)
        has_window = torch.ones_like(log_scale) if has_window is None else has_window
        condition = self.condition(torch.cat([code * has_window[:, None], has_window[:, None], log_scale[:, None]], 1))
        surround = fill_erased(inputs.crop, erased)
        covered, still = features[:, -2:-1], features[:, -1:]
        colours = _toned(features[:, :COLOUR_CHANNELS], surround, still * (1 - erased)) * (covered * erased)
        colours = colours.unflatten(1, (COLOUR_BINS, 3))  # [B, bins, 3, H, W]
        frames, seen = self._frames(samples, surround, still * (1 - erased), erased)
        own = inputs.window[:, WINDOW_CENTRE]
        difference = self.differences(own, inputs.turn, samples.expression, samples.turn)
        likeness = self.bank.likeness(difference)[..., None, None]
        share = (likeness + (seen + LEAST_SEEN).log()).softmax(1)  # [B, K, H, W]
        alike = _weighted(share, frames)
        known = seen.amax(1, keepdim=True)
        scale = log_scale[:, None, None, None].expand_as(erased)
        flat = torch.cat([colours.flatten(1, 2), features[:, COLOUR_CHANNELS:] * erased], 1)
        image = [flat, surround - 0.5, lower_face, erased, scale, alike * known, known]
        drawn = self.unet(torch.cat(image, 1), condition)
        blend, correction, gate, query, matte = drawn.split(OUTPUTS, 1)
        off = torch.stack([(frame - alike).abs().mean(1) for frame in frames], 1)
        scores = self.bank(difference, seen, off, query) + gate + BANK_LOGIT
        weight = torch.cat([blend, scores], 1).softmax(1)
        first = _weighted(weight, [*colours.unbind(1), *frames])
        rgb = first + surround * (1 - covered * erased) + correction
        return rgb, matte + 4 * (2 * lower_face - 1), scores.softmax(1) * (known > 0)

    def _normalised(self, expression: torch.Tensor) -> torch.Tensor:
        """The axes that are used of lower expressions [..., E], in standard deviations."""
        return ((expression - self.expression_mean) / self.expression_scale)[..., : self.expression_axes]

    def differences(
        self, expression: torch.Tensor, turn: torch.Tensor, bank_expression: torch.Tensor, bank_turn: torch.Tensor
    ) -> torch.Tensor:
        """Normalised differences [B, K, axes + 2] between what is to be drawn and a bank's frames.

        Args:
            expression: [B, E] lower expression to be drawn.
            turn: [B, 2] pitch and yaw of the head, radians.
            bank_expression: [B, K, E] lower expressions of the frames.
            bank_turn: [B, K, 2] of the frames.
        """
        own = self._normalised(expression)[:, None] - self._normalised(bank_expression)
        return torch.cat([own, (turn[:, None] - bank_turn) / TURN_SCALE], -1)

    def _frames(
        self, samples: Samples, surround: torch.Tensor, skin: torch.Tensor, erased: torch.Tensor
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Colours, K times [B, 3, H, W], of the bank's frames in the light of the crop; how well each shows them."""
        toned = [
            colour_shift(surround - colour, seen * skin) + colour  # one by one: all at once leave the processor's cache
            for colour, seen in zip(samples.colours.unbind(1), samples.seen.unbind(1), strict=True)
        ]
        return toned, (samples.seen * erased[:, None])[:, :, 0]


def _weighted(weights: torch.Tensor, pictures: Sequence[torch.Tensor]) -> torch.Tensor:
    """Sum [B, 3, H, W] of N pictures of that shape by weights [B, N, H, W], without a stack of them all."""
    total = weights[:, :1] * pictures[0]
    for index, picture in enumerate(pictures[1:], 1):
        total = torch.addcmul(total, weights[:, index : index + 1], picture)
    return total


def _toned(colours: torch.Tensor, surround: torch.Tensor, skin: torch.Tensor) -> torch.Tensor:
    """Colours [B, 3 n, H, W] in the light of the surroundings [B, 3, H, W], by the skin [B, 1, H, W] that both show."""
    return colours + colour_shift(surround.repeat(1, colours.shape[1] // 3, 1, 1) - colours, skin)


def seen_size(crop_size: int) -> tuple[int, int]:
    """Rows and columns of the part of a square crop that the network sees."""
    return SEEN_PX[0] * crop_size // CROP_SIZE, SEEN_PX[1] * crop_size // CROP_SIZE


def seen_corners(erased: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the part of each crop starts that the network sees: around the erased area.

    Args:
        erased: [B, 1, H, W].

    Returns:
        Top and left px, int64 [B, 2], and bool [B]: whether all of the erased area lies within.
    """
    size = erased.shape[-1]
    starts, fits = [], []
    axes = (erased.amax((1, 3)), erased.amax((1, 2)))
    for used, length, usual_px in zip(axes, seen_size(size), SEEN_START_PX, strict=True):
        there = (used > 0).to(torch.int64)
        low = there.argmax(1)
        high = size - there.flip(1).argmax(1)
        usual = usual_px * size // CROP_SIZE
        later = (high - length - usual + SEEN_STEP_PX - 1).clamp(min=0) // SEEN_STEP_PX
        earlier = (usual - low + SEEN_STEP_PX - 1).clamp(min=0) // SEEN_STEP_PX
        start = (usual + SEEN_STEP_PX * (later - earlier)).clamp(0, size - length)
        starts.append(start)
        fits.append((start <= low) & (start + length >= high))
    return torch.stack(starts, 1), fits[0] & fits[1]


def expression_window(
    lower_expression: torch.Tensor, timestamps: torch.Tensor, shot: torch.Tensor, frames: torch.Tensor
) -> torch.Tensor:
    """Lower expression at `WINDOW_SECONDS` around frames, linear in time, held at the ends of the shot.

    Args:
        lower_expression: [T, E], one row a frame of the video.
        timestamps: [T] seconds.
        shot: [T] index of the shot.
        frames: [N] int64.

    Returns:
        [N, W, E] float32.
    """
    offsets = torch.tensor(WINDOW_SECONDS, dtype=torch.float64)
    wanted = timestamps[frames].double()[:, None] + offsets  # [N, W]
    after = torch.searchsorted(timestamps.double(), wanted.contiguous()).clamp(1, max(1, len(timestamps) - 1))
    first, last = _shot_ends(shot, frames)
    after = after.clamp(max=len(timestamps) - 1)
    before = (after - 1).clamp(min=0).clamp(first[:, None], last[:, None])
    after = after.clamp(first[:, None], last[:, None])
    span = (timestamps[after] - timestamps[before]).double().clamp(min=1e-6)
    weight = ((wanted - timestamps[before]) / span).clamp(0, 1).float()[..., None]
    return lower_expression[before] * (1 - weight) + lower_expression[after] * weight


def _shot_ends(shot: torch.Tensor, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """First and last frame [N] of the shots that frames [N] are in; a shot's frames are consecutive."""
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), 1 + (shot[1:] != shot[:-1]).nonzero()[:, 0]])
    ends = torch.cat([starts[1:] - 1, torch.tensor([len(shot) - 1])])
    index = torch.searchsorted(starts, frames, right=True) - 1
    return starts[index], ends[index]


def log_source_scale(crop_from_image: torch.Tensor) -> torch.Tensor:
    """Natural log of source px per crop px [N], from similarities [N, 2, 3]."""
    return (-0.5 * torch.linalg.det(crop_from_image[:, :, :2].double()).abs().log()).float()


def render_inputs(
    model: FaceModel,
    track: Track,
    frames: torch.Tensor,
    crops: torch.Tensor,
    erasing_expressions: torch.Tensor,
    lower_expression: torch.Tensor | None = None,
    window: torch.Tensor | None = None,
) -> RenderInputs:
    """What the renderer reads for some frames of a track.

    Args:
        model: the face model.
        track: of the source video.
        frames: [N] int64, frames of the video.
        crops: [N, 3, H, W] sRGB in [0, 1], those frames through `track.crop_from_image`.
        erasing_expressions: [K, E] the fixed expressions of the erased area (`RendererPrior.erasing_expressions`).
        lower_expression: [T, E] the motion to be drawn, a row for every frame of the video; default the track's own.
        window: [N, W, E], where it is not to be taken from `lower_expression`.
    """
    lower = track.lower_expression if lower_expression is None else lower_expression
    size = crops.shape[-1]

    def clip(frame: int, expressions: torch.Tensor) -> torch.Tensor:
        return track.clip_vertices(model, torch.full((len(expressions),), frame), expressions)

    # One frame at a time: products of another size round differently, and batches would show.
    numbers = frames.tolist()
    buffer = gbuffer(model, torch.cat([clip(frame, lower[frame, None]) for frame in numbers]), size)
    erased = erased_mask(model, torch.stack([clip(frame, erasing_expressions) for frame in numbers]), size)
    source = buffer.lower_face
    if lower_expression is not None:
        own_vertices = torch.cat([clip(frame, track.lower_expression[frame, None]) for frame in numbers])
        source = lower_face_mask(model, own_vertices, size)
    if window is None:
        window = expression_window(lower, track.timestamps, track.shot, frames)
    scale, turn = log_source_scale(track.crop_from_image[frames]), pitch_and_yaw(track, frames)
    return RenderInputs(buffer, erased, put_back_mask(buffer.lower_face, source, erased), crops, window, scale, turn)


def pitch_and_yaw(track: Track, frames: torch.Tensor) -> torch.Tensor:
    """Pitch and yaw [N, 2] of the head in some frames of a track, radians."""
    return track.rotation[frames, :2].float()


def draw_trainable(
    renderer: Renderer,
    look: Look,
    inputs: RenderInputs,
    parameters: Mapping[str, torch.Tensor] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw B frames in one run with gradients, as losses read it.

    Args:
        renderer: any.
        look: of one actor, or of the B frames; differentiable in its texture.
        inputs: of `render_inputs`, best narrowed to what the network sees.
        parameters: in place of the renderer's own of the same names, such as its own with a delta added; differentiable
            in them.

    Returns:
        Rgb [B, 3, H, W] (not clamped) and the matte's logit [B, 1, H, W].
    """
    arguments = (sample_look(look, inputs.buffer), inputs)
    own = renderer if parameters is None else lambda *given: functional_call(renderer, dict(parameters), given)
    rgb, matte_logit, _ = own(*arguments)
    return rgb, matte_logit


def draw(renderer: Renderer, look: Look, inputs: RenderInputs) -> RenderOutput:
    """Render B frames without gradients, in runs of `FIXED_BATCH` (the last one padded).

    Args:
        renderer: of `fast_renderer`, or any.
        look: of one actor.
        inputs: of `render_inputs`.

    Raises:
        StoreError: what is drawn is no number, as weights, looks and motion make it that overflow.
    """
    lower_face = inputs.buffer.lower_face
    rgb, logit = torch.zeros_like(inputs.crop), torch.full_like(lower_face, UNSEEN_LOGIT)
    shares = rgb.new_zeros(len(rgb), look.bank.seen.shape[1], *rgb.shape[2:])
    corners, fits = seen_corners(inputs.erased)
    with torch.inference_mode():
        for whole in (False, True):
            chosen = (fits != whole).nonzero()[:, 0]
            for rows in chosen.split(FIXED_BATCH) if len(chosen) else ():
                padded = torch.cat([rows, rows[-1:].expand(FIXED_BATCH - len(rows))])
                part = inputs.rows(padded)
                start = torch.zeros_like(corners[padded]) if whole else corners[padded]
                part = part if whole else part.seen(start)
                drawn = renderer(sample_look(look, part.buffer), part)
                height, width = drawn[0].shape[-2:]
                for row, (top, left), *values in zip(rows.tolist(), start.tolist(), *drawn, strict=False):
                    for target, value in zip((rgb, logit, shares), values, strict=True):
                        target[row, :, top : top + height, left : left + width] = value
        matte = _visible(logit, lower_face) * inputs.put_back
        if not bool(rgb.isfinite().all() & matte.isfinite().all()):
            raise StoreError("what the renderer draws is no number: the actor bundle or the motion is damaged")
    return RenderOutput(rgb.clamp(0, 1), matte, shares, lower_face, inputs.erased, inputs.put_back)


def _visible(logit: torch.Tensor, lower_face: torch.Tensor) -> torch.Tensor:
    """How much of what is drawn lies on top, [B, 1, H, W].

    On the new lower face the network decides; its own edge at the rim is no occluder, so that is closed. Beside the new
    lower face, where the source's chin may still be, everything is drawn over.
    """
    across = F.max_pool2d(torch.sigmoid(logit), (1, RIM_PX), 1, (0, RIM_PX // 2))
    on_top = F.max_pool2d(across, (RIM_PX, 1), 1, (RIM_PX // 2, 0))
    return torch.where(lower_face > 0, on_top, torch.ones_like(on_top))


def fast_renderer(renderer: Renderer, device: str | torch.device = "cpu") -> Renderer:
    """A copy for drawing: channels last, in bfloat16 where the processor multiplies that faster than float32."""
    fast = copy.deepcopy(renderer).eval().requires_grad_(False).to(device)
    if prefers_bfloat16(device):
        fast.unet.bfloat16()
    return fast.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
