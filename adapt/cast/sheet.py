"""Sheet of a cast: each member's most frontal, widest open and most turned sighting, one row each."""

import numpy as np

from adapt.cast.analyse import Analysis
from adapt.cast.appearance import upright_head
from adapt.cast.members import CastMember
from adapt.reports.contact_sheet import contact_sheet


def cast_sheet(analysis: Analysis) -> np.ndarray:
    """Thumbnails of every cast member, one row each: most frontal, widest open, most turned; uint8 [H, W, 3]."""
    columns = ("frontal", "mouth open", "turned")
    choices = [_telling_sightings(member) for member in analysis.cast]
    wanted = sorted({frame for chosen in choices for frame, _ in chosen})
    pictures = {}
    for frame in wanted:
        for picture in analysis.footage.frames(frame, frame + 1):
            pictures[frame] = picture.rgb
    rows, captions = [], []
    for member, chosen in zip(analysis.cast, choices, strict=True):
        rows.append(
            [
                upright_head(pictures[frame], analysis.landmark_file.read(row), analysis.layout)[0]
                if frame in pictures
                else np.zeros((144, 160, 3), np.uint8)
                for frame, row in chosen
            ]
        )
        captions.append(f"person {member.number}: {member.frame_count} frames")
    return contact_sheet(rows, columns, captions)


def _telling_sightings(member: CastMember) -> list[tuple[int, int]]:
    """(frame, landmark row) of the most frontal, the widest open and the most turned sighting."""
    sure = member.values("confidence")
    turn = np.abs(member.values("yaw"))
    scores = (sure - turn, sure + 2 * member.values("opening"), sure + turn)
    best = [int(np.argmax(score)) for score in scores]
    frames, rows = member.values("frames"), member.values("rows")
    return [(int(frames[index]), int(rows[index])) for index in best]
