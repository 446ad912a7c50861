"""Pixels that are not square, faces that stand on their heads, are half out of the picture, covered, small or dark."""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from render.compositing.occlusion import LOOK_PX
from render.head.track import Track
from render.video.reader import Footage
from tests.cases.case import Bench, case
from tests.heads import portrait
from tests.media import make_clip

Change = Callable[[int, np.ndarray], np.ndarray]


def filmed(bench: Bench, name: str, change: Change, frames: int = 40, aspect: Fraction = Fraction(1)) -> Path:
    """The shared shot's first frames, each changed, as a clip of its own."""
    shown = Footage(bench.shared / "talking.mp4").frames(0, frames)
    pictures = [np.ascontiguousarray(change(frame.index, frame.rgb)) for frame in shown]
    return make_clip(bench.folder / name, pictures=pictures, context={"sample_aspect_ratio": aspect})


def still(bench: Bench, name: str, picture: np.ndarray) -> Path:
    """A picture that trembles, twelve times."""
    return make_clip(bench.folder / name, pictures=[np.roll(picture, index % 3, 1) for index in range(12)])


@case("anamorphic", "pixels of 2:1")
def pixels_twice_as_wide(bench: Bench) -> str:
    def squeezed(_: int, rgb: np.ndarray) -> np.ndarray:
        return cv2.resize(rgb, (160, 320), interpolation=cv2.INTER_AREA)

    shot = filmed(bench, "squeezed.mp4", squeezed, aspect=Fraction(2))
    assert "320x320 (coded 160x320, pixels 2:1)" in bench.adapt("check", shot).out
    outcome = bench.dub(shot, bench.shared / "voice.wav")
    assert outcome.code == 0 and "somebody else" not in outcome.err, outcome
    dubbed = Footage(bench.folder / "out" / "squeezed.dubbed.mp4")
    assert dubbed.sample_aspect == 2 and (dubbed.coded_width, dubbed.coded_height) == (160, 320)
    return "measured and drawn in square pixels, delivered as 160x320 of 2:1"


@case("posture", "a face on its head")
def a_face_on_its_head(bench: Bench) -> str:
    shot = filmed(bench, "over.mp4", lambda _, rgb: rgb[::-1, ::-1], 12)
    assert "the face is upside down and cannot be dubbed; turn the picture" in bench.adapt("check", shot).out
    outcome = bench.dub(shot, bench.shared / "voice.wav", "--on-mismatch", "trim")
    assert outcome.is_refusal and "person 1 is upside down; turn the picture by 180" in outcome.line, outcome
    return outcome.line


@case("posture", "a face that lies")
def a_face_that_lies(bench: Bench) -> str:
    outcome = bench.adapt("check", filmed(bench, "lies.mp4", lambda _, rgb: np.rot90(rgb), 12))
    assert "the face lies on its side; unless it should, turn the picture by 90 degrees first" in outcome.out, outcome
    return "named, with how to turn it"


@case("half out", "an actor who leaves the picture")
def an_actor_who_leaves_the_picture(bench: Bench) -> str:
    def leaving(index: int, rgb: np.ndarray) -> np.ndarray:
        gone = min(6 * max(0, index - 8), 156)  # and stays so, its middle outside
        return np.pad(rgb[:, gone:], ((0, 0), (0, gone), (0, 0)), mode="edge")[:, :256]

    shot = filmed(bench, "leaves.mp4", leaving)
    outcome = bench.dub(shot, bench.shared / "voice.wav")
    assert outcome.code == 0, outcome
    quality = json.loads((bench.folder / "out" / "qc.json").read_text(encoding="utf-8"))
    (person,) = quality["people"]
    first, last = next(one["frames"] for one in person["below_one"] if one["why"] == "out of the picture")
    assert quality["status"]["dubbed"] > 15 and quality["status"]["out of the picture"] > 2, quality
    assert last - first >= 3
    assert max(person["weight"][last:]) == 0, "out for good"
    return f"{quality['status']}"


@case("covered", "a mask over the mouth")
def a_mask_over_the_mouth(bench: Bench) -> str:
    def masked(_: int, rgb: np.ndarray) -> np.ndarray:
        covered = rgb.copy()
        covered[140:215, 105:225] = (160, 190, 225)
        return covered

    outcome = bench.dub(filmed(bench, "mask.mp4", masked), bench.shared / "voice.wav", "--anyway")
    assert outcome.is_refusal and "something lies over the mouth" in outcome.line, outcome
    return outcome.line


@case("covered", "by another person's head")
def a_head_before_the_mouth(bench: Bench) -> str:
    y, x = np.mgrid[0:320, 0:480]
    other = portrait(240, size=(480, 320), at=(302, 175))

    def head(index: int) -> np.ndarray:
        return ((x - 302 - 10 * max(0, 25 - index)) / 132) ** 2 + ((y - 150) / 170) ** 2 < 1

    def before(index: int, rgb: np.ndarray) -> np.ndarray:
        wide = np.pad(rgb, ((0, 0), (0, 160), (0, 0)), mode="edge")
        return np.where(head(index)[..., None], np.roll(other, 10 * max(0, 25 - index), 1), wide)

    shot = filmed(bench, "two.mkv", before)
    outcome = bench.dub(shot, "silence", "--person", "1", "--codec", "ffv1", "--anyway")
    assert outcome.code == 0, outcome
    quality = json.loads((bench.folder / "out" / "qc.json").read_text(encoding="utf-8"))
    dubbed = Footage(bench.folder / "out" / "two.dubbed.mkv")
    # What lies in front is told on a grid of LOOK_PX to a crop: a step of it may be lost to the blur before pictures
    # are compared, another to the edge of the mask.
    crops = Track.load(bench.shared / "talking.track.safetensors").with_crop_size(LOOK_PX).crop_from_image
    rim_px = 2 / float(crops[0, :, :2].det().abs().sqrt())
    changed = []
    for old, new in zip(Footage(shot).frames(), dubbed.frames(), strict=True):
        differs = old.planes[0] != new.planes[0]
        on_head = head(old.index)
        depth = cv2.distanceTransform(on_head.astype(np.uint8), cv2.DIST_L2, 5)
        changed.append((int(differs.sum()), int((differs & on_head).sum()), float(depth[differs].max(initial=0))))
    assert min(whole for whole, _, _ in changed[2:10]) > 100, changed
    assert max(samples for _, samples, _ in changed) < 200 and max(deep for _, _, deep in changed) < rim_px, changed
    assert not any(whole for whole, _, _ in changed[25:]), changed
    return f"{quality['status']}; nothing is drawn on the nearer head"


@case("small face", "in a very high picture")
def in_a_very_high_picture(bench: Bench) -> str:
    outcome = bench.adapt("check", still(bench, "high.mp4", portrait(60, size=(300, 2400), at=(150, 1900))))
    assert outcome.code == 0 and "person 1" in outcome.out and "person 2" not in outcome.out, outcome
    return "found"


@case("dark", "and noisy")
def dark_and_noisy(bench: Bench) -> str:
    noise = np.random.default_rng(0)
    dark = filmed(
        bench,
        "dark.mp4",
        lambda _, rgb: np.clip(rgb * 0.2 + noise.normal(6, 5, rgb.shape), 0, 255).astype(np.uint8),
        12,
    )
    outcome = bench.adapt("check", dark)
    assert outcome.code == 0 and "person 1" in outcome.out and "person 2" not in outcome.out, outcome
    return "found"
