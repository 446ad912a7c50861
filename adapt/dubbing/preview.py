"""`adapt preview`: real frames beside re-rendered ones and a grid over mouth opening, as one picture in seconds.

In: an actor bundle, or none for the unadapted renderer with a look encoded from the video itself, and a video. Out:
pictures; every row is a frame: as it is, re-rendered with its own motion, then with the jaw held at each of the given
openings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from adapt.actor.bundle import ActorBundle
from adapt.actor.misfit import refuse_misfit
from adapt.actor.renderer import adapted_renderer
from adapt.cache import Found
from adapt.progress import SILENT, Progress
from adapt.reports.contact_sheet import contact_sheet
from adapt.tracking.crop import read_crops
from adapt.tracking.kept import track_footage
from prior.renderer.prior import RendererPrior, load_renderer_prior
from render.compositing.matte import put_back
from render.drawing.crop import CROP_SIZE
from render.drawing.look import Look
from render.drawing.renderer import draw, render_inputs
from render.errors import FootageError, TrackingError
from render.head.track import Track
from render.video.container import timecode
from render.video.reader import Footage

#: Frames that are shown where none are asked for, and frames that a look is encoded from.
SHOWN, ENCODED = 4, 48
#: Mouth openings that are held where none are asked for.
JAWS = (0.0, 0.5, 1.0)
#: Rows of `RendererPrior.erasing_expressions`: mouth closed, widest open.
CLOSED, WIDEST = 0, 1


@dataclass(frozen=True)
class Preview:
    """A grid of pictures.

    Attributes:
        columns: their names.
        pictures: uint8 [N, columns, H, W, 3].
        frames: the N frame numbers.
        times: of these frames, seconds of the video's own clock.
    """

    columns: list[str]
    pictures: np.ndarray
    frames: list[int]
    times: list[float]

    def sheet(self) -> np.ndarray:
        """The grid with names and timecodes as one picture, uint8 [H, W, 3]."""
        return contact_sheet(
            [list(row) for row in self.pictures], self.columns, [timecode(time) for time in self.times]
        )


def preview(
    actor: str | Path | None,
    video: str | Path,
    person: int | None = None,
    at: Sequence[float] = (),
    jaws: Sequence[float] = JAWS,
    *,
    progressive: bool = False,
    progress: Progress = SILENT,
) -> Preview:
    """Re-render a few frames of a video and a grid over mouth opening.

    Args:
        actor: bundle, or None for the unadapted renderer.
        video: with the actor.
        person: cast number of the actor in the video; needed where several people are seen.
        at: seconds into the video; none for frames from closed to open.
        jaws: mouth openings to hold, 0 closed to 1 widest.
        progressive: see `Footage`.
        progress: where bars go.

    Raises:
        FootageError, StoreError, TrackingError: a file cannot be read, or the person is not in the video.
    """
    prior = load_renderer_prior()
    bundle = None if actor is None else ActorBundle.load(Path(actor), prior.sha256)
    if bundle is not None:
        refuse_misfit(bundle, Path(str(actor)), prior)
    footage = Footage(video, progressive)
    advice = "the same command with --person 1"
    track = track_footage(footage, person, advice, progress, Found.of_user()).with_crop_size(CROP_SIZE)
    frames = choose_frames(track, at, footage.duration)
    look = encoded(prior, footage, track, progress) if bundle is None else bundle.look
    delta = {} if bundle is None else bundle.delta
    crops = read_crops(footage, track, frames, progress).float() / 255
    inputs = (prior.model, track, frames, crops, prior.erasing_expressions)
    renderer = adapted_renderer(prior, delta)
    pictures = [crops, put_back(draw(renderer, look, render_inputs(*inputs)), crops)]
    columns = ["real", "re-rendered"]
    closed, widest = prior.erasing_expressions[[CLOSED, WIDEST], 0]
    for jaw in jaws:
        lower = track.lower_expression.clone()
        lower[:, 0] = closed + jaw * (widest - closed)
        pictures.append(put_back(draw(renderer, look, render_inputs(*inputs, lower)), crops))
        columns.append(f"jaw {jaw:g}")
    stacked = torch.stack(pictures, 1).permute(0, 1, 3, 4, 2)
    shown = (stacked.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    return Preview(columns, shown, frames.tolist(), track.timestamps[frames].tolist())


def choose_frames(track: Track, times: Sequence[float], seconds: float) -> torch.Tensor:
    """Frames [N] nearest to times in seconds from the first frame, or a few that show the range of opening.

    Args:
        track: of the person.
        times: seconds.
        seconds: how long the video is.

    Raises:
        TrackingError: the person is in no frame.
        FootageError: a time lies outside the video.
    """
    sure = track.sure().nonzero()[:, 0]
    if not len(sure):
        raise TrackingError("the person is tracked in no frame of the video; `adapt check` shows who is in it")
    if not times:
        order = sure[track.lower_expression[sure, 0].argsort()]
        return order[torch.linspace(0, len(order) - 1, min(SHOWN, len(order))).long()]
    clock = track.timestamps - track.timestamps[0]
    for time in times:
        if not 0 <= time <= max(seconds, float(clock[-1]) + 0.5):
            raise FootageError(f"--at {time}: outside the video, which is {seconds:.2f} s long")
    return torch.stack([sure[(clock[sure] - time).abs().argmin()] for time in times])


def encoded(prior: RendererPrior, footage: Footage, track: Track, progress: Progress) -> Look:
    """Unadapted look from frames spread over the video."""
    sure = track.sure().nonzero()[:, 0]
    frames = sure[torch.linspace(0, len(sure) - 1, min(ENCODED, len(sure))).long()]
    crops = read_crops(footage, track, frames, progress).float() / 255
    return prior.encode_look((track, frames, crops))
