"""Footage for tests of comparisons: two short takes of the synthetic actor, with sound."""

from pathlib import Path

import torch

from adapt.synthetic_actor import babble, make_actor
from tests.media import Sound, make_clip

SECONDS, FPS, SIZE = 1.2, 25, 256


def film_takes(folder: Path) -> Path:
    """Write two takes, `index.csv`, and a file that is no video; returns the folder."""
    folder.mkdir()
    actor = make_actor(SIZE)
    times = torch.arange(round(SECONDS * FPS), dtype=torch.float64) / FPS
    for number in (0, 1):
        take = actor.perform(actor.speak(babble(SECONDS, seed=number), times), times, seed=number)
        sounds = [Sound(seconds=SECONDS)]
        make_clip(folder / f"take {number}.mp4", pictures=list(actor.frames(take)), rate=FPS, sounds=sounds)
    (folder / "damaged.mp4").write_bytes(b"no video at all")
    rows = ["file,person,speech", "take 0.mp4,ada,yes", "take 1.mp4,ada,yes", "damaged.mp4,bob,yes"]
    (folder / "index.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder
