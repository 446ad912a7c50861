"""Report of a dub: source and result side by side, what every frame is, and the frames that changed most."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from adapt.dubbing.part import Part
from adapt.dubbing.redraw import Redrawn
from adapt.dubbing.weights import DUBBED, LOW, NO_FACE, OCCLUDED, OUTSIDE, PARTLY, PASSED, TURNED, UNDRIVEN
from adapt.reports.clip import ClipEncoder
from adapt.reports.contact_sheet import contact_sheet, encode_image
from adapt.reports.page import Report
from render.compositing.composite import Patch
from render.drawing.crop import cut_crop
from render.video.container import timecode
from render.video.reader import Footage, Frame

#: What a frame is → its colour in the strip under the player.
STATUS_COLOURS = {
    DUBBED: "#3a8a4d",
    PARTLY: "#9ccf9a",
    PASSED: "#9aa0a6",
    UNDRIVEN: "#c0c4c9",
    TURNED: "#8e5bb5",
    LOW: "#d9a300",
    OCCLUDED: "#c2571a",
    OUTSIDE: "#5b6f9e",
    NO_FACE: "#4d4d4d",
}
#: Side of the report's player, px, and how many frames it shows at most.
PLAYER_PX = 384
MOST_SHOWN = 1500
#: Where the dub begins later than that, the player begins so many seconds before it.
LEAD_SECONDS = 1.0
SHEET_ROWS = 6


class Recorder:
    """Watches a dub: keeps a small player of the first part's face, and the frames where most was changed."""

    def __init__(self, part: Part) -> None:
        self.track = part.track.with_crop_size(PLAYER_PX)
        driven = part.driven.nonzero()[:, 0].tolist()
        self.first = 0
        if driven:
            times, begins = part.track.timestamps, driven[0]
            lead = int((times < times[begins] - LEAD_SECONDS - 1e-6).sum())
            if 2 * begins - lead > MOST_SHOWN:
                self.first = max(lead, begins - MOST_SHOWN // 2)
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


def write_report(
    folder: Path,
    footage: Footage,
    parts: Sequence[Part],
    result: Redrawn,
    recorder: Recorder,
    quality: dict[str, Any],
) -> None:
    """Write sheet.jpg and report.html.

    Args:
        folder: exists.
        footage: the shot.
        parts: who was dubbed; the first one's face is shown.
        result: what was redrawn.
        recorder: that watched.
        quality: of `quality_facts`.
    """
    worst = recorder.worst()
    sheet = contact_sheet(
        [[real, new] for _, _, real, new in worst],
        ["source", "dubbed"],
        [f"frame {index}  {timecode(float(footage.timestamps[index]))}" for _, index, _, _ in worst],
    )
    (folder / "sheet.jpg").write_bytes(encode_image(sheet))
    report = Report(f"Dub of {footage.path.name}", STATUS_COLOURS)
    for part in parts:
        report.facts(
            {
                "actor": part.bundle.name,
                "person in the shot": part.track.source["person"],
                "consent": part.bundle.consent,
                "terms of the prior": part.bundle.facts.terms,
            }
        )
    shown = {frame: place for place, frame in enumerate(recorder.frames)}
    moments = [
        (shown[index], f"{timecode(float(footage.timestamps[index]))}: changed most")
        for _, index, _, _ in worst
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
