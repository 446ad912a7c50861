"""Covered frames: which of an actor's enrollment frames show the lower face with something in front of it, or nothing.

In: frames of one clip. What the face looks like is the median over them, texel by texel, which a hand or a microphone
that comes and goes does not change. Out: the frames without anything far off from it. What is in front all the time
cannot be told from the face.
"""

import numpy as np
import torch
import torch.nn.functional as F

from prior.renderer.unwrapping import unwrap
from render.compositing.occlusion import LOOK_PX, OccluderSeeker
from render.drawing.neural_texture import COLOUR_BINS
from render.head.face_model import FaceModel
from render.head.track import Track

#: Frames that the median is taken over, at most.
MEDIAN_FRAMES = 40
#: Where fewer of the frames than this part are clear, the median is not to be trusted.
LEAST_CLEAR = 0.4


def median_colours(model: FaceModel, track: Track, frames: torch.Tensor, crops: torch.Tensor) -> torch.Tensor:
    """The usual colour of every texel [3, H, W]; one colour for all that is never seen.

    Args:
        model: the face model.
        track: with the crops' size.
        frames: [N] int64.
        crops: [N, 3, H, W] sRGB in [0, 1].
    """
    rgb, weight = unwrap(model, track.clip_vertices(model, frames), crops)
    usual = rgb.masked_fill(weight <= 0, torch.nan).nanmedian(0).values
    seen = ~usual.isnan().any(0)
    overall = usual[:, seen].median(1).values
    return torch.where(seen, usual, overall[:, None, None])


def clear_frames(model: FaceModel, track: Track, frames: torch.Tensor, crops: torch.Tensor) -> torch.Tensor:
    """Which frames are clear, bool [N].

    Args:
        model: the face model.
        track: of the actor.
        frames: [N] int64, ascending.
        crops: [N, 3, H, W] uint8 sRGB.
    """
    small = F.interpolate(crops.float(), size=(LOOK_PX, LOOK_PX), mode="area")
    rows = torch.linspace(0, len(frames) - 1, min(MEDIAN_FRAMES, len(frames))).long()
    colours = median_colours(model, track.with_crop_size(LOOK_PX), frames[rows], small[rows] / 255)
    seeker = OccluderSeeker(model, colours.repeat(COLOUR_BINS, 1, 1), track)
    pictures = np.ascontiguousarray(small.round().to(torch.uint8).permute(0, 2, 3, 1).numpy())
    for frame, picture in zip(frames.tolist(), pictures, strict=True):
        seeker.look(frame, picture)
    return torch.tensor([not seeker.covers(frame) for frame in frames.tolist()])
