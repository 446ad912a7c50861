"""Style: an actor's own closed mouth, mean and range, from a track or shrunk towards what is usual.

Measures of the mouth (opening, width, protrusion) are in eye distances; expressions are lower-expression coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from prior.face.points import LIP_PAIRS, lip_gap
from render.head.face_model import FaceModel
from render.head.track import Track

MEASURES = ("opening", "width", "protrusion")  # columns of `mouth_measures`
CORNERS = (61, 291)  # of the mouth
LIP_MIDDLE = (0, 13, 14, 17)

LEAST_STYLE_FRAMES = 25
FRAMES_AT_ONCE = 1000  # whose vertices are computed together: bounds memory
# An actor's own spread counts as much as the population's after this many frames of footage.
STYLE_PRIOR_FRAMES = 50.0
# Own speech counts as much as the population after so many voiced seconds: fitted on training people, nearly flat.
SPEECH_MEAN_SECONDS, SPEECH_SPREAD_SECONDS = 0.5, 3.0
SPEECH = "speech_"  # what names of a speech style's tensors begin with


@dataclass(frozen=True)
class SpeechStyle:
    """How one person's mouth moves to the person's own speech, beside what a motion model makes of that sound.

    Measured by `prior.motion.own_speech`.

    Attributes:
        mean: [E] lower expression where the model's displacement is 0.
        spread: [E] change of the lower expression per unit of the model's displacement.
        seconds: scalar, seconds of voiced speech this was measured on.
        filter: [E, K] the personal filter (`prior.motion.filtering`), which adds to the model's displacement before its
            gain; None where it does not help.
    """

    mean: torch.Tensor
    spread: torch.Tensor
    seconds: torch.Tensor
    filter: torch.Tensor | None = None


@dataclass(frozen=True)
class MouthStyle:
    """How one person's mouth rests and how far it moves, from enrollment footage.

    Attributes:
        closed: [E] lower expression of the closed mouth.
        mean: [E] mean lower expression of the footage.
        spread: [E] standard deviation of the lower expression over the footage.
        frames: scalar, how many frames this was measured on.
        speech: what the person's own speech told, where there was any.
    """

    closed: torch.Tensor
    mean: torch.Tensor
    spread: torch.Tensor
    frames: torch.Tensor
    speech: SpeechStyle | None = None

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """Name → tensor, as an actor bundle stores them."""
        told = {SPEECH + name: value for name, value in (vars(self.speech) if self.speech else {}).items()}
        return {name: value for name, value in (vars(self) | told).items() if isinstance(value, torch.Tensor)}

    @staticmethod
    def of_tensors(tensors: dict[str, torch.Tensor]) -> MouthStyle:
        """The inverse of `tensors`; a style measured without sound has none of speech."""
        own = {name: value for name, value in tensors.items() if not name.startswith(SPEECH)}
        told = {name.removeprefix(SPEECH): value for name, value in tensors.items() if name.startswith(SPEECH)}
        return MouthStyle(**own, speech=SpeechStyle(**told) if told else None)

    @staticmethod
    def of(expression: torch.Tensor, gap: torch.Tensor) -> MouthStyle:
        """Measure expressions [N, E] whose inner-lip gap is [N] (any unit): closed is the mean of the least open tenth.

        Raises:
            ValueError: fewer than `LEAST_STYLE_FRAMES` frames.
        """
        if len(expression) < LEAST_STYLE_FRAMES:
            raise ValueError(f"MouthStyle.of(): {len(expression)} frames, {LEAST_STYLE_FRAMES} are needed")
        closed = expression[gap <= torch.quantile(gap, 0.10)].mean(0)
        return MouthStyle(closed, expression.mean(0), expression.std(0), torch.tensor(float(len(expression))))


def mouth_style(track: Track, face_model: FaceModel) -> MouthStyle:
    """The style of a tracked person; raises ValueError where too few frames are tracked surely."""
    return style_of_tracks([track], face_model)


def style_of_tracks(tracks: Sequence[Track], face_model: FaceModel) -> MouthStyle:
    """The style of one person from all surely tracked frames of several videos; raises ValueError as `mouth_style`."""
    expressions = [track.lower_expression[track.sure()] for track in tracks]
    gaps = [
        lip_gap(face_model.vertices(track.shape, part))
        for track, expression in zip(tracks, expressions, strict=True)
        for part in expression.split(FRAMES_AT_ONCE)
    ]
    return MouthStyle.of(torch.cat(expressions), torch.cat(gaps))


def mouth_measures(face_model: FaceModel, lower: torch.Tensor) -> torch.Tensor:
    """What an expression does to the mouth of the average head, seen from the front: linear in the coefficients.

    Args:
        face_model: the model the coefficients belong to.
        lower: [.., E] lower expression.

    Returns:
        [.., 3] columns `MEASURES`, cm: height of the gap of the inner lips at its three middle pairs (negative where
        they overlap), distance of the mouth corners across, and how far the middle of the lips lies before the corners.
    """

    def measured(vertices: torch.Tensor) -> torch.Tensor:
        """[.., V, 3] to [.., 3]."""
        upper, under = (list(points) for points in zip(*LIP_PAIRS[:3], strict=True))
        left, right = CORNERS
        opening = (vertices[..., upper, 1] - vertices[..., under, 1]).mean(-1)
        width = vertices[..., right, 0] - vertices[..., left, 0]
        protrusion = vertices[..., list(LIP_MIDDLE), 2].mean(-1) - vertices[..., list(CORNERS), 2].mean(-1)
        return torch.stack([opening, width, protrusion], -1)

    return measured(face_model.mean) + lower @ measured(face_model.lower_basis)
