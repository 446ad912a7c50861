"""Joins: are the frames around the joins of a spliced file those that they should be?

In: the source, the written file read anew, where it was put together, and small pictures of what was encoded. Out:
nothing, or the first thing that is wrong. Copied frames have to decode to the source's samples, up to a join from the
last place before it where decoding can begin, and from there on.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping

import numpy as np

from render.errors import OutputError
from render.splicing.stretches import Splice, Stretch
from render.video.reader import Footage, Frame

#: Frames on either side of a join that are looked at, and the step in px between samples that are kept of them.
JOIN_FRAMES, STEP_PX = 4, 8
#: Encoded samples differ by less than this part of their range, root of the mean square: what is wrong differs by more.
LARGEST_ERROR = 0.08


class SpliceError(OutputError):
    """A file cannot be put together from copied and encoded packets, or did not read back right."""


def is_near_join(stretch: Stretch, frame: int) -> bool:
    """Whether a frame of a stretch is among those that are looked at."""
    return frame < stretch.start + JOIN_FRAMES or frame >= stretch.stop - JOIN_FRAMES


def small_picture(luma: np.ndarray) -> np.ndarray:
    """A few samples of a plane, to compare with."""
    return luma[::STEP_PX, ::STEP_PX].copy()


def refuse_wrong_joins(source: Footage, written: Footage, splice: Splice, encoded: Mapping[int, np.ndarray]) -> None:
    """Decode the written file around each join, and compare.

    Args:
        source: whose packets were copied.
        written: the file.
        splice: where what was copied.
        encoded: frame → `small_picture` of what was encoded, near joins.

    Raises:
        SpliceError: a frame is missing, has another time, or does not show what it should.
    """
    for before, after in zip(splice.stretches, splice.stretches[1:], strict=False):
        join = after.start
        # Where copied frames lead up to the join they are decoded from where a player would begin.
        first = splice.starts[bisect_left(splice.starts, join) - 1] if before.is_copied else join - JOIN_FRAMES
        first = max(before.start, first)
        last = min(after.stop, join + JOIN_FRAMES)
        copied = before if before.is_copied else after
        real = source.frames(max(first, copied.start), min(last, copied.stop))
        expected = first
        for frame in written.frames(first, last):  # one at a time: a group may be as long as the file
            if frame.index != expected:
                break
            expected += 1
            if copied.start <= frame.index < copied.stop:
                if not _is_same(next(real, None), frame):
                    beside = f"frame {frame.index}, beside encoded ones, is not the source's"
                    raise SpliceError(f"{written.path.name}: {beside}")
            elif (small := encoded.get(frame.index)) is not None:
                if not _is_like(small_picture(frame.planes[0]), small, source.bit_depth):
                    raise SpliceError(f"{written.path.name}: frame {frame.index} is not the one that was encoded")
        if expected != last:
            raise SpliceError(f"{written.path.name}: frames around {join}, where it was put together, are missing")


def _is_same(real: Frame | None, frame: Frame) -> bool:
    return real is not None and all(np.array_equal(a, b) for a, b in zip(real.planes, frame.planes, strict=True))


def _is_like(samples: np.ndarray, wanted: np.ndarray, bit_depth: int) -> bool:
    error = samples.astype(np.float32) - wanted.astype(np.float32)
    return float(np.sqrt(np.mean(error**2))) < LARGEST_ERROR * (1 << bit_depth)
