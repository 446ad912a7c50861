"""Faces that stand on their heads or lie on a side: found as they are, named, and the former never tracked."""

import numpy as np
import pytest

from adapt.cast.analyse import analyse
from adapt.cast.faces import roll
from adapt.cast.mediapipe_backend import FACE_MESH_LAYOUT, MediaPipeBackend
from adapt.cast.suitability import check
from adapt.tracking.track import track, track_person
from render.errors import TrackingError
from render.video.reader import Footage
from tests.heads import portrait
from tests.media import make_clip

SIZE = (320, 240)


@pytest.fixture(scope="module")
def backend():
    return MediaPipeBackend()


def turned(index, quarters):
    """The portrait, swaying a little, turned counter-clockwise by quarters."""
    return np.ascontiguousarray(np.rot90(portrait(100, size=SIZE, at=(160 + index % 3, 120)), quarters))


@pytest.mark.parametrize("face_px", [300, 110, 45])
def test_a_face_on_its_head_is_found_on_its_head(backend, face_px):
    picture = portrait(face_px)
    (upright,) = backend.detect(picture, small=True)
    (face,) = backend.detect(np.ascontiguousarray(picture[::-1, ::-1]), small=True)
    assert abs(np.degrees(roll(upright.landmarks, FACE_MESH_LAYOUT))) < 15
    assert abs(np.degrees(roll(face.landmarks, FACE_MESH_LAYOUT))) > 165
    back = np.array([1280, 720]) - face.landmarks[:, :2]
    assert np.linalg.norm(back - upright.landmarks[:, :2], axis=1).mean() < 0.03 * face_px


@pytest.mark.parametrize(("quarters", "degrees"), [(1, -90), (3, 90)])
def test_a_lying_face_is_named_and_tracked(quarters, degrees, tmp_path):
    clip = make_clip(tmp_path / "lying.mp4", pictures=[turned(index, quarters) for index in range(12)])
    (member,) = check(clip).cast
    assert "lies on its side" in member.posture and f"by {-degrees} degrees" in member.posture
    assert f"transpose={2 if degrees > 0 else 1}" in member.posture
    (found,) = track(clip).tracks.values()
    assert abs(abs(float(found.rotation[:, 2].rad2deg().mean())) - 90) < 15 and found.confidence.min() > 0.5


def test_a_face_on_its_head_is_named_and_not_tracked(tmp_path):
    clip = make_clip(tmp_path / "on its head.mp4", pictures=[turned(index, 2) for index in range(12)])
    findings = check(clip)
    assert findings.cast[0].verdict == "poor" and findings.cast[0].usable_seconds == 0
    advice = f"turn the picture by 180 degrees first: ffmpeg -i '{clip}' -vf hflip,vflip -c:a copy turned.mp4"
    assert any(advice in line for line in findings.lines())
    with pytest.raises(TrackingError, match="person 1 is upside down; turn the picture by 180 degrees first"):
        track_person(analyse(Footage(clip)), 1)


def test_where_a_face_is_on_its_head_for_a_shot_it_counts_as_not_found(tmp_path):
    pictures = [turned(index, 2 * (index < 12)) for index in range(24)]
    analysis = analyse(Footage(make_clip(tmp_path / "both.mp4", pictures=pictures)))
    result = track_person(analysis, 1)
    assert (result.confidence[:12] == 0).all() and result.confidence[12:].min() > 0.5
    assert not check(tmp_path / "both.mp4").cast[0].posture
