"""The ceiling: takes are aligned by what is heard, and pairs are counted as what they are."""

import json

import numpy as np
import pytest

from prior.benchmarks.ceiling import Utterance, alignment, likeness, likenesses, takes
from prior.motion.model import shipped_motion_model
from prior.speech.phonemes import CLASSES
from prior.speech.sound import SAMPLE_RATE, write_audio
from render.errors import StoreError


def take(speaker="a", emotion="calm", text="1", lengths=(5, 8, 4, 6)):
    """Classes that follow each other for so many rows each; the lips open as far as the class says."""
    classes = np.repeat(np.arange(len(lengths)), lengths)
    heard = np.zeros((len(classes), len(CLASSES)))
    heard[np.arange(len(classes)), classes] = 1.0
    opening = np.array([1.0, 5.0, 2.0, 4.0])[classes]
    return Utterance(speaker, emotion, text, heard, opening, 0.5 * opening)


def test_another_tempo_is_undone():
    slow = take(lengths=(9, 4, 12, 3))
    first, second = alignment(take().heard, slow.heard)
    assert (first[0], second[0], first[-1], second[-1]) == (0, 0, 22, 27)
    assert (np.diff(first) >= 0).all() and (np.diff(second) >= 0).all()
    assert (take().heard[first] == slow.heard[second]).all()
    assert likeness(take(), slow) == pytest.approx(1.0)


def test_pairs_are_of_one_person_or_of_one_emotion():
    every = [take(), take(emotion="loud"), take(speaker="b"), take(speaker="b", emotion="loud", text="2")]
    found = likenesses(every)
    assert {kind: len(values) for kind, values in found.items()} == {
        "one person, two takes": 1,
        "two people": 1,
        "model": 4,
    }
    assert found["model"] == pytest.approx([1.0] * 4)


def test_a_folder_is_read_and_one_without_an_index_refused(tmp_path):
    with pytest.raises(StoreError, match="no ema.json"):
        list(takes(tmp_path, shipped_motion_model()))
    lips = np.zeros((150, 4, 3), np.float16)
    lips[:, 0, 2] = 3.0
    np.savez(tmp_path / "A1.npz", lips=lips)
    noise = np.random.default_rng(0).standard_normal(3 * SAMPLE_RATE // 2).astype(np.float32)
    write_audio(0.1 * noise, tmp_path / "A1.opus")
    entry = {"name": "A1", "speaker": "A", "emotion": "calm", "text": 1}
    (tmp_path / "ema.json").write_text(json.dumps({"rate_hz": 100, "utterances": [entry]}))
    (one,) = takes(tmp_path, shipped_motion_model())
    assert (one.speaker, one.text) == ("A", "1") and set(one.aperture) == {3.0}
    assert len(one.heard) == len(one.aperture) == len(one.modelled) == 75
