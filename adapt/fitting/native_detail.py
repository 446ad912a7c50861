"""Native detail: what the frames of an actor's bank show beyond the renderer's crops, read again at their own size."""

from collections.abc import Sequence

import torch

from adapt.fitting.clip import FirstLook, FitClip
from adapt.progress import SILENT, Progress
from adapt.tracking.crop import read_crops
from cuda_ext import ops
from prior.renderer.unwrapping import BORDER_WEIGHT, unwrap
from render.drawing.detail import DETAIL_SIZE, LEAST_SCALE, Detail, fine_luma, native_size
from render.drawing.gbuffer import GBuffer, gbuffer
from render.drawing.renderer import log_source_scale
from render.head.face_model import FaceModel
from render.video.reader import Footage

#: What sampling took from detail is given back up to this gain.
MOST_SOFTENED = 1.6


def native_detail(
    model: FaceModel,
    files: Sequence[Footage],
    clips: Sequence[FitClip],
    first: FirstLook,
    progress: Progress = SILENT,
) -> Detail | None:
    """Detail of the frames of a bank; None where the footage is no finer than the renderer's crops.

    Args:
        model: the face model.
        files: the footage, one a clip.
        clips: of `FitClip`, in the order of the bank's origins.
        first: the look whose bank it belongs to.
        progress: where the bar goes.
    """
    scales = [
        float(log_source_scale(clips[number].track.crop_from_image[frame : frame + 1]).exp())
        for number, frame in first.frames
    ]
    scale = sorted(scales)[len(scales) // 2]
    if scale < LEAST_SCALE:
        return None
    size = native_size(scale)
    maps = torch.zeros(1, len(first.frames), DETAIL_SIZE, DETAIL_SIZE)
    for number, clip in enumerate(clips):
        places = [place for place, (owner, _) in enumerate(first.frames) if owner == number]
        if not places:
            continue
        frames = torch.tensor([first.frames[place][1] for place in places])
        native = read_crops(files[number], clip.track.with_crop_size(size), frames.tolist(), progress)
        rows = torch.searchsorted(clip.frames.sort().values, frames)
        crops = clip.crops[clip.frames.argsort()[rows]].float() / 255
        for place, frame, one, crop in zip(places, frames, native, crops, strict=True):
            fine = fine_luma(one[None].float() / 255, crop[None])
            vertices = clip.track.clip_vertices(model, frame[None])
            values, weight = unwrap(model, vertices, fine, DETAIL_SIZE, "bicubic")
            one_map = (values * (weight > BORDER_WEIGHT))[0]  # lips' colour on teeth is no detail of these
            maps[0, place] = one_map[0] * softened(one_map[None], fine, gbuffer(model, vertices, size, DETAIL_SIZE))
    return Detail(maps, scale)


def softened(one_map: torch.Tensor, fine: torch.Tensor, buffer: GBuffer) -> float:
    """By how much detail is weaker after two samplings, to be given back: 1 to `MOST_SOFTENED`.

    Args:
        one_map: [1, 1, D, D] over uv.
        fine: [1, 1, S, S] of which it was made.
        buffer: of the same frame at the same size.
    """
    inside = buffer.lower_face > 0
    again = ops.texture(one_map, buffer.uv, filter_mode="bilinear")[inside]
    lost = fine[inside].square().mean() / again.square().mean().clamp(min=1e-12)
    return float(lost.sqrt().clamp(1, MOST_SOFTENED))
