"""Compare adapt with simpler ways to draw a mouth, on frames that none of them saw: `python examples/07_compare.py`.

The footage is the synthetic actor in two takes: in one she babbles, all methods learn from it; in the other she says a
sentence, its mouth is withheld. A method from outside takes part by a command: this one leaves the mouth erased.
"""

import argparse
import json
import sys
from pathlib import Path

import torch

import adapt
from adapt.synthetic.actor import babble, make_actor
from prior.speech.phonemes import CLASSES, classes_of_arpabet
from render.video.encoding import DeliveredSound
from render.video.reader import Footage
from render.video.writer import VideoWriter

FPS = 25
SENTENCE = Path(__file__).parent / "sentence.flac"
COPY = "import shutil, sys; shutil.copy(sys.argv[1], sys.argv[2])"


def sentence_phones() -> list[tuple[str, float]]:
    """The sentence's sound classes with their ends in seconds; a diphthong is its first half."""
    phones = json.loads(SENTENCE.with_suffix(".json").read_text())["phones"]
    return [(CLASSES[classes_of_arpabet(phone)[0]], end) for phone, end in phones]


def film(folder: Path, size: int, longest: float) -> None:
    """Film two takes, with an index that says who is seen and that the sound belongs to the picture."""
    actor = make_actor(size)
    phones = sentence_phones()
    spoken = min(longest, phones[-1][1])
    for name, said, seconds in (("babble", babble(longest), longest), ("sentence", phones, spoken)):
        times = torch.arange(round(seconds * FPS), dtype=torch.float64) / FPS
        take = actor.perform(actor.speak(said, times), times, seed=len(name))
        actor.film(folder / f"{name}.silent.mp4", take)
        silent, heard = Footage(folder / f"{name}.silent.mp4"), folder / "takes" / f"{name}.mp4"
        heard.parent.mkdir(exist_ok=True)
        heard.unlink(missing_ok=True)
        sound = DeliveredSound([SENTENCE]) if name == "sentence" else None
        with VideoWriter(silent, heard, sound=sound) as writer:
            for frame in silent.frames():
                writer.write(frame)
    (folder / "takes" / "index.csv").write_text("file,person,speech\nbabble.mp4,Ada,no\nsentence.mp4,Ada,yes\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("compare_demo"))
    parser.add_argument("--steps", type=int, default=adapt.CompareOptions.fit_steps, help="optimiser steps of the fit")
    parser.add_argument("--toy", action="store_true", help="a few frames and methods, for tests")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    film(given.out, 256 if given.toy else 512, 1.2 if given.toy else 6.0)
    options = adapt.CompareOptions(
        methods=["real", "frozen mouth", "prior"] if given.toy else None,
        commands=[f"erased='{sys.executable}' -c '{COPY}' {{query}} {{output}}"],
        lanes=[1, 3] if given.toy else [1, 2, 3, 4],
        enrollment=1.0 if given.toy else 4.0,
        held_out=0.5 if given.toy else 2.5,
        sound=SENTENCE,
        fit_steps=given.steps,
    )
    comparison = adapt.compare([given.out / "takes"], given.out / "comparison", options, progress=adapt.Bar())
    for line in comparison.lines:
        texture, ccc = (line["scores"].get(name, float("nan")) for name in ("mouth_texture", "ccc"))
        print(f"lane {line['lane']}, {line['method']}: texture {texture:.2f} of the real, opening CCC {ccc:.2f}")
    print(f"look at {given.out / 'comparison' / 'report.html'}")


if __name__ == "__main__":
    main()
