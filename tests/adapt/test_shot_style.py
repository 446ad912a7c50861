"""Style of the mouth from all footage of an actor, and in a shot."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from adapt.actor.bundle import ActorBundle
from adapt.actor.misfit import refuse_misfit
from adapt.dubbing.provenance import inspect
from adapt.fitting.style import mouth_facts, style_of_footage
from adapt.motion.shot_style import doubts, is_same_sound, judged_frames, style_in_shot
from adapt.motion.sources import Sound, unlike_speech
from prior.face.model import load_face_model
from prior.motion.model import load_motion_model, shipped_motion_model
from prior.motion.own_speech import FILTER_WEIGHTS, HeardStyle
from prior.motion.style import MouthStyle, SpeechStyle
from prior.renderer.prior import load_renderer_prior
from prior.speech.sound import SAMPLE_RATE, read_waveform
from prior.training.voice import VOICELESS
from render.errors import StoreError
from render.video.reader import Footage
from tests import media

SENTENCE = Path(__file__).parents[2] / "examples" / "sentence.flac"


def test_every_sure_frame_of_every_file_counts(talking_clip):
    path, take = talking_clip
    footage, model = Footage(path), load_face_model()
    both = style_of_footage(model, [footage, footage], [take, take])
    assert float(both.style.frames) == 80 and both.style.speech is None
    assert mouth_facts(both)["style"] == "from 80 frames, no own speech known"
    unsure = replace(take, confidence=torch.zeros(len(take)))
    assert style_of_footage(model, [footage], [unsure]) is None
    assert mouth_facts(None) == {"style": "of the average person, too few frames"}


def test_the_same_sound_is_known_again_whatever_was_done_to_it():
    one = read_waveform(SENTENCE)
    assert is_same_sound(one, 0.3 * one[SAMPLE_RATE : 3 * SAMPLE_RATE])
    assert is_same_sound(0.5 * one + 1e-4 * np.random.default_rng(0).standard_normal(len(one)).astype(np.float32), one)
    assert not is_same_sound(one, one[::-1].copy())
    assert is_same_sound(one, one[:1000])  # too short to say


def test_what_is_driven_by_the_shots_own_sound_is_spared(talking_clip, monkeypatch):
    path, take = talking_clip
    footage, sound = Footage(path), read_waveform(SENTENCE)
    inside = torch.zeros(len(take), dtype=torch.bool)
    inside[30:34] = True
    assert not judged_frames(footage, inside, take.timestamps, sound).any()  # it has no sound
    monkeypatch.setattr(footage, "audio", ("a stream",))
    monkeypatch.setattr("adapt.fitting.style.speech_track", lambda path: path)
    monkeypatch.setattr("adapt.fitting.style.read_waveform", lambda track: sound)
    spared = judged_frames(footage, inside, take.timestamps, sound[SAMPLE_RATE:])
    assert torch.nonzero(spared).flatten().tolist() == list(range(5, 40))
    assert not judged_frames(footage, inside, take.timestamps, sound[::-1].copy()).any()


def known(ada, **speech):
    """Ada with a style that knows of own speech, measured with the shipped motion model."""
    axes = shipped_motion_model().config.axes
    told = SpeechStyle(torch.zeros(axes), torch.ones(axes), torch.tensor(9.0), **speech)
    style = replace(MouthStyle.of_tensors(ada.style), speech=told)
    return replace(ada, style=style.tensors, facts=replace(ada.facts, mouth=mouth_facts(HeardStyle(style))))


def test_a_bundle_keeps_what_speech_told_and_another_motion_model_does_not_use_it(ada, talking_clip, tmp_path):
    path, take = talking_clip
    axes = shipped_motion_model().config.axes
    saved = known(ada, filter=torch.ones(axes, FILTER_WEIGHTS)).save(tmp_path / "ada.actor")
    bundle = ActorBundle.load(saved)
    refuse_misfit(bundle, saved, load_renderer_prior())
    assert inspect(saved).facts["facts"]["mouth"]["style"].startswith("from 9.0 s of own speech")
    spared = torch.zeros(len(take), dtype=torch.bool)
    given = Footage(path), take, spared, load_face_model(), shipped_motion_model()
    found = style_in_shot(bundle, *given)
    assert found.told.startswith("from 9.0 s of own speech") and found.style.speech.filter.shape == (
        axes,
        FILTER_WEIGHTS,
    )
    older = replace(bundle, facts=replace(bundle.facts, mouth={"style": "x", "motion_model_sha256": "0"}))
    other = style_in_shot(older, *given)
    assert other.style.speech is None and "another motion model" in other.told
    own_model = style_in_shot(bundle, *given[:-1], load_motion_model())
    assert own_model.style.speech is None and "the shipped motion model" in own_model.told
    assert style_in_shot(replace(ada, style={}), *given).told == "from the shot, no own speech known"
    without = replace(bundle, facts=replace(bundle.facts, mouth={}), style={k: ada.style[k] for k in ada.style})
    assert style_in_shot(without, *given).told == "from the bundle"


def test_a_filter_of_another_width_is_refused(ada, tmp_path):
    axes = shipped_motion_model().config.axes
    path = known(ada, filter=torch.ones(axes, 7)).save(tmp_path / "odd.actor")
    with pytest.raises(StoreError, match=r"style.speech_filter is float32 \[16, 7\]"):
        refuse_misfit(ActorBundle.load(path), path, load_renderer_prior())


def test_why_a_mouth_may_move_otherwise_is_told(ada):
    model, sound = shipped_motion_model(), read_waveform(SENTENCE)
    own = model.predict(sound, np.arange(0, len(sound) / SAMPLE_RATE, 1 / 25))
    much = MouthStyle.of_tensors(known(ada).style)
    assert doubts(model, much, own, sound) == []
    late = np.concatenate([np.zeros(SAMPLE_RATE // 5, np.float32), sound])
    (told,) = doubts(model, much, own, late)
    assert float(told.split(" s late")[0].split()[-1]) == pytest.approx(0.2, abs=0.041) and "moves later" in told
    (told,) = doubts(model, much, own, np.roll(sound[::-1], len(sound) // 2))
    assert "hardly agree" in told
    opening = own.lower_expression @ model.opening_axis
    mumbled = own.lower_expression + 0.5 * torch.outer(opening.roll(20) - 2 * opening, model.closing_direction)
    (told,) = doubts(model, much, replace(own, lower_expression=mumbled), sound)
    asked = model.predict(sound, own.timestamps.numpy(), much).lower_expression @ model.opening_axis
    ratio = float(asked.std() / (0.5 * opening.std()))
    unsure = replace(own, lower_expression=mumbled, confidence=torch.full_like(own.confidence, 0.4))
    assert doubts(model, much, unsure, sound) == [], "nothing is said of mouths that are not seen surely"
    assert "opens in another way" in told and f"asks for is {ratio:.1f} times as wide" in told
    little = replace(much, speech=replace(much.speech, seconds=torch.tensor(1.5)))
    assert "only 1.5 s of own speech" in doubts(model, little, own, None)[0]
    assert "only 0.0 s of own speech" in doubts(model, replace(much, speech=None), own, sound)[0]


def test_a_sound_that_is_no_speech_is_told_as_such(tmp_path):
    (told,) = unlike_speech(VOICELESS["bells"](6.0, np.random.default_rng(0)))
    assert "no voice but music or noise" in told
    assert unlike_speech(read_waveform(SENTENCE)) == []
    hum = Sound(media.make_sound(tmp_path / "hum.wav", media.Sound("pcm_s16le", layout="mono", seconds=1.6)))
    hum.read()
    (told,) = hum.notes
    assert told.startswith(f"{hum.path}: no speech is heard in it") and "write silence" in told
