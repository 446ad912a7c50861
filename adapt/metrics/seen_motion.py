"""The mouth motion that a detector sees in drawn crops, for sound-against-picture scores of any method.

In: landmarks of drawn crops and the true track, whose head pose, shape and camera hold for every method (the upper face
is never drawn). Out: lower expression, found as the tracker finds it with the poses held. The real video's own row must
go through here as well: what is compared is then the drawing, not the way of measuring.
"""

import torch

from adapt.tracking.head_model import HeadFit, Observations
from adapt.tracking.head_solvers import solve_expression
from prior.face.points import EYE_DISTANCE_CM
from render.head.face_model import FaceModel
from render.head.motion import Motion
from render.head.track import Track


def seen_motion(model: FaceModel, track: Track, landmarks: torch.Tensor) -> Motion:
    """Lower expression [T, E] of drawn crops.

    Args:
        model: the face model.
        track: of the T frames; its expression is not read.
        landmarks: [T, 478, 2] px of the crops (`mouth_meter.MouthMeter.landmarks`), one a row of the track.
    """
    if len(landmarks) != len(track):
        raise ValueError(f"seen_motion(): {len(landmarks)} rows of landmarks for {len(track)} frames")
    fit = HeadFit.of(model)
    linear, shift = track.crop_from_image[:, :, :2].double(), track.crop_from_image[:, :, 2].double()
    points = torch.linalg.solve(linear[:, None], (landmarks.double() - shift[:, None])[..., None])[..., 0]
    points = points[:, : model.landmark_count] - torch.tensor([track.width / 2, track.height / 2]).double()
    focal, depth = track.focal_px.double(), track.translation[:, 2].double()
    observations = Observations(points, track.timestamps, focal, EYE_DISTANCE_CM * focal / depth)
    # The tracker's poses carry the logarithm of the depth and, before it, the place over the depth.
    pose = torch.cat([track.rotation, track.translation], 1).double()
    pose[:, 3:5] /= depth[:, None]
    pose[:, 5] = depth.log()
    expression = solve_expression(fit, observations, track.shape.double(), pose)
    lower = expression[:, : fit.lower_count].float()
    return Motion(track.timestamps, lower, track.confidence)
