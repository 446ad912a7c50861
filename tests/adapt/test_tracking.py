import math

import pytest
import torch

from adapt.tracking.jaw_leak import USUAL_LEAK
from adapt.tracking.sightings import MARGIN, WINDOW, Sightings, windows
from adapt.tracking.track import nearest_found, track_landmarks
from prior.face.model import load_face_model
from prior.face.points import NOSE_TIP, opening
from render.errors import TrackingError
from render.head.camera import Intrinsics, camera_from_head, project, transform_points
from tests.heads import DISTANCE_CM, FOCAL_PX, SIZE, head


def track(points, times, found=None, shot=None, reader=None):
    found = torch.ones(len(points)) if found is None else found
    shot = torch.zeros(len(points), dtype=torch.int32) if shot is None else shot
    reader = reader or (lambda start, stop: points[start:stop])
    return track_landmarks(load_face_model(), Sightings(found, times, shot, SIZE, {"file": "head.mp4"}, reader))


def fitted_gap(result):
    vertices = load_face_model().vertices(result.shape, result.lower_expression)
    return opening(vertices).double()


def test_a_frontal_head_has_rotation_zero_and_the_nose_goes_left_with_positive_yaw():
    model = load_face_model()
    for yaw in (0.0, 0.3):
        rotation = torch.tensor([[0.0, yaw, 0.0]]).double().repeat(4, 1)
        place = torch.tensor([[0.0, 0.0, DISTANCE_CM]]).double().repeat(4, 1)
        camera = transform_points(camera_from_head(rotation, place), model.mean[: model.landmark_count].double())
        flat = project(camera, Intrinsics.centred(FOCAL_PX, *SIZE))
        points = torch.cat([flat, camera[..., 2:] * FOCAL_PX / DISTANCE_CM], -1)
        result = track(points, torch.arange(4).double() / 25)
        assert torch.rad2deg(result.rotation - rotation).abs().max() < 0.5
        assert (flat[0, NOSE_TIP, 0] < SIZE[0] / 2 - 5) == (yaw > 0)


def test_pose_and_lip_gap_against_the_truth_under_noise():
    """Detector noise of half a px where the eyes are 105 px apart."""
    points, times, truth = head(150, seed=1, noise_px=0.5)
    result = track(points, times)
    # The rest pose of a person is a matter of definition within a degree or two of shape: motion is compared.
    turned = (result.rotation - result.rotation.mean(0)) - (truth["rotation"] - truth["rotation"].mean(0))
    assert torch.rad2deg(turned).abs().mean() < 0.5
    assert torch.rad2deg(turned).abs().max() < 1.5
    error = (fitted_gap(result) - truth["gap"]).abs()
    assert error.mean() < 0.005
    closed = truth["gap"] <= truth["gap"].quantile(0.1)
    assert error[closed].mean() < 0.01
    assert result.confidence.min() > 0.8


@pytest.mark.parametrize("leak", [USUAL_LEAK, (-0.1, 0.06, 0.03), (0.06, 0.0, -0.03)])
def test_the_jaw_does_not_turn_a_still_head_however_it_leaks(leak):
    points, times, truth = head(200, seed=2, turn=0.0, jaw=1.5, noise_px=0.3, leak=leak)
    result = track(points, times)
    for axis in range(3):
        pair = torch.stack([result.rotation[:, axis].double(), truth["gap"]])
        assert result.rotation[:, axis].std() < 0.003 or torch.corrcoef(pair)[0, 1].abs() < 0.15


def test_how_frames_are_read_and_how_many_threads_do_not_matter():
    points, times, _ = head(WINDOW + 2 * MARGIN + 7, seed=3)

    def piecewise(start, stop):
        return torch.cat([points[index : index + 1].float() for index in range(start, stop)])

    first = track(points.float(), times)
    second = track(points, times, reader=piecewise)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1 if threads > 1 else 2)
        third = track(points.float(), times)
    finally:
        torch.set_num_threads(threads)
    for name in ("shape", "rotation", "translation", "lower_expression", "upper_expression", "crop_from_image"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name
        assert torch.equal(getattr(first, name), getattr(third, name)), name


def test_a_long_shot_has_no_seams():
    points, times, truth = head(2 * WINDOW + 40, seed=4)
    result = track(points, times)
    motion = (result.rotation - truth["rotation"]).diff(dim=0).norm(dim=-1)
    assert motion[[WINDOW - 1, 2 * WINDOW - 1]].max() < 3 * motion.median() + 1e-4


def test_gaps_cuts_and_profiles_are_frames_not_errors():
    points, times, _ = head(90, seed=5)
    points[60:] += torch.tensor([80.0, -40.0, 0.0])
    shot = (torch.arange(90) >= 60).int()
    found = torch.ones(90)
    found[20:35] = 0
    points[20:35] = float("nan")
    result = track(points, times, found, shot)
    assert (result.confidence[20:35] == 0).all() and (result.confidence[:20] > 0.5).all()
    for name, value in vars(result).items():
        assert not isinstance(value, torch.Tensor) or torch.isfinite(value).all(), name
    jump = (result.crop_from_image[60] - result.crop_from_image[59])[:, 2].norm()
    steady = (result.crop_from_image[59] - result.crop_from_image[58])[:, 2].norm()
    assert jump > 20 * steady, "the crop follows a cut at once"

    turned, times, truth = head(40, seed=6, turn=0.0)
    model = load_face_model()
    rotation = torch.tensor([[0.0, math.radians(75), 0.0]]).double().repeat(40, 1)
    camera = transform_points(
        camera_from_head(rotation, truth["translation"]),
        model.vertices(truth["shape"].float(), torch.zeros(40, len(model.lower_basis)))[:, :468].double(),
    )
    flat = project(camera, Intrinsics.centred(FOCAL_PX, *SIZE))
    depth = (camera[..., 2:] - truth["translation"][:, None, 2:]) * FOCAL_PX / DISTANCE_CM
    result = track(torch.cat([flat, depth], -1), times)
    assert torch.rad2deg(result.rotation[:, 1].mean() - rotation[0, 1]).abs() < 6
    assert result.confidence.max() < 0.6, "a profile is not trusted"


def test_too_few_frames_say_so():
    points, times, _ = head(5)
    with pytest.raises(TrackingError, match="head.mp4: the person is in 1 of 5 frames"):
        track(points, times, torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0]))


def test_windows_cover_every_row_once_and_stay_in_their_shot():
    rows = torch.cat([torch.arange(0, 300), torch.arange(320, 500)])
    shot = (torch.arange(500) >= 200).int()
    kept = torch.cat([kept for _, kept in windows(rows, shot)])
    assert torch.equal(kept, rows)
    for solved, kept in windows(rows, shot):
        assert len(shot[solved].unique()) == 1 and torch.isin(kept, solved).all()


def test_held_frames_come_from_their_own_shot():
    shot = torch.tensor([0, 0, 0, 1, 1, 1])
    assert nearest_found(torch.tensor([2, 5]), shot).tolist() == [2, 2, 2, 5, 5, 5]
    assert nearest_found(torch.tensor([0]), shot).tolist() == [0] * 6
