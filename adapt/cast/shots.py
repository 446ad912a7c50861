"""Shots: which frames begin a new one.

In: frames as they stream. Out: the same frames, a few frames later, each with whether it is the first of a new shot. A
cut is where small pictures before and after differ strongly, differ far more than their neighbours in time do (a pan
or a waving hand differs all along), and stay different (a flash does not).
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

import cv2
import numpy as np

# Width and height of the small picture, px.
THUMBNAIL = (48, 27)
# Difference of the small pictures below which there is never a cut.
LEAST_DIFFERENCE = 14.0
# How many times the difference of its neighbours in time a cut's own must be.
LEAST_RATIO = 3.0
# Frames held back so that a cut is judged by what follows it; what lasts no longer (a flash, a hand) is no shot.
LOOK_AHEAD = 5


class HasPreview(Protocol):
    """Anything with an upright rgb picture, uint8 [H, W, 3], such as a `render.video.reader.Frame`."""

    @property
    def preview(self) -> np.ndarray:
        """The picture."""
        ...


FrameType = TypeVar("FrameType", bound=HasPreview)


def thumbnail(rgb: np.ndarray) -> np.ndarray:
    """Small luma-chroma picture, float32 [27, 48, 3] in 0..255, of an rgb picture uint8 [H, W, 3]."""
    step = max(1, min(rgb.shape[:2]) // (4 * THUMBNAIL[1]))
    small = cv2.resize(np.ascontiguousarray(rgb[::step, ::step]), THUMBNAIL, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2YCrCb).astype(np.float32)


def difference(first: np.ndarray, second: np.ndarray) -> float:
    """Mean absolute difference of two thumbnails, summed over luma and chroma."""
    return float(np.abs(first - second).mean(axis=(0, 1)).sum())


def mark_cuts(frames: Iterable[FrameType]) -> Iterator[tuple[FrameType, bool]]:
    """Every frame with whether it is the first of a shot (the very first one is). Holds back a few frames."""
    held: deque[tuple[FrameType, np.ndarray]] = deque()
    past: deque[np.ndarray] = deque(maxlen=1 + LOOK_AHEAD)
    for frame in frames:
        held.append((frame, thumbnail(frame.preview)))
        if len(held) > LOOK_AHEAD:
            yield _judge(held, past)
    while held:
        yield _judge(held, past)


def _judge(held: "deque[tuple[FrameType, np.ndarray]]", past: "deque[np.ndarray]") -> tuple[FrameType, bool]:
    frame, picture = held[0]
    following = [thumb for _, thumb in held]
    is_cut = not past or _is_cut(list(past), following)
    held.popleft()
    past.append(picture)
    return frame, is_cut


def _is_cut(before: list[np.ndarray], after: list[np.ndarray]) -> bool:
    step = difference(before[-1], after[0])
    if step < LEAST_DIFFERENCE:
        return False
    neighbours = [difference(a, b) for chain in (before, after) for a, b in zip(chain, chain[1:], strict=False)]
    if neighbours and step < LEAST_RATIO * max(min(neighbours), float(np.median(neighbours))):
        return False
    # Where a flash begins and where it ends, something before resembles something after.
    return all(difference(old, new) > 0.5 * step for old in before for new in after)
