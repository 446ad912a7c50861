"""What networks hear of a sound: mel bands and prosody."""

import numpy as np
import pytest
import torch

from prior.speech.features import HOP, MEL_BANDS, PROSODY, _pitch, features, log_mel
from tests.media import syllables, tone


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
