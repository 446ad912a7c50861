"""Mouths in the picture: frames in which a tracked mouth and chin lie inside it.

In: a track. Out: a mask over its frames. Beyond the border there is nothing to compare with, learn from or draw into.
"""

import torch

from adapt.cast.faces import BEYOND_BORDER
from prior.face.points import CHIN, LIPS_OUTER, eye_distance
from render.head.face_model import FaceModel
from render.head.track import Track

#: Frames looked at together, so that memory does not grow with the track.
WINDOW = 512


def mouth_in_picture(model: FaceModel, track: Track) -> torch.Tensor:
    """Frames in which a face was found whose lips and chin lie inside the picture, bool [T]."""
    size = torch.tensor([track.width, track.height])
    inside = torch.zeros(len(track), dtype=torch.bool)
    for rows in (track.confidence > 0).nonzero()[:, 0].split(WINDOW):
        points = track.image_vertices(model, rows)  # [N, V, 2]
        slack = (BEYOND_BORDER * eye_distance(points))[:, None, None]
        mouth = points[:, [*LIPS_OUTER, CHIN]]
        inside[rows] = ((mouth >= -slack) & (mouth <= size + slack)).all(-1).all(-1)
    return inside
