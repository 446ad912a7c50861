"""The whole way: an actor fitted from four seconds, held-out frames re-rendered, the shot dubbed to a new sentence.

The footage is the synthetic actor, which adapt renders itself, so that everything can be compared with the truth: how
the held-out frames were, and how she would have looked saying the sentence.
"""

import argparse
import json
import shutil
import time
from pathlib import Path

import numpy as np
import torch

import adapt
from adapt.metrics.picture import mouth_box_mask, psnr
from adapt.synthetic.actor import SyntheticActor, babble, make_actor
from adapt.tracking.crop import read_crops
from adapt.tracking.kept import track_footage
from prior.face.points import opening
from prior.speech.phonemes import CLASSES, classes_of_arpabet
from render.head.track import Track
from render.video.reader import Footage

FPS = 25
SENTENCE = Path(__file__).parent / "sentence.flac"


def sentence_phones() -> list[tuple[str, float]]:
    """The sentence's sound classes with their ends in seconds; a diphthong's two halves share its time."""
    phones, start = [], 0.0
    for phone, end in json.loads(SENTENCE.with_suffix(".json").read_text())["phones"]:
        labels = classes_of_arpabet(phone)
        for position, label in enumerate(labels):
            phones.append((CLASSES[label], start + (end - start) * (position + 1) / len(labels)))
        start = end
    return phones


def take_of(actor: SyntheticActor, phones: list[tuple[str, float]], seconds: float, seed: int) -> Track:
    times = torch.arange(round(seconds * FPS), dtype=torch.float64) / FPS
    return actor.perform(actor.speak(phones, times), times, seed)


def opening_of(actor: SyntheticActor, track: Track) -> np.ndarray:
    vertices = actor.model.vertices(track.shape, track.lower_expression)
    return opening(vertices).numpy()


def compare(actor: SyntheticActor, dubbed: Path, truth: Path, truth_track: Track) -> dict[str, float]:
    """Score a dubbed video against the rendered truth, frame by frame, in the truth's own crops."""
    track = track_footage(Footage(dubbed), None, "adapt track")
    frames = list(range(len(truth_track)))
    crops = [read_crops(Footage(path), track, frames).float() / 255 for path in (dubbed, truth)]
    box = mouth_box_mask(crops[0])
    pair = np.corrcoef(opening_of(actor, track), opening_of(actor, truth_track))
    return {
        "PSNR of the mouth box against the truth, dB": float(psnr(crops[0], crops[1], box).mean()),
        "correlation of the mouth's opening with the truth": float(pair[0, 1]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder to write (its old content is replaced)")
    parser.add_argument("--steps", type=int, default=adapt.FitOptions.steps, help="optimiser steps of the fit")
    parser.add_argument("--toy", action="store_true", help="a few frames and one step, for tests")
    arguments = parser.parse_args()
    out, steps = arguments.out, 1 if arguments.toy else arguments.steps
    started = time.monotonic()
    progress = adapt.Bar()
    # Only what this example wrote itself is replaced.
    for name in ("ada.actor", "dubbed"):
        shutil.rmtree(out / name, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)

    actor = make_actor(256 if arguments.toy else 512)
    take = take_of(actor, babble(4.0), 1.5 if arguments.toy else 4.0, seed=0)
    actor.film(out / "footage.mp4", take)
    phones = sentence_phones()
    seconds = 1.5 if arguments.toy else phones[-1][1]
    shot = take_of(actor, babble(seconds, seed=2), seconds, seed=1)
    truth = take_of(actor, phones, seconds, seed=1)
    actor.film(out / "shot.mp4", shot)
    actor.film(out / "truth.mp4", truth)
    print(f"footage rendered after {time.monotonic() - started:.0f} s")

    fitted = adapt.fit([out / "footage.mp4"], "Ada", adapt.FitOptions(steps=steps), progress=progress)
    adapt.save_fitted(fitted, out / "ada.actor", progress=progress)
    print(f"actor fitted after {time.monotonic() - started:.0f} s")

    for name, driver in {
        "the shot re-rendered with the true motion": adapt.Video(out / "truth.mp4"),
        "the shot dubbed to the sentence's sound": adapt.Sound(SENTENCE),
    }.items():
        shutil.rmtree(out / "dubbed", ignore_errors=True)
        request = adapt.Request(driver, out / "ada.actor")
        options = adapt.DubOptions(on_mismatch="trim")
        dubbed = adapt.dub(out / "shot.mp4", [request], out / "dubbed", options, progress=progress)
        scores = compare(actor, dubbed.video, out / "truth.mp4", truth)
        print(name)
        for label, value in scores.items():
            print(f"  {label}: {value:.2f}")
    print(f"done after {time.monotonic() - started:.0f} s")
    print(f"look at {out / 'ada.actor' / 'report.html'} and {out / 'dubbed' / 'report.html'}")


if __name__ == "__main__":
    main()
