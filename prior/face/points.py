"""The points of the face model by name, and the lengths between them that say how open a mouth is.

In: points [..., V, 2 or 3]. Out: lengths [...]. The first 468 vertices of the face model are the FaceMesh points; index
lists below name those that tracking, masks and metrics need. "Right" and "left" are sides of the image, so that
head-space x grows from `EYE_CORNERS[0]` to `EYE_CORNERS[1]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

#: Outer and inner corner of the eye at the image's left, inner and outer corner of the other; centres are their means.
EYE_CORNERS = ((33, 133), (362, 263))
#: Upper and lower eyelids, corner to corner: two polylines an eye.
EYELIDS = (
    ((33, 246, 161, 160, 159, 158, 157, 173, 133), (33, 7, 163, 144, 145, 153, 154, 155, 133)),
    ((362, 398, 384, 385, 386, 387, 388, 466, 263), (362, 382, 381, 380, 374, 373, 390, 249, 263)),
)
#: Closed loops, from the mouth corner at the image's left along the lower lip and back along the upper lip.
LIPS_OUTER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
LIPS_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
#: (upper, lower) pairs of the inner lips that meet when the mouth closes, middle first.
LIP_PAIRS = ((13, 14), (82, 87), (312, 317), (81, 178), (311, 402), (80, 88), (310, 318))
#: Closed loop around the face, from the top of the forehead towards the image's right.
FACE_OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
NOSE_TIP = 1
CHIN = 152
#: Nose bridge and eye corners: the points by which steadiness is judged.
STEADY_POINTS = (168, 6, 197, 33, 133, 362, 263)
#: Points that neither jaw nor brows move: head pose is found from these.
RIGID_POINTS = (
    *(33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 1, 122, 351, 193, 417, 245, 465, 188, 412, 174, 399, 196, 419),
    *(3, 248, 51, 281, 45, 275, 114, 343, 217, 437, 198, 420, 236, 456, 131, 360, 44, 274, 10, 151, 109, 338),
    *(67, 297, 103, 332, 54, 284, 21, 251, 162, 389, 127, 356, 34, 264, 139, 368, 234, 454, 227, 447, 116, 345),
    *(143, 372, 35, 265, 31, 261, 228, 448, 229, 449, 230, 450, 231, 451, 232, 452, 233, 453, 128, 357),
)
#: Eye distance of the mean head in cm; it sets the metric scale, which one camera cannot see.
EYE_DISTANCE_CM = 6.3


def eye_distance(points: torch.Tensor) -> torch.Tensor:
    """Distance between the eye centres of points [..., V, K] (px or cm); returns [...]."""
    (a, b), (c, d) = EYE_CORNERS
    return ((points[..., a, :] + points[..., b, :] - points[..., c, :] - points[..., d, :]) / 2).norm(dim=-1)


def lip_gap(points: torch.Tensor) -> torch.Tensor:
    """Signed opening of the inner lips at the three middle pairs, mean, in the unit of points [..., V, 2 or 3].

    Measured along the line from eyes to chin of the same points, so that overlapping lips give a negative value.
    """
    (a, b), (c, d) = EYE_CORNERS
    down = points[..., CHIN, :] - (points[..., a, :] + points[..., b, :] + points[..., c, :] + points[..., d, :]) / 4
    down = down / down.norm(dim=-1, keepdim=True)
    upper, lower = zip(*LIP_PAIRS[:3], strict=True)
    gap = points[..., list(lower), :] - points[..., list(upper), :]
    return (gap * down[..., None, :]).sum(-1).mean(-1)


def opening(points: torch.Tensor) -> torch.Tensor:
    """How open a mouth is: signed gap of the inner lips in eye distances, of points [..., V, 2 or 3]; returns [...]."""
    return lip_gap(points) / eye_distance(points)
