"""The voice detector: speech is a voice, also whispered; what is made by instruments and things is none."""

from pathlib import Path

import numpy as np
import pytest
import torch

from prior.face.model import load_face_model
from prior.motion.model import input_rows, shipped_motion_model
from prior.motion.style import mouth_measures
from prior.speech import voice as voices
from prior.speech.features import features
from prior.speech.phonemes import CLASSES, LABEL_RATE, SILENCE
from prior.speech.phonetics import posteriors, shipped_phonetics
from prior.speech.sound import SAMPLE_RATE, read_waveform
from prior.speech.voice import VoiceConfig, VoiceDetector, load_voice, shipped_voice, silenced, voice
from prior.training.voice import VOICELESS, plucked_string, whispered
from render.errors import StoreError

SENTENCE = Path(__file__).parents[2] / "examples" / "sentence.flac"


def heard(waveform):
    """Log-mel and posteriors of a sound."""
    mel = features(waveform).mel
    return mel, posteriors(shipped_phonetics(), mel)


def test_speech_is_a_voice_also_whispered():
    sentence = read_waveform(SENTENCE)
    for sound in (sentence, whispered(sentence, np.random.default_rng(0))):
        mel, phonetic = heard(sound)
        spoken = phonetic[:, SILENCE] < 0.5
        assert float(voice(shipped_voice(), mel, phonetic)[spoken].mean()) > 0.97


def test_a_melody_of_plucked_strings_moves_no_mouth():
    generator, sound = np.random.default_rng(7), np.zeros(6 * SAMPLE_RATE, np.float32)
    for note, step in enumerate((0, 4, 7, 12, 7, 4, 5, 9, 12, 17, 12, 9)):
        first = note * SAMPLE_RATE // 2
        string = plucked_string(196 * 2 ** (step / 12), 1.5, generator)[: len(sound) - first]
        sound[first : first + len(string)] += 0.1 * string
    frames, model, face_model = np.arange(0, 6, 1 / 25), shipped_motion_model(), load_face_model()
    moved, spoken = (
        float(mouth_measures(face_model, model.predict(one, frames).lower_expression)[:, 0].std())
        for one in (sound, read_waveform(SENTENCE))
    )
    assert moved < 0.03 * spoken


@pytest.mark.parametrize("kind", sorted(VOICELESS))
def test_hardly_a_voice_is_heard_where_there_is_none(kind):
    mel, phonetic = heard(VOICELESS[kind](6.0, np.random.default_rng(77)))
    assert float(voice(shipped_voice(), mel, phonetic).mean()) < 0.1


def test_what_is_no_voice_is_heard_as_silence_and_speech_as_it_was():
    phonetic = torch.full((3, len(CLASSES)), 1 / len(CLASSES))
    done = silenced(phonetic, torch.tensor([1.0, 0.5, 0.0]))
    torch.testing.assert_close(done.sum(1), torch.ones(3))
    assert torch.equal(done[0], phonetic[0]) and done[2, SILENCE] == 1.0
    assert float(done[1, SILENCE]) == pytest.approx(0.5 + 0.5 / len(CLASSES))
    sound = features(read_waveform(SENTENCE))
    rows, _ = input_rows(shipped_phonetics(), sound)
    surely = voice(shipped_voice(), sound.mel, posteriors(shipped_phonetics(), sound.mel)) == 1
    assert float(surely.float().mean()) > 0.5
    torch.testing.assert_close(
        rows[surely, : len(CLASSES)], posteriors(shipped_phonetics(), sound.mel)[surely], rtol=0, atol=0
    )


def test_pieces_leave_no_trace(monkeypatch):
    mel, phonetic = heard(np.tile(read_waveform(SENTENCE), 3)[: 10 * SAMPLE_RATE])
    whole = voice(shipped_voice(), mel, phonetic)
    monkeypatch.setattr(voices, "PIECE_ROWS", 90)
    torch.testing.assert_close(voice(shipped_voice(), mel, phonetic), whole, atol=1e-5, rtol=0)
    assert len(whole) == len(phonetic) and abs(len(whole) - 10 * LABEL_RATE) <= 1


def test_weights_round_trip_and_a_missing_file_is_named(tmp_path):
    torch.manual_seed(0)
    detector = VoiceDetector(VoiceConfig(8, (1, 2))).eval()
    detector.save(tmp_path / "voice.safetensors", {"seed": 0})
    rows = torch.rand(1, 50, voices.INPUTS)
    torch.testing.assert_close(load_voice(tmp_path / "voice.safetensors")(rows), detector(rows), atol=5e-3, rtol=0)
    with pytest.raises(StoreError, match="absent"):
        load_voice(tmp_path / "absent.safetensors")
