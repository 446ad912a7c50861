"""Track the synthetic actor and compare with the truth she was rendered from: `python examples/03_track.py`.

Writes `track_demo/`: the video, its track, and the video with the mesh, the uv grid and the crop drawn on it.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

import adapt
from adapt.synthetic.actor import babble, make_actor
from prior.face.model import load_face_model
from prior.face.points import opening


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("track_demo"))
    parser.add_argument("--toy", action="store_true", help="small and short")
    given = parser.parse_args()
    size, seconds = (256, 1.6) if given.toy else (512, 3.0)
    given.out.mkdir(parents=True, exist_ok=True)

    actor = make_actor(size)
    times = torch.arange(round(seconds * 25), dtype=torch.float64) / 25
    truth = actor.perform(actor.speak(babble(seconds), times), times)
    actor.film(given.out / "actor.mp4", truth)

    model = load_face_model()
    tracked = adapt.track(given.out / "actor.mp4", out=given.out, overlay=True, overwrite=True)
    track = tracked.tracks[1]

    gaps = []
    for motion in (track, truth):
        vertices = model.vertices(motion.shape, motion.lower_expression)
        gaps.append(opening(vertices).numpy())
    turned = (track.rotation - track.rotation.mean(0)) - (truth.rotation - truth.rotation.mean(0))
    print(f"{given.out}: {len(track)} frames")
    print(f"head pose follows the truth within {float(turned.rad2deg().abs().mean()):.2f} degrees on average")
    print(f"opening of the lips: r = {np.corrcoef(*gaps)[0, 1]:.3f}")


if __name__ == "__main__":
    main()
