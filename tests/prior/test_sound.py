"""Audio front end: reading, levels, features, facts."""

import av
import numpy as np
import pytest
import soundfile as sf
import torch

from adapt.dubbing.provenance import inspect
from prior.speech.features import HOP, MEL_BANDS, PROSODY, _pitch, features, log_mel
from prior.speech.loudness import describe_audio
from prior.speech.sound import SAMPLE_RATE, read_waveform
from render.errors import FootageError
from tests.media import Sound, make_sound


def tone(hz: float, seconds: float, rate: int = SAMPLE_RATE, amplitude: float = 0.5) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def syllables(seconds: float, hz: float = 140.0) -> np.ndarray:
    """A buzz switched on and off four times a second: speech-like in level, with a known pitch."""
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    buzz = sum(np.sin(2 * np.pi * hz * k * t) / k for k in range(1, 20))
    return (0.1 * buzz * (np.sin(2 * np.pi * 4 * t) > 0)).astype(np.float32)


@pytest.mark.parametrize(("suffix", "rate", "channels"), [("wav", 8000, 1), ("flac", 44100, 2), ("ogg", 48000, 1)])
def test_any_file_becomes_mono_16_khz_on_its_own_clock(tmp_path, suffix, rate, channels):
    signal = np.concatenate([np.zeros(rate, np.float32), tone(1000, 1.0, rate)])
    path = tmp_path / f"été sound.{suffix}"
    sf.write(path, np.repeat(signal[:, None], channels, 1), rate)
    waveform = read_waveform(path)
    assert waveform.dtype == np.float32
    assert abs(len(waveform) - 2 * SAMPLE_RATE) <= 80  # 5 ms: a lossy codec may trim its last block
    onset = np.flatnonzero(np.abs(waveform) > 0.25)[0] / SAMPLE_RATE
    assert abs(onset - 1.0) < 0.002
    middle = waveform[20000:28000]
    assert np.sqrt(2) * middle.std() == pytest.approx(0.5, abs=0.02)


def test_unreadable_and_soundless_files_are_named(tmp_path):
    path = tmp_path / "broken.wav"
    path.write_bytes(b"not a sound")
    with pytest.raises(FootageError, match="broken.wav"):
        read_waveform(path)
    with pytest.raises(FootageError, match="missing.wav"):
        describe_audio(tmp_path / "missing.wav")


def test_features_find_pitch_band_and_activity():
    speech = np.concatenate([np.zeros(16000, np.float32), syllables(3.0, 140.0), np.zeros(16000, np.float32)])
    rows = features(speech)
    assert rows.mel.shape == (len(speech) // HOP + 1, MEL_BANDS)
    assert rows.prosody.shape == (len(rows.mel), len(PROSODY))
    activity, voicing = rows.prosody[:, 3], rows.prosody[:, 2]
    assert activity[:90].max() < 0.01 and voicing[:90].max() < 0.05
    assert activity[105:110].min() > 0.9 and voicing[105:110].min() > 0.9
    pitch_hz, _ = _pitch(torch.from_numpy(speech))
    assert pitch_hz[105:110].median() == pytest.approx(140, rel=0.02)
    low, high = (log_mel(torch.from_numpy(tone(hz, 0.5)))[25].argmax() for hz in (300, 3000))
    assert low < high


def test_features_do_not_know_the_recording_level_and_shift_with_the_sound():
    speech = syllables(2.0) + 1e-4 * np.random.default_rng(0).standard_normal(32000).astype(np.float32)
    reference = features(speech)
    quiet = features(0.05 * speech)
    torch.testing.assert_close(quiet.mel, reference.mel, atol=2e-3, rtol=0)
    frames = 7
    moved = features(np.concatenate([np.zeros(frames * HOP, np.float32), speech]))
    torch.testing.assert_close(moved.mel[frames + 5 :], reference.mel[5:], atol=1e-2, rtol=0)
    torch.testing.assert_close(moved.prosody[frames + 5 :, 0], reference.prosody[5:, 0], atol=2e-3, rtol=0)


def test_features_do_not_depend_on_the_chunk_size(monkeypatch):
    speech = syllables(2.0)
    whole = features(speech)
    monkeypatch.setattr("prior.speech.features.CHUNK_FRAMES", 37)
    parts = features(speech)
    torch.testing.assert_close(parts.mel, whole.mel, atol=1e-4, rtol=0)
    torch.testing.assert_close(parts.prosody, whole.prosody, atol=1e-4, rtol=0)


def test_silence_has_features_without_activity():
    rows = features(np.zeros(8000, np.float32))
    assert torch.isfinite(rows.mel).all()
    assert (rows.prosody[:, 1:] == 0).all()


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


def test_a_missing_file_is_one_clear_line(tmp_path):
    with pytest.raises(FootageError, match="voice.wav: no such file"):
        read_waveform(tmp_path / "voice.wav")


def test_sound_begins_where_its_file_does(tmp_path):
    """The clock of a transport stream starts anywhere."""
    path = make_sound(tmp_path / "voice.ts", Sound(start=1.4, seconds=1.0))
    with av.open(str(path)) as container:
        assert container.start_time > 0.5 * av.time_base
    assert len(read_waveform(path)) / SAMPLE_RATE == pytest.approx(2.4, abs=0.06)
    waveform = read_waveform(path, from_beginning=True)
    assert len(waveform) / SAMPLE_RATE == pytest.approx(1.0, abs=0.06)
    assert np.abs(waveform[: SAMPLE_RATE // 10]).max() > 0.05


def test_tags_that_are_not_utf8_do_not_matter(tmp_path):
    path = make_sound(tmp_path / "voice.wav", Sound(codec="pcm_s16le"))
    data = path.read_bytes()
    tag = b"LIST" + (16).to_bytes(4, "little") + b"INFOIART" + (4).to_bytes(4, "little") + b"Zo\xe9\0"
    whole = data + tag
    path.write_bytes(whole[:4] + (len(whole) - 8).to_bytes(4, "little") + whole[8:])
    assert len(read_waveform(path)) == pytest.approx(SAMPLE_RATE, abs=10)
    assert inspect(path).facts["tags"]
