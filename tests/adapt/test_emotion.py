"""Emotion as a control: neutral changes nothing, more of it does more, closures and timing stay."""

import pytest
import torch

from adapt.dubbing.options import DubOptions
from adapt.motion.controls import Cue, Intensity, Listening, directed
from adapt.motion.cues import read_cues
from adapt.motion.emotion import Emotion
from adapt.motion.words import EMOTIONS, parse_emotion
from prior.motion.emotion import mouth_shape, shipped_emotions
from render.errors import ConfigError

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)


def shape(expression, motion, speaker):
    """Columns of `SHAPE` where somebody speaks and no closure is near."""
    return mouth_shape(speaker.face_model, expression)[(motion.speaking > 0.99) & (motion.shut == 0)]


def opening(expression, speaker):
    return (expression - speaker.closed) @ speaker.opening_axis


@pytest.mark.parametrize("word", EMOTIONS)
def test_the_mouth_goes_where_the_emotion_has_it_and_more_goes_further(spoken, speaker, word):
    mouth = shipped_emotions()[word]
    before = shape(spoken.expression, spoken, speaker)
    after = [
        shape(directed(spoken, speaker, [Cue(Emotion(word, strength))]), spoken, speaker) for strength in STRENGTHS
    ]
    usual = mouth_shape(speaker.face_model, speaker.mean)
    alone = shape(Emotion(word).applied(spoken, speaker).expression, spoken, speaker)
    torch.testing.assert_close(alone, usual + mouth.shift + (before - usual) * mouth.ratio, atol=0.01, rtol=0)
    limited = (after[-1] - alone).mean(0)
    assert -0.1 < float(limited[0]) < 0, "lips that come near, or are fast, open less"
    torch.testing.assert_close(limited[1:], torch.zeros(3), atol=0.02, rtol=0)
    away = [float((one - before).abs().mean()) for one in after]
    spread = [float(one[:, 0].std()) for one in after]
    assert away == sorted(set(away)) and spread == sorted(set(spread)) and away[0] == 0


@pytest.mark.parametrize("word", EMOTIONS)
def test_lips_still_meet_and_what_is_said_stays(spoken, speaker, word):
    after = directed(spoken, speaker, [Cue(Emotion(word))])
    was, now = opening(spoken.expression, speaker), opening(after, speaker)
    assert float(now[spoken.shut > 0.99].abs().max()) < 1e-3
    assert float(torch.corrcoef(torch.stack([was, now]))[0, 1]) > 0.95


def test_neutral_is_what_it_was_to_the_bit(spoken, speaker, tmp_path):
    assert torch.equal(directed(spoken, speaker, [Cue(Emotion("happy", 0.0))]), spoken.expression)
    (tmp_path / "cues.csv").write_text("start,end,emotion\n0,1,neutral\n1,2,angry:0.5\n2,,happy\n")
    cues = read_cues(tmp_path / "cues.csv").motion
    assert [(cue.control, cue.told) for cue in cues] == [
        (Emotion("angry", 0.5), "emotion angry:0.5"),
        (Emotion("happy"), "emotion happy"),
    ]
    after = directed(spoken, speaker, cues)
    assert torch.equal(after[spoken.seconds <= 1], spoken.expression[spoken.seconds <= 1])


def test_who_listens_may_smile_and_intensity_is_about_the_new_mean(spoken, speaker):
    listening = directed(spoken, speaker, [Cue(Emotion("happy")), Cue(Listening())])
    assert float(opening(listening, speaker).abs().max()) < 2e-3
    wider = mouth_shape(speaker.face_model, listening) - mouth_shape(speaker.face_model, speaker.closed)
    torch.testing.assert_close(wider[:, 1], shipped_emotions()["happy"].shift[1].expand(len(wider)), atol=2e-3, rtol=0)
    still = directed(spoken, speaker, [Cue(Intensity(0.0)), Cue(Emotion("happy"))])
    assert float(shape(still, spoken, speaker)[:, 1].std()) < 0.05
    swapped = directed(spoken, speaker, [Cue(Emotion("happy")), Cue(Intensity(0.0))])
    assert torch.equal(still, swapped)
    assert not torch.equal(still, directed(spoken, speaker, [Cue(Intensity(0.0))]))


def test_an_emotion_is_said_in_words():
    assert parse_emotion("happy") == ("happy", 1.0) and parse_emotion("angry:0.6") == ("angry", 0.6)
    assert parse_emotion("neutral")[1] == parse_emotion("neutral:0.7")[1] == 0
    assert Emotion("happy", 0.6).told == "emotion happy:0.6" and DubOptions().emotion == "neutral"
    for text, message in (
        ("hapy", "--emotion hapy: did you mean happy?"),
        ("tired", "--emotion tired: choose one of neutral, happy, angry"),
        ("happy:2", "--emotion happy:2: give a strength from 0 "),
        ("happy:very", "--emotion happy:very: give a strength from 0 "),
    ):
        with pytest.raises(ConfigError, match=message):
            DubOptions(emotion=text)
