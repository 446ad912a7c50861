import numpy as np
import torch

from adapt.tracking.crop import (
    CROP_EYE_DISTANCE_PX,
    choose_crop_size,
    crop_anchor,
    crop_from_path,
    crop_path,
    smooth_path,
)
from prior.face.model import load_face_model
from prior.face.points import eye_distance
from render.head.camera import Intrinsics, camera_from_head, project, transform_pixels, transform_points


def poses(turn=0.0, roll=0.0):
    rotation = torch.tensor([[0.0, turn, roll]], dtype=torch.float64)
    return rotation, torch.tensor([[3.0, 2.0, 80.0]], dtype=torch.float64)


def crop(turn=0.0, roll=0.0):
    model = load_face_model()
    shape = torch.zeros(len(model.shape_basis))
    path = crop_path(model, shape, poses(turn, roll), torch.tensor([1200.0]), (320.0, 240.0))
    return model, path, crop_from_path(path, 256)


def test_the_anchor_is_in_the_middle_the_eyes_are_84_px_apart_and_level():
    for roll in (0.0, 0.4):
        model, _, affine = crop(roll=roll)
        camera = Intrinsics.centred(1200.0, 640, 480)
        vertices = model.mean.double()[None]
        image = project(transform_points(camera_from_head(*poses(roll=roll)), vertices), camera)
        placed = transform_pixels(affine, image)[0]
        anchor = crop_anchor(model, torch.zeros(len(model.shape_basis)).double())
        point = project(transform_points(camera_from_head(*poses(roll=roll)), anchor[None, None]), camera)
        torch.testing.assert_close(
            transform_pixels(affine, point)[0, 0], torch.tensor([128.0, 128.0], dtype=torch.float64)
        )
        # The eyes are a few cm nearer than the anchor, hence a little larger.
        assert CROP_EYE_DISTANCE_PX <= eye_distance(placed) < 1.1 * CROP_EYE_DISTANCE_PX
        assert (placed[33, 1] - placed[263, 1]).abs() < 1.0 and placed[33, 0] < placed[263, 0]
        assert placed[10, 1] < placed[152, 1]


def test_only_past_130_px_is_the_crop_large():
    path = torch.zeros(3, 4, dtype=torch.float64)
    for distance, size in ((129.0, 256), (131.0, 512)):
        path[:, 2] = np.log(distance)
        assert choose_crop_size(path, torch.ones(3)) == size
    assert choose_crop_size(path, torch.zeros(3)) == 256


def test_smoothing_keeps_straight_motion_and_stops_at_a_cut():
    times = torch.arange(40, dtype=torch.float64) / 25
    shot = (torch.arange(40) >= 17).int()
    path = torch.stack([times * 30, 5 - times, times * 0.1, times * 0.2], -1)
    path[17:] += 100
    smooth = smooth_path(path, times, shot)
    torch.testing.assert_close(smooth[:, :3], path[:, :3])
    shaken = path + 0.5 * torch.randn(path.shape, generator=torch.Generator().manual_seed(0)).double()
    smooth = smooth_path(shaken, times, shot)
    assert (smooth[5:12, 0] - path[5:12, 0]).std() < 0.6 * (shaken[5:12, 0] - path[5:12, 0]).std()
    assert (smooth[16, 0] - path[16, 0]).abs() < 3
