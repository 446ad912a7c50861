"""Who speaks when: two mouths, two voices, and what is proposed of them."""

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from adapt.motion.cues import read_cues
from adapt.motion.speakers import Proposal, own_waveform, propose, write_proposal
from prior.motion.model import shipped_motion_model
from prior.motion.turns import LEAST_UNRIVALLED, SURE_MARGIN, WINDOW_SECONDS, Turn, turns
from prior.speech.phonemes import LABEL_RATE
from prior.speech.sound import SAMPLE_RATE, read_waveform
from render.errors import DubError
from render.video.reader import Footage
from tests.media import Sound, make_clip

SENTENCE = Path(__file__).parents[2] / "examples" / "sentence.flac"


@pytest.fixture(scope="module")
def voices():
    """Two voices of three seconds each, and what the mouths do to them."""
    sound = read_waveform(SENTENCE)
    size = round(WINDOW_SECONDS * SAMPLE_RATE)
    one, other = sound[:size], sound[len(sound) // 2 :][:size]
    other = np.pad(other, (0, size - len(other)))
    times = np.arange(round(WINDOW_SECONDS * LABEL_RATE)) / LABEL_RATE
    return (one, other), [shipped_motion_model().predict(voice, times) for voice in (one, other)]


def test_every_voice_finds_its_mouth_also_when_they_swap(voices):
    (one, other), motions = voices
    assert [(turn.sound, turn.person, turn.is_sure) for turn in turns(motions, [one, other])] == [
        (0, 0, True),
        (1, 1, True),
    ]
    assert [(turn.sound, turn.person) for turn in turns(motions[::-1], [one, other])] == [(0, 1), (1, 0)]
    (turn,) = turns(motions, [other])
    assert (turn.start, turn.end, turn.person, turn.is_sure) == (0.0, WINDOW_SECONDS, 1, True)


def test_silence_and_unseen_mouths_have_no_turn(voices):
    (one, other), motions = voices
    assert not turns(motions, [np.zeros_like(one)])
    hidden = replace(motions[0], confidence=torch.zeros_like(motions[0].confidence))
    hidden.confidence[:2] = 1
    (turn,) = turns([hidden, motions[1]], [one])
    assert turn.person == 1 and turn.margin == math.inf, "there is no other to compare with"
    assert not turn.everyone_seen and not turn.is_sure and turn.agreement < LEAST_UNRIVALLED, "it is the hidden one's"
    (own,) = turns([hidden, motions[1]], [other])
    assert own.person == 1 and own.is_sure and own.agreement > LEAST_UNRIVALLED


def test_a_shots_own_sound_is_heard_from_its_first_frame_on(tmp_path):
    times = list(range(25, 50))  # pictures from second 1 on, sound from .4 before that
    path = make_clip(tmp_path / "late.mkv", times=times, sounds=[Sound("pcm_s16le", start=0.6, seconds=0.8)])
    heard = own_waveform(Footage(path))
    loud = np.flatnonzero(np.abs(heard) > 0.01) / SAMPLE_RATE
    assert loud[0] < 0.01 and loud[-1] == pytest.approx(0.4, abs=0.03)
    silent = make_clip(
        tmp_path / "silent.mkv", times=times, sounds=[Sound("pcm_s16le", seconds=2, voice=np.zeros(2 * SAMPLE_RATE))]
    )
    with pytest.raises(DubError, match=r"silent.mkv: silent from its first frame on"):
        own_waveform(Footage(silent))


def test_a_voice_may_be_of_somebody_whose_mouth_is_not_judged(voices):
    (one, _), motions = voices
    shown = SimpleNamespace(sure=lambda: motions[1].confidence > 0, motion=lambda: motions[1])
    hidden = SimpleNamespace(sure=lambda: torch.zeros(300, dtype=torch.bool))
    for proposal in (propose({1: shown, 4: hidden}, {"a.wav": one}), propose({1: shown}, {"a.wav": one}, people=2)):
        (turn,) = proposal.turns
        assert not turn.everyone_seen and not turn.is_sure
        assert proposal.rows()[0]["note"] == "not sure: a.wav may be of person 1, nobody else's mouth could be judged"
    (turn,) = propose({1: shown}, {"a.wav": one}).turns
    assert turn.everyone_seen


def test_a_proposal_lets_listeners_rest_and_names_what_is_not_sure(tmp_path):
    sure, faint = SURE_MARGIN + 1, SURE_MARGIN / 2
    found = (
        *(Turn(0, 3, 0, 0, 2.0, sure), Turn(3, 6, 0, 0, 2.0, sure + 1)),
        *(Turn(6, 9, 0, 1, 2.0, faint), Turn(9, 12, 0, 1, 2.0, sure)),
        *(Turn(12, 15, 0, 0, 0.5, sure), Turn(15, 18, 0, 1, 4.0, sure, 2.0)),
    )
    proposal = Proposal((1, 4), ("mixed.wav",), found)
    write_proposal(tmp_path / "speakers.csv", proposal.rows())
    cues = read_cues(tmp_path / "speakers.csv").motion
    assert [(cue.start, cue.end, cue.person, cue.told) for cue in cues] == [
        (0, 6, 4, "speaks no"),
        (9, 12, 1, "speaks no"),
    ]
    assert '6,9,,,"not sure: mixed.wav may be of person 4' in (tmp_path / "speakers.csv").read_text()
    assert [proposal.is_clear(turn) for turn in found] == [True, True, False, True, False, False]
    voices = (Turn(0, 3, 0, 1, 2.0, sure), Turn(0, 3, 1, 0, 2.0, sure), Turn(3, 6, 1, 1, 2.0, faint))
    two = Proposal((1, 4), ("a.wav", "b.wav"), voices)
    assert two.voices == {"a.wav": 4, "b.wav": 1}
    write_proposal(tmp_path / "two.csv", two.rows())
    assert not read_cues(tmp_path / "two.csv").motion, "nobody has to rest"
