"""Painter: draws one actor's mouth into the frames of a shot, batch by batch.

In: frames, and a `Part`: actor, track, motion. Out: a `Patch` a frame, in crop space, whose matte is 0 wherever the
source stays: beyond the region asked for, where something lies in front, and in frames that take nothing of the dub.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from adapt.actor.renderer import adapted_renderer
from adapt.dubbing.part import Part
from render.compositing.composite import MATTE_FLOOR, Patch, match_tone
from render.compositing.matte import feathered, region_mask
from render.compositing.occlusion import Occlusion
from render.compositing.outline import Outline, carried_skin
from render.compositing.region import DEFAULT_REGION
from render.drawing.crop import CROP_SIZE, cut_crop
from render.drawing.detail import LEAST_SCALE, Detail, native_size, with_detail
from render.drawing.gbuffer import gbuffer
from render.drawing.look import Look
from render.drawing.masks import dilate
from render.drawing.renderer import Renderer, draw, log_source_scale, render_inputs
from render.video.reader import Frame

#: Skin so near the mouth, or where the matte is less, is not used to match the tone.
LIPS_MARGIN_PX, SURE_MATTE = 8, 0.9
#: Detail is drawn where the matte shows anything, in steps of a part of the crop's side, and so far around it.
STEPS, FILTER_PX = 16, 4


@dataclass(frozen=True)
class Painter:
    """Draws one part's mouth.

    Attributes:
        part: whose track has crops of the renderer's size.
        renderer: the prior's with the actor's delta, on `device`.
        look: the actor's, on `device`.
        detail: the actor's, at the shot's scale; None where neither shows more than a crop holds.
        size: side of the patches, px.
        weight: [T] how much of it each frame takes.
        occlusion: what lies in front; None where it is not to be asked.
        region: of `render.compositing.region.REGIONS`.
        device: where the network runs.
    """

    part: Part
    renderer: Renderer
    look: Look
    detail: Detail | None
    size: int
    weight: torch.Tensor
    occlusion: Occlusion | None
    region: str
    device: torch.device

    @staticmethod
    def of(
        part: Part,
        weight: torch.Tensor,
        occlusion: Occlusion | None = None,
        region: str = DEFAULT_REGION,
        device: str = "cpu",
    ) -> "Painter":
        """A painter for a part."""
        small = replace(part, track=part.track.with_crop_size(CROP_SIZE))
        renderer = adapted_renderer(part.prior, part.bundle.delta).to(device)
        sure = small.track.sure()
        every = log_source_scale(small.track.crop_from_image[sure if bool(sure.any()) else slice(None)])
        scale = float(every.median().exp())
        detail = None
        if part.bundle.detail and scale >= LEAST_SCALE:
            detail = Detail.of_stored(part.bundle.detail).at_scale(scale)
            # As it is sampled, once instead of in every frame.
            detail = replace(detail, maps=detail.maps.contiguous(memory_format=torch.channels_last))
        size = CROP_SIZE if detail is None else native_size(scale)
        look = part.bundle.look.to(device)
        return Painter(small, renderer, look, detail, size, weight, occlusion, region, torch.device(device))

    def paint(self, frames: Sequence[Frame]) -> list[Patch | None]:
        """What is put into each frame; None where nothing is."""
        wanted = [frame for frame in frames if float(self.weight[frame.index]) > 0]
        if not wanted:
            return [None] * len(frames)
        track, model = self.part.track, self.part.prior.model
        index = torch.tensor([frame.index for frame in wanted])
        affine = [track.crop_from_image[number].numpy() for number in index]
        cut = [cut_crop(frame.rgb, matrix, CROP_SIZE) for frame, matrix in zip(wanted, affine, strict=True)]
        crops = torch.from_numpy(np.stack(cut)).permute(0, 3, 1, 2).float() / 255
        inputs = render_inputs(model, track, index, crops, self.part.prior.erasing_expressions, self.part.expression)
        # One frame at a time: products of another size round differently, and batches would show.
        places = [
            (track.clip_vertices(model, one, self.part.expression[one]), track.clip_vertices(model, one))
            for one in index[:, None]
        ]
        outlines = [Outline.of(model, *vertices) for vertices in places]
        face = inputs.put_back
        inputs = replace(inputs, put_back=torch.maximum(inputs.put_back, _stacked(outlines, "bare") * inputs.erased))
        drawn = draw(self.renderer, self.look, inputs.to(self.device))
        rgb, matte = drawn.rgb.permute(0, 2, 3, 1).cpu().numpy(), drawn.matte[:, 0].cpu().numpy()
        mouth = torch.maximum(inputs.buffer.mouth, _stacked(outlines, "mouth"))
        masks = {
            name: [region_mask(mouth, mask, name)[:, 0].numpy() for mask in (inputs.put_back, face)]
            for name in self._regions(index)
        }
        skin = (inputs.buffer.lower_face > 0) & (dilate(inputs.buffer.mouth, LIPS_MARGIN_PX) == 0)
        patches: dict[int, Patch] = {}
        for row, frame in enumerate(wanted):
            shares = self._regions(index[row : row + 1])
            ends = ([mask[row] for mask in masks[name]] for name in shares)
            mattes = [feathered(matte[row], wide, outlines[row].near_bare, narrow) for wide, narrow in ends]
            mixed = _mixed(mattes, list(shares.values()))
            soft = mixed * self._free(frame.index)
            held_back = 1 - float(soft.sum()) / max(float(mixed.sum()), 1e-6)
            source = cut[row].astype(np.float32) / 255
            carried = carried_skin(model, *places[row], source)
            carried[~(skin[row, 0].numpy() & (soft > SURE_MATTE))] = np.nan
            colour = match_tone(np.ascontiguousarray(rgb[row]), source, soft, carried)
            patch = Patch(colour, soft * float(self.weight[frame.index]), affine[row], held_back)
            patches[frame.index] = self._detailed(patch, drawn.shares[row : row + 1].cpu(), places[row][0])
        return [patches.get(frame.index) for frame in frames]

    def _regions(self, frames: torch.Tensor) -> dict[str, float]:
        """Regions that have a share of what is put back in any of some frames [N], with their share in the first."""
        if not self.part.regions:
            return {self.region: 1.0}
        shares = self.part.regions.items()
        return {name: float(share[frames[0]]) for name, share in shares if bool((share[frames] > 0).any())}

    def _detailed(self, patch: Patch, shares: torch.Tensor, vertices: torch.Tensor) -> Patch:
        """The patch at the source's own resolution, with what the actor's frames show of it."""
        window = _window(patch.matte)
        if self.detail is None or window is None:
            return patch
        # Whole steps of 16 px of a crop are whole px at native size.
        top, bottom, left, right = (step * CROP_SIZE // STEPS for step in window)
        y, bottom_y, x, right_x = (step * self.size // STEPS for step in window)
        buffer = gbuffer(self.part.prior.model, vertices, self.size, self.detail.maps.shape[-1])
        uv = buffer.uv[:, y:bottom_y, x:right_x].contiguous()
        rgb = torch.from_numpy(patch.rgb[top:bottom, left:right]).permute(2, 0, 1)[None]
        some = shares[..., top:bottom, left:right]
        fine = with_detail(rgb, some, self.detail, uv, buffer.covered[..., y:bottom_y, x:right_x])
        size = right_x - x, bottom_y - y
        matte = cv2.resize(patch.matte[top:bottom, left:right], size, interpolation=cv2.INTER_LINEAR)
        window_from_image = patch.crop_from_image * (self.size / CROP_SIZE)
        window_from_image[:, 2] -= x, y
        return Patch(fine[0].permute(1, 2, 0).numpy(), matte, window_from_image, patch.held_back)

    def _free(self, frame: int) -> np.ndarray | float:
        """1 where nothing lies in front, falling to 0 towards what does, float32 [CROP_SIZE, CROP_SIZE]; or 1."""
        mask = self.occlusion.mask(frame) if self.occlusion else None
        if mask is None:
            return 1.0
        wide = cv2.dilate(mask.astype(np.float32), np.ones((3, 3), np.uint8))
        return 1 - cv2.resize(wide, (CROP_SIZE, CROP_SIZE), interpolation=cv2.INTER_LINEAR)


def _window(matte: np.ndarray) -> tuple[int, int, int, int] | None:
    """Where a crop's matte [CROP_SIZE, CROP_SIZE] shows anything, with room for filters, in `STEPS` of the crop's side.

    Top, bottom, left, right; None where it shows nothing.
    """
    seen, step = matte >= MATTE_FLOOR, CROP_SIZE // STEPS
    rows, columns = (np.flatnonzero(seen.any(axis)) for axis in (1, 0))
    if not len(rows):
        return None
    bounds = [max(0, int(places[0]) - FILTER_PX) // step for places in (rows, columns)]
    ends = [min(STEPS, -(-(int(places[-1]) + 1 + FILTER_PX) // step)) for places in (rows, columns)]
    return bounds[0], ends[0], bounds[1], ends[1]


def _stacked(outlines: Sequence[Outline], name: str) -> torch.Tensor:
    return torch.from_numpy(np.stack([getattr(one, name) for one in outlines]))[:, None]


def _mixed(mattes: Sequence[np.ndarray], shares: Sequence[float]) -> np.ndarray:
    """The mean of mattes [H, W] by shares that add up to 1; a matte that is alone stays as it is."""
    if len(mattes) == 1:
        return mattes[0]
    return np.tensordot(np.asarray(shares, np.float32), np.stack(mattes), 1)
