"""Sounds of a comparison: what drives a lane, and how open a mouth it asks for."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from adapt.comparison.scores import SHIFTS, Heard
from adapt.comparison.split import Split
from prior.face.model import load_face_model
from prior.face.points import opening
from prior.motion.model import sound_rows
from prior.motion.sync import FRAME_RATE
from prior.speech.features import features
from prior.speech.phonemes import LABEL_RATE
from prior.speech.phonetics import shipped_phonetics
from render.head.track import Track


@dataclass(frozen=True, eq=False)
class LaneSound:
    """What is heard in a lane: a waveform as long as the query, what decides it, and what scores know of it."""

    waveform: np.ndarray | None
    facts: dict[str, Any]
    heard: Heard = Heard()


def speech_at(waveform: np.ndarray, track: Track) -> torch.Tensor:
    """Whether there is speech in a sound at each row of a track, bool [T]; time 0 is the first row."""
    _, gate = sound_rows(shipped_phonetics(), features(waveform))
    times = (track.timestamps - track.timestamps[0]).numpy()
    return torch.from_numpy(np.interp(times, np.arange(len(gate)) / LABEL_RATE, gate.numpy()) > 0.5)


def shifted_sounds(split: Split) -> dict[int, np.ndarray]:
    """A held-out part's own sound, late by each of `SHIFTS` frames of 1/25 s; empty where it has none."""
    take, track = split.held_out.take, split.held_out.track
    start, seconds = float(track.timestamps[0]), track.duration_seconds
    sounds = {shift: take.heard(start - shift / FRAME_RATE, seconds) for shift in SHIFTS}
    return {shift: sound for shift, sound in sounds.items() if sound is not None}


def driver_opening(driver: Split, split: Split) -> torch.Tensor:
    """Tracked opening [T] (eye distances) of a driver's mouth at the times of a split's held-out frames."""
    track = driver.held_out.track
    vertices = load_face_model().vertices(track.shape, track.lower_expression)
    times, wanted = track.timestamps.numpy(), split.held_out.track.timestamps.numpy()
    return torch.from_numpy(np.interp(wanted - wanted[0], times - times[0], opening(vertices).numpy())).float()
