import numpy as np
import torch

from adapt.synthetic.actor import babble
from prior.face.model import load_face_model
from prior.face.points import opening


def opening_of(track):
    vertices = load_face_model().vertices(track.shape, track.lower_expression)
    return opening(vertices).numpy()


def test_she_is_tracked_like_a_real_face_and_as_she_was_rendered(talking_clip, tracked):
    _, truth = talking_clip
    assert float(tracked.confidence.min()) > 0.6
    assert np.corrcoef(opening_of(tracked), opening_of(truth))[0, 1] > 0.95
    turned = (tracked.rotation - tracked.rotation.mean(0)) - (truth.rotation - truth.rotation.mean(0))
    assert float(turned.rad2deg().abs().mean()) < 1.0


def test_babble_closes_and_opens_the_mouth(talking_clip):
    gap = opening_of(talking_clip[1])
    assert gap.min() < 0.01 and gap.max() > 0.2
    phones = babble(3.0, seed=5)
    assert phones == babble(3.0, seed=5) != babble(3.0, seed=6)
    ends = torch.tensor([end for _, end in phones])
    assert (ends.diff() > 0).all() and float(ends[-1]) >= 3.0
