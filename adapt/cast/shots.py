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
# Frames are held back for so long that a cut is judged by what follows it; what lasts no longer (a flash, a hand) is no
# shot. At any rate so many frames are: how fast a picture changes has to be seen.
LOOK_AHEAD_SECONDS = 0.2
LEAST_AHEAD = 2


class HasPreview(Protocol):
    """Anything with an upright rgb picture, uint8 [H, W, 3], at a time, such as a `render.video.reader.Frame`."""

    @property
    def timestamp(self) -> float:
        """Seconds."""
        ...

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


#: The small pictures next to a possible cut, with their seconds, in order of time.
Thumbnails = list[tuple[float, np.ndarray]]


def mark_cuts(frames: Iterable[FrameType]) -> Iterator[tuple[FrameType, bool]]:
    """Every frame with whether it is the first of a shot (the very first one is). Holds back a few frames."""
    held: deque[FrameType] = deque()
    after: Thumbnails = []  # of what is held
    before: Thumbnails = []
    for frame in frames:
        held.append(frame)
        after.append((frame.timestamp, thumbnail(frame.preview)))
        while len(after) > LEAST_AHEAD and _apart(after[0], after[-1]) >= LOOK_AHEAD_SECONDS:
            yield held.popleft(), _passed(before, after)
    while held:
        yield held.popleft(), _passed(before, after)


def _passed(before: Thumbnails, after: Thumbnails) -> bool:
    """Whether there is a cut between two rows of thumbnails; the first of `after` goes over to `before`."""
    is_cut = not before or _is_cut(before, after)
    before.append(after.pop(0))
    while len(before) > 1 + LEAST_AHEAD and _apart(before[0], before[-1]) > LOOK_AHEAD_SECONDS:
        before.pop(0)
    return is_cut


def _apart(first: tuple[float, np.ndarray], second: tuple[float, np.ndarray]) -> float:
    """Seconds between two thumbnails, to the millisecond: containers do not say more."""
    return round(second[0] - first[0], 3)


def _is_cut(before: Thumbnails, after: Thumbnails) -> bool:
    step = difference(before[-1][1], after[0][1])
    if step < LEAST_DIFFERENCE:
        return False
    neighbours = [
        difference(a, b) for chain in (before, after) for (_, a), (_, b) in zip(chain, chain[1:], strict=False)
    ]
    if neighbours and step < LEAST_RATIO * max(min(neighbours), float(np.median(neighbours))):
        return False
    # Where a flash begins and where it ends, something before resembles something after.
    old = [one for one in before if _apart(one, before[-1]) <= LOOK_AHEAD_SECONDS]
    new = [one for one in after if _apart(after[0], one) <= LOOK_AHEAD_SECONDS]
    return all(difference(a, b) > 0.5 * step for _, a in old for _, b in new)
