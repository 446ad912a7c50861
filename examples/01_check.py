"""Make a reel from a public-domain portrait and check it: who is in it, where the face is missing, is it good to fit.

The reel has what real footage has: a close-up, black frames, a title, and a second shot of the same person.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from skimage.data import astronaut

import adapt
from adapt.cast.sheet import cast_sheet
from adapt.cast.suitability import check_footage
from adapt.reports.contact_sheet import encode_image
from render.video.reader import Footage

SIZE = 480
FPS = 25


def view(portrait: np.ndarray, centre: tuple[float, float], side: float, degrees: float) -> np.ndarray:
    """A turned square of the portrait, `side` px wide, uint8 [480, 480, 3]."""
    matrix = cv2.getRotationMatrix2D(centre, degrees, SIZE / side)
    matrix[:, 2] += SIZE / 2 - np.array(centre)
    return cv2.warpAffine(portrait, matrix, (SIZE, SIZE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def title(text: str) -> np.ndarray:
    card = np.full((SIZE, SIZE, 3), 40, np.uint8)
    cv2.putText(card, text, (60, SIZE // 2), cv2.FONT_HERSHEY_SIMPLEX, 1.4, (230, 230, 230), 2, cv2.LINE_AA)
    return card


def pictures(length: int) -> Iterator[np.ndarray]:
    """Four parts: close-up (`length` frames), black and title (a third of that each), wide view (`length`)."""
    portrait = astronaut()
    for index in range(length):
        sway = np.sin(index / 12)
        yield view(portrait, (222 + 3 * sway, 120), 230 - 20 * index / length, 3 * sway)
    for _ in range(length // 3):
        yield np.zeros((SIZE, SIZE, 3), np.uint8)
    for _ in range(length // 3):
        yield title("The next day")
    for index in range(length):
        yield view(portrait, (256, 200), 400, 2 * np.sin(index / 9))


def write_reel(path: Path, length: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = SIZE, SIZE, "yuv420p"
        for picture in pictures(length):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for the reel and what is found in it")
    parser.add_argument("--toy", action="store_true", help="a few frames only")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    reel = given.out / "reel.mp4"
    write_reel(reel, 12 if given.toy else 90)
    findings, analysis = check_footage(Footage(reel), progress=adapt.Bar())
    print("\n".join(findings.lines()))
    (given.out / "cast.jpg").write_bytes(encode_image(cast_sheet(analysis)))
    print(f"look at {given.out / 'cast.jpg'}")


if __name__ == "__main__":
    main()
