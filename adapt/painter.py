"""Painter: draws one actor's mouth into the frames of a shot, batch by batch.

In: frames, and a `Part`: actor, track, motion. Out: a `Patch` a frame, in crop space, whose matte is 0 wherever the
source stays: beyond the region asked for, where something lies in front, and in frames that take nothing of the dub.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from adapt.bundle import ActorBundle
from adapt.crop import cut_crop
from adapt.fit import adapted_renderer
from adapt.occlusion import Occlusion
from adapt.region import DEFAULT, region_mask
from prior.renderer_prior import RendererPrior
from render.composite import Patch, blurred, match_tone
from render.gbuffer import CROP_SIZE, GBuffer, dilate, gbuffer
from render.renderer import Renderer, RenderInputs, draw, render_inputs
from render.track import Track
from render.video import Frame

#: The matte falls to 0 over so many px of a 256 px crop, inside the mask that is put back.
FEATHER_PX = 7
#: Where the new face ends where the source's does, it falls over so many px, to 0 so far inside that mask: just beyond
#: the face the source is right, and the network guesses.
STILL_FEATHER_PX, STILL_INSET_PX = 9, 3
#: How far below the source's chin its shadow is painted over, where the new chin is higher; shifts of the outline by
#: fewer px are none.
SHADOW_PX, LEAST_SHIFT_PX = 10, 5
#: Around the mouth nothing tells the tone of skin.
LIPS_MARGIN_PX = 8


@dataclass(frozen=True)
class Part:
    """One actor's part in a dub.

    Attributes:
        bundle: the fitted actor.
        track: of that person in the shot.
        expression: [T, E] lower expression to be drawn, one row a frame.
        driven: [T] bool; frames whose motion is known.
    """

    bundle: ActorBundle
    track: Track
    expression: torch.Tensor
    driven: torch.Tensor


@dataclass(frozen=True)
class Painter:
    """Draws one part's mouth.

    Attributes:
        part: whose track has crops of the renderer's size.
        prior: renderer prior.
        renderer: the prior's with the actor's delta, on `device`.
        texture: [1, C, H, W] the actor's, on `device`.
        weight: [T] how much of it each frame takes.
        occlusion: what lies in front; None where it is not to be asked.
        region: of `adapt.region.REGIONS`.
        device: where the network runs.
    """

    part: Part
    prior: RendererPrior
    renderer: Renderer
    texture: torch.Tensor
    weight: torch.Tensor
    occlusion: Occlusion | None
    region: str
    device: torch.device

    @staticmethod
    def of(
        part: Part,
        prior: RendererPrior,
        weight: torch.Tensor,
        occlusion: Occlusion | None = None,
        region: str = DEFAULT,
        device: str = "cpu",
    ) -> "Painter":
        """A painter for a part."""
        small = replace(part, track=part.track.with_crop_size(CROP_SIZE))
        renderer = adapted_renderer(prior, part.bundle.delta).to(device)
        texture = part.bundle.texture[None].to(device)
        return Painter(small, prior, renderer, texture, weight, occlusion, region, torch.device(device))

    def paint(self, frames: Sequence[Frame]) -> list[Patch | None]:
        """What is put into each frame; None where nothing is."""
        wanted = [frame for frame in frames if float(self.weight[frame.index]) > 0]
        if not wanted:
            return [None] * len(frames)
        track, model = self.part.track, self.prior.model
        index = torch.tensor([frame.index for frame in wanted])
        affine = [track.crop_from_image[number].numpy() for number in index]
        cut = [cut_crop(frame.rgb, matrix, CROP_SIZE) for frame, matrix in zip(wanted, affine, strict=True)]
        crops = torch.from_numpy(np.stack(cut)).permute(0, 3, 1, 2).float() / 255
        inputs = render_inputs(model, track, index, crops, self.prior.outer_expressions, self.part.expression)
        # One frame at a time: products of another size round differently, and batches would show.
        own = [gbuffer(model, track.clip_vertices(model, frame[None]), CROP_SIZE) for frame in index]
        faces = [(new > 0, old.inner[0, 0] > 0) for new, old in zip(inputs.buffer.inner[:, 0], own, strict=True)]
        shifts = [Shift.of(new.numpy(), old.numpy()) for new, old in faces]
        shadows = torch.from_numpy(np.stack([shift.shadow for shift in shifts]))[:, None] * inputs.outer
        inputs = replace(inputs, paste=torch.maximum(inputs.paste, shadows))
        drawn = draw(self.renderer, self.texture, moved(inputs, self.device))
        rgb, matte = drawn.rgb.permute(0, 2, 3, 1).cpu().numpy(), drawn.matte[:, 0].cpu().numpy()
        mouth = torch.maximum(inputs.buffer.mouth, torch.cat([old.mouth for old in own]))
        put_back = region_mask(mouth, inputs.paste, self.region)[:, 0].numpy()
        lips = dilate(mouth, LIPS_MARGIN_PX)[:, 0].numpy() > 0
        patches: dict[int, Patch] = {}
        for row, frame in enumerate(wanted):
            soft = feathered(matte[row], put_back[row], shifts[row].edge) * self._free(frame.index)
            skin = torch.stack(faces[row]).all(0).numpy() & ~lips[row] & (soft > 0.9)
            source = cut[row].astype(np.float32) / 255
            colour = match_tone(np.ascontiguousarray(rgb[row]), source, soft, skin)
            patches[frame.index] = Patch(colour, soft * float(self.weight[frame.index]), affine[row])
        return [patches.get(frame.index) for frame in frames]

    def _free(self, frame: int) -> np.ndarray | float:
        """1 where nothing lies in front, falling to 0 towards what does, float32 [CROP_SIZE, CROP_SIZE]; or 1."""
        mask = self.occlusion.mask(frame) if self.occlusion else None
        if mask is None:
            return 1.0
        wide = cv2.dilate(mask.astype(np.float32), np.ones((3, 3), np.uint8))
        return 1 - cv2.resize(wide, (CROP_SIZE, CROP_SIZE), interpolation=cv2.INTER_LINEAR)


@dataclass(frozen=True)
class Shift:
    """How the outline of the lower face shifts in one frame.

    Attributes:
        shadow: float32 [H, W] of 0 and 1, where the source's chin was and the new one is not, and its shadow below.
        edge: float32 [H, W] in [0, 1], near where the new face does not end where the source's does.
    """

    shadow: np.ndarray
    edge: np.ndarray

    @staticmethod
    def of(new: np.ndarray, old: np.ndarray) -> "Shift":
        """From the lower face that is drawn and the source's own, both bool [CROP_SIZE, CROP_SIZE]."""
        least = np.ones((LEAST_SHIFT_PX, LEAST_SHIFT_PX), np.uint8)
        bare, more = (
            cv2.morphologyEx(part.astype(np.uint8), cv2.MORPH_OPEN, least) for part in (old & ~new, new & ~old)
        )
        below = np.ones((SHADOW_PX + 1, 3), np.uint8)
        shadow = cv2.dilate(bare, below, anchor=(1, SHADOW_PX)).astype(np.float32)
        around = np.ones((2 * FEATHER_PX - 3, 2 * FEATHER_PX - 3), np.uint8)
        return Shift(shadow, blurred(cv2.dilate(bare | more, around).astype(np.float32), FEATHER_PX / 2))


def feathered(matte: np.ndarray, paste: np.ndarray, edge: np.ndarray | None = None) -> np.ndarray:
    """A matte [H, W] that falls to 0 towards the border of the paste mask [H, W] of 0 and 1, and is 0 outside it.

    It falls further inside where `edge` [H, W] of `Shift` is 0.
    """
    distance = cv2.distanceTransform((paste > 0).astype(np.uint8), cv2.DIST_L2, 3) * (CROP_SIZE / paste.shape[0])
    ramp = _smooth(distance / FEATHER_PX)
    if edge is not None:
        still = _smooth((distance - STILL_INSET_PX) / STILL_FEATHER_PX)
        ramp = still + (ramp - still) * edge
    return np.asarray(matte * ramp, np.float32)


def _smooth(ramp: np.ndarray) -> np.ndarray:
    ramp = np.clip(ramp, 0, 1)
    return np.asarray(ramp * ramp * (3 - 2 * ramp))


def moved(inputs: RenderInputs, device: torch.device) -> RenderInputs:
    """The same inputs on another device."""
    if device.type == "cpu":
        return inputs
    buffer = GBuffer(**{name: value.to(device) for name, value in vars(inputs.buffer).items()})
    rest = {name: value.to(device) for name, value in vars(inputs).items() if name != "buffer"}
    return RenderInputs(buffer, **rest)
