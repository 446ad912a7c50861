"""The motion seen in crops: right for the true picture, another for another mouth, whatever the track's own says."""

from pathlib import Path

import pytest
import torch

from adapt.metrics.mouth_meter import MouthMeter
from adapt.metrics.seen_motion import seen_motion
from adapt.tracking.crop import read_crops
from prior.face.model import load_face_model
from prior.motion.style import mouth_measures
from render.head.track import Track
from render.video.reader import Footage


def test_motion_is_read_off_the_picture_alone(talking_clip: tuple[Path, Track]):
    path, track = talking_clip
    model, track = load_face_model(), track.with_crop_size(256)
    landmarks = MouthMeter().landmarks(read_crops(Footage(path), track, range(len(track))).float() / 255)
    erased = track.with_motion(torch.zeros_like(track.lower_expression))
    motion = seen_motion(model, erased, landmarks)
    assert torch.equal(motion.lower_expression, seen_motion(model, track, landmarks).lower_expression)
    seen, true = (mouth_measures(model, lower)[:, 0] for lower in (motion.lower_expression, track.lower_expression))
    assert float(torch.corrcoef(torch.stack([seen, true]))[0, 1]) > 0.95
    assert float((seen - true).abs().mean()) < 0.3, "cm"
    backwards = seen_motion(model, track, landmarks.flip(0)).lower_expression.flip(0)
    turned = mouth_measures(model, backwards)[:, 0]
    assert float(torch.corrcoef(torch.stack([turned, seen]))[0, 1]) > 0.9
    with pytest.raises(ValueError, match="3 rows of landmarks"):
        seen_motion(model, track, landmarks[:3])
