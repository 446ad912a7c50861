"""What all cases read: the synthetic actor talking, her track, her bundle without a step of fitting, and a voice."""

from pathlib import Path

import torch

from adapt.fitting.fit import fit
from adapt.fitting.options import FitOptions
from adapt.synthetic.actor import babble, make_actor
from tests.media import SECONDS_OF_VOICE, make_voice

FRAMES, FPS, PX = 40, 25, 320


def make_shared(folder: Path) -> Path:
    """Write the shared inputs into a new folder; returns it."""
    folder.mkdir(parents=True)
    actor = make_actor(PX)
    times = torch.arange(FRAMES, dtype=torch.float64) / FPS
    take = actor.perform(actor.speak(babble(FRAMES / FPS), times), times)
    actor.film(folder / "talking.mp4", take)
    take.save(folder / "talking.track.safetensors")
    fit([folder / "talking.mp4"], "Ada", FitOptions(steps=0), tracks=[take]).bundle.save(folder / "ada.actor")
    make_voice(folder / "voice.wav", SECONDS_OF_VOICE)
    return folder
