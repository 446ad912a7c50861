"""The second landmark backend: depth of its 68 points, its weights, its package."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from adapt.cast.faces import Face, eye_distance, yaw
from adapt.cast.fan_backend import FAN_LAYOUT, MESH_OF_FAN, WEIGHT_FILES, FanBackend, relative_depth
from prior.face.model import load_face_model
from render.errors import StoreError
from tests.heads import portrait


def test_depth_of_a_turned_face_comes_from_the_mean_face() -> None:
    mean = load_face_model().mean[list(MESH_OF_FAN)].double().numpy()
    for degrees in (-40, 0, 25):
        angle = np.radians(degrees)
        turn = np.array([[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]])
        camera = 20 * (mean * (1, -1, -1)) @ turn.T
        depth = relative_depth(camera[:, :2] + 300, mean)
        assert np.allclose(depth, camera[:, 2] - camera[:, 2].mean(), atol=1e-6)
        landmarks = np.concatenate([camera[:, :2], depth[:, None]], axis=1)
        assert np.degrees(yaw(landmarks, FAN_LAYOUT)) == pytest.approx(-degrees, abs=3)
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
