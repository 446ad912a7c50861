import numpy as np
import torch

from adapt.synthetic.actor import babble
from adapt.tracking.track import track_footage
from prior.face.model import load_face_model
from prior.face.points import opening
from render.video.reader import Footage


def opening_of(track):
    vertices = load_face_model().vertices(track.shape, track.lower_expression)
    return opening(vertices).numpy()


def test_she_is_tracked_like_a_real_face_and_as_she_was_rendered(talking_clip):
    path, truth = talking_clip
    track = track_footage(Footage(path), None, "adapt track")
    assert float(track.confidence.min()) > 0.6
    assert np.corrcoef(opening_of(track), opening_of(truth))[0, 1] > 0.95
    turned = (track.rotation - track.rotation.mean(0)) - (truth.rotation - truth.rotation.mean(0))
    assert float(turned.rad2deg().abs().mean()) < 1.0


def test_babble_closes_and_opens_the_mouth(talking_clip):
    gap = opening_of(talking_clip[1])
    assert gap.min() < 0.01 and gap.max() > 0.2
    phones = babble(3.0, seed=5)
    assert phones == babble(3.0, seed=5) != babble(3.0, seed=6)
    ends = torch.tensor([end for _, end in phones])
    assert (ends.diff() > 0).all() and float(ends[-1]) >= 3.0
