from types import SimpleNamespace

import numpy as np
import pytest

from adapt.cast.members import CastMember, Run
from adapt.tracking.nearer_heads import CORNERS, nearer_heads

FACE = (100.0, 100.0, 160.0, 180.0)


def member(number: int, boxes: dict[int, tuple[float, ...]], eyes: float) -> CastMember:
    """A person by frame and box; two runs, the later one first."""
    runs = []
    for part in (sorted(boxes)[len(boxes) // 2 :], sorted(boxes)[: len(boxes) // 2]):
        run = Run(0)
        run.frames.extend(part)
        for frame in part:
            run.boxes.extend(boxes[frame])
        run.eye_distance.extend([eyes] * len(part))
        runs.append(run)
    return CastMember(number, tuple(runs))


def shot(*cast: CastMember) -> SimpleNamespace:
    return SimpleNamespace(cast=cast, member=lambda number: cast[number - 1])


def beside(x: float, size: float = 1.5) -> tuple[float, ...]:
    return (x, 100.0, x + 60 * size, 100 + 80 * size)


@pytest.mark.parametrize(("eyes", "who"), [(40.0, 1), (15.0, 2)])
def test_the_larger_face_is_the_nearer_one(eyes: float, who: int) -> None:
    both = (dict.fromkeys(range(6), box) for box in (FACE, beside(140)))
    analysis = shot(member(1, next(both), 24.0), member(2, next(both), eyes))
    assert list(nearer_heads(analysis, who)) == list(range(6))  # type: ignore[arg-type]
    assert nearer_heads(analysis, 3 - who) == {}  # type: ignore[arg-type]


def test_a_head_goes_by_and_its_outline_lies_around_its_face() -> None:
    there = {frame: beside(400 - 40 * frame) for frame in range(2, 12)}
    analysis = shot(member(1, dict.fromkeys(range(14), FACE), 24.0), member(2, there, 40.0))
    found = nearer_heads(analysis, 1)  # type: ignore[arg-type]
    # Its hair reaches 11 px beyond the box of its landmarks, or 25: from x 160 to 100 the two meet.
    hair_px = 90 * (1.25 * 1.25 - 1) / 2
    assert list(found) == [frame for frame, box in there.items() if box[0] - hair_px < 160 and box[2] + hair_px > 100]
    for frame, outlines in found.items():
        assert outlines.shape == (1, CORNERS, 2)
        low, high, box = outlines[0].min(0), outlines[0].max(0), np.array(there[frame])
        assert low[0] < box[0] and high[0] > box[2] and low[1] < box[1] and abs(high[1] - box[3]) < 12


def test_several_heads_in_one_frame() -> None:
    analysis = shot(member(1, {3: FACE}, 24.0), member(2, {3: beside(140)}, 40.0), member(3, {3: beside(40)}, 30.0))
    assert nearer_heads(analysis, 1)[3].shape == (2, CORNERS, 2)  # type: ignore[arg-type]
