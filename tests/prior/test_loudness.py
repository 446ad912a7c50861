"""Loudness, silence, and whether a sound is speech."""

import numpy as np
import pytest
import soundfile as sf

from prior.speech.loudness import describe_audio
from prior.speech.sound import SAMPLE_RATE
from tests.media import syllables, tone


def test_loudness_of_the_standard_tone(tmp_path):
    # BS.1770: a full-scale 997 Hz sine in one channel reads -3.01 LKFS.
    path = tmp_path / "tone.wav"
    sf.write(path, np.concatenate([tone(997, 20.0, 48000, 0.999), np.zeros(20 * 48000)]), 48000, subtype="FLOAT")
    facts = describe_audio(path)
    assert facts.loudness_lufs == pytest.approx(-3.02, abs=0.06)
    assert facts.peak_dbfs == pytest.approx(0.0, abs=0.02)
    assert facts.silence_fraction == pytest.approx(0.5, abs=0.02)
    assert facts.duration_seconds == pytest.approx(40.0)
    assert (facts.sample_rate_hz, facts.channels) == (48000, 1)


def test_facts_tell_syllables_from_a_chord_and_accept_silence(tmp_path):
    chord = sum(tone(hz, 6.0, amplitude=0.1) for hz in (220, 277, 330))
    for name, signal in (("speech", syllables(6.0)), ("chord", chord), ("silence", np.zeros(48000))):
        sf.write(tmp_path / f"{name}.wav", signal, SAMPLE_RATE)
    speech, music, silence = (describe_audio(tmp_path / f"{name}.wav") for name in ("speech", "chord", "silence"))
    assert speech.music_or_noise < 0.2 < 0.8 < music.music_or_noise
    assert silence.music_or_noise == 0.0
    assert silence.loudness_lufs == -70.0 and silence.silence_fraction == 1.0
