from dataclasses import replace

import pytest
import torch

from adapt.fitting.frame_choice import WINDOW, choose_enrollment, mouth_shape
from prior.face.model import load_face_model
from render.errors import FitError
from render.head.face_model import FaceModel
from render.head.track import Track

MODEL = load_face_model()


def talking(seconds=4.0, fps=25, focal=1000.0):
    """A frontal head whose jaw opens and closes once a second while it slowly turns."""
    count = round(seconds * fps)
    times = torch.arange(count, dtype=torch.float64) / fps
    lower = torch.zeros(count, MODEL.lower_basis.shape[0])
    lower[:, 0] = 3 * (torch.sin(2 * torch.pi * times) + 0.3).float()
    rotation = torch.zeros(count, 3)
    rotation[:, 1] = 0.1 * torch.sin(times).float()
    return Track(
        640,
        480,
        times,
        torch.zeros(count, dtype=torch.int32),
        torch.ones(count),
        torch.zeros(MODEL.shape_basis.shape[0]),
        torch.full((count,), focal),
        rotation,
        torch.tensor([0.0, 0.0, 60.0]).expand(count, 3).clone(),
        lower,
        torch.zeros(count, MODEL.upper_basis.shape[0]),
        torch.eye(3, dtype=torch.float64)[:2].expand(count, 2, 3).clone(),
        256,
        {},
    )


def test_learning_and_judging_frames_are_apart():
    chosen = choose_enrollment(MODEL, [talking()], ["a.mp4"])
    learn, held_out = chosen.learn[0], chosen.held_out[0]
    assert len(learn) > 80 and len(held_out) == 10
    assert int(held_out.min()) - int(learn.max()) > 0.1 * 25
    assert chosen.seconds == pytest.approx(len(learn) / 25)
    assert chosen.pose_range["yaw"][1] == pytest.approx(5.7, abs=0.2)


def test_a_second_chosen_from_four_covers_the_mouth_better_than_the_first_second():
    track = talking()
    track.lower_expression[:30, 0] = 0
    chosen = choose_enrollment(MODEL, [track], ["a.mp4"], seconds=1.0)
    rows = chosen.learn[0]
    assert 20 <= len(rows) <= 26
    opening = mouth_shape(MODEL, track, torch.arange(len(track)))[:, 0]
    everything = torch.arange(80)
    assert opening[rows].max() == opening[everything].max()
    assert opening[rows].min() < opening[everything].quantile(0.1)


def test_an_hour_is_looked_at_in_windows(monkeypatch):
    """All heads of an hour at once are gigabytes."""
    asked, vertices = [], FaceModel.vertices

    def counted(model, shape, lower, *more):
        asked.append(len(lower))
        return vertices(model, shape, lower, *more)

    monkeypatch.setattr(FaceModel, "vertices", counted)
    track = talking()
    expected = mouth_shape(MODEL, track, torch.arange(len(track)))
    rows = torch.arange(20 * len(track)) % len(track)
    assert torch.allclose(mouth_shape(MODEL, track, rows), expected[rows], atol=1e-6)
    assert max(asked) <= WINDOW and sum(asked) == len(track) + len(rows)


def test_what_was_never_seen_is_said():
    track = talking()
    missing = choose_enrollment(MODEL, [track], ["a.mp4"]).never_seen
    assert not any("open vowel" in entry for entry in missing)
    shut = replace(track, lower_expression=0.05 * track.lower_expression)
    missing = choose_enrollment(MODEL, [shut], ["a.mp4"]).never_seen
    assert any("open vowel" in entry for entry in missing)
    assert any(entry.startswith("no yaw outside") for entry in missing)


def still(track):
    count = len(track)
    return replace(track, lower_expression=torch.zeros_like(track.lower_expression), rotation=torch.zeros(count, 3))


def turned(track):
    rotation = track.rotation.clone()
    rotation[:, 1] = 1.0
    return replace(track, rotation=rotation)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda track: replace(track, confidence=torch.zeros(len(track))), "a.mp4: no face in it"),
        (lambda track: replace(track, focal_px=torch.full((len(track),), 100.0)), "too small .10 px between the eyes"),
        (turned, "seen from the side .yaw 57°"),
        (lambda track: replace(track, confidence=torch.full((len(track),), 0.2)), "0.0 s of usable footage"),
        (still, "a still picture"),
    ],
)
def test_bad_footage_is_refused_with_what_is_missing(change, message):
    with pytest.raises(FitError, match=message):
        choose_enrollment(MODEL, [change(talking())], ["a.mp4"])


def test_half_a_second_is_too_little():
    with pytest.raises(FitError, match="a.mp4: 0.5 s of usable footage, at least 0.9 s are needed"):
        choose_enrollment(MODEL, [talking(0.5)], ["a.mp4"])


def test_a_clip_without_a_sure_frame_takes_no_part():
    unsure = replace(talking(), confidence=torch.full((100,), 0.2))
    chosen = choose_enrollment(MODEL, [unsure, talking()], ["a.mp4", "b.mp4"])
    assert len(chosen.learn[0]) == len(chosen.held_out[0]) == 0 and len(chosen.learn[1]) > 80


def test_of_long_footage_no_more_is_held_out_than_is_judged_and_shown():
    chosen = choose_enrollment(MODEL, [talking(80.0)], ["a.mp4"])
    assert len(chosen.held_out[0]) == 150 and int(chosen.held_out[0][-1]) == 1999
