"""Sources of motion: what can drive a mouth, each with its motion, what is heard of it, and its facts.

In: a sound, a video, a track file, the shot's own motion, or silence. Out: motion of the shot's actor, in the source's
own time. A file is read once, when it is first asked for.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from adapt.actor.bundle import ActorBundle
from adapt.cache import NOTHING_KEPT, Found
from adapt.motion.controls import retarget
from adapt.motion.words import OWN, SILENCE
from adapt.progress import SILENT, Progress
from adapt.tracking.kept import track_footage
from prior.motion.model import MotionModel
from prior.motion.style import LEAST_STYLE_FRAMES, MouthStyle, mouth_style
from prior.speech.phonemes import LABEL_RATE
from prior.speech.sound import SAMPLE_RATE, Waveform, listen
from prior.speech.speech_track import speech_track
from prior.speech.voice import voice_in
from render.errors import DubError, StoreError
from render.head.face_model import FaceModel
from render.head.motion import Motion
from render.head.track import Track, frame_seconds
from render.store import file_sha256
from render.video.reader import Footage
from render.video.sound_track import SoundTrack

TRACK_SUFFIX = ".safetensors"
#: Of what could be speech in a sound, the share that is a voice, below which it is told.
LEAST_VOICE = 0.7
#: Probability of speech in the second of a sound where it is highest, below which nobody speaks in it: tones and noise
#: have up to 0.02, speech has 0.9 and more.
LEAST_SPEECH = 0.1


@dataclass(frozen=True)
class Driven:
    """Who is driven: what a source needs to know of the actor in the shot.

    Attributes:
        bundle: the actor.
        track: of the actor in the shot.
        style: closed mouth and range of the actor, from the bundle or else from the track.
        model: the face model.
        motion_model: audio to motion.
        progress: where bars go.
        found: where what is found in videos is kept.
    """

    bundle: ActorBundle
    track: Track
    style: MouthStyle
    model: FaceModel
    motion_model: MotionModel
    progress: Progress = SILENT
    found: Found = NOTHING_KEPT


class Driver(Protocol):
    """A source of motion.

    Attributes:
        lies_on_frames: its motion has a row for every frame of the shot, and needs no placement.
    """

    lies_on_frames: bool

    @property
    def notes(self) -> Sequence[str]:
        """What was found odd when it was read, one sentence each."""
        ...

    def read(self) -> None:
        """Read what can be read before the shot is looked at, and so find what is wrong with it.

        Raises:
            FootageError, StoreError, DubError: it cannot be read, or holds nothing.
        """
        ...

    def motion(self, driven: Driven) -> Motion:
        """The motion of the actor's mouth; time 0 is the source's beginning.

        Raises:
            FootageError, TrackingError, DubError: it holds no motion.
        """
        ...

    def heard(self) -> SoundTrack | None:
        """The sound that is heard where it drives, if any; it begins where the motion does."""
        ...

    def facts(self) -> dict[str, Any]:
        """What it is, for run.json: kind, and name and hash of its file."""
        ...


def track_facts(track: SoundTrack) -> dict[str, Any]:
    """Name and hash of a sound's file, and which of its tracks it is where that was chosen."""
    chosen = {} if track.number is None else {"track": track.number}
    return {"file": track.path.name, "sha256": file_sha256(track.path), **chosen}


@dataclass(frozen=True)
class DrivingFile:
    """A file that drives; a name given as text is taken, too."""

    path: Path
    lies_on_frames = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))

    @cached_property
    def notes(self) -> list[str]:
        """What was found odd when it was read."""
        return []


def unlike_speech(waveform: np.ndarray) -> list[str]:
    """Why a sound float32 [N] at `SAMPLE_RATE` moves a mouth little, at most one sentence."""
    share, most = voice_in(waveform)
    if most < LEAST_SPEECH:
        return [
            f"no speech is heard in it, so the mouth stays at rest; give the file with the voice, or write {SILENCE} "
            "in its place to close the mouth"
        ]
    if share < LEAST_VOICE:
        return [
            f"{1 - share:.0%} of what could be speech in it is no voice but music or noise, and moves no mouth; if "
            "somebody speaks there, give the voice without what lies over it"
        ]
    return []


@dataclass(frozen=True)
class Sound(DrivingFile):
    """A file with speech in it; `FILE#2` is its second sound track."""

    @cached_property
    def track(self) -> SoundTrack:
        """The track that holds the speech; raises `FootageError`."""
        return speech_track(self.path, self.notes)

    @cached_property
    def waveform(self) -> np.ndarray:
        """Mono float32 [samples] at `SAMPLE_RATE`.

        Raises:
            FootageError: unreadable, or no sound in it.
            DubError: silent from end to end, or too short to hold a frame of motion.
        """
        waveform: Waveform = listen(self.track)
        self.notes.extend(waveform.notes)
        if waveform.is_silent:
            raise DubError(
                f"{self.path}: silent from end to end; choose the file that holds the speech, or write {SILENCE} in "
                "its place to close the mouth"
            )
        if _rows(waveform.samples) < 1:
            raise DubError(
                f"{self.path}: its sound is {len(waveform.samples) / SAMPLE_RATE:.3f} s long, too short to move a mouth"
            )
        self.notes.extend(f"{self.path}: {text}" for text in unlike_speech(waveform.samples))
        return waveform.samples

    def read(self) -> None:
        """Read the sound."""
        _ = self.waveform

    def motion(self, driven: Driven) -> Motion:
        """What the audio-to-motion model makes of it, in the actor's style."""
        times = np.arange(_rows(self.waveform)) / LABEL_RATE
        return driven.motion_model.predict(self.waveform, times, driven.style)

    def heard(self) -> SoundTrack | None:
        """The track with the speech, from where its file begins."""
        return self.track

    def facts(self) -> dict[str, Any]:
        """Kind, file and hash."""
        return {"kind": "sound", **track_facts(self.track)}


@dataclass(frozen=True)
class Video(DrivingFile):
    """A video with one person who can be meant; its motion is carried over to the actor.

    Attributes:
        progressive: as of `Footage`.
    """

    progressive: bool = False

    @cached_property
    def footage(self) -> Footage:
        """The video, opened; raises `FootageError`."""
        return Footage(self.path, self.progressive)

    @cached_property
    def _sound(self) -> SoundTrack | None:
        footage = self.footage
        if not footage.audio:
            return None
        return replace(speech_track(self.path, self.notes), begins=int(footage.pts[0]) * footage.time_base)

    def read(self) -> None:
        """Open the video, and choose among its sounds."""
        _ = self._sound

    def motion(self, driven: Driven) -> Motion:
        """The tracked motion, in the actor's range."""
        advice = f"adapt track {shlex.quote(str(self.path))} -o tracks"
        motion = carried_over(track_footage(self.footage, None, advice, driven.progress, driven.found), driven)
        return held(motion, self.footage.duration)

    def heard(self) -> SoundTrack | None:
        """The video's own sound, where it has any, from its first frame."""
        return self._sound

    def facts(self) -> dict[str, Any]:
        """Kind, file and hash."""
        return {"kind": "video", "file": self.path.name, "sha256": self.footage.sha256}


@dataclass(frozen=True)
class TrackFile(DrivingFile):
    """A track that `adapt track` wrote; its motion is carried over to the actor."""

    @cached_property
    def track(self) -> Track:
        """The track; raises `StoreError`."""
        return Track.load(self.path)

    def read(self) -> None:
        """Read the track."""
        _ = self.track

    def motion(self, driven: Driven) -> Motion:
        """The track's motion, in the actor's range."""
        return carried_over(self.track_for(driven.model), driven)

    def track_for(self, model: FaceModel) -> Track:
        """The track; raises `StoreError` where it is none, or one of another face model."""
        track = self.track
        sizes = [len(track.shape), track.lower_expression.shape[1], track.upper_expression.shape[1]]
        expected = [len(basis) for basis in (model.shape_basis, model.lower_basis, model.upper_basis)]
        if sizes != expected:
            raise StoreError(
                f"{self.path}: of another face model ({sizes} coefficients, expected {expected}); make it again with "
                "`adapt track`"
            )
        return track

    def heard(self) -> SoundTrack | None:
        """Nothing."""
        return None

    def facts(self) -> dict[str, Any]:
        """Kind, file and hash."""
        return {"kind": "track", "file": self.path.name, "sha256": file_sha256(self.path)}


@dataclass(frozen=True)
class OwnMotion:
    """The shot's own motion, re-rendered."""

    lies_on_frames = True
    notes = ()

    def read(self) -> None:
        """Nothing."""

    def motion(self, driven: Driven) -> Motion:
        """The motion as tracked, frame by frame."""
        track = driven.track
        return Motion(track.timestamps - track.timestamps[0], track.lower_expression, track.confidence)

    def heard(self) -> SoundTrack | None:
        """Nothing but the shot's own sound."""
        return None

    def facts(self) -> dict[str, Any]:
        """Kind alone."""
        return {"kind": OWN}


@dataclass(frozen=True)
class Silence:
    """Nobody speaks: the mouth is closed throughout."""

    lies_on_frames = True
    notes = ()

    def read(self) -> None:
        """Nothing."""

    def motion(self, driven: Driven) -> Motion:
        """The closed mouth in every frame."""
        times = driven.track.timestamps - driven.track.timestamps[0]
        return Motion(times, driven.style.closed.expand(len(times), -1), torch.ones(len(times)))

    def heard(self) -> SoundTrack | None:
        """Nothing but the shot's own sound."""
        return None

    def facts(self) -> dict[str, Any]:
        """Kind alone."""
        return {"kind": SILENCE}


def _rows(waveform: np.ndarray) -> int:
    """Rows of motion that a sound [N] gives."""
    return int(len(waveform) / SAMPLE_RATE * LABEL_RATE)


def driver_of_sound(word: str) -> Driver:
    """What a word in the place of a sound file means: the file, or silence."""
    return Silence() if word == SILENCE else Sound(Path(word))


def driver_of_motion(word: str, progressive: bool = False) -> Driver:
    """What a word in the place of a motion means: the shot's own, silence, a track file, or a video.

    A video's `progressive` is as of `Footage`.
    """
    if word in (OWN, SILENCE):
        return OwnMotion() if word == OWN else Silence()
    path = Path(word)
    return TrackFile(path) if path.suffix == TRACK_SUFFIX else Video(path, progressive)


def style_of(track: Track, model: FaceModel) -> MouthStyle:
    """The mouth style that a track shows.

    Raises:
        DubError: the face is seen in too few frames.
    """
    try:
        return mouth_style(track, model)
    except ValueError as error:
        name = track.source.get("file", "the driving video")
        raise DubError(
            f"{name}: too few frames with a sure face to learn the mouth's range from; {LEAST_STYLE_FRAMES} are "
            "needed: use a longer take, or a bundle fitted from one"
        ) from error


def held(motion: Motion, seconds: float) -> Motion:
    """The motion, its last row held until `seconds` where a file says that its last picture is shown for so long."""
    step = frame_seconds(motion.timestamps)
    if float(motion.timestamps[-1]) + 1.5 * step >= seconds:
        return motion
    rows = [*range(len(motion.timestamps)), -1]
    times = motion.timestamps[rows]
    times[-1] = seconds - step
    return Motion(times, motion.lower_expression[rows], motion.confidence[rows])


def carried_over(track: Track, driven: Driven) -> Motion:
    """The motion of another person's track, carried over to the actor's own closed mouth and range."""
    driver = style_of(track, driven.model)
    lower = track.lower_expression
    if driven.bundle.style:
        lower = retarget(lower, driver.closed, driver.spread, driven.style.closed, driven.style.spread)
    return Motion(track.timestamps - track.timestamps[0], lower, track.confidence)
