"""`adapt track` on the command line: one track a person, and if wanted the video with the mesh drawn on it."""

from pathlib import Path

from adapt.cast import analyse
from adapt.commands import TrackConfig
from adapt.config import write_config
from adapt.overlay import write_overlay
from adapt.people import track_person
from adapt.progress import Progress
from prior.face_model import load_face_model
from render.errors import StoreError, TrackingError
from render.video import Footage


def main(config: TrackConfig, progress: Progress) -> None:
    """Track everyone in a video, or one person.

    Raises:
        StoreError: the output folder holds tracks already.
        TrackingError: no face, or no such person.
    """
    out = Path(config.out)
    if not config.overwrite and any(out.glob("*.track.safetensors")):
        raise StoreError(f"{out}: holds tracks already; choose another folder or pass --overwrite")
    footage = Footage(config.video)
    analysis = analyse(footage, progress=progress)
    if not analysis.cast:
        raise TrackingError(f"{config.video}: no face was found; `adapt check` shows what is in the footage")
    numbers = [member.number for member in analysis.cast] if config.person is None else [config.person]
    write_config(config, out / "track.json")
    for number in progress.over("tracking", numbers, len(numbers)):
        track = track_person(analysis, number)
        path = out / f"{number}.track.safetensors"
        track.save(path)
        seen = int((track.confidence > 0).sum())
        progress.note(
            f"{path}: person {number} in {seen} of {len(track)} frames, "
            f"mean confidence {float(track.confidence[track.confidence > 0].mean()):.2f}"
        )
        progress.result({"person": number, "track": str(path), "frames": len(track), "frames_seen": seen})
        if config.overlay:
            write_overlay(footage, load_face_model(), track, out / f"{number}.overlay.mp4", progress)
