"""How alike two takes of the same words are: `python -m prior.benchmarks.ceiling DIR`, the ceiling of lips from sound.

DIR holds measured lips beside their sound (`prior.benchmarks.articulography`). Takes of one text are aligned by what is
heard, never by the lips; then the apertures are correlated, between takes of one person and between people. Prints JSON
lines.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import torch

from prior.benchmarks.articulography import measured_lips
from prior.motion.model import MotionModel, input_rows, shipped_motion_model
from prior.speech.features import features
from prior.speech.phonemes import CLASSES, LABEL_RATE
from prior.speech.phonetics import shipped_phonetics
from prior.speech.sound import read_waveform
from prior.training.run import one_line_errors


@dataclass(frozen=True)
class Utterance:
    """One utterance, rows at `LABEL_RATE`.

    Attributes:
        speaker, emotion, text: of the utterance.
        heard: [T, len(CLASSES)] posteriors.
        aperture: [T] distance of the lips, mm.
        modelled: [T] opening that the motion model makes of the sound.
    """

    speaker: str
    emotion: str
    text: str
    heard: np.ndarray
    aperture: np.ndarray
    modelled: np.ndarray


def takes(folder: Path, model: MotionModel) -> Iterator[Utterance]:
    """Every utterance of a folder; raises `StoreError` where it has no index."""
    for entry, lips, rate in measured_lips(folder):
        rows, gate = input_rows(shipped_phonetics(), features(read_waveform(folder / f"{entry['name']}.opus")))
        opening = (model.expression(rows, gate) @ model.opening_axis).numpy()
        seconds = np.arange(len(rows)) / LABEL_RATE
        aperture = np.linalg.norm(lips[:, 0] - lips[:, 1], axis=-1)
        inside = seconds <= (len(lips) - 1) / rate
        aperture = np.interp(seconds[inside], np.arange(len(lips)) / rate, aperture)
        heard = rows[:, : len(CLASSES)].numpy()[inside]
        yield Utterance(entry["speaker"], entry["emotion"], str(entry["text"]), heard, aperture, opening[inside])


def alignment(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of one and other that go with each other, by dynamic time warping of posteriors [T, C] and [U, C]."""
    cost = 1 - np.sqrt(one.clip(0)) @ np.sqrt(other.clip(0)).T  # 1 less the Bhattacharyya coefficient
    rows, columns = cost.shape
    total = np.full((rows + 1, columns + 1), np.inf)
    total[0, 0] = 0.0
    for diagonal in range(rows + columns - 1):
        row = np.arange(max(0, diagonal - columns + 1), min(rows, diagonal + 1))
        column = diagonal - row
        before = np.stack([total[row, column], total[row, column + 1], total[row + 1, column]])
        total[row + 1, column + 1] = before.min(0) + cost[row, column]
    path = [(rows - 1, columns - 1)]
    while path[-1] != (0, 0):
        row, column = path[-1]
        steps = {(row - 1, column - 1): total[row, column], (row - 1, column): total[row, column + 1]}
        steps[(row, column - 1)] = total[row + 1, column]
        path.append(min((step for step in steps if min(step) >= 0), key=steps.__getitem__))
    first, second = np.array(path[::-1]).T
    return first, second


def likeness(one: Utterance, other: Utterance) -> float:
    """Correlation of two takes' apertures after alignment by sound."""
    first, second = alignment(one.heard, other.heard)
    return float(np.corrcoef(one.aperture[first], other.aperture[second])[0, 1])


def likenesses(every: list[Utterance]) -> dict[str, list[float]]:
    """Correlations by kind of pair: takes of one person, of two people in one emotion, and the model's with a take."""
    found: dict[str, list[float]] = {"one person, two takes": [], "two people": [], "model": []}
    for one, other in combinations(every, 2):
        if one.text == other.text and one.speaker == other.speaker:
            found["one person, two takes"].append(likeness(one, other))
        elif one.text == other.text and one.emotion == other.emotion:
            found["two people"].append(likeness(one, other))
    found["model"] = [float(np.corrcoef(one.modelled, one.aperture)[0, 1]) for one in every]
    return found


def main() -> None:
    """Command line; see the module's first lines."""
    parser = argparse.ArgumentParser(description="How alike two takes of the same words are.")
    parser.add_argument("folder", type=Path, help="lips by articulography and their sound")
    with one_line_errors("prior.benchmarks.ceiling"):
        torch.set_grad_enabled(False)
        for name, values in likenesses(list(takes(parser.parse_args().folder, shipped_motion_model()))).items():
            low, middle, high = np.quantile(values, [0.25, 0.5, 0.75]).round(3).tolist()
            facts = {"pairs": name, "count": len(values), "r": round(float(np.mean(values)), 3)}
            print(json.dumps({**facts, "quartiles": [low, middle, high]}))


if __name__ == "__main__":
    main()
