from collections.abc import Iterator
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from adapt.cast.faces import Face, follow_faces, is_known, mouth_opening, overlap, sharpness, yaw
from adapt.cast.mediapipe_backend import FACE_MESH_LAYOUT, MediaPipeBackend, Square
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


def numbers(pictures: list[tuple[Picture, bool]], rate: int) -> Iterator[list[int]]:
    timed = (
        (SimpleNamespace(preview=picture.preview, timestamp=7 + index / rate), is_cut)
        for index, (picture, is_cut) in enumerate(pictures)
    )
    for _, _, faces in follow_faces(timed, Scripted()):  # type: ignore[arg-type]
        yield sorted(faces)


def both(count: int, is_cut: bool = False) -> list[tuple[Picture, bool]]:
    return [(Picture(50, 100), is_cut and index == 0) for index in range(count)]


def one(count: int, is_cut: bool = False) -> list[tuple[Picture, bool]]:
    return [(Picture(50), is_cut and index == 0) for index in range(count)]


@pytest.mark.parametrize("times", [1, 2, 10])
def test_a_run_goes_on_over_a_while_and_ends_with_its_shot_or_where_its_face_is_lost(times: int) -> None:
    shots = [both(4 * times, is_cut=True), one(8 * times), both(20 * times), one(20 * times), both(20 * times)]
    seen = list(numbers([*sum(shots, []), *both(3, is_cut=True)], 25 * times))
    assert seen[: 4 * times] == [[0, 1]] * 4 * times
    assert seen[4 * times : 12 * times] == [[0]] * 8 * times
    assert seen[12 * times : 32 * times] == [[0, 1]] * 20 * times  # found again where it was
    assert seen[32 * times : 52 * times] == [[0]] * 20 * times
    assert seen[72 * times - 1] == [0, 2]  # too long ago: another run
    assert seen[72 * times :] == [[3, 4]] * 3


def test_at_a_frame_a_second_every_picture_is_searched() -> None:
    assert list(numbers([*one(3, is_cut=True), *both(2)], 1)) == [[0]] * 3 + [[0, 1]] * 2
