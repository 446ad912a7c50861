"""Scoring who speaks when: two mouths that do as the voices say are told from each other, and a shuffled one is not."""

from pathlib import Path

import numpy as np
import pytest
import torch

from prior.benchmarks.turns import WINDOWS, Talking, judged
from prior.motion.model import shipped_motion_model, sound_rows
from prior.motion.sync import shipped_sync_model
from prior.motion.turns import WINDOW_ROWS, WINDOW_SECONDS
from prior.speech.features import features
from prior.speech.phonemes import LABEL_RATE
from prior.speech.phonetics import shipped_phonetics
from prior.speech.sound import SAMPLE_RATE, read_waveform

SENTENCE = Path(__file__).parents[2] / "examples" / "sentence.flac"


@pytest.fixture(scope="module")
def people():
    """Two who say the sentence over and over, one of them beginning in its middle."""
    sound, seconds = read_waveform(SENTENCE), WINDOWS * WINDOW_SECONDS
    size, found = WINDOWS * WINDOW_ROWS, []
    for name, first in (("A", 0), ("B", len(sound) // 2)):
        voice = np.resize(np.roll(sound, -first), round(seconds * SAMPLE_RATE) + SAMPLE_RATE)
        motion = shipped_motion_model().predict(voice, np.arange(round(seconds * LABEL_RATE)) / LABEL_RATE)
        rows, gate = sound_rows(shipped_phonetics(), features(voice))
        found.append(Talking(name, motion, rows[:size], gate[:size]))
    return found


def test_windows_go_to_the_mouths_whose_they_are(people):
    with torch.no_grad():
        windows = list(judged(shipped_sync_model(), people))
    assert [sound for sound, *_ in windows] == ["a sound each"] * 2 * WINDOWS + ["in turn"] * WINDOWS
    assert all(right for _, right, _ in windows) and sum(sure for *_, sure in windows) >= 2 * WINDOWS


def test_a_mouth_that_says_something_else_is_never_surely_its_voices(people):
    one, other = people
    swapped = [Talking(a.person, b.motion, a.rows, a.gate) for a, b in ((one, other), (other, one))]
    with torch.no_grad():
        each = [right for sound, right, _ in judged(shipped_sync_model(), swapped) if sound == "a sound each"]
    assert not any(each)
