"""Lips apart from cheeks and jaw: the part of a mouth's movement that moves the lips alone, in closed form.

Least squares over the mesh: of all expressions, the one that moves the lips' vertices as they are moved and leaves the
skin of cheeks, chin and jaw where it is. What is left of the movement is the skin's. No expression does so wholly, as
lips hang on the skin around them; hence the skin's weight.
"""

from __future__ import annotations

import torch

from render.head.face_model import FaceModel

# With 1 in place of 10, lips that move by half more widen the skin's movement by 9 % in place of 3 %.
SKIN_WEIGHT = 10.0


def lips_part(face_model: FaceModel) -> torch.Tensor:
    """[E, E] that takes a movement of the mouth (from rest, coefficients as columns) to its lips' part."""
    lips = torch.unique(face_model.faces[face_model.faces_in("lips")].long())
    skin = skin_vertices(face_model)
    lips_moments, skin_moments = (_moments(face_model.lower_basis[:, points]) for points in (lips, skin))
    return torch.linalg.solve(lips_moments + SKIN_WEIGHT * skin_moments, lips_moments).float()


def skin_vertices(face_model: FaceModel) -> torch.Tensor:
    """Vertices [N] of the lower face's skin that are none of the lips'."""
    skin = torch.unique(face_model.faces[face_model.faces_in("skin_lower")].long())
    return skin[~torch.isin(skin, face_model.faces[face_model.faces_in("lips")].long())]


def _moments(basis: torch.Tensor) -> torch.Tensor:
    """Mean products [E, E] of what axes do to points [E, N, 3]."""
    flat = basis.double().flatten(1)
    return flat @ flat.T / basis.shape[1]
