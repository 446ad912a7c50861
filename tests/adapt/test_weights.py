"""How a mouth is handed over between the source and the dub, and what is told of it."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from adapt.dubbing.part import Part
from adapt.dubbing.quality import pose_coverage, quality_facts, told
from adapt.dubbing.redraw import Redrawn
from adapt.dubbing.weights import (
    HANDOVER_SECONDS,
    NO_FACE,
    PASSED,
    POSE_FADE_DEGREES,
    POSE_MARGIN_DEGREES,
    STATUS,
    TURNED,
    UNDRIVEN,
    frame_status,
    hand_over,
    nearest_gap,
)
from render.head.camera import head_turn

FRAMES = 60
EVERY = torch.ones(FRAMES, dtype=torch.bool)


@pytest.fixture
def part(talking_clip, ada):
    """60 frames of the actor at 25 frames a second, frontal, in one shot, moved by a constant motion."""
    take = talking_clip[1]
    rows = torch.zeros(FRAMES, dtype=torch.int64)
    tensors = {name: value for name, value in vars(take).items() if isinstance(value, torch.Tensor) and name != "shape"}
    track = replace(take, **{name: value[rows] for name, value in tensors.items()})
    times = torch.arange(FRAMES, dtype=torch.float64) / 25
    track = replace(track, timestamps=times, rotation=torch.zeros(FRAMES, 3), confidence=torch.ones(FRAMES))
    bundle = replace(ada, pose_range={"yaw": [-18.0, 10.0], "pitch": [-5.0, 5.0]})
    return Part(bundle, track, track.lower_expression + 1, EVERY.clone())


def without(part, frames, name="confidence"):
    values = getattr(part.track, name).clone()
    values[frames] = 0
    return replace(part, track=replace(part.track, **{name: values}))


def test_beside_a_gap_motion_glides_first_and_then_the_whole_mouth_fades(part):
    handover = hand_over(without(part, slice(30, 33)))
    weight, motion = handover.weight, handover.motion
    assert (weight[30:33] == 0).all() and (weight[[27, 28, 29]].diff() < 0).all()
    assert ((weight == 1) | (motion == 0)).all(), "what is not whole moves as the source does"
    assert 0 == motion[27] < motion[26] < motion[25] < motion[24] == 1 and (motion[:24] == 1).all()
    assert (motion[36:].diff() >= 0).all() and float(motion[-1]) == 1
    words = frame_status([handover])
    assert words[:24] == ["dubbed"] * 24 and words[30:33] == [NO_FACE] * 3 and words[28] == "partly dubbed"
    for frame, word in enumerate(words):
        assert (word == "dubbed") == (float(weight[frame]) == 1 == float(motion[frame]))
        assert bool(handover.reason[frame]) == (word != "dubbed")


def test_nothing_is_handed_over_beside_or_across_a_cut(part):
    shot = torch.zeros(FRAMES, dtype=torch.int32)
    shot[40:] = 1
    part = replace(part, track=replace(part.track, shot=shot))
    away, gap = nearest_gap(torch.arange(FRAMES) != 39, shot, part.track.timestamps)
    assert gap[40:].tolist() == [-1] * 20 and gap[:40].tolist() == [39] * 40 and bool(away[40:].isinf().all())
    assert float(away[34]) == pytest.approx(0.2) and float(away[39]) == 0
    weight = hand_over(without(part, 39)).weight
    assert (weight[40:] == 1).all() and float(weight[0]) == 1


def test_an_island_too_short_to_say_anything_is_left_to_the_source(part):
    weight = hand_over(without(part, [*range(20, 30), *range(32, 40)])).weight
    assert (weight[20:40] == 0).all()


def test_beyond_the_fit_the_same_happens_by_angle_and_is_told_with_both_numbers(part):
    yaw = torch.linspace(-42, 0, FRAMES)
    rotation = torch.zeros(FRAMES, 3)
    rotation[:, 1] = yaw.deg2rad()
    part = replace(part, track=replace(part.track, rotation=rotation))
    torch.testing.assert_close(head_turn(rotation)[:, 0], yaw)
    handover = hand_over(part)
    edge = -18 - POSE_MARGIN_DEGREES
    assert (handover.motion[yaw > edge + HANDOVER_SECONDS * 25] == 1).all()
    assert (handover.weight[yaw < edge - POSE_FADE_DEGREES] == 0).all()
    fading = (yaw < edge - 1) & (yaw > edge - POSE_FADE_DEGREES + 1)
    assert ((handover.weight[fading] == 1) | (handover.motion[fading] == 0)).all()
    assert {word for word, turned in zip(handover.reason, fading, strict=True) if turned} == {TURNED}
    times = part.track.timestamps.numpy()
    footage = SimpleNamespace(timestamps=times, ends=times + 0.04, frame_count=FRAMES, notes=[])
    quality = quality_facts(footage, [part], Redrawn([handover], frame_status([handover]), [], [], [0.1]), [])
    (line,) = told(quality)
    assert line.startswith("0:00:00.000 to 0:00:0") and line.endswith(
        "head at -42°, fitted to -18°: faded to the source"
    )
    (person,) = quality["people"]
    assert np.allclose(person["weight"], handover.weight, atol=1e-4) and person["below_one"][0]["why"] == TURNED
    assert "turns -42° to +0°, Ada was fitted at -18° to +10°" in pose_coverage(part)


def test_what_was_not_asked_for_and_what_nothing_drives_are_told_apart(part):
    wanted, driven = EVERY.clone(), EVERY.clone()
    wanted[:10], driven[:10], driven[50:] = False, False, False
    handover = hand_over(replace(part, wanted=wanted, driven=driven))
    assert handover.status(3) == PASSED and handover.status(55) == UNDRIVEN and handover.status(30) == "dubbed"
    assert handover.reason[11] == PASSED and handover.reason[48] == UNDRIVEN
    assert set(handover.reason) - {""} <= set(STATUS)
    assert pose_coverage(part) is None


def test_of_two_people_one_who_is_not_there_does_not_matter_but_one_who_fades_does(part):
    whole, gone = hand_over(part), hand_over(without(part, slice(20, 40)))
    assert frame_status([whole, gone])[30] == "dubbed"
    assert frame_status([whole, gone])[18] == "partly dubbed"
    covered = torch.zeros(FRAMES, dtype=torch.bool)
    covered[20:40] = True
    assert frame_status([whole, hand_over(part, covered)])[30] == "partly dubbed"
    assert frame_status([hand_over(part, covered)])[30] == "occluded"
