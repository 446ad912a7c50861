import math

import pytest
import torch

from render.head.camera import (
    Intrinsics,
    camera_from_head,
    clip_from_camera,
    head_turn,
    invert_affine,
    project,
    rotation_matrix,
    rotation_vector,
    transform_pixels,
    transform_points,
)


def test_a_frontal_face_has_rotation_zero():
    """A point right of, above and in front of the head centre lands right, above (smaller y) and nearer."""
    pose = camera_from_head(torch.zeros(3), torch.tensor([0.0, 0.0, 60.0]))
    point = transform_points(pose, torch.tensor([[3.0, 2.0, 5.0]]))
    torch.testing.assert_close(point, torch.tensor([[3.0, -2.0, 55.0]]))
    pixel = project(point, Intrinsics.centred(1100.0, 640, 480))
    torch.testing.assert_close(pixel, torch.tensor([[320 + 1100 * 3 / 55, 240 - 1100 * 2 / 55]]))


def test_positive_yaw_turns_the_nose_to_the_left_of_the_image():
    """Rotation about camera y (down) by +90° takes the head's out axis (camera −z) to camera −x."""
    pose = camera_from_head(torch.tensor([0.0, math.pi / 2, 0.0]), torch.zeros(3))
    nose = transform_points(pose, torch.tensor([[0.0, 0.0, 1.0]]))
    torch.testing.assert_close(nose, torch.tensor([[-1.0, 0.0, 0.0]]), atol=1e-6, rtol=0)


def test_clip_space_of_a_crop():
    camera = Intrinsics.centred(1000.0, 640, 480)
    crop_from_image = torch.tensor([[0.5, 0.1, -100.0], [-0.1, 0.5, -20.0]], dtype=torch.float64)
    points = torch.tensor([[1.0, -2.0, 50.0], [-3.0, 4.0, 80.0]], dtype=torch.float64)
    clip = clip_from_camera(camera, crop_from_image, 256, 192)
    homogeneous = torch.cat([points, torch.ones(2, 1)], -1) @ clip.T
    ndc = homogeneous[:, :3] / homogeneous[:, 3:]
    pixels = transform_pixels(crop_from_image, project(points, camera))
    torch.testing.assert_close((ndc[:, 0] + 1) * 128, pixels[:, 0])
    torch.testing.assert_close((1 - ndc[:, 1]) * 96, pixels[:, 1])
    assert ndc[0, 2] < ndc[1, 2], "smaller depth is nearer"


def test_rotation_round_trip_and_gradient_at_zero():
    rotations = torch.tensor(
        [[0.0, 0.0, 0.0], [1e-5, 0.0, 0.0], [0.3, -0.7, 1.1], [0.0, 3.0, 0.0]], dtype=torch.float64
    )
    torch.testing.assert_close(rotation_vector(rotation_matrix(rotations)), rotations, atol=1e-9, rtol=0)
    zero = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rotation_matrix, (zero,))


@pytest.mark.parametrize("angle", [0.0, 0.4])
def test_affine_inverse(angle):
    forward = torch.tensor([[math.cos(angle), -math.sin(angle), 3.0], [math.sin(angle), math.cos(angle), -2.0]])
    points = torch.rand(5, 2)
    back = transform_pixels(invert_affine(forward), transform_pixels(forward, points))
    torch.testing.assert_close(back, points)


def test_head_turn_tells_yaw_to_the_images_left_and_pitch_down_whatever_the_roll():
    for yaw, pitch in ((0.0, 0.0), (30.0, 0.0), (-50.0, 0.0), (0.0, 20.0), (25.0, -10.0)):
        turn = rotation_matrix(torch.tensor([0.0, math.radians(yaw), 0.0]))
        nod = rotation_matrix(torch.tensor([math.radians(pitch), 0.0, 0.0]))
        for roll in (0.0, 40.0):
            tilt = rotation_matrix(torch.tensor([0.0, 0.0, math.radians(roll)]))
            told = head_turn(rotation_vector(turn @ nod @ tilt))
            torch.testing.assert_close(told, torch.tensor([yaw, pitch]), atol=1e-2, rtol=0)
    nose = rotation_matrix(torch.tensor([0.0, 0.5, 0.0])) @ torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    assert float((nose @ torch.tensor([0.0, 0.0, 1.0]))[0]) < 0 < float(head_turn(torch.tensor([0.0, 0.5, 0.0]))[0])
