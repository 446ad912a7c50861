"""Nearer heads: other people's heads that lie before a person's face.

In: an analysis of footage, and whose face is meant. Out: by frame, the outlines of heads that are nearer to the camera
than that face and reach over it, or nearly do. A face of twice the eye distance is half as far away; so is nearer what
is larger. The landmarks of a face end at forehead and cheeks, a head goes on beyond them.
"""

import numpy as np

from adapt.cast.analyse import Analysis
from adapt.cast.members import CastMember
from render.compositing.occlusion import HEAD_REACH

#: Width and height of a head, in those of the box around its landmarks; its middle lies a little higher.
HEAD_WIDTH, HEAD_HEIGHT, HEAD_RAISED = 1.25, 1.35, 0.12
#: Corners of an outline.
CORNERS = 32


def nearer_heads(analysis: Analysis, person: int) -> dict[int, np.ndarray]:
    """Frame → outlines [N, CORNERS, 2], px, of nearer heads that lie over the box of a person's face or just beside it.

    Raises:
        TrackingError: there is no such person.
    """
    member = analysis.member(person)
    frames, boxes, eyes = _seen(member)
    found: dict[int, list[np.ndarray]] = {}
    for other in analysis.cast:
        if other.number == member.number:
            continue
        other_frames, other_boxes, other_eyes = _seen(other)
        _, mine, theirs = np.intersect1d(frames, other_frames, return_indices=True)
        outlines = head_outlines(other_boxes[theirs])
        middle = outlines.mean(1)
        low, high = (middle + HEAD_REACH * (end - middle) for end in (outlines.min(1), outlines.max(1)))
        meets = ((low < boxes[mine, 2:]) & (high > boxes[mine, :2])).all(1)
        for place in np.flatnonzero(meets & (other_eyes[theirs] > eyes[mine])):
            found.setdefault(int(frames[mine[place]]), []).append(outlines[place])
    return {frame: np.stack(outlines) for frame, outlines in sorted(found.items())}


def _seen(member: CastMember) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames [T], boxes [T, 4] and eye distances [T] of a person's sightings, in order of time."""
    boxes = member.values("boxes").reshape(-1, 4)
    order = np.argsort(member.values("frames"), kind="stable")
    return member.values("frames")[order], boxes[order], member.values("eye_distance")[order]


def head_outlines(boxes: np.ndarray) -> np.ndarray:
    """Ellipses [T, CORNERS, 2] around the heads whose landmarks boxes [T, 4] hold, px."""
    size = boxes[:, 2:] - boxes[:, :2]
    middle = (boxes[:, 2:] + boxes[:, :2]) / 2 - size * (0, HEAD_RAISED)
    angle = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    unit = np.stack([np.cos(angle), np.sin(angle)], -1)
    return middle[:, None] + unit * (size * (HEAD_WIDTH, HEAD_HEIGHT) / 2)[:, None]
