"""Report of a dub: source and result side by side with sound, for every person, and what every frame is and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from adapt.dubbing.kept import DrawnFrame
from adapt.dubbing.part import Part, shown_frames
from adapt.dubbing.quality import interior_of, stretches
from adapt.dubbing.redraw import Redrawn, gliding
from adapt.dubbing.weights import DUBBED, LOW, NO_FACE, OCCLUDED, OUTSIDE, PARTLY, PASSED, TURNED, UNDRIVEN, Handover
from adapt.motion.controls import Cue
from adapt.motion.cues import RegionCue, told_range
from adapt.reports.clip import ClipEncoder, encode_sound
from adapt.reports.contact_sheet import contact_sheet, encode_image
from adapt.reports.page import Report
from adapt.tracking.crop import read_crops
from prior.face.points import opening
from prior.speech.sound import SAMPLE_RATE, listen
from render.compositing.composite import Patch
from render.drawing.crop import cut_crop
from render.video.container import timecode
from render.video.reader import Footage, Frame
from render.video.sound_track import SoundTrack

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
#: Side of the report's player, px.
PLAYER_PX = 384
#: Longer side of the whole frame in its player, px.
WHOLE_PX = 640
#: Peaks that the drawn waveform has at most.
STRIP_BINS = 1200
SHEET_ROWS = 6
SEEN_TEXT = "mouths that are guessed, and what the actor's frames show of mouths alike: yellow is seen, dark blue never"
#: Height of a cue's bar above the strip, and its colour.
CUE_INCHES, CUE_COLOUR = 0.22, "#b9d3ee"


@dataclass(frozen=True)
class _Subject:
    """One person of a report: the part, what became of it frame by frame, what was watched and what is heard."""

    footage: Footage
    part: Part
    handover: Handover
    facts: dict[str, Any]
    recorder: "Recorder"
    number: int
    heard: np.ndarray | None


class Recorder:
    """Watches a dub: keeps small players of every part's face and of the whole frame, and the frames changed most.

    Attributes:
        shown: the frames that the players show.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.tracks = [part.track.with_crop_size(PLAYER_PX) for part in parts]
        self.shown = shown_frames(parts)
        self.faces = [(ClipEncoder(), ClipEncoder()) for _ in parts]
        self.whole = ClipEncoder(), ClipEncoder()
        self.frames: list[int] = []
        self.times: list[float] = []
        self.rows: list[list[tuple[float, int, np.ndarray, np.ndarray]]] = [[] for _ in parts]

    def __call__(self, frame: Frame, patches: Sequence[Patch | None], drawn: DrawnFrame | None) -> None:
        """Record one frame, and what became of it; None where it is the source's."""
        shown = frame.index in self.shown
        if not shown and drawn is None:
            return
        dubbed = frame.preview if drawn is None else frame.with_planes(drawn.planes(frame.planes)).preview
        for number, track in enumerate(self.tracks):
            affine = track.crop_from_image[frame.index].numpy()
            real = cut_crop(frame.preview, affine, PLAYER_PX)
            new = real if drawn is None else cut_crop(dubbed, affine, PLAYER_PX)
            if shown:
                for clip, picture in zip(self.faces[number], (real, new), strict=True):
                    clip.add(picture, frame.timestamp)
            if drawn is not None and drawn.shown[number]:
                self._keep(number, frame.index, real, new)
        if shown:
            height, width = frame.preview.shape[:2]
            scale = min(1.0, WHOLE_PX / max(height, width))
            size = (max(2, round(scale * width)), max(2, round(scale * height)))
            for clip, picture in zip(self.whole, (frame.preview, dubbed), strict=True):
                clip.add(np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA)), frame.timestamp)
            self.frames.append(frame.index)
            self.times.append(frame.timestamp)

    def finish(self) -> None:
        """Throw the players away: no report is written."""
        for clip in (*self.whole, *(clip for pair in self.faces for clip in pair)):
            clip.finish()

    def _keep(self, number: int, index: int, real: np.ndarray, new: np.ndarray) -> None:
        rows = self.rows[number]
        rows.append((float(cv2.absdiff(new, real).mean()), index, real, new))
        if len(rows) > 4 * SHEET_ROWS:
            rows[:] = sorted(rows, key=lambda row: -row[0])[:SHEET_ROWS]

    def worst(self, number: int = 0) -> list[tuple[float, int, np.ndarray, np.ndarray]]:
        """Frames in which a part changed most: difference, frame, source picture, dubbed picture."""
        return sorted(self.rows[number], key=lambda row: -row[0])[:SHEET_ROWS]


def write_report(
    folder: Path,
    footage: Footage,
    parts: Sequence[Part],
    result: Redrawn,
    recorder: Recorder,
    quality: dict[str, Any],
    video: Path,
) -> None:
    """Write sheet.jpg and report.html.

    Args:
        folder: exists.
        footage: the shot.
        parts: who was dubbed; each has a section.
        result: what was redrawn.
        recorder: that watched.
        quality: of `quality_facts`.
        video: the finished one, whose sound the players have.
    """
    sheet = [row for number in range(len(parts)) for row in _sheet_rows(footage, parts, recorder, number)]
    (folder / "sheet.jpg").write_bytes(_sheet(sheet))
    report = Report(f"Dub of {footage.path.name}", STATUS_COLOURS)
    heard = _heard(video, recorder.times)
    shown = {frame: place for place, frame in enumerate(recorder.frames)}
    span = f" (frames {recorder.frames[0]} to {recorder.frames[-1]})" if len(shown) < footage.frame_count else ""
    report.section(f"The whole frame{span}")
    whole = {"source": recorder.whole[0].finish(), "dubbed": recorder.whole[1].finish()}
    sound = None if heard is None else encode_sound(heard, SAMPLE_RATE)
    report.player(whole, recorder.times, [result.status[frame] for frame in shown], sound=sound)
    for number, part in enumerate(parts):
        facts = quality["people"][number]
        _person(report, _Subject(footage, part, result.handovers[number], facts, recorder, number, heard), video)
        if rows := _sheet_rows(footage, parts, recorder, number):
            report.image(_sheet(rows), "frames that changed most")
    report.section("Frames that were not dubbed, and what was left in front of the mouth")
    spans = [(entry["from"], entry["to"], entry["status"]) for entry in quality["not_dubbed"]]
    spans += [(entry["from"], entry["to"], "dubbed; something in front was kept") for entry in quality["in_front"]]
    if spans:
        report.table(["from", "to", "status"], sorted(spans))
    else:
        report.text("none")
    report.section("Notes")
    report.text("; ".join(quality["notes"]) or "none")
    report.write(folder / "report.html")


def _sheet_rows(
    footage: Footage, parts: Sequence[Part], recorder: Recorder, number: int
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Caption, source and dubbed picture of the frames in which a part changed most."""
    person = parts[number].track.source["person"]
    return [
        (f"person {person}, frame {index}  {timecode(float(footage.timestamps[index]))}", real, new)
        for _, index, real, new in recorder.worst(number)
    ]


def _sheet(rows: Sequence[tuple[str, np.ndarray, np.ndarray]]) -> bytes:
    return encode_image(contact_sheet([row[1:] for row in rows], ["source", "dubbed"], [row[0] for row in rows]))


def _person(report: Report, subject: _Subject, video: Path) -> None:
    """The section of one person: facts, player with sound, what is heard and how open the mouth is, and why not."""
    footage, part, handover, recorder = subject.footage, subject.part, subject.handover, subject.recorder
    report.section(f"Person {part.track.source['person']}: {part.bundle.name}")
    report.facts(
        {
            "consent": part.bundle.consent,
            "style of the mouth": part.mouth,
            "terms of the prior": part.bundle.facts.terms,
        }
    )
    shown = {frame: place for place, frame in enumerate(recorder.frames)}
    guessed = _least_seen(subject)
    telling = [(index, "changed most") for _, index, _, _ in recorder.worst(subject.number)]
    telling += [(index, "guessed between the lips") for index in guessed]
    moments = [
        (shown[index], f"{timecode(float(footage.timestamps[index]))}: {why}")
        for index, why in telling
        if index in shown
    ]
    films = zip(("source", "dubbed"), recorder.faces[subject.number], strict=True)
    clips = {name: clip.finish() for name, clip in films}
    status = [handover.status(frame) for frame in shown]
    sound = None if subject.heard is None else encode_sound(subject.heard, SAMPLE_RATE)
    report.player(clips, recorder.times, status, moments, sound=sound)
    if len(recorder.times) > 1:
        caption = "what is heard, how open the drawn mouth is, and how much between the lips the actor's frames show"
        report.figure(_strip(subject), caption + "; above, what was asked for" * bool(part.cues))
    if part.cues:
        report.table(["from", "to", "asked for"], [told_range(cue) for cue in part.cues])
    rows = [
        (timecode(float(footage.timestamps[first])), timecode(float(footage.ends[last])), why)
        for why, first, last in stretches(handover.reason)
        if why
    ]
    if rows:
        report.table(["from", "to", "not wholly dubbed because"], rows)
    if guessed:
        report.table(
            ["from", "to", "why"], [[entry[key] for key in ("from", "to", "text")] for entry in _guesses(subject)]
        )
        report.image(_seen_sheet(subject, guessed, video), SEEN_TEXT)


def _guesses(subject: _Subject) -> list[dict[str, Any]]:
    """The stretches whose mouths are guessed, the longest ones, in order of time."""
    longest = sorted(subject.facts["guessed"], key=lambda entry: -entry["seconds"])[:SHEET_ROWS]
    return sorted(longest, key=lambda entry: entry["frames"])


def _least_seen(subject: _Subject) -> list[int]:
    """Of each of these stretches the frame of which least was seen."""
    seen = subject.facts["interior_seen"]
    return [
        min(range(first, last + 1), key=seen.__getitem__)
        for first, last in (one["frames"] for one in _guesses(subject))
    ]


def _seen_sheet(subject: _Subject, frames: Sequence[int], video: Path) -> bytes:
    """Dubbed mouths, and beside each the map of what was seen of it."""
    track, interior = subject.part.track.with_crop_size(PLAYER_PX), interior_of(subject.part)
    expression = gliding(subject.part, subject.handover).expression
    drawn = read_crops(Footage(video), track, frames).permute(0, 2, 3, 1).numpy()
    rows, captions = [], []
    for frame, picture in zip(frames, drawn, strict=True):
        inside, shown = (value.numpy() for value in interior.map(track, frame, expression[frame], PLAYER_PX))
        colours = cv2.applyColorMap((255 * shown).round().astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1]
        rows.append([picture, np.where(inside[..., None], colours, picture)])
        share = subject.facts["interior_seen"][frame]
        captions.append(f"frame {frame}  {timecode(float(subject.footage.timestamps[frame]))}  seen: {share:.2f}")
    return encode_image(contact_sheet(rows, ["dubbed", "seen between the lips"], captions))


def _heard(video: Path, times: Sequence[float]) -> np.ndarray | None:
    """What the finished video lets hear from the first shown frame to the last, float32 at `SAMPLE_RATE`; or None."""
    dubbed = Footage(video)
    if not dubbed.audio or not times:
        return None
    seconds = times[-1] - times[0] + 0.1
    samples = listen(SoundTrack(video, begins=Fraction(times[0])), seconds).samples
    return samples[: round(seconds * SAMPLE_RATE)]


def _strip(subject: _Subject) -> Figure:
    """Waveform, opening of the drawn mouth, and what was seen of it, in the span and about the width of the strip."""
    part, handover, recorder, heard = subject.part, subject.handover, subject.recorder, subject.heard
    rows = torch.tensor(recorder.frames)
    lower = gliding(part, handover).expression[rows]
    gap = opening(part.prior.model.vertices(part.track.shape, lower)).numpy()
    times = np.array(recorder.times) - recorder.times[0]
    count = len(part.cues)
    figure = Figure((12.0, 2.3 + CUE_INCHES * count), 100, layout="constrained")
    *asked, sound, mouth, seen = figure.subplots(
        3 + bool(count), sharex=True, height_ratios=[CUE_INCHES * count] * bool(count) + [1, 1, 0.3]
    )
    if asked:
        first = float(part.track.timestamps[0])
        _draw_cues(asked[0], part.cues, recorder.times[0] - first, recorder.times[-1] - first)
    if heard is not None:
        bins = np.array_split(np.abs(heard), min(len(heard), STRIP_BINS))
        peaks = np.array([part.max() for part in bins])
        sound.fill_between(np.linspace(0, len(heard) / SAMPLE_RATE, len(peaks)), -peaks, peaks, linewidth=0)
    mouth.plot(times, np.where(handover.weight[rows].numpy() > 0, gap, np.nan), linewidth=1)
    mouth.set_xlim(0, times[-1])
    mouth.set_ylabel("opening", fontsize=8)
    shares = [subject.facts["interior_seen"][frame] for frame in recorder.frames]
    known = np.array([np.nan if share is None else share for share in shares])
    seen.pcolormesh(np.append(times, 2 * times[-1] - times[-2]), [0, 1], known[None], vmin=0, vmax=1)
    seen.set_ylabel("seen", fontsize=8)
    for axes in (sound, seen):
        axes.set_yticks([])
    return figure


def _draw_cues(axes: Axes, cues: Sequence[Cue | RegionCue], first: float, last: float) -> None:
    """A bar a cue with what it asks for, from the first to the last time that is shown, seconds of the shot."""
    for row, cue in enumerate(cues):
        start, end = max(cue.start, first), min(cue.end, last)
        if start < end:
            axes.barh(row, end - start, left=start - first, height=0.9, color=CUE_COLOUR)
            axes.text(start - first, row, f" {cue.told}", va="center", fontsize=8, clip_on=True)
    axes.set_ylim(len(cues) - 0.5, -0.5)
    axes.set_yticks([])
