"""Controls of motion: what each does, in which order and range, and what none of them may do."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from adapt.motion.controls import (
    FADE_SECONDS,
    Cue,
    Intensity,
    MouthScale,
    Offset,
    Weights,
    directed,
    share_of_range,
)
from adapt.motion.direction import AT_REST, Direction
from adapt.motion.placement import Placement
from adapt.motion.sources import Driven, OwnMotion, Silence, Sound
from prior.face.model import load_face_model
from prior.motion.lips_part import skin_vertices
from prior.motion.marks import speech_marks
from prior.motion.model import shipped_motion_model
from prior.motion.style import MouthStyle, mouth_measures
from prior.speech.sound import read_waveform

SENTENCE = Path(__file__).parents[2] / "examples" / "sentence.flac"


def opening(expression, speaker):
    return (expression - speaker.closed) @ speaker.opening_axis


def gain(after, before):
    """By how much one series is the other, least squares."""
    return float((after * before).sum() / before.square().sum())


def test_marks_are_what_the_model_itself_hears(spoken, speaker):
    model = shipped_motion_model()
    sound = read_waveform(SENTENCE)
    closed = opening(spoken.expression, speaker)[spoken.shut > 0.99]
    assert len(closed) > 5 and float(closed.max()) < 1e-3
    assert len(speech_marks(sound).heard) == len(model.predict(sound, spoken.seconds.numpy()).lower_expression)


def test_a_range_is_faded_inside_and_leaves_the_rest_to_the_bit(spoken, speaker):
    cue = Cue(Intensity(2.0), 1.0, 2.0)
    after = directed(spoken, speaker, [cue])
    outside = (spoken.seconds <= 1.0) | (spoken.seconds >= 2.0)
    assert torch.equal(after[outside], spoken.expression[outside])
    full = (spoken.seconds >= 1.0 + FADE_SECONDS) & (spoken.seconds <= 2.0 - FADE_SECONDS)
    whole = directed(spoken, speaker, [Cue(Intensity(2.0))])
    torch.testing.assert_close(after[full], whole[full])
    share = share_of_range(torch.tensor([0.9, 1.0, 1.0 + FADE_SECONDS / 2, 1.5, 2.0]).double(), 1.0, 2.0)
    torch.testing.assert_close(share, torch.tensor([0.0, 0.0, 0.5, 1.0, 0.0]))
    assert not share_of_range(spoken.seconds, 2.0, 2.0).any()
    assert directed(spoken, speaker, [replace(cue, person=2)]) is spoken.expression


def test_controls_act_in_their_own_order_whatever_order_they_are_given_in(spoken, speaker):
    cues = [Cue(MouthScale(0.8)), Cue(Weights(1.5, 0.8)), Cue(Intensity(1.4)), Cue(Offset(0.1))]
    assert torch.equal(directed(spoken, speaker, cues), directed(spoken, speaker, cues[::-1]))
    assert not torch.equal(directed(spoken, speaker, cues), directed(spoken, speaker, cues[:3]))


def test_an_offset_moves_the_mouth_and_its_closures(spoken, speaker):
    later = directed(spoken, speaker, [Cue(Offset(0.1)), Cue(Intensity(2.0))])
    torch.testing.assert_close(later[5:], directed(spoken, speaker, [Cue(Intensity(2.0))])[:-5], atol=1e-4, rtol=0)


@pytest.mark.parametrize(("weights", "lips", "skin"), [(Weights(1.5, 1), 1.5, 1), (Weights(1, 1.5), 1, 1.5)])
def test_lips_and_cheeks_are_weighed_apart(spoken, speaker, weights, lips, skin):
    after = directed(spoken, speaker, [Cue(weights)])
    assert gain(opening(after, speaker), opening(spoken.expression, speaker)) == pytest.approx(
        lips, abs=0.1 if lips > 1 else 0.05
    )
    basis = speaker.face_model.lower_basis[:, skin_vertices(speaker.face_model)]
    moved, before = (torch.einsum("te,evk->tvk", one - speaker.closed, basis) for one in (after, spoken.expression))
    assert gain(moved, before) == pytest.approx(skin, abs=0.1 if skin > 1 else 0.05)


def test_without_weight_the_mouth_rests(spoken, speaker):
    still = directed(spoken, speaker, [Cue(Weights(0, 0))])
    assert torch.equal(still, speaker.closed.expand_as(still))
    lips = mouth_measures(speaker.face_model, directed(spoken, speaker, [Cue(Weights(0, 1))]))[:, 0]
    before = mouth_measures(speaker.face_model, spoken.expression)[:, 0]
    assert float(lips.std()) < 0.05 * float(before.std())


def test_intensity_widens_movement_about_the_mean_and_lips_still_meet(spoken, speaker):
    spreads, talking = [], spoken.speaking > 0.9
    for factor in (0.5, 1.0, 2.0):
        after = directed(spoken, speaker, [Cue(Intensity(factor))])
        spreads.append(float(opening(after, speaker)[talking].std()))
        assert float(opening(after, speaker)[spoken.shut > 0.99].abs().max()) < 1e-3
        silent = spoken.speaking < 0.01
        torch.testing.assert_close(after[silent], spoken.expression[silent], atol=1e-3, rtol=0)
    assert spreads[0] < 0.8 * spreads[1] and spreads[2] > 1.4 * spreads[1]
    assert torch.equal(directed(spoken, speaker, [Cue(Intensity(1.0))]), spoken.expression)


def test_a_long_sound_leaves_no_seams(spoken, speaker, monkeypatch):
    sound, seconds = read_waveform(SENTENCE), spoken.seconds.numpy()
    wide = directed(spoken, speaker, [Cue(Intensity(2.0))])
    monkeypatch.setattr("prior.motion.sampling.PIECE_ROWS", 37)
    in_pieces = replace(spoken, expression=shipped_motion_model().predict(sound, seconds).lower_expression)
    torch.testing.assert_close(directed(in_pieces, speaker, [Cue(Intensity(2.0))]), wide, atol=1e-5, rtol=0)


def test_nothing_asked_for_is_what_it_was(spoken, speaker, ada, tracked):
    style = MouthStyle.of_tensors(ada.style)
    driven = Driven(ada, tracked, style, load_face_model(), shipped_motion_model())
    inside = torch.ones(len(tracked), dtype=torch.bool)
    for direction, factor in ((Direction(), 1.0), (Direction(1.2), 1.2)):
        lower = direction.expression(tracked.lower_expression, OwnMotion(), driven, Placement(), inside)
        assert torch.equal(lower, style.closed + (tracked.lower_expression - style.closed) * factor)


def test_what_tells_of_lips_is_the_sound_or_the_motion_itself(ada, tracked):
    style = MouthStyle.of_tensors(ada.style)
    driven = Driven(ada, tracked, style, load_face_model(), shipped_motion_model())
    inside = torch.zeros(len(tracked), dtype=torch.bool)
    inside[10:30] = True
    direction, placement = Direction(whole=(Cue(Intensity(2.0)),)), Placement((0.4, 1.2), on_mismatch="trim")
    shut = style.closed.expand(len(tracked), -1)
    silent = direction.expression(shut, Silence(), driven, placement, inside)
    assert AT_REST[1] == 1 and torch.equal(silent, style.closed + (shut - style.closed) * 1.0)
    model = shipped_motion_model()
    own = direction.expression(tracked.lower_expression, OwnMotion(), driven, placement, inside)
    before, after = ((one - style.closed) @ model.opening_axis for one in (tracked.lower_expression, own))
    together = before <= 0.02
    assert bool((after[together] <= before[together].clamp(min=0) + 1e-5).all()) and float(after.max()) > before.max()
    sound = Sound(SENTENCE)
    motion, _ = placement.placed(sound.motion(driven), tracked, inside, 0.8, style.closed)
    louder = direction.expression(motion, sound, driven, placement, inside)
    marks = speech_marks(sound.waveform)
    closures = marks.shut[: 2 * 20 : 2] > 0.99  # of the frames inside, which begin with the sound
    gap = (louder - style.closed) @ model.opening_axis
    assert bool(closures.any()) and float(gap[inside][closures].abs().max()) < 0.02
