"""The folder that `adapt dub` leaves: the dubbed video, report, sheet, what was done frame by frame, sidecar."""

from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from adapt.commands.flags import DubConfig
from adapt.dubbing.dub import Dubbed, dub
from adapt.dubbing.options import DubOptions
from adapt.dubbing.part import Part
from adapt.dubbing.provenance import RUN, run_facts
from adapt.dubbing.weights import DUBBED
from adapt.progress import Progress
from adapt.reports.clip import ClipEncoder
from adapt.reports.contact_sheet import contact_sheet, encode_image
from adapt.reports.page import Report
from prior.renderer.prior import RendererPrior
from render.compositing.composite import Patch
from render.drawing.crop import cut_crop
from render.store import write_json
from render.video.footage import Footage, Frame
from render.video.media import timecode
from render.video.writer import FORMATS, codec_like

#: Side of the report's player, px, and how many frames it shows at most.
PLAYER_PX = 384
MOST_SHOWN = 1500
#: Where the dub begins later than that, the player begins so many frames before it.
LEAD_FRAMES = 25
SHEET_ROWS = 6


class Recorder:
    """Watches a dub: keeps a small player of the first part's face, and the frames where most was changed."""

    def __init__(self, part: Part) -> None:
        self.track = part.track.with_crop_size(PLAYER_PX)
        driven = part.driven.nonzero()[:, 0].tolist()
        late = bool(driven) and driven[0] > MOST_SHOWN - LEAD_FRAMES
        self.first = driven[0] - LEAD_FRAMES if late else 0
        self.before, self.after = ClipEncoder(), ClipEncoder()
        self.frames: list[int] = []
        self.times: list[float] = []
        self.rows: list[tuple[float, int, np.ndarray, np.ndarray]] = []

    def __call__(self, frame: Frame, patches: list[Patch]) -> None:
        """Record one frame."""
        shown = frame.index >= self.first and len(self.frames) < MOST_SHOWN
        if not shown and not patches:
            return
        affine = self.track.crop_from_image[frame.index].numpy()
        real = cut_crop(frame.rgb, affine, PLAYER_PX)
        new = real
        for patch in patches:
            to_player = _square(affine) @ np.linalg.inv(_square(patch.crop_from_image))
            new = _overlaid(new, patch, to_player)
        if shown:
            self.before.add(real, frame.timestamp)
            self.after.add(new, frame.timestamp)
            self.frames.append(frame.index)
            self.times.append(frame.timestamp)
        difference = float(np.abs(new.astype(np.float32) - real).mean())
        self.rows.append((difference, frame.index, real, new))
        if len(self.rows) > 4 * SHEET_ROWS:
            self.rows = sorted(self.rows, key=lambda row: -row[0])[:SHEET_ROWS]

    def worst(self) -> list[tuple[float, int, np.ndarray, np.ndarray]]:
        """Frames that changed most: difference, frame, source picture, dubbed picture."""
        return sorted(self.rows, key=lambda row: -row[0])[:SHEET_ROWS]


def _square(affine: np.ndarray) -> np.ndarray:
    return np.vstack([affine, [0.0, 0.0, 1.0]])


def _overlaid(picture: np.ndarray, patch: Patch, picture_from_crop: np.ndarray) -> np.ndarray:
    side = picture.shape[0]
    rgb = cut_crop(patch.rgb, picture_from_crop[:2], side)
    matte = cut_crop(patch.matte, picture_from_crop[:2], side).clip(0, 1)[..., None]
    mixed = picture * (1 - matte) + 255 * rgb * matte
    return np.asarray(np.clip(np.rint(mixed), 0, 255), np.uint8)


def write_folder(
    folder: Path,
    config: DubConfig,
    footage: Footage,
    parts: list[Part],
    options: DubOptions,
    prior: RendererPrior,
    progress: Progress,
    notes: list[str],
) -> None:
    """Dub into `folder`, and put beside the video what tells how it went.

    Args:
        folder: exists and is empty.
        config: as resolved, for the sidecar.
        footage: the shot.
        parts: who is dubbed; the first one's face is shown in the report.
        options: how.
        prior: renderer prior.
        progress: where bar and result go.
        notes: what happened before, for report and `qc.json`.
    """
    suffix = footage.path.suffix.lower() if footage.path.suffix.lower() in FORMATS else ".mp4"
    if suffix == ".mp4" and (options.codec or codec_like(footage)) == "prores":
        suffix = ".mov"  # an MP4 cannot hold it
    video = folder / f"{footage.path.stem}.dubbed{suffix}"
    recorder = Recorder(parts[0])
    result = dub(footage, parts, video, options, prior, recorder, progress)
    result.notes = notes + result.notes
    quality = quality_facts(footage, result)
    write_json(folder / "qc.json", quality)
    write_json(folder / RUN, run_facts(config, footage, parts, options, video, prior))
    worst = recorder.worst()
    sheet = contact_sheet(
        [[real, new] for _, _, real, new in worst],
        ["source", "dubbed"],
        [f"frame {index}  {timecode(float(footage.timestamps[index]))}" for _, index, _, _ in worst],
    )
    (folder / "sheet.jpg").write_bytes(encode_image(sheet))
    _report(folder, footage, parts, result, recorder, quality, sheet)
    progress.result({"output": video.name, **quality})


def quality_facts(footage: Footage, result: Dubbed) -> dict[str, Any]:
    """What a dub did, for qc.json: counts by status, and with timecodes the stretches that passed through, and those in
    which something lies in front of the mouth.
    """
    stretches, start = [], 0
    for word, frames in groupby(result.status):
        stop = start + len(list(frames))
        if word != DUBBED:
            stretches.append({"status": word, **_stretch(footage, start, stop - 1)})
        start = stop
    kept = np.split(result.in_front, np.flatnonzero(np.diff(result.in_front) > 1) + 1) if result.in_front else []
    return {
        "frames": footage.frame_count,
        "status": {word: result.status.count(word) for word in sorted(set(result.status))},
        "not_dubbed": stretches,
        "in_front": [_stretch(footage, int(frames[0]), int(frames[-1])) for frames in kept],
        "largest_changed_share": max(result.changed, default=0.0),
        "notes": [*footage.notes, *result.notes],
    }


def _stretch(footage: Footage, first: int, last: int) -> dict[str, Any]:
    begin, end = (timecode(float(footage.timestamps[index])) for index in (first, last))
    return {"frames": [first, last], "from": begin, "to": end}


def _report(
    folder: Path,
    footage: Footage,
    parts: list[Part],
    result: Dubbed,
    recorder: Recorder,
    quality: dict[str, Any],
    sheet: np.ndarray,
) -> None:
    report = Report(f"Dub of {footage.path.name}")
    for part in parts:
        report.facts(
            {
                "actor": part.bundle.name,
                "person in the shot": part.track.source["person"],
                "consent": part.bundle.consent,
                "terms of the prior": part.bundle.facts.get("terms"),
            }
        )
    shown = {frame: place for place, frame in enumerate(recorder.frames)}
    moments = [
        (shown[index], f"{timecode(float(footage.timestamps[index]))}: changed most")
        for _, index, _, _ in recorder.worst()
        if index in shown
    ]
    span = f" (frames {recorder.frames[0]} to {recorder.frames[-1]})" if len(shown) < footage.frame_count else ""
    report.section(f"Source and dub{span}")
    clips = {"source": recorder.before.finish(), "dubbed": recorder.after.finish()}
    report.player(clips, recorder.times, [result.status[frame] for frame in shown], moments)
    report.section("Frames that were not dubbed, and what was left in front of the mouth")
    rows = [(entry["from"], entry["to"], entry["status"]) for entry in quality["not_dubbed"]]
    rows += [(entry["from"], entry["to"], "dubbed; something in front was kept") for entry in quality["in_front"]]
    if rows:
        report.table(["from", "to", "status"], sorted(rows))
    else:
        report.text("none")
    report.section("Notes")
    report.text("; ".join(quality["notes"]) or "none")
    report.image(encode_image(sheet), "frames that changed most")
    report.write(folder / "report.html")
