"""A head is tracked to the same shape and pose whatever the shape of the pixels that it is coded in."""

from fractions import Fraction

import cv2
import pytest
import torch

from adapt.synthetic.actor import babble, make_actor
from adapt.tracking.track import track
from prior.face.model import load_face_model
from tests.media import make_clip

FRAMES, PX = 20, 320
SHAPES = {
    "2:1": ((160, 320), Fraction(2)),
    "64:45": ((225, 320), Fraction(64, 45)),
    "1:2": ((320, 160), Fraction(1, 2)),
}


@pytest.fixture(scope="module")
def pictures():
    actor = make_actor(PX)
    times = torch.arange(FRAMES, dtype=torch.float64) / 25
    return list(actor.frames(actor.perform(actor.speak(babble(FRAMES / 25), times), times)))


def tracked(path, pictures, size=(PX, PX), aspect=Fraction(1)):
    coded = [cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in pictures]
    # 4:4:4, for an odd width; fine, so that only the shape differs.
    settings = {"pix_fmt": "yuv444p", "context": {"sample_aspect_ratio": aspect}}
    return track(make_clip(path, pictures=coded, **settings)).tracks[1]


@pytest.fixture(scope="module")
def plain(pictures, tmp_path_factory):
    return tracked(tmp_path_factory.mktemp("plain") / "plain.mp4", pictures)


@pytest.mark.parametrize("shape", SHAPES)
def test_squeezed_footage_is_tracked_as_if_it_were_not(shape, pictures, plain, tmp_path):
    result = tracked(tmp_path / "squeezed.mp4", pictures, *SHAPES[shape])
    assert (result.width, result.height) == (PX, PX)
    assert (result.rotation - plain.rotation).rad2deg().abs().max() < 1
    assert (result.focal_px / plain.focal_px - 1).abs().max() < 0.05
    rows = torch.arange(FRAMES)
    places = [one.image_vertices(load_face_model(), rows) for one in (result, plain)]
    wrong = (places[0] - places[1]).norm(dim=-1)
    assert wrong.mean() < 0.8 and wrong.max() < 4, "px, where the eyes are about 70 apart"
