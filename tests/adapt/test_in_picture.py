from dataclasses import replace

import numpy as np
import torch

from adapt.cast.suitability import check
from adapt.dubbing.part import Part
from adapt.dubbing.weights import OUTSIDE, frame_status, hand_over
from adapt.fitting.frame_choice import choose_enrollment
from adapt.tracking.in_picture import WINDOW, mouth_in_picture
from prior.face.model import load_face_model
from prior.face.points import CHIN, LIPS_OUTER
from render.video.reader import Footage
from tests.media import make_clip

MODEL = load_face_model()


def moved(track, across=0.0, down=0.0):
    """The track with its head moved in the picture by px, one number or one a frame."""
    per_px = track.translation[:, 2] / track.focal_px
    shift = torch.stack([torch.as_tensor(across) * per_px, torch.as_tensor(down) * per_px, 0 * per_px], -1)
    return replace(track, translation=track.translation + shift.float())


def test_a_mouth_or_chin_beyond_any_border_is_out_of_the_picture(talking_clip):
    take = talking_clip[1]
    points = take.image_vertices(MODEL, torch.arange(len(take)))
    lips, chin = points[:, list(LIPS_OUTER)], points[:, CHIN]
    assert mouth_in_picture(MODEL, take).all()
    for across, down in (
        (-float(lips[..., 0].amin(1).max()) - 8, 0),
        (take.width - float(lips[..., 0].amax(1).min()) + 8, 0),
        (0, take.height - float(chin[:, 1].min()) + 8),
        (0, -float(chin[:, 1].max()) - 8),
    ):
        assert not mouth_in_picture(MODEL, moved(take, across, down)).any(), (across, down)
    nobody = replace(take, confidence=torch.zeros(len(take)))
    assert not mouth_in_picture(MODEL, nobody).any()


def test_windows_are_not_seen(talking_clip):
    take = talking_clip[1]
    rows = torch.arange(WINDOW + 30) % len(take)
    tensors = {name: value for name, value in vars(take).items() if isinstance(value, torch.Tensor) and name != "shape"}
    long = replace(take, **{name: value[rows] for name, value in tensors.items()})
    out = torch.where(torch.arange(len(rows)) % 3 == 0, 200.0, 0.0)
    assert mouth_in_picture(MODEL, moved(long, 0.0, out)).tolist() == (out == 0).tolist()


def test_who_walks_out_is_dubbed_with_a_ramp_and_then_passes_through(talking_clip, ada):
    take = talking_clip[1]
    out = torch.where(torch.arange(len(take)) < 20, 0.0, -220.0)
    walking = moved(take, out)
    part = Part(ada, walking, walking.lower_expression, torch.ones(len(take), dtype=torch.bool))
    handover = hand_over(part)
    weights = handover.weight
    assert (weights[20:] == 0).all() and 0 < weights[19] < weights[18] < 1 and (weights[:15] == 1).all()
    assert frame_status([handover]) == ["dubbed"] * 15 + ["partly dubbed"] * 5 + [OUTSIDE] * 20


def test_nothing_is_learnt_from_a_mouth_that_is_half_out(talking_clip):
    take = talking_clip[1]
    walking = moved(take, torch.where(torch.arange(len(take)) < 30, 0.0, -220.0))
    chosen = choose_enrollment(MODEL, [walking], ["walks out.mp4"])
    assert int(chosen.held_out[0].max()) == 29 and int(chosen.learn[0].max()) < 27


def sunk(picture, px):
    return np.concatenate([np.zeros((px, *picture.shape[1:]), np.uint8), picture[: len(picture) - px]])


def test_check_tells_from_when_on_a_chin_is_out_of_the_picture(talking_clip, tmp_path):
    pictures = [frame.rgb for frame in Footage(talking_clip[0]).frames(0, 25)]
    above_border = 320 - float(talking_clip[1].image_vertices(MODEL, torch.tensor([0]))[0, CHIN, 1])
    step = (above_border + 25) / 24
    clip = make_clip(tmp_path / "sinks.mp4", pictures=[sunk(p, round(i * step)) for i, p in enumerate(pictures)])
    findings = check(clip)
    (member,) = findings.cast
    gap = member.half_out[-1]
    assert abs(gap.start - above_border / step) < 3 and gap.stop == 25
    assert member.usable_seconds < member.seconds - 0.1
    assert f"mouth or chin out of the picture: {gap}" in "\n".join(findings.lines())
