"""`adapt track` on the command line: one track a person, and if wanted the video with the mesh drawn on it."""

from pathlib import Path

from adapt.cast.analyse import analyse, everyone
from adapt.commands.flags import TrackConfig
from adapt.output import write_settings
from adapt.progress import Progress
from adapt.tracking.overlay import write_overlay
from adapt.tracking.track import track_person
from prior.face.model import load_face_model
from render.errors import StoreError, TrackingError
from render.video.footage import Footage


def main(config: TrackConfig, progress: Progress) -> None:
    """Track everyone in a video, or one person.

    Raises:
        StoreError: the output folder holds tracks already, or is a file.
        TrackingError: no face, or no such person; or, after the others were tracked, who could not be.
    """
    out = Path(config.out)
    if out.exists() and not out.is_dir():
        raise StoreError(f"{out}: is a file, not a folder")
    if not config.overwrite and _made(out):
        raise StoreError(f"{out}: holds tracks already; choose another folder or pass --overwrite")
    footage = Footage(config.video)
    analysis = analyse(footage, progress=progress)
    numbers = everyone(analysis)
    if config.person is not None:
        numbers = [analysis.member(config.person).number]
    for path in _made(out):  # of another video, perhaps, whose people these are not
        path.unlink()
    left_out = []
    for number in progress.over("tracking", numbers, len(numbers)):
        try:
            track = track_person(analysis, number)
        except TrackingError as error:
            progress.note(f"person {number}: not tracked: {error}")
            left_out.append(number)
            continue
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
    write_settings(config, out / "track.json")
    if left_out:
        raise TrackingError(f"{config.video}: not tracked, for the reasons above: {', '.join(map(str, left_out))}")


def _made(out: Path) -> list[Path]:
    """Tracks and overlays in a folder."""
    return [path for pattern in ("*.track.safetensors", "*.overlay.mp4") for path in sorted(out.glob(pattern))]
