import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from adapt.cast.faces import Face, eye_distance, follow_faces, is_known, mouth_opening, overlap, sharpness, yaw
from adapt.cast.fan_backend import FAN_LAYOUT, MESH_OF_FAN, WEIGHT_FILES, FanBackend, relative_depth
from adapt.cast.mediapipe_backend import FACE_MESH_LAYOUT, MediaPipeBackend, Square
from prior.face.model import load_face_model
from render.errors import StoreError
from tests.heads import portrait


@pytest.fixture(scope="module")
def backend() -> MediaPipeBackend:
    return MediaPipeBackend()


def two_people(small_px: float) -> np.ndarray:
    picture = portrait(300, at=(300, 360))
    picture[:, 640:] = portrait(small_px)[:, 320:960]
    return picture


@pytest.mark.parametrize("face_px", [300, 110, 50, 40])
def test_a_face_is_found_at_every_size(backend: MediaPipeBackend, face_px: int) -> None:
    (face,) = backend.detect(portrait(face_px), small=True)
    eyes = face.landmarks[list(FACE_MESH_LAYOUT.right_eye + FACE_MESH_LAYOUT.left_eye), :2].mean(axis=0)
    assert face.landmarks.shape == (478, 3) and face.confidence > 0.95
    assert face.height == pytest.approx(face_px, rel=0.2)
    assert np.abs(eyes - (640, 360 - 0.12 * face_px)).max() < 0.12 * face_px
    assert abs(np.degrees(yaw(face.landmarks, FACE_MESH_LAYOUT))) < 12


def test_a_small_second_face_is_found(backend: MediaPipeBackend) -> None:
    faces = backend.detect(two_people(45), small=True)
    assert len(faces) == 2
    assert sorted(face.box[0] > 640 for face in faces) == [False, True]


def test_nothing_is_found_in_no_picture_of_a_face(backend: MediaPipeBackend) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    for picture in (np.zeros((480, 640, 3), np.uint8), noise, np.full((7, 5, 3), 200, np.uint8)):
        assert backend.detect(picture, small=True) == []


def test_follow_keeps_the_face_and_is_repeatable(backend: MediaPipeBackend) -> None:
    (face,) = backend.detect(portrait(200), small=False)
    moved = portrait(200, at=(652, 355))
    again = backend.follow(moved, face)
    assert again is not None
    assert np.abs(again.landmarks[:, :2] - face.landmarks[:, :2] - (12, -5)).max() < 3
    same = backend.follow(moved, face)
    assert same is not None and np.array_equal(same.landmarks, again.landmarks)
    assert backend.follow(np.zeros_like(moved), face) is None


def test_mouth_opening_and_sharpness_follow_the_picture(backend: MediaPipeBackend) -> None:
    picture = portrait(200)
    (face,) = backend.detect(picture, small=False)
    assert 0.05 < mouth_opening(face.landmarks, FACE_MESH_LAYOUT) < 0.35  # she smiles, her teeth show
    blurred = cv2.GaussianBlur(picture, (0, 0), 3)
    assert sharpness(blurred, face) < 0.12 < sharpness(picture, face)


def test_square_maps_its_own_centre_and_corner() -> None:
    square = Square(np.array([50.0, 40.0]), 20.0, np.pi / 2)
    points = square.to_image(np.array([[0.5, 0.5, 0.1], [0.0, 0.0, 0.0]], np.float32))
    assert np.allclose(points, [[50, 40, 2], [60, 30, 0]])
    ramp = np.tile(np.arange(400, dtype=np.uint8)[None, :, None] // 2, (400, 1, 3))
    cut = Square(np.array([200.0, 200.0]), 192.0, 0.0).cut(ramp)
    assert np.abs(cut[0, :, 0].astype(int) - ramp[0, 104:296, 0]).max() <= 1


def test_overlap_and_known_faces() -> None:
    def face(*box: float) -> Face:
        return Face(np.array(box, np.float32), np.zeros((478, 3), np.float32), 1.0)

    assert overlap(np.array([0, 0, 10, 10]), np.array([5, 0, 25, 10])) == pytest.approx(0.5)
    assert is_known(face(0, 0, 10, 10), [face(2, 0, 12, 10)])
    assert not is_known(face(0, 0, 10, 10), [face(8, 0, 18, 10)])
    assert is_known(face(0, 0, 3, 3), [face(2, 0, 22, 20)])  # a bit of hair beside a large face


class Scripted:
    """A backend whose pictures hold their faces' centres in row 0: x of each face, 0 for none."""

    layout = FACE_MESH_LAYOUT
    point_count = 478

    def faces(self, rgb: np.ndarray) -> list[Face]:
        return [
            Face(np.array([x - 5, 0, x + 5, 10], np.float32), np.zeros((478, 3), np.float32), 1.0)
            for x in rgb[0, :, 0].tolist()
            if x
        ]

    def detect(self, rgb: np.ndarray, small: bool) -> list[Face]:
        return self.faces(rgb)

    def follow(self, rgb: np.ndarray, face: Face) -> Face | None:
        near = [other for other in self.faces(rgb) if abs(other.box[0] - face.box[0]) < 6]
        return near[0] if near else None


class Picture:
    def __init__(self, *centres: int) -> None:
        self.preview = np.zeros((4, 4, 3), np.uint8)
        self.preview[0, : len(centres), 0] = centres


def numbers(pictures: list[tuple[Picture, bool]]) -> Iterator[list[int]]:
    for _, _, faces in follow_faces(pictures, Scripted()):  # type: ignore[arg-type]
        yield sorted(faces)


def test_a_run_goes_on_over_a_few_frames_and_ends_with_its_shot_or_where_its_face_is_lost() -> None:
    def both(count: int, is_cut: bool = False) -> list[tuple[Picture, bool]]:
        return [(Picture(50, 100), is_cut and index == 0) for index in range(count)]

    def one(count: int) -> list[tuple[Picture, bool]]:
        return [(Picture(50), False)] * count

    seen = list(numbers(both(4, is_cut=True) + one(8) + both(20) + one(20) + both(20) + both(3, is_cut=True)))
    assert seen[:4] == [[0, 1]] * 4
    assert seen[4:12] == [[0]] * 8
    assert seen[12:32] == [[0, 1]] * 20  # found again where it was
    assert seen[32:52] == [[0]] * 20
    assert seen[71] == [0, 2]  # too long ago: another run
    assert seen[72:] == [[3, 4]] * 3


def test_depth_of_a_turned_face_comes_from_the_mean_face() -> None:
    mean = load_face_model().mean[list(MESH_OF_FAN)].double().numpy()
    for degrees in (-40, 0, 25):
        angle = np.radians(degrees)
        turn = np.array([[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]])
        camera = 20 * (mean * (1, -1, -1)) @ turn.T
        depth = relative_depth(camera[:, :2] + 300, mean)
        assert np.allclose(depth, camera[:, 2] - camera[:, 2].mean(), atol=1e-6)
        landmarks = np.concatenate([camera[:, :2], depth[:, None]], axis=1)
        assert np.degrees(yaw(landmarks, FAN_LAYOUT)) == pytest.approx(degrees, abs=3)
    assert eye_distance(landmarks, FAN_LAYOUT) == pytest.approx(20 * 6.3, rel=0.15)


def test_fan_says_which_weights_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("face_alignment", reason="extra `fan` is not installed")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(StoreError, match=r"s3fd-619a316812\.pth: missing weights"):
        FanBackend()


def test_fan_loads_its_weights_and_gives_68_landmarks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("face_alignment", reason="extra `fan` is not installed")
    from face_alignment.detection.sfd.net_s3fd import s3fd
    from face_alignment.models import FAN

    torch.manual_seed(0)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    detector = s3fd()
    for name, values in detector.named_parameters():
        if name.endswith("mbox_conf.bias"):
            values.data[:-1] = 50.0  # sure that nothing is a face: random boxes by the thousand take minutes
    for name, network in zip(WEIGHT_FILES, (detector, FAN(4)), strict=True):
        torch.save(network.state_dict(), folder / name)
    monkeypatch.setitem(os.environ, "TORCH_HOME", str(tmp_path))
    fan = FanBackend()
    picture = portrait(110, size=(320, 240), at=(160, 120))
    assert fan.detect(picture, small=False) == []
    monkeypatch.setattr("adapt.cast.fan_backend.LEAST_PEAK", -1.0)  # random weights are sure of nothing
    known = Face(np.array([110, 60, 210, 170], np.float32), np.zeros((68, 3), np.float32), 1.0)
    face = fan.follow(picture, known)
    assert face is not None and face.landmarks.shape == (68, 3) and np.isfinite(face.landmarks).all()


def test_fan_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapt.cast.fan_backend.find_spec", lambda name: None)
    with pytest.raises(StoreError, match=r"adapt-dub\[fan\]"):
        FanBackend()
