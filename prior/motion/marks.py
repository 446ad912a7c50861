"""Marks of a sound: where it is speech, and where the lips have to meet or nearly so; what directing a mouth goes by.

In: a waveform. Out: rows at `LABEL_RATE`, row t at t / `LABEL_RATE` seconds, as `MotionModel.predict` hears them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from prior.motion.closures import lips_near, speech_gate
from prior.motion.model import BEYOND_ROWS, SOUND_INPUTS, silent_rows, sound_rows
from prior.speech.features import features
from prior.speech.phonemes import CLASSES, CLOSED, LABIODENTAL
from prior.speech.phonetics import PhoneticEncoder, shipped_phonetics


@dataclass(frozen=True)
class SpeechMarks:
    """What is heard in a sound.

    Attributes:
        heard: [T, len(CLASSES)] posteriors.
        speaking: [T] in [0, 1], how much the mouth may move.
        shut: [T] in [0, 1], how far the lips are brought together, at p b m.
        near: [T] in [0, 1], how far they are brought near, at f v.
    """

    heard: torch.Tensor
    speaking: torch.Tensor
    shut: torch.Tensor
    near: torch.Tensor


def speech_marks(waveform: np.ndarray, encoder: PhoneticEncoder | None = None) -> SpeechMarks:
    """Marks of a waveform [N] at `prior.speech.sound.SAMPLE_RATE`; the encoder is the shipped one where not given."""
    rows, _ = sound_rows(encoder or shipped_phonetics(), features(waveform))
    inside = slice(BEYOND_ROWS, BEYOND_ROWS + len(rows))
    silence = silent_rows(BEYOND_ROWS)[:, :SOUND_INPUTS]
    rows = torch.cat([silence, rows, silence])
    gate, shut, near = speech_gate(rows[:, : len(CLASSES)]), lips_near(rows, CLOSED), lips_near(rows, LABIODENTAL)
    return SpeechMarks(rows[inside, : len(CLASSES)], gate[inside], shut[inside], near[inside])
