"""Style of an actor's mouth from all of the actor's footage: every sure frame, and every second of own speech.

In: files and the actor's track in each. Out: a style, and what is told of it. What a picture is learnt from does not
matter here: frames that no fit draws are as good to learn from how the actor speaks.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from prior.motion.model import WEIGHTS as MOTION_MODEL
from prior.motion.model import MotionModel, shipped_motion_model
from prior.motion.own_speech import HeardStyle, OwnSpeech, heard_style, own_speech
from prior.motion.style import LEAST_STYLE_FRAMES, style_of_tracks
from prior.speech.sound import read_waveform
from prior.speech.speech_track import speech_track
from render.errors import FootageError
from render.head.face_model import FaceModel
from render.head.track import Track
from render.store import file_sha256
from render.video.reader import Footage


def style_of_footage(
    face_model: FaceModel, files: Sequence[Footage], tracks: Sequence[Track], motion_model: MotionModel | None = None
) -> HeardStyle | None:
    """The style of one person in several files; None where the person is seen in too few frames.

    Args:
        face_model: of the tracks.
        files: with their sound, where they have any.
        tracks: one a file.
        motion_model: of audio to motion; the shipped one where not given.
    """
    if sum(int(track.sure().sum()) for track in tracks) < LEAST_STYLE_FRAMES:
        return None
    heard = [speech_in(file, track) for file, track in zip(files, tracks, strict=True)]
    speech = [one for one in heard if one is not None]
    return heard_style(motion_model or shipped_motion_model(), style_of_tracks(tracks, face_model), speech)


def speech_in(file: Footage, track: Track, own: np.ndarray | None = None) -> OwnSpeech | None:
    """What a tracked person says in a file; None where its sound cannot be read, or is not the person's own.

    Args:
        file: with its sound, where it has any.
        track: of the person.
        own: of `own_sound`, where that was read before.
    """
    if file.joins:
        return None
    own = own_sound(file) if own is None else own
    return None if own is None else own_speech(track.motion(), own)


def own_sound(file: Footage) -> np.ndarray | None:
    """A file's own sound, float32 [N] at `SAMPLE_RATE`; None where it has none that can be read."""
    if not file.audio:
        return None
    try:
        return read_waveform(speech_track(file.path))
    except FootageError:
        return None  # its pictures can be learnt from all the same


def mouth_facts(heard: HeardStyle | None) -> dict[str, Any]:
    """What a bundle's facts say of a style: in words, and which motion model it was measured with."""
    if heard is None:
        return {"style": "of the average person, too few frames"}
    return {"style": heard.told, "motion_model_sha256": file_sha256(MOTION_MODEL)}
