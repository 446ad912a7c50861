"""Sources of motion: what can drive a mouth, each with its motion, what is heard of it, and its facts.

In: a sound, a video, a track file, the shot's own motion, or silence. Out: motion at the times of a shot's frames.
"""

import shlex
from pathlib import Path

import numpy as np

from adapt.actor.bundle import ActorBundle
from adapt.dubbing.request import Request
from adapt.motion.controls import retarget
from adapt.motion.placement import SILENCE
from adapt.progress import Progress
from adapt.tracking.track import track_footage
from prior.motion.style import LEAST_STYLE_FRAMES, MouthStyle, mouth_style
from prior.renderer.prior import RendererPrior
from prior.speech.sound import read_waveform
from render.errors import DubError
from render.head.motion import Motion
from render.head.track import Track
from render.video.footage import Footage

SILENT_LEVEL = 1e-4
TRACK_SUFFIX = ".safetensors"


def read_sound(path: Path) -> np.ndarray:
    """The sound that drives, mono at `SAMPLE_RATE`.

    Raises:
        FootageError: unreadable, or no sound in it.
        DubError: silent from end to end.
    """
    waveform = read_waveform(path, from_beginning=True)
    if float(np.abs(waveform).max(initial=0.0)) < SILENT_LEVEL:
        raise DubError(
            f"{path}: silent from end to end; choose the file that holds the speech, or write {SILENCE} in its place "
            "to close the mouth"
        )
    return waveform


def style_of(track: Track, prior: RendererPrior) -> MouthStyle:
    """The mouth style that a track shows.

    Raises:
        DubError: the face is seen in too few frames.
    """
    try:
        return mouth_style(track, prior.model)
    except ValueError as error:
        name = track.source.get("file", "the driving video")
        raise DubError(
            f"{name}: too few frames with a sure face to learn the mouth's range from; {LEAST_STYLE_FRAMES} are "
            "needed: use a longer take, or a bundle fitted from one"
        ) from error


def video_motion(drive: str, actor: ActorBundle, prior: RendererPrior, progress: Progress) -> Motion:
    """The mouth motion of another video or a track file, carried over to the actor's own closed mouth and range."""
    path = Path(drive)
    if path.suffix == TRACK_SUFFIX:
        track = Track.load(path)
    else:
        track = track_footage(Footage(path), None, f"adapt track {shlex.quote(drive)} -o tracks", progress)
    driver = style_of(track, prior)
    lower = track.lower_expression
    if actor.style:
        style = MouthStyle(**actor.style)
        lower = retarget(lower, driver.closed, driver.spread, style.closed, style.spread)
    return Motion(track.timestamps - track.timestamps[0], lower, track.confidence)


def driving_videos(requests: list[Request]) -> list[Path]:
    """Videos whose motion drives."""
    drives = [request.drive for request in requests if request.drive not in (None, "source", SILENCE)]
    return [path for path in map(Path, filter(None, drives)) if path.suffix != TRACK_SUFFIX]
