"""Dub a shot to a sound from Python, without a command: what is asked, what may be watched, what comes back.

The actor is the synthetic one, fitted from two seconds of her; the shot is another take. Frames that tell are shown
first. Two versions are made of one shot: one to the sentence, one in which she keeps silent from the middle on.
"""

import argparse
import shutil
from pathlib import Path

import torch

import adapt
from adapt.reports.contact_sheet import encode_image
from adapt.synthetic.actor import babble, make_actor

FPS = 25
SENTENCE = Path(__file__).parent / "sentence.flac"


class Steps(adapt.Silent):
    """Progress of one's own: every stage is a line. `cancel()` on it, from anywhere, ends the work."""

    def stage(self, name: str, total: int | None = None):
        """Say which stage begins."""
        print(f"  {name} …")
        return super().stage(name, total)

    def note(self, text: str) -> None:
        """Say what is told."""
        print(f"  {text}")


def film(path: Path, size: int, seconds: float, seed: int) -> None:
    actor = make_actor(size)
    times = torch.arange(round(seconds * FPS), dtype=torch.float64) / FPS
    actor.film(path, actor.perform(actor.speak(babble(seconds, seed=seed), times), times, seed))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("dub_demo"), help="folder to write")
    parser.add_argument("--steps", type=int, default=60, help="optimiser steps of the fit")
    parser.add_argument("--toy", action="store_true", help="a few frames and one step, for tests")
    given = parser.parse_args()
    out, size, seconds = given.out, 256 if given.toy else 512, 1.2 if given.toy else 2.4
    out.mkdir(parents=True, exist_ok=True)
    film(out / "enrollment.mp4", size, seconds, seed=0)
    film(out / "shot.mp4", size, seconds, seed=1)
    progress = Steps()

    consent = adapt.Consent({"who": "Ada", "scope": "demo"})
    fitting = adapt.FitOptions(steps=1 if given.toy else given.steps, consent=consent)
    fitted = adapt.fit([out / "enrollment.mp4"], "Ada", fitting, progress=progress)
    adapt.save_fitted(fitted, out / "ada.actor", overwrite=True)
    print(f"fitted from {fitted.bundle.facts.seconds:.1f} s; never seen: {'; '.join(fitted.bundle.facts.never_seen)}")

    shown = adapt.preview_dub(
        out / "ada.actor", out / "shot.mp4", adapt.Sound(SENTENCE), options=adapt.DubOptions(on_mismatch="trim")
    )
    (out / "preview.png").write_bytes(encode_image(shown.sheet(), ".png"))
    for name, told in zip(shown.names, shown.told, strict=True):
        print(f"{name}: {told}")

    for name, driver, part in (
        ("spoken", adapt.Sound(SENTENCE), None),
        ("silent", adapt.Silence(), (seconds / 2, seconds)),
    ):
        shutil.rmtree(out / name, ignore_errors=True)
        request = adapt.Request(driver, out / "ada.actor")
        options = adapt.DubOptions(part=part, on_mismatch="trim", quality="draft")
        dubbed = adapt.dub(out / "shot.mp4", [request], out / name, options, progress=progress)
        counts = {word: dubbed.redrawn.status.count(word) for word in sorted(set(dubbed.redrawn.status))}
        print(f"{dubbed.video}: {counts}; look at {dubbed.folder / 'report.html'}")
    print(adapt.inspect(out / "spoken").facts["actors"][0]["consent"])


if __name__ == "__main__":
    main()
