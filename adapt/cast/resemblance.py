"""Resemblance: whether an actor bundle and a person in a shot may be the same, from crops alone; a guard, no proof.

In: crops of a tracked person. Out: a description (local patterns and skin colours of the upright face, see
`adapt.cast.appearance`) small enough to lie in a bundle, and the log-odds that two of them show one person.
"""

import cv2
import numpy as np
import torch

from adapt.cast.appearance import (
    BIAS,
    FACE_PART,
    HAIR_WEIGHT,
    PATTERN_WEIGHT,
    SKIN_PART,
    SKIN_WEIGHT,
    UNSEEN_DISTANCE,
    colour_histogram,
    local_patterns,
    upright_head,
)
from adapt.cast.mediapipe_backend import FACE_MESH_LAYOUT
from render.head.face_model import FaceModel
from render.head.track import Track

#: Frames that are looked at, at most.
LOOKED_AT = 8
#: Log-odds below which two are taken for different people, and below which it is doubtful. Of 360 pairs of takes of
#: one person none is below the first and one in 20 below the second; of 20,652 pairs of different people half are below
#: the first and 19 in 20 below the second.
DIFFERENT, DOUBTFUL = -1.5, 0.3


def describe(model: FaceModel, track: Track, frames: torch.Tensor, crops: torch.Tensor) -> dict[str, torch.Tensor]:
    """What a tracked person looks like.

    Args:
        model: the face model.
        track: of the person, with the crops' size.
        frames: [N] int64.
        crops: [N, 3, H, W] uint8 sRGB of those frames.

    Returns:
        `patterns` and `skin`, float32 vectors: means over up to `LOOKED_AT` of the frames.
    """
    rows = torch.linspace(0, len(frames) - 1, min(LOOKED_AT, len(frames))).long()
    points = track.image_vertices(model, frames[rows]).double()  # [N, V, 2]
    affine = track.crop_from_image[frames[rows]]
    points = points @ affine[:, :, :2].transpose(1, 2) + affine[:, None, :, 2]
    patterns, skin = [], []
    for picture, place in zip(crops[rows].permute(0, 2, 3, 1).numpy(), points.float().numpy(), strict=True):
        landmarks = np.pad(place, ((0, 0), (0, 1)))
        head, seen = upright_head(np.ascontiguousarray(picture), landmarks, FACE_MESH_LAYOUT)
        patterns.append(local_patterns(head[FACE_PART]))
        lab = cv2.cvtColor(head, cv2.COLOR_RGB2LAB)
        skin.append(colour_histogram(lab[SKIN_PART], seen[SKIN_PART]))
    return {
        name: torch.from_numpy(np.mean(values, 0)).float() for name, values in (("patterns", patterns), ("skin", skin))
    }


def log_odds(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    """Log-odds that two descriptions show one person, hair left out."""
    patterns = float((first["patterns"] - second["patterns"]).square().sum())
    skin = float((first["skin"] - second["skin"]).norm())
    return BIAS + PATTERN_WEIGHT * patterns + SKIN_WEIGHT * skin + HAIR_WEIGHT * UNSEEN_DISTANCE
