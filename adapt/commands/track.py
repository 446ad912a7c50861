"""`adapt track`: settings → one track a person, and if wanted the video with the mesh drawn on it."""

from pathlib import Path

from adapt.commands.flags import TrackConfig
from adapt.output import write_settings
from adapt.progress import Progress
from adapt.tracking.track import track
from render.errors import TrackingError


def main(config: TrackConfig, progress: Progress) -> None:
    """Track everyone in a video, or one person.

    Raises:
        OutputError: the output folder holds tracks already, or is a file.
        TrackingError: no face, no such person, or, once the others are tracked, somebody who could not be.
    """
    out = Path(config.out)
    tracked = track(
        Path(config.video),
        config.person,
        out,
        overlay=config.overlay,
        progressive=config.progressive,
        overwrite=config.overwrite,
        progress=progress,
    )
    for number in sorted({**tracked.tracks, **tracked.left_out}):
        if number in tracked.left_out:
            left = out / f"{number}.track.safetensors"
            kept = f"; {left} is of an earlier run" if left.exists() else ""
            progress.note(f"person {number}: not tracked: {tracked.left_out[number]}{kept}")
            continue
        person_track, path = tracked.tracks[number], tracked.files[number]
        confidence = person_track.confidence[person_track.confidence > 0]
        progress.note(
            f"{path}: person {number} in {len(confidence)} of {len(person_track)} frames, "
            f"mean confidence {float(confidence.mean()):.2f}"
        )
        progress.result(
            {"person": number, "track": str(path), "frames": len(person_track), "frames_seen": len(confidence)}
        )
    write_settings(config, out / "track.json")
    if tracked.left_out:
        people = ", ".join(map(str, tracked.left_out))
        raise TrackingError(f"{config.video}: not tracked, for the reasons above: {people}")
