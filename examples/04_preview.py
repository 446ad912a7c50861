"""Film the synthetic actor, then preview what the unadapted renderer makes of her: real, re-rendered, jaw held open.

The texture is encoded from the clip itself; nothing is trained.
"""

import argparse
from pathlib import Path

import torch

import adapt
from adapt.reports.contact_sheet import encode_image
from adapt.synthetic.actor import babble, make_actor

FPS = 25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for the clip and the picture")
    parser.add_argument("--toy", action="store_true", help="a second only")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    seconds = 1.0 if given.toy else 4.0
    actor = make_actor(320 if given.toy else 512)
    times = torch.arange(round(seconds * FPS), dtype=torch.float64) / FPS
    clip = given.out / "actor.mp4"
    actor.film(clip, actor.perform(actor.speak(babble(seconds), times), times))
    picture = given.out / "preview.png"
    grid = adapt.preview(None, clip, progress=adapt.Bar())
    picture.write_bytes(encode_image(grid.sheet(), ".png"))
    print(f"look at {picture}")


if __name__ == "__main__":
    main()
