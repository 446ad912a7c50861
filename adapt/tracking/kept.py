"""Kept tracks: a person's track in a video is found again by the video's content."""

from dataclasses import fields, replace

import torch

from adapt.cache import NOTHING_KEPT, Found, code_sha256, content_key
from adapt.cast.analyse import Analysis, choose_person
from adapt.cast.kept import analysis_key, kept_analysis
from adapt.progress import SILENT, Progress
from adapt.tracking.track import track_person
from prior.face.model import WEIGHTS as FACE_MODEL
from render.head.track import Track
from render.store import file_sha256
from render.text import printable
from render.video.reader import Footage


def kept_track(
    analysis: Analysis, person: int, found: Found = NOTHING_KEPT, stretch: tuple[int, int] | None = None
) -> Track:
    """`track_person`, or the track that it found in the same content before.

    Args:
        analysis: of the footage, or of a stretch of it.
        person: cast number.
        found: where tracks are kept.
        stretch: that the analysis is of.

    Raises:
        TrackingError: as `track_person`.
    """
    footage = analysis.footage
    if found.folder is None or footage.missing:
        return track_person(analysis, person)
    key = content_key(
        {
            "what": "track",
            "analysis": analysis_key(footage, stretch),
            "person": person,
            "code": code_sha256("adapt.tracking.track"),
            "face_model": file_sha256(FACE_MODEL),
            "torch": torch.__version__,
        }
    )
    if kept := found.read(key):
        tensors, facts = kept
        track = Track(**tensors, **facts)  # type: ignore[arg-type]
        return replace(track, source={**track.source, "file": printable(footage.path.name)})
    track = track_person(analysis, person)
    values = {field.name: getattr(track, field.name) for field in fields(track)}
    tensors = {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}
    found.write(key, tensors, {name: value for name, value in values.items() if name not in tensors})
    return track


def track_footage(
    footage: Footage, person: int | None, advice: str, progress: Progress = SILENT, found: Found = NOTHING_KEPT
) -> Track:
    """Analyse footage and track the one person that is meant; see `choose_person`."""
    analysis = kept_analysis(footage, found, progress)
    return kept_track(analysis, choose_person(analysis, person, advice), found)
