"""`adapt dub`: a shot, and who is to say what in it, become a folder with the dubbed video and all that tells of it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from adapt.config import handed_on
from adapt.device import arithmetic
from adapt.dubbing.options import RUN, DubOptions
from adapt.dubbing.part import Request
from adapt.dubbing.plan import sound_told
from adapt.dubbing.provenance import run_facts
from adapt.dubbing.quality import quality_facts
from adapt.dubbing.redraw import Redrawn, redraw
from adapt.dubbing.report import Recorder, write_report
from adapt.dubbing.session import Session
from adapt.dubbing.sound import INSERTED, MIXED, delivered, other_sound, refuse_joined, refuse_undeliverable
from adapt.motion.keys import Key
from adapt.output import new_folder, refuse_existing
from adapt.progress import SILENT, Progress
from prior.motion.model import WEIGHTS as MOTION_MODEL
from render.errors import ConfigError, OutputError
from render.store import file_sha256, write_json
from render.video.encoder import codec_like, suffix_like
from render.video.reader import Footage

#: Bytes of the source's name that the dubbed video's begins with: of the 255 that a name may have, less what is added.
LONGEST_STEM = 200


@dataclass(frozen=True)
class Dubbed:
    """A dub that was written.

    Attributes:
        folder: holds video, report.html, sheet.jpg, qc.json, run.json.
        video: the dubbed video in it.
        redrawn: what happened frame by frame.
        quality: what qc.json holds.
    """

    folder: Path
    video: Path
    redrawn: Redrawn
    quality: dict[str, Any]


def dub(
    shot: str | Path,
    requests: Sequence[Request],
    out: str | Path,
    options: DubOptions = DubOptions(),
    *,
    advice: str = "person=1",
    settings: dict[str, Any] | None = None,
    progress: Progress = SILENT,
) -> Dubbed:
    """Dub a shot into a new folder; nothing is left where it fails before the video is finished.

    Args:
        shot: video file.
        requests: who is dubbed to what; each a different person.
        out: folder to write; must not exist, or be a dub that may be overwritten. Where it comes into being
            meanwhile, the dub is written to `out`.1.
        options: how.
        advice: how person 1 of several is chosen, for messages.
        settings: what run.json keeps as the settings; default the options.
        progress: where bars and notes go.

    Raises:
        ConfigError, OutputError, FootageError, StoreError, TrackingError, FitError, DubError: with what is wrong.
    """
    out = Path(out)
    refuse_existing(out, options.overwrite, "dub", not out.exists() or (out / RUN).is_file())
    session = opened(shot, requests, options, advice, progress)
    footage = session.footage
    with new_folder(out, lambda there: options.overwrite and (there / RUN).is_file()) as made:
        folder = made.path
        parts = session.parts(requests)
        choice: list[str] = []
        count = int(torch.stack([part.driven & (part.track.confidence > 0) for part in parts]).any(0).sum())
        progress.note(f"{count} of {footage.frame_count} frames to draw; sound: {sound_told(options, footage)}")
        sound = delivered(requests, options, footage, folder, choice)
        for text in choice:
            session.note(text)
        if sound is not None and (other := other_sound(sound, footage)):
            session.note(other)
        video = folder / dubbed_name(footage, options)
        recorder = Recorder(parts)
        facts = {
            **run_facts(footage, parts, requests, video, sound),
            "motion_model_sha256": file_sha256(options.motion_model or MOTION_MODEL),
            **{f"{name}_sha256": file_sha256(path) for name in ("cues", "keys") if (path := getattr(options, name))},
            "computed_on": arithmetic(options.device),
            "settings": handed_on(options) if settings is None else settings,
        }
        write_json(folder / RUN, facts)  # what is known, before the long part; the hash of the video follows
        redrawn = redraw(footage, parts, video, options, sound, recorder, progress)
        quality = quality_facts(footage, parts, redrawn, session.notes)
        quality["written"] = written_as(footage, video, options, redrawn)
        try:
            write_json(folder / RUN, {**facts, "output": {**facts["output"], "sha256": file_sha256(video)}})
            write_json(folder / "qc.json", quality)
            write_report(folder, footage, parts, redrawn, recorder, quality, video)
        except (OSError, OutputError) as error:  # the finished video is not thrown away for them
            progress.note(f"{video.name} is finished, but what tells of it could not be written: {error}")
        for made_sound in (folder / MIXED, *folder.glob(f"{INSERTED}.*")):
            made_sound.unlink(missing_ok=True)
    if redrawn.kept is not None:
        redrawn.kept.forget()
    if made.path.name != out.name:
        progress.note(f"{out}: something else came into being there; the dub is in {made.path}")
    return Dubbed(made.path, made.path / video.name, redrawn, quality)


def keys(
    shot: str | Path,
    request: Request,
    options: DubOptions = DubOptions(),
    *,
    advice: str = "person=1",
    progress: Progress = SILENT,
) -> list[Key]:
    """Keys of what a sound would have somebody's mouth do in a shot; arguments and errors as of `dub`."""
    return opened(shot, [request], options, advice, progress).keys(request)


def opened(
    shot: str | Path, requests: Sequence[Request], options: DubOptions, advice: str, progress: Progress
) -> Session:
    """A session for a shot and requests that were checked as far as that takes no time; arguments as of `dub`."""
    if not requests:
        raise ConfigError("dub: nobody is to be dubbed; give at least one request")
    footage = Footage(shot, options.progressive)
    refuse_joined(footage)
    refuse_undeliverable(requests, options)
    session = Session(footage, options, advice=advice, progress=progress)
    session.refuse(requests)
    return session


def written_as(footage: Footage, video: Path, options: DubOptions, redrawn: Redrawn) -> str:
    """One line on what of the file is not as it was: pictures, container, and what could not be kept."""
    codec = options.codec or codec_like(footage)
    container = f" in {video.suffix[1:]}"
    source = f"{footage.codec} in {footage.path.suffix[1:]}" if video.suffix != footage.path.suffix else footage.codec
    count = sum(stop - start for start, stop in redrawn.copied)
    pictures = f"pictures: {source} encoded anew as {codec}{container} ({options.quality})"
    if count:
        pictures = (
            f"pictures: {count:,} of {footage.frame_count:,} frames copied from the source as they are, the others "
            f"encoded anew as {codec}{container} ({options.quality})"
        )
    return "; ".join([pictures, *redrawn.notes])


def dubbed_name(footage: Footage, options: DubOptions) -> str:
    """The dubbed video's file name: the source's, shortened if need be, in a container that holds the codec."""
    suffix = suffix_like(footage.path.suffix, options.codec or codec_like(footage))
    stem = footage.path.stem
    while len(os.fsencode(stem)) > LONGEST_STEM:
        stem = stem[:-1]
    return f"{stem}.dubbed{suffix}"
