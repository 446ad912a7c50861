"""Phoneme classes, teachers' labels, and the phonetic encoder."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from prior.speech import phonemes, phonetics
from prior.speech.features import MEL_BANDS, features
from prior.speech.phonemes import CLASSES, INDEX, LABEL_RATE
from prior.speech.sound import SAMPLE_RATE, read_waveform
from render.errors import StoreError

SENTENCE = Path(__file__).parents[2] / "examples" / "sentence.flac"


def sentence_labels() -> np.ndarray:
    """Exact classes of the committed synthetic sentence, from its phone end times."""
    phones = json.loads(SENTENCE.with_suffix(".json").read_text("utf-8"))["phones"]
    starts = [0.0, *(end for _, end in phones)]
    segments = [
        (start, end, phonemes.classes_of_arpabet(phone)) for start, (phone, end) in zip(starts, phones, strict=False)
    ]
    return phonemes.label_rows(segments, starts[-1])


def random_encoder() -> phonetics.PhoneticEncoder:
    torch.manual_seed(0)
    return phonetics.PhoneticEncoder(phonetics.PhoneticConfig(16, (1, 2))).eval()


def test_symbols_of_teachers_map_to_classes():
    assert phonemes.classes_of_arpabet("AY1") == [INDEX["a"], INDEX["I"]]
    assert phonemes.classes_of_arpabet("pau") == [phonemes.SILENCE]
    assert phonemes.classes_of_ipa("tʃ") == [INDEX["sh"]]
    assert phonemes.classes_of_ipa("b̥ː") == [INDEX["p"]]
    assert phonemes.classes_of_ipa("ˈ5") == []
    with pytest.raises(KeyError):
        phonemes.classes_of_arpabet("QQ")


def test_label_rows_by_hand():
    # 50 rows a second: rows 0..4 are at 0, 20, 40, 60 and 80 ms.
    rows = phonemes.label_rows([(0.0, 0.03, [1]), (0.03, 0.09, [2, 3])], 0.1)
    assert rows.tolist() == [1, 1, 2, 3, 3, -1]


def test_posteriors_are_probabilities_on_the_label_clock():
    mel = torch.randn(301, MEL_BANDS) * 3 - 12
    rows = phonetics.posteriors(random_encoder(), mel)
    assert rows.shape == (151, len(CLASSES))
    torch.testing.assert_close(rows.sum(1), torch.ones(151))


def test_posteriors_do_not_depend_on_the_piece_size(monkeypatch):
    encoder = random_encoder()
    mel = torch.randn(901, MEL_BANDS) * 3 - 12
    whole = phonetics.posteriors(encoder, mel)
    monkeypatch.setattr(phonetics, "PIECE_ROWS", 70)
    torch.testing.assert_close(phonetics.posteriors(encoder, mel), whole, atol=1e-5, rtol=0)


def test_a_row_hears_only_its_context():
    encoder = random_encoder()
    mel = torch.randn(401, MEL_BANDS) * 3 - 12
    changed = mel.clone()
    changed[200] += 5.0
    moved = (phonetics.posteriors(encoder, mel) - phonetics.posteriors(encoder, changed)).abs().sum(1) > 1e-6
    rows = moved.nonzero()[:, 0]
    assert len(rows) and (rows - 100).abs().max() <= encoder.context_rows


def test_weights_round_trip_and_a_missing_file_is_named(tmp_path):
    encoder = random_encoder()
    encoder.save(tmp_path / "phonetics.safetensors", {"note": 1})
    again = phonetics.load_phonetics(tmp_path / "phonetics.safetensors")
    mel = torch.randn(101, MEL_BANDS) * 3 - 12
    torch.testing.assert_close(phonetics.posteriors(again, mel), phonetics.posteriors(encoder, mel), atol=5e-3, rtol=0)
    with pytest.raises(StoreError, match="nowhere"):
        phonetics.load_phonetics(tmp_path / "nowhere.safetensors")


def test_shipped_encoder_hears_where_the_sentence_closes_its_lips():
    waveform, labels = read_waveform(SENTENCE), sentence_labels()
    rows = phonetics.posteriors(phonetics.shipped_phonetics(), features(waveform).mel)
    count = min(len(rows), len(labels))
    guess, labels = rows[:count].argmax(1).numpy(), labels[:count]
    speech = labels != phonemes.SILENCE
    assert (guess == labels)[speech].mean() > 0.5
    closed = np.isin(labels, phonemes.CLOSED)
    assert np.isin(guess, phonemes.CLOSED)[closed].mean() > 0.6


def test_shipped_encoder_hears_silence_in_silence_and_hum():
    t = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    hum = (0.1 * np.sin(2 * np.pi * 100 * t)).astype(np.float32)
    for waveform in (np.zeros_like(hum), hum):
        rows = phonetics.posteriors(phonetics.shipped_phonetics(), features(waveform).mel)
        assert rows[10:-10, phonemes.SILENCE].mean() > 0.9
    assert len(rows) == 2 * LABEL_RATE + 1
