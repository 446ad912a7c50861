"""Score the phonetic encoder: `python -m prior.benchmarks.phonetics SPEECH_DIR [--weights FILE]`.

Frame accuracy over the classes of `prior.speech.phonemes`, beside pocketsphinx's phone decoder on the same sound.
Reference labels are a forced alignment of the sound's transcript (`NAME.txt` beside `NAME.wav`) by pocketsphinx: its
times, and its pronunciation of the words, are the reference's, so its own decoder is judged kindly. Prints one JSON
line a file and one for all.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from prior.speech.features import features, level
from prior.speech.phonemes import CLOSED, LABIODENTAL, SILENCE
from prior.speech.phonetics import load_phonetics, posteriors
from prior.speech.sound import read_waveform
from prior.teachers import speech as teachers

# A row counts as right within this many rows of a border, where alignments are uncertain by as much (20 ms).
TOLERANCE_ROWS = 1


def scores(reference: np.ndarray, guess: np.ndarray) -> dict[str, float]:
    """Frame scores of class rows [T] against reference rows [T] (-1: not judged).

    Returns:
        rows: judged speech rows. accuracy: share of speech rows with the right class. tolerant: the same, any class
        heard within `TOLERANCE_ROWS` accepted. closed_recall / closed_precision: lips together (p b m), f_recall: lip
        on teeth (f v), silence_recall.
    """
    count = min(len(reference), len(guess))
    reference, guess = reference[:count], guess[:count]
    speech = (reference >= 0) & (reference != SILENCE)
    near = np.zeros(count, bool)
    for shift in range(-TOLERANCE_ROWS, TOLERANCE_ROWS + 1):
        near |= np.roll(guess, shift) == reference
    closed, closed_guess = np.isin(reference, CLOSED), np.isin(guess, CLOSED)
    lip, silent = np.isin(reference, LABIODENTAL), reference == SILENCE
    return {
        "rows": float(speech.sum()),
        "accuracy": float((guess == reference)[speech].mean()),
        "tolerant": float(near[speech].mean()),
        "closed_recall": float(closed_guess[closed].mean()),
        "closed_precision": float(closed[closed_guess & (reference >= 0)].mean()),
        "f_recall": float((guess == reference)[lip].mean()),
        "silence_recall": float((guess == reference)[silent].mean()),
    }


def main() -> None:
    """Command line; see the module's first lines."""
    parser = argparse.ArgumentParser(description="Score the phonetic encoder on transcribed speech.")
    parser.add_argument("speech", type=Path, help="folder with sound files beside .txt transcripts")
    parser.add_argument("--weights", type=Path, default=None)
    arguments = parser.parse_args()
    encoder = load_phonetics(arguments.weights)
    every: dict[str, list[np.ndarray]] = {"reference": [], "encoder": [], "pocketsphinx": []}
    for transcript in sorted(arguments.speech.glob("*.txt")):
        sound = next(path for path in sorted(arguments.speech.glob(transcript.stem + ".*")) if path != transcript)
        waveform = level(read_waveform(sound))
        reference = teachers.aligned_labels(waveform, transcript.read_text("utf-8").strip().lower())
        ours = posteriors(encoder, features(waveform).mel).argmax(1).numpy()
        theirs = teachers.phone_decoder_labels(waveform)
        count = min(len(reference), len(ours), len(theirs))
        labels_by = {"encoder": ours, "pocketsphinx": theirs, "reference": reference}
        for name, labels in labels_by.items():
            every[name].append(labels[:count])
        for name in ("encoder", "pocketsphinx"):
            print(json.dumps({"file": sound.name, "by": name, **scores(reference[:count], labels_by[name][:count])}))
    joined = {name: np.concatenate(parts) for name, parts in every.items()}
    for name in ("encoder", "pocketsphinx"):
        print(json.dumps({"file": "all", "by": name, **scores(joined["reference"], joined[name])}))


if __name__ == "__main__":
    main()
