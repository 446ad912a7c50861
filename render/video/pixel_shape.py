"""Pixel shape: coded pixels that are wider than high, or higher than wide, and the square ones that are shown.

In: a coded size and its sample aspect. Out: the size of the same picture in square pixels, and pictures of that size.
This is the one place that knows of oblong pixels: `Frame.rgb` and `Frame.preview` are square, so that faces, crops and
tracks are, too; only `Frame.planes` are as coded, and `Footage.coded_from_image` leads back to them.
"""

from fractions import Fraction

import cv2
import numpy as np

#: Aspects this near 1 are square: resampling would cost more than the shape gains.
NEARLY_SQUARE = Fraction(1, 100)
#: No pixels are more oblong than this; a tag that says so is a fault.
LARGEST_ASPECT = 4


def square_size(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """Width and height, px, in square pixels of a picture whose pixels have an aspect (width / height).

    The shorter side of the pixels is drawn out, so that no detail is lost. A tag beyond `LARGEST_ASPECT` is not
    believed.
    """
    if abs(aspect - 1) <= NEARLY_SQUARE or not Fraction(1, LARGEST_ASPECT) <= aspect <= LARGEST_ASPECT:
        return width, height
    return (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))


def resized(rgb: np.ndarray, width: int, height: int, is_exact: bool = True) -> np.ndarray:
    """A picture uint8 [H, W, 3] drawn out to another size, px; the very same where it has that size.

    Bicubic where it has to be exact, else bilinear, which is several times faster.
    """
    if rgb.shape[:2] == (height, width):
        return rgb
    return cv2.resize(rgb, (width, height), interpolation=cv2.INTER_CUBIC if is_exact else cv2.INTER_LINEAR)


def shape_words(aspect: Fraction) -> str:
    """An aspect as people write it: `64:45`."""
    return f"{aspect.numerator}:{aspect.denominator}"
