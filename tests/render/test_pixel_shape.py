from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from render.compositing.composite import Patch, composite
from render.video.pixel_shape import resized, square_size
from render.video.reader import Footage
from tests.media import make_clip, picture

SHAPES = {"2:1": Fraction(2), "64:45": Fraction(64, 45), "1:2": Fraction(1, 2)}
SHOWN = (256, 192)


def coded_size(aspect: Fraction) -> tuple[int, int]:
    width, height = SHOWN
    return (int(width / aspect), height) if aspect > 1 else (width, int(height * aspect))


def squeezed_clip(path: Path, aspect: Fraction, rgb: np.ndarray, rotation: int = 0) -> Footage:
    """One picture of square pixels, coded in pixels of another shape; the tag is of the coded picture."""
    small = cv2.resize(rgb, coded_size(aspect), interpolation=cv2.INTER_AREA)
    tag = {"sample_aspect_ratio": 1 / aspect if rotation % 180 else aspect}
    exact = {"codec": "libx264rgb", "pix_fmt": "rgb24", "options": {"qp": "0"}}
    made = make_clip(path, pictures=[small], rotation=rotation, context=tag, **exact)
    return Footage(made)


@pytest.mark.parametrize(
    ("size", "aspect", "square"),
    [
        ((720, 576), Fraction(64, 45), (1024, 576)),
        ((1440, 1080), Fraction(4, 3), (1920, 1080)),
        ((256, 512), Fraction(2), (512, 512)),
        ((512, 256), Fraction(1, 2), (512, 512)),
        ((720, 480), Fraction(10, 11), (720, 528)),
        ((640, 480), Fraction(1), (640, 480)),
        ((1918, 1080), Fraction(1215, 1216), (1918, 1080)),
        ((640, 480), Fraction(100), (640, 480)),
        ((640, 480), Fraction(1, 100), (640, 480)),
    ],
)
def test_the_shorter_side_of_a_pixel_is_drawn_out(size, aspect, square):
    assert square_size(*size, aspect) == square


def test_a_picture_of_square_pixels_is_the_very_same():
    rgb = picture(0, 64, 48)
    assert resized(rgb, 64, 48) is rgb


@pytest.mark.parametrize("rotation", [0, 90, 270])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_round_is_shown_round_and_its_place_leads_back_to_the_coded_picture(shape, rotation, tmp_path):
    y, x = np.mgrid[0 : SHOWN[1], 0 : SHOWN[0]] + 0.5
    disc = 255 * np.clip((40 - np.hypot(x - 100, y - 72)) / 4, 0, 1)
    footage = squeezed_clip(
        tmp_path / "disc.mp4", SHAPES[shape], np.repeat(disc[..., None], 3, 2).astype(np.uint8), rotation
    )
    (frame,) = footage.frames()
    assert (footage.width, footage.height) == frame.rgb.shape[1::-1] and footage.sample_aspect != 1
    assert abs(footage.width - SHOWN[0]) <= 1 and abs(footage.height - SHOWN[1]) <= 1
    for shown in (frame.rgb, frame.preview):
        inside = shown[..., 1] > 127
        assert (
            abs(np.flatnonzero(inside.any(0)).mean() - 99.5) < 1
            and abs(np.flatnonzero(inside.any(1)).mean() - 71.5) < 1
        )
        assert abs(inside.any(0).sum() - 76) <= 2 and abs(inside.any(1).sum() - 76) <= 2
    coded = footage.coded_from_image @ [100.0, 72.0, 1.0]
    bright = np.argwhere(frame.planes[0] > 127).mean(0)[::-1] + 0.5
    assert np.abs(coded - bright).max() < 0.6


@pytest.mark.parametrize("turn", [0.0, 0.6])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_put_in_has_the_shape_of_the_pixels(shape, turn, tmp_path):
    """The same patch through coded pixels and straight into square ones gives the same picture, resampling apart."""
    background = cv2.GaussianBlur(picture(0, *SHOWN), (0, 0), 3)
    y, x = np.mgrid[0:128, 0:128] + 0.5
    rgb = np.stack([0.5 + 0.3 * np.sin(x / 9), 0.5 + 0.3 * np.sin(y / 11), 0.5 + 0 * x], -1).astype(np.float32)
    matte = np.clip((50 - np.hypot(x - 64, y - 64)) / 8, 0, 1).astype(np.float32)
    linear = 1.2 * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    patch = Patch(rgb, matte, np.column_stack([linear, 64 - linear @ (130, 90)]))
    results = []
    for aspect in (SHAPES[shape], Fraction(1)):
        footage = squeezed_clip(tmp_path / f"{aspect.numerator}.mp4", aspect, background)
        (frame,) = footage.frames()
        planes = composite(footage, frame.planes, patch)
        assert any((new != old).any() for new, old in zip(planes, frame.planes, strict=True))
        green, blue, red = planes
        results.append(footage.shown(np.dstack([red, green, blue])).astype(int))
    wrong = np.abs(results[0] - results[1])
    # Between the two lies one resampling of the background and one of the patch.
    assert wrong.mean() < 1.5 and np.quantile(wrong, 0.99) < 12


def test_a_shape_that_no_pixel_has_is_not_believed(tmp_path):
    footage = Footage(make_clip(tmp_path / "odd.mp4", frames=2, context={"sample_aspect_ratio": Fraction(100)}))
    assert (footage.width, footage.height) == (160, 120) and "100:1 is not believed" in " ".join(footage.notes)
