"""Style: an actor's own closed mouth, mean and range, from a track or shrunk towards what is usual.

Measures of the mouth (opening, width, protrusion) are in eye distances; expressions are lower-expression coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from prior.face.points import LIP_PAIRS, lip_gap
from render.head.face_model import FaceModel
from render.head.track import Track

MEASURES = ("opening", "width", "protrusion")  # columns of `mouth_measures`
CORNERS = (61, 291)  # of the mouth
LIP_MIDDLE = (0, 13, 14, 17)

LEAST_STYLE_FRAMES = 25
# An actor's own spread counts as much as the population's after this many frames of footage.
STYLE_PRIOR_FRAMES = 50.0


@dataclass(frozen=True)
class MouthStyle:
    """How one person's mouth rests and how far it moves, from enrollment footage.

    Attributes:
        closed: [E] lower expression of the closed mouth.
        mean: [E] mean lower expression of the footage.
        spread: [E] standard deviation of the lower expression over the footage.
        frames: scalar, how many frames this was measured on.
    """

    closed: torch.Tensor
    mean: torch.Tensor
    spread: torch.Tensor
    frames: torch.Tensor

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
    expression = track.lower_expression[track.sure()]
    return MouthStyle.of(expression, lip_gap(face_model.vertices(track.shape, expression)))


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
