"""`adapt preview`: real frames beside re-rendered ones and a grid over mouth opening, as one picture in seconds.

In: an actor bundle, or the word "prior" for the unadapted renderer with a texture encoded from the video itself, and a
video. Out: one PNG; every row is a frame: as it is, re-rendered with its own motion, then with the jaw held at each of
the given openings.
"""

import numpy as np
import torch

from prior.renderer.prior import RendererPrior
from render.compositing.matte import put_back
from render.drawing.renderer import Renderer, draw, render_inputs
from render.errors import FootageError, TrackingError
from render.head.track import Track

PRIOR = "prior"
LEAST_CONFIDENCE = 0.5
#: Frames that are shown where none are asked for, and frames that a texture is encoded from.
SHOWN = 4

#: Rows of `RendererPrior.outer_expressions`: mouth closed, widest open.
CLOSED, WIDEST = 0, 1


def choose_frames(track: Track, times: list[float]) -> torch.Tensor:
    """Frames [N] nearest to times in seconds from the first frame, or a few that show the range of opening.

    Raises:
        TrackingError: the person is in no frame.
        FootageError: a time lies outside the video.
    """
    sure = (track.confidence >= LEAST_CONFIDENCE).nonzero()[:, 0]
    if not len(sure):
        raise TrackingError("the person is tracked in no frame of the video; `adapt check` shows who is in it")
    if not times:
        order = sure[track.lower_expression[sure, 0].argsort()]
        return order[torch.linspace(0, len(order) - 1, min(SHOWN, len(order))).long()]
    clock = track.timestamps - track.timestamps[0]
    for time in times:
        if not 0 <= time <= float(clock[-1]) + 0.5:
            raise FootageError(f"--at {time}: outside the video, which is {float(clock[-1]):.2f} s long")
    return torch.stack([sure[(clock[sure] - time).abs().argmin()] for time in times])


def preview(
    prior: RendererPrior,
    renderer: Renderer,
    texture: torch.Tensor,
    track: Track,
    frames: torch.Tensor,
    crops: torch.Tensor,
    jaws: list[float],
) -> tuple[list[str], np.ndarray]:
    """Draw the grid.

    Args:
        prior: for the face model and the fixed expressions.
        renderer: the actor's, of `adapted_renderer`.
        texture: [1, C, H, W].
        track: of the video, with 256 px crops.
        frames: [N] int64.
        crops: [N, 3, H, W] sRGB in [0, 1].
        jaws: mouth openings, 0 closed to 1 widest.

    Returns:
        Names of the columns, and pictures uint8 [N, columns, H, W, 3].
    """
    still = (prior.model, track, frames, crops, prior.outer_expressions)
    pictures = [crops, put_back(draw(renderer, texture, render_inputs(*still)), crops)]
    columns = ["real", "re-rendered"]
    closed, widest = prior.outer_expressions[[CLOSED, WIDEST], 0]
    for jaw in jaws:
        lower = track.lower_expression.clone()
        lower[:, 0] = closed + jaw * (widest - closed)
        pictures.append(put_back(draw(renderer, texture, render_inputs(*still, lower)), crops))
        columns.append(f"jaw {jaw:g}")
    stacked = torch.stack(pictures, 1).permute(0, 1, 3, 4, 2)
    return columns, (stacked.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
