"""`adapt preview`: real frames beside re-rendered ones and a grid over mouth opening, as one picture in seconds.

In: an actor bundle, or the word "prior" for the unadapted renderer with a texture encoded from the video itself, and a
video. Out: one PNG; every row is a frame: as it is, re-rendered with its own motion, then with the jaw held at each of
the given openings.
"""

from pathlib import Path

import numpy as np
import torch

from adapt.bundle import ActorBundle
from adapt.commands import PreviewConfig
from adapt.contact_sheet import contact_sheet, encode_image
from adapt.fit import adapted_renderer
from adapt.painter import put_back
from adapt.people import read_crops, track_footage
from adapt.progress import Progress
from prior.renderer_prior import RendererPrior, load_renderer_prior
from render.errors import FootageError, StoreError, TrackingError
from render.gbuffer import CROP_SIZE
from render.renderer import Renderer, draw, render_inputs
from render.store import write_atomic
from render.track import Track
from render.video import Footage, timecode

PRIOR = "prior"
LEAST_CONFIDENCE = 0.5
#: Frames that are shown where none are asked for, and frames that a texture is encoded from.
SHOWN = 4
ENCODED = 48
#: Rows of `RendererPrior.outer_expressions`: mouth closed, widest open.
CLOSED, WIDEST = 0, 1


def main(config: PreviewConfig, progress: Progress) -> None:
    """Write the picture."""
    out = Path(config.out)
    if out.exists() and not config.overwrite:
        raise StoreError(f"{out}: exists already; choose another name or pass --overwrite")
    prior = load_renderer_prior()
    bundle = None if config.actor == PRIOR else ActorBundle.load(Path(config.actor), prior.facts["sha256"])
    footage = Footage(Path(config.video))
    advice = "the same command with --person 1"
    track = track_footage(footage, config.person, advice, progress).with_crop_size(CROP_SIZE)
    frames = choose_frames(track, config.at)
    if bundle is None:
        texture, renderer = encoded(prior, footage, track, progress), adapted_renderer(prior, {})
    else:
        texture, renderer = bundle.texture[None].float(), adapted_renderer(prior, bundle.delta)
    crops = read_crops(footage, track, frames, progress).float() / 255
    columns, pictures = preview(prior, renderer, texture, track, frames, crops, config.jaw)
    captions = [timecode(float(track.timestamps[frame])) for frame in frames]
    sheet = contact_sheet([list(row) for row in pictures], columns, captions)
    picture = encode_image(sheet, ".png")

    def write(temporary: Path) -> None:
        temporary.write_bytes(picture)

    write_atomic(out, write)
    progress.note(str(out))
    progress.result({"picture": str(out), "frames": frames.tolist()})


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


def encoded(prior: RendererPrior, footage: Footage, track: Track, progress: Progress) -> torch.Tensor:
    """Unadapted texture [1, C, H, W] from frames spread over the video."""
    sure = (track.confidence >= LEAST_CONFIDENCE).nonzero()[:, 0]
    known = sure[torch.linspace(0, len(sure) - 1, min(ENCODED, len(sure))).long()]
    crops = read_crops(footage, track, known, progress).float() / 255
    return prior.encode_texture((track, known, crops))


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
