"""Own speech: what an invented speaker is found to be, when a personal filter is used, and whose sound it is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from prior.benchmarks.own_speech import frames_style, gain_over, outside, row_scores, stretches, warped
from prior.motion.filtering import filtered, with_context
from prior.motion.model import INPUTS, SOUND_INPUTS, MotionConfig, MotionModel, shipped_motion_model
from prior.motion.own_speech import FILTER_WEIGHTS, OwnSpeech, heard_style, own_speech
from prior.motion.style import MouthStyle, SpeechStyle
from prior.speech.phonemes import CLASSES, LABEL_RATE
from prior.speech.sound import SAMPLE_RATE, read_waveform
from prior.training.spoken_clips import SpokenClip
from render.head.motion import Motion

SENTENCE = Path(__file__).parents[2] / "examples" / "sentence.flac"
AXES, CLASS_COUNT = 4, len(CLASSES)
LIPS_APART = 4  # classes from here on: no p b m f v, at which the model brings lips together


@pytest.fixture
def model():
    """A model of random weights whose displacement of `sounds` is about 0 and spreads by 1, as a trained one's."""
    torch.manual_seed(1)
    made = MotionModel(MotionConfig(AXES, 16, (1, 2))).eval()
    for name in ("opening_axis", "closing_direction"):
        getattr(made, name)[0] = 1.0
    made.neutral_mean[0] = 4.0
    moved = made.displacement(sounds(20000, 0))
    with torch.no_grad():
        for layer in (made.members[0].linear, made.members[0].head):
            layer.weight /= moved.std(0).reshape(-1, *[1] * (layer.weight.ndim - 1))
            layer.bias /= moved.std(0)
        made.members[0].linear.bias -= made.displacement(sounds(20000, 0)).mean(0)
    return made


def sounds(count, seed, classes=CLASS_COUNT, first=LIPS_APART):
    """Rows of so many classes that follow each other, each for a while."""
    random = torch.Generator().manual_seed(seed)
    chosen = torch.randint(first, classes, (count // 5 + 1,), generator=random).repeat_interleave(5)[:count]
    rows = 0.05 * torch.rand(count, INPUTS, generator=random)
    rows[torch.arange(count), chosen] += 0.9
    return rows


def speech(model, rows, mean, spread, more=0.0):
    """Somebody whose mouth follows the model's displacement, and more, with a mean and spread of their own."""
    lower = mean + spread * (model.displacement(rows) + more)
    return OwnSpeech(rows, torch.ones(len(rows)), lower, torch.ones(len(rows), dtype=torch.bool))


def frames(one):
    """The style of the frames; lips meet where they are nearest, and so never pass through each other."""
    return replace(MouthStyle.of(one.lower, one.lower[:, 0]), closed=one.lower.min(0).values)


def test_mean_and_spread_are_found_whatever_was_said(model):
    mean, spread = torch.tensor([1.5, 0.2, -0.3, 0.0]), torch.tensor([1.4, 0.7, 1.0, 1.2])
    one = speech(model, sounds(3000, 1), mean, spread)
    heard = heard_style(model, frames(one), [one])
    told = heard.style.speech
    assert float(told.seconds) == 60.0 and "from 60.0 s of own speech" in heard.told
    torch.testing.assert_close(told.spread, spread, rtol=0.06, atol=0)
    torch.testing.assert_close(told.mean, mean, rtol=0, atol=0.05)
    _, used_mean, used_spread = model.blended(heard.style)
    torch.testing.assert_close(used_mean, mean, rtol=0, atol=0.06)
    torch.testing.assert_close(used_spread, spread, rtol=0.08, atol=0)


def test_what_closures_take_from_the_opening_is_given_back(model):
    mean, spread = torch.tensor([1.5, 0.0, 0.0, 0.0]), torch.ones(AXES)
    # Lips that stay apart at p m f, where the model brings them together.
    one = speech(model, sounds(3000, 1, first=0), mean, spread)
    style = heard_style(model, frames(one), [one]).style
    shown = model.expression(one.rows, one.gate, replace(style, speech=replace(style.speech, filter=None)))[:, 0]
    assert abs(float(shown.mean() - one.lower[:, 0].mean())) < 0.06  # it would be .4
    assert float(style.speech.spread[0]) < 0.8  # closures spread the opening, too


def test_little_speech_leans_on_the_population_and_less_tells_nothing(model):
    mean, spread = torch.zeros(AXES), torch.full((AXES,), 1.8)
    one = speech(model, sounds(150, 2), mean, spread)
    told = heard_style(model, frames(one), [one])
    assert told.agreement is None and told.style.speech.filter is None  # 3 s judge no filter
    assert (model.spread_of(told.style.speech) < told.style.speech.spread).all()
    assert (model.spread_of(told.style.speech) > 1.0).all()
    short = OwnSpeech(*(value[:40] for value in (one.rows, one.gate, one.lower, one.known)))
    assert heard_style(model, frames(one), [short]).style.speech is None
    assert "no own speech known" in heard_style(model, frames(one), [short]).told


def test_a_filter_is_learnt_that_follows_unseen_speech_better(model):
    torch.manual_seed(3)
    own_way = torch.zeros(AXES, SOUND_INPUTS)
    own_way[:, 4:8] = torch.randn(AXES, 4)
    rows, unseen = sounds(6000, 4, 8), sounds(1000, 5, 8)
    one = speech(model, rows, torch.zeros(AXES), torch.ones(AXES), rows[:, :SOUND_INPUTS] @ own_way.T)
    heard = heard_style(model, frames(one), [one])
    without, with_it = heard.agreement
    assert with_it > without + 0.02 and "with a personal filter" in heard.told
    assert heard.style.speech.filter.shape == (AXES, FILTER_WEIGHTS)
    true = model.displacement(unseen) + unseen[:, :SOUND_INPUTS] @ own_way.T
    plain = replace(heard.style, speech=replace(heard.style.speech, filter=None))
    spread = heard.style.speech.spread  # the unit of displacement
    errors = [(spread * model.displacement(unseen, style) - true).std(0).mean() for style in (plain, heard.style)]
    assert errors[1] < 0.5 * errors[0]


def test_a_filter_that_does_not_help_is_not_used(model):
    rows = sounds(2000, 6)
    odd = torch.randn(SOUND_INPUTS, generator=torch.Generator().manual_seed(7))
    sign = torch.where(torch.arange(2000) // 400 % 2 == 0, 1.5, -1.5)[:, None]  # each fifth tells the opposite
    one = speech(model, rows, torch.zeros(AXES), torch.ones(AXES), sign * (rows[:, :SOUND_INPUTS] @ odd)[:, None])
    heard = heard_style(model, frames(one), [one])
    assert heard.agreement[1] < heard.agreement[0] - 0.02
    assert heard.style.speech.filter is None and "without a personal filter" in heard.told


def test_more_speech_refines_what_a_style_knows(model):
    mean, spread = torch.tensor([1.5, 0.2, -0.3, 0.0]), torch.full((AXES,), 1.3)
    first, second = (speech(model, sounds(1500, seed), mean, spread) for seed in (8, 9))
    known = heard_style(model, frames(first), [first]).style
    more = heard_style(model, known, [second]).style
    assert float(more.speech.seconds) == 60.0
    torch.testing.assert_close(more.speech.spread, spread, rtol=0.06, atol=0)
    torch.testing.assert_close(more.speech.mean, mean, rtol=0, atol=0.06)
    assert heard_style(model, known, []).style is known


def test_a_filter_reads_rows_and_their_neighbours():
    rows = torch.arange(60.0)[:, None]
    weights = torch.zeros(1, 12)
    weights[0, 0], weights[0, 10], weights[0, 11] = 1.0, 1.0, 5.0  # 10 rows before, 10 after, and the constant
    torch.testing.assert_close(filtered(rows, weights)[10:50, 0], 2 * torch.arange(10.0, 50.0) + 5)
    assert with_context(rows)[20].tolist() == list(range(10, 31, 2))


def test_a_style_is_stored_and_read_with_and_without_speech():
    part = torch.arange(3.0)
    plain = MouthStyle(part, part + 1, part + 2, torch.tensor(30.0))
    assert (
        set(plain.tensors) == {"closed", "mean", "spread", "frames"} and MouthStyle.of_tensors(plain.tensors) == plain
    )
    told = replace(plain, speech=SpeechStyle(part + 3, part + 4, torch.tensor(9.0)))
    assert set(told.tensors) - set(plain.tensors) == {"speech_mean", "speech_spread", "speech_seconds"}
    again = MouthStyle.of_tensors(told.tensors)
    assert again.speech.filter is None and again.speech.mean is told.speech.mean


def test_own_sound_is_brought_into_step_and_a_foreign_one_is_not_learnt_from():
    waveform = read_waveform(SENTENCE)
    times = np.arange(0, len(waveform) / SAMPLE_RATE - 0.4, 0.04)
    motion = shipped_motion_model().predict(waveform, times + 0.2)  # the sound is 0.2 s late
    motion = Motion(torch.from_numpy(times), motion.lower_expression, torch.ones(len(times)))
    heard = own_speech(motion, waveform)
    assert heard is not None and heard.known.float().mean() > 0.8
    seen = (heard.lower @ shipped_motion_model().opening_axis)[heard.known]
    said = (shipped_motion_model().displacement(heard.rows) @ shipped_motion_model().opening_axis)[heard.known]
    assert float(torch.corrcoef(torch.stack([seen, said]))[0, 1]) > 0.7
    noise = 0.1 * np.random.default_rng(0).standard_normal(len(waveform)).astype(np.float32)
    assert own_speech(motion, noise) is None
    assert own_speech(motion, np.zeros(SAMPLE_RATE // 10, np.float32)) is None
    unseen = Motion(motion.timestamps, motion.lower_expression, torch.zeros(len(times)))
    assert own_speech(unseen, waveform) is None


def spoken(name, person, count):
    rows, lower = sounds(count, 1), torch.randn(count, AXES)
    style = MouthStyle.of(lower, lower[:, 0])
    known = torch.ones(count, dtype=torch.bool)
    return SpokenClip(name, person, rows, rows, torch.ones(count), lower, known, style, lower[:, :3])


def test_a_stretch_is_judged_by_what_lies_a_second_away():
    clip, other, stranger = spoken("a", "p", 1200), spoken("b", "p", 300), spoken("c", "q", 300)
    scored = torch.arange(1200) >= 250
    parts = stretches(scored)
    assert [int(part.sum()) for part in parts] == [316, 317, 317] and torch.stack(parts).sum(0).equal(scored.long())
    learnt = outside(parts[1], clip, [clip, other, stranger])
    assert [one.name for one in learnt] == ["a", "b"] and bool(learnt[1].known.all())
    place = torch.nonzero(parts[1]).flatten()
    near = torch.nonzero(~learnt[0].known).flatten()
    assert int(near[0]) == int(place[0]) - LABEL_RATE and int(near[-1]) == int(place[-1]) + LABEL_RATE
    assert float(frames_style(learnt).frames) == 1200 - len(near) + 300


def test_scores_that_forgive_time_and_that_see_a_calm_mouth():
    clock = torch.arange(400) / LABEL_RATE
    truth = torch.sin(6 * clock)[:, None].expand(-1, 3)
    late = torch.sin(6 * (clock - 0.1))[:, None].expand(-1, 3)
    known = torch.ones(400, dtype=torch.bool)
    found = row_scores(late, truth, known)
    assert found["opening_ccc"] == pytest.approx(np.cos(0.6), abs=0.03) and found["warped_ccc"] > 0.98
    assert row_scores(0.5 * truth, truth, known)["liveliness"] == pytest.approx(0.5, abs=1e-3)
    same = warped(truth[:, 0].numpy(), truth[:, 0].numpy())
    np.testing.assert_allclose(same, truth[:, 0].numpy())


def test_a_gain_is_of_the_same_clips_and_over_people():
    lines = [
        {"clip": clip, "person": person, "row": row, "opening_ccc": value}
        for clip, person, worse, better in (("a", "p", 0.1, 0.3), ("b", "p", 0.2, 0.2), ("c", "q", 0.0, 0.3))
        for row, value in (("old", worse), ("new", better))
    ]
    found = gain_over(lines, "new", "old")
    assert found["people"] == 2 and found["mean, low, high"] == [0.2, 0.1, 0.3]
