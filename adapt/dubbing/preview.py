"""`adapt preview`: real frames beside re-rendered ones and a grid over mouth opening, as one picture in seconds.

In: an actor bundle, or none for the unadapted renderer with a look encoded from the video itself, and a video. Out:
pictures; every row is a frame: as it is, re-rendered with its own motion, then with the jaw held at each of the given
openings. With what is to drive (`preview_dub`) the rows are the frames that tell most of a dub, as they will be in it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from adapt.actor.bundle import ActorBundle
from adapt.actor.misfit import refuse_misfit
from adapt.actor.renderer import adapted_renderer
from adapt.cache import Found
from adapt.dubbing.dub import opened
from adapt.dubbing.options import DubOptions
from adapt.dubbing.painter import Painter
from adapt.dubbing.part import Part, Request
from adapt.dubbing.redraw import gliding, look_at, put_into
from adapt.dubbing.session import Session
from adapt.dubbing.weights import Handover, hand_over
from adapt.motion.sources import Driver, Sound
from adapt.progress import SILENT, Progress
from adapt.reports.contact_sheet import contact_sheet
from adapt.tracking.crop import read_crops
from adapt.tracking.kept import track_footage
from prior.face.points import lip_gap
from prior.renderer.prior import RendererPrior, load_renderer_prior
from prior.speech.sound import SAMPLE_RATE
from render.compositing.matte import put_back
from render.compositing.occlusion import OccluderSeeker, Occlusion
from render.drawing.crop import CROP_SIZE, cut_crop
from render.drawing.look import Look
from render.drawing.renderer import draw, render_inputs
from render.errors import DubError, FootageError, TrackingError
from render.head.camera import head_turn
from render.head.track import Track
from render.video.container import timecode
from render.video.reader import Footage

#: Frames that are shown where none are asked for, and frames that a look is encoded from.
SHOWN, ENCODED = 4, 48
#: Mouth openings that are held where none are asked for.
JAWS = (0.0, 0.5, 1.0)
#: Side of the pictures of a dub, px; sound is measured over so long; heads that turn less are shown from one side.
PREVIEW_PX, LEVEL_SECONDS, LEAST_TURN_DEGREES = 384, 0.08, 6.0
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
        names: what each is shown for, and `told`: what is to be known of it, a sentence; empty where nothing is.
    """

    columns: list[str]
    pictures: np.ndarray
    frames: list[int]
    times: list[float]
    names: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def sheet(self) -> np.ndarray:
        """The grid with names and timecodes as one picture, uint8 [H, W, 3]."""
        captions = [timecode(time) for time in self.times]
        if self.names:
            captions = [f"{caption}  {name}" for caption, name in zip(captions, self.names, strict=True)]
        return contact_sheet([list(row) for row in self.pictures], self.columns, captions)


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


def preview_dub(
    actor: str | Path,
    shot: str | Path,
    driver: Driver,
    person: int | None = None,
    at: Sequence[float] = (),
    options: DubOptions = DubOptions(on_mismatch="trim"),
    *,
    progress: Progress = SILENT,
) -> Preview:
    """Draw the frames of a dub that tell most of it: the loudest, the quietest, and where the head turns furthest.

    They are as they will be in the dub, before encoding. All of the shot, or of `options.part`, is looked at, which is
    kept for the dub; where that was done before, only these frames are read.

    Args:
        actor: bundle.
        shot: video file.
        driver: what is to move the mouth.
        person: cast number of the actor in the shot; needed where several people are seen.
        at: seconds into the shot of the frames to show instead.
        options: of the dub.
        progress: where bars and notes go.

    Raises:
        As `adapt.dub`.
    """
    requests = [Request(driver, Path(actor), person)]
    session = opened(shot, requests, options, "the same command with --person 1", progress)
    (part,), footage = session.parts(requests), session.footage
    level = sound_level(session, driver)
    if at:
        frames = choose_frames(part.track, at, footage.duration).tolist()
        names = [f"at {time:g} s" for time in at]
    else:
        chosen = telling_frames(part, level)
        frames, names = list(chosen.values()), list(chosen)
    occlusion = _look_around(footage, part, frames) if options.occluders else None
    handover = hand_over(part, occlusion.hidden if occlusion else None)
    painter = Painter.of(gliding(part, handover), handover.weight, occlusion, options.region, options.device)
    track, pictures, told = part.track.with_crop_size(PREVIEW_PX), [], []
    for number in progress.over("draw", frames, len(frames)):
        (frame,) = footage.frames(number, number + 1)
        drawn = put_into(frame, painter.paint([frame]), options)
        pair = frame, frame.with_planes(drawn.planes(frame.planes))
        affine = track.crop_from_image[number].numpy()
        pictures.append([cut_crop(one.preview, affine, PREVIEW_PX) for one in pair])
        told.append(_told(part, handover, number, float(level[number])))
    times = part.track.timestamps[frames].tolist()
    return Preview(["real", "dubbed"], np.array(pictures), frames, times, names, told)


def sound_level(session: Session, driver: Driver) -> torch.Tensor:
    """How loud what drives is in each frame of a shot, dB relative to full scale [T]; NaN where nothing is heard."""
    times, options = session.footage.timestamps, session.options
    level = torch.full((len(times),), math.nan)
    if not isinstance(driver, Sound):
        return level
    start = (options.part[0] if options.part else 0.0) + options.audio_offset + times[0]
    half = round(LEVEL_SECONDS / 2 * SAMPLE_RATE)
    for frame in np.flatnonzero(session.inside).tolist():
        centre = round((times[frame] - start) * SAMPLE_RATE)
        heard = driver.waveform[max(0, centre - half) : max(0, centre + half)]
        if len(heard):
            level[frame] = 10 * math.log10(max(float(np.square(heard).mean()), 1e-10))
    return level


def telling_frames(part: Part, level: torch.Tensor) -> dict[str, int]:
    """Name → frame: the loudest and the quietest that are dubbed, or the widest open where nothing is heard, and where
    the head turns furthest to either side.

    Args:
        part: that is dubbed.
        level: [T] of `sound_level`.

    Raises:
        DubError: there is no such frame.
    """
    handover = hand_over(part)
    whole = (handover.weight == 1) & (handover.motion == 1)
    dubbed = whole if bool(whole.any()) else handover.weight > 0
    if not bool(dubbed.any()):
        raise DubError("in no frame can the chosen person be dubbed; `adapt track --overlay` shows why")
    chosen = {}
    heard = dubbed & ~level.isnan()
    if bool(heard.any()):
        chosen["loudest"] = int(torch.where(heard, level, -math.inf).argmax())
        chosen["quietest"] = int(torch.where(heard, level, math.inf).argmin())
    else:
        chosen["widest open"] = int(torch.where(dubbed, part.expression[:, 0], -math.inf).argmax())
    asked = (dubbed if part.wanted is None else part.wanted) & (part.track.confidence > 0)
    yaw = head_turn(part.track.rotation)[:, 0]
    left, right = int(torch.where(asked, yaw, -math.inf).argmax()), int(torch.where(asked, yaw, math.inf).argmin())
    chosen["turned furthest"] = max((left, right), key=lambda frame: abs(float(yaw[frame])))
    if float(yaw[left] - yaw[right]) > LEAST_TURN_DEGREES:
        chosen["to the other side"] = left + right - chosen["turned furthest"]
    return chosen


def _look_around(footage: Footage, part: Part, frames: Sequence[int]) -> Occlusion:
    """What lies in front in some frames; a neighbour confirms it, as in a dub."""
    seeker = OccluderSeeker(part.prior.model, part.bundle.texture, part.track, part.heads)
    weight = hand_over(part).weight
    for number in sorted(set(frames)):
        for frame in footage.frames(max(0, number - 1), number + 2):
            if float(weight[frame.index]) > 0:
                look_at(seeker, frame)
    return seeker.occlusion()


def _told(part: Part, handover: Handover, frame: int, level: float) -> str:
    """What is to be known of a frame."""
    lips = float(lip_gap(part.prior.model.vertices(part.track.shape, part.expression[frame : frame + 1]))[0])
    turned = float(head_turn(part.track.rotation[frame : frame + 1])[0, 0])
    why = f" ({handover.reason[frame]})" if handover.reason[frame] else ""
    weight = f"{100 * float(handover.weight[frame]):.0f} % of the new mouth{why}"
    sound = "" if math.isnan(level) else f"sound {level:.0f} dB, "
    return f"{sound}lips {max(lips, 0.0):.1f} cm apart, head at {turned:+.0f}°; {weight}"
