"""What a comparison gives a method and asks of it: `(enrollment, query) -> frames`.

In: tracked frames of one person. Out: an `Enrollment`, which shows everything, and a `Query`, from which the mouth is
gone: its crops are erased and filled before they are put into the object, its track carries no expression. What is to
be drawn comes as motion or as sound. A method returns complete crops [T, 3, H, W], sRGB in [0, 1].
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from prior.motion.model import MotionModel
from prior.motion.own_speech import heard_style, own_speech
from prior.motion.style import LEAST_STYLE_FRAMES, MouthStyle, mouth_style
from prior.speech.sound import SAMPLE_RATE
from render.drawing.erasure import fill_erased
from render.head.face_model import FaceModel
from render.head.track import Track

#: Names of the methods that come with adapt. `real` is the control that sees what is withheld.
REAL = "real"
FROZEN, NEAREST = "frozen mouth", "nearest mouth"
PRIOR, ADAPT, SCRATCH = "prior", "adapt", "scratch"
WAV2LIP = "wav2lip"
METHODS = (REAL, FROZEN, NEAREST, PRIOR, ADAPT, SCRATCH, WAV2LIP)


@dataclass(frozen=True, eq=False)
class Enrollment:
    """What a method may learn from: N frames of one person.

    Attributes:
        track: of these frames, a row each.
        crops: [N, 3, H, W] uint8 sRGB.
        waveform: float32 at `SAMPLE_RATE`, time 0 at the first frame; None where no sound belongs to the picture.
        key: hash of all that decides the above; for methods that keep what they learnt.
    """

    track: Track
    crops: torch.Tensor
    waveform: np.ndarray | None
    key: str

    def __len__(self) -> int:
        return len(self.crops)


@dataclass(frozen=True, eq=False)
class Query:
    """What a method is to draw: T frames of the same person, the lower face erased.

    Attributes:
        track: of these frames, a row each; head pose, shape and camera are true, the lower expression is 0 throughout.
        crops: [T, 3, H, W] float32 sRGB in [0, 1], true outside the erased area, filled smoothly from there inside it.
        erased: [T, 1, H, W], 1 where the crops are erased: all that is to be drawn.
        motion: [T, E] lower expression to be drawn, or None where sound is to be followed.
        waveform: float32 at `SAMPLE_RATE`, time 0 at the first frame, as long as the frames; None where there is none.
    """

    track: Track
    crops: torch.Tensor
    erased: torch.Tensor
    motion: torch.Tensor | None
    waveform: np.ndarray | None

    def __len__(self) -> int:
        return len(self.crops)

    @property
    def seconds(self) -> torch.Tensor:
        """Times of the frames from the first, float64 [T]."""
        return self.track.timestamps - self.track.timestamps[0]


#: A way to draw a query's frames: complete crops [T, 3, H, W] float32, sRGB in [0, 1].
Method = Callable[[Enrollment, Query], torch.Tensor]


def rows_of(track: Track, rows: torch.Tensor) -> Track:
    """The track of some rows [N] of a video alone; nothing of the others is left in it."""
    tensors = {name: value for name, value in vars(track).items() if isinstance(value, torch.Tensor)}
    part: dict[str, Any] = {name: value[rows].clone() for name, value in tensors.items() if name != "shape"}
    return replace(track, **part)


def sound_of(waveform: np.ndarray, start: float, seconds: float) -> np.ndarray:
    """A part of a waveform [N] at `SAMPLE_RATE`, float32; silence where the part reaches beyond it."""
    first, count = round(start * SAMPLE_RATE), round(seconds * SAMPLE_RATE)
    part = np.zeros(count, np.float32)
    held = waveform[max(first, 0) : max(first + count, 0)]
    offset = max(-first, 0)
    part[offset : offset + len(held)] = held
    return part


def make_query(
    track: Track, crops: torch.Tensor, erased: torch.Tensor, motion: torch.Tensor | None, waveform: np.ndarray | None
) -> Query:
    """A query from true crops [T, 3, H, W] float32: the mouth is taken out of picture and track here."""
    hidden = replace(
        track.with_motion(torch.zeros_like(track.lower_expression)),
        confidence=torch.ones_like(track.confidence),
        source={},
    )
    filled = torch.where(erased > 0, fill_erased(crops, erased), crops)
    return Query(hidden, filled, erased, motion, waveform)


def motion_of(model: FaceModel, speech: MotionModel, enrollment: Enrollment, query: Query) -> torch.Tensor:
    """The motion [T, E] that a motion-driven method draws: the query's own, else what adapt hears in its sound.

    Raises:
        ValueError: the query has neither.
    """
    if query.motion is not None:
        return query.motion
    if query.waveform is None:
        raise ValueError("motion_of(): the query has neither motion nor sound")
    style = enrolled_style(model, speech, enrollment)
    return speech.predict(query.waveform, query.seconds.numpy(), style).lower_expression


def enrolled_style(model: FaceModel, speech: MotionModel, enrollment: Enrollment) -> MouthStyle | None:
    """The style of the mouth that an enrollment shows and tells, as `adapt fit` has it; None where it is too short."""
    track = enrollment.track
    if int(track.sure().sum()) < LEAST_STYLE_FRAMES:
        return None
    style = mouth_style(track, model)
    if enrollment.waveform is None:
        return style
    motion = replace(track.motion(), timestamps=track.timestamps - track.timestamps[0])
    heard = own_speech(motion, enrollment.waveform)
    return heard_style(speech, style, [] if heard is None else [heard]).style


@dataclass(frozen=True)
class CompareMethod:
    """One method of a comparison.

    Attributes:
        name: as the tables say it.
        draw: the method.
        facts: what decides its frames besides enrollment and query: hashes and settings; under `SPEECH` what makes
            motion of sound.
        needs_sound: it follows sound alone; a query without sound is not for it.
        learnt: how it learnt from an enrollment: seconds, steps and the like.
    """

    name: str
    draw: Method
    facts: dict[str, Any]
    needs_sound: bool = False
    learnt: Callable[[Enrollment], dict[str, Any]] = lambda enrollment: {}
