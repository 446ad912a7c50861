"""`adapt check`: what footage holds, who is in it, and whether it is good enough to fit an actor.

In: a video, and optionally the sound that is to drive a dub. Out: `Findings`: plain JSON-able facts, and their text.
Frames count from 0; ranges are [start, stop); timecodes are of the file's own clock.
"""

import math
import shlex
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adapt.cache import NOTHING_KEPT, Found
from adapt.cast.analyse import Analysis, analyse
from adapt.cast.faces import LYING, LandmarkBackend, is_upside_down
from adapt.cast.kept import kept_analysis
from adapt.cast.mediapipe_backend import MediaPipeBackend
from adapt.cast.members import CastMember, Run
from adapt.progress import SILENT, Progress
from render.video.container import timecode
from render.video.pixel_shape import shape_words
from render.video.reader import Footage

if TYPE_CHECKING:
    from prior.speech.loudness import AudioFacts

BACKENDS = "mediapipe", "fan"
#: What a fit refuses: faces with fewer px between the eyes, turned by more degrees, seen for fewer seconds in all.
SMALLEST_EYE_DISTANCE_PX, LARGEST_YAW_DEGREES, SHORTEST_SECONDS = 14.0, 40.0, 0.9
#: Detections that are surer than this count as seen.
SEEN_CONFIDENCE = 0.8
#: Gap of the lips in eye distances: closed up to the first, half open between the next two, wide open from the last on.
CLOSED_OPENING, HALF_OPENING, WIDE_OPENING = 0.03, (0.06, 0.2), 0.22
#: What a good fit wants: px between the eyes, sharpness, seconds in all, of frontal view (within so many degrees), and
#: of lips at rest in one stretch.
GOOD_EYE_DISTANCE_PX, GOOD_SHARPNESS = 24.0, 0.1
GOOD_SECONDS, FRONTAL_SECONDS, FRONTAL_DEGREES = 4.0, 1.0, 15.0
REST_SECONDS = 0.3
#: By which a sum of the lengths of frames may be off.
ROUNDING_SECONDS = 1e-3
#: FFmpeg's filter that turns a picture clockwise by so many degrees.
TURNING_FILTERS = {180: "hflip,vflip", 90: "transpose=1", -90: "transpose=2"}
# Sound: the loudness range within which nothing needs doing.
LOUDNESS_LUFS = (-35.0, -10.0)
CLIPPED_PART = 1e-3


@dataclass(frozen=True)
class Range:
    """Frames `start` ≤ index < `stop`, with the timecodes of the first one's start and the last one's end."""

    start: int
    stop: int
    start_timecode: str
    stop_timecode: str

    def __str__(self) -> str:
        count = self.stop - self.start
        return f"{self.start_timecode} to {self.stop_timecode} ({count} frame{'s' * (count > 1)})"


@dataclass(frozen=True)
class MemberReport:
    """One cast member.

    Attributes:
        number: what `--person` takes.
        frames, seconds: in which the face is seen. `usable_seconds`: of these, good enough to fit from.
        shots: indices of the shots the person is in.
        face_height_px: smallest, median, largest. `eye_distance_px`: median.
        yaw_degrees: 5th and 95th percentile of the head's yaw, positive to the image's left.
        posture: what to do where the face is upside down or lies on its side, a sentence; else empty.
        sharpness: median, ~0.1 blurred to ~0.5 crisp.
        half_out: frames in which mouth or chin lie outside the picture: they can be neither learnt from nor dubbed.
        faceless: frames of this person's shots in which the face is not found.
        missing: what a good fit would want and this footage lacks, one phrase each.
        verdict: "good"; "usable": `adapt fit` takes it, but something is missing; "poor": it would be refused.
    """

    number: int
    frames: int
    seconds: float
    usable_seconds: float
    shots: list[int]
    face_height_px: list[float]
    eye_distance_px: float
    yaw_degrees: list[float]
    posture: str
    sharpness: float
    half_out: list[Range]
    faceless: list[Range]
    missing: list[str]
    verdict: str


@dataclass(frozen=True)
class Findings:
    """The result of `adapt check`.

    Attributes:
        video, facts, shots, cast, audio: what they are called.
        faceless: frames with no face at all; undecodable: those that cannot be read.
        notes: faults of the file, one by one.
        not_people: what looked like a face at first: where, px, and when; it is nobody, and counts for nothing.
    """

    video: str
    facts: dict[str, Any]
    shots: list[Range]
    cast: list[MemberReport]
    faceless: list[Range]
    undecodable: list[Range]
    audio: dict[str, Any] | None
    notes: list[str]
    not_people: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The report as text."""
        facts = self.facts
        rate = "variable rate, about " if facts["variable_rate"] else ""
        size = f"{facts['width']}x{facts['height']}"
        if facts["width"] * facts["height"] != facts["coded_width"] * facts["coded_height"]:
            size += f" (coded {facts['coded_width']}x{facts['coded_height']}, pixels {facts['sample_aspect']})"
        lines = [
            f"{self.video}: {size} {facts['codec']} {facts['bit_depth']} bit, "
            f"{rate}{facts['fps']:.3f} fps, {facts['frames']} frames, {timecode(facts['seconds'])}",
            *(f"  stream {stream}" for stream in facts["streams"]),
            f"shots: {len(self.shots)}",
            *(f"  {index}: {shot}" for index, shot in enumerate(self.shots)),
        ]
        if not self.cast:
            lines.append("cast: no face was found in this video")
        for member in self.cast:
            lines += _member_lines(member)
        lines += [f"not a person: {thing}" for thing in self.not_people]
        lines += [f"no face: {gap}" for gap in self.faceless if self.cast]
        lines += [f"undecodable: {gap}" for gap in self.undecodable]
        if self.audio:
            lines += _audio_lines(self.audio)
        return lines + [f"note: {note}" for note in self.notes]


def _member_lines(member: MemberReport) -> list[str]:
    low, middle, high = member.face_height_px
    left, right = member.yaw_degrees
    return [
        f"person {member.number}: {member.verdict}; {member.usable_seconds:.1f} s usable of {member.seconds:.1f} s in "
        f"shots {', '.join(map(str, member.shots))}",
        f"  face {middle:.0f} px high ({low:.0f} to {high:.0f}), turned {left:+.0f} to {right:+.0f} degrees, "
        f"sharpness {member.sharpness:.2f}",
        *([f"  {member.posture}"] if member.posture else []),
        *(f"  mouth or chin out of the picture: {gap}" for gap in member.half_out),
        *(f"  not seen: {gap}" for gap in member.faceless),
        *([f"  missing: {'; '.join(member.missing)}"] if member.missing else []),
    ]


def _audio_lines(audio: dict[str, Any]) -> list[str]:
    return [
        f"audio {audio['file']}: {audio['sample_rate_hz']} Hz, {audio['channels']} channels, "
        f"{timecode(audio['duration_seconds'])}, {audio['loudness_lufs']:.1f} LUFS, "
        f"silent {100 * audio['silence_fraction']:.0f} % of the time",
        *(f"  {remark}" for remark in audio["remarks"]),
    ]


def check(
    video: str | Path,
    audio: str | Path | None = None,
    backend: LandmarkBackend | None = None,
    progress: Progress = SILENT,
    *,
    progressive: bool = False,
    found: Found = NOTHING_KEPT,
) -> Findings:
    """Look at a video, and at the sound that is to drive its dub; `progressive` as of `Footage`.

    What the default backend finds is kept in `found`, and used where it was found before.

    Raises:
        FootageError: a file is missing, empty, not media, or has no such stream.
    """
    return check_footage(Footage(video, progressive), audio, backend, progress, found)[0]


def check_footage(
    footage: Footage,
    audio: str | Path | None = None,
    backend: LandmarkBackend | None = None,
    progress: Progress = SILENT,
    found: Found = NOTHING_KEPT,
) -> tuple[Findings, Analysis]:
    """`check` of opened footage, with the analysis that the report was drawn from."""
    choice: list[str] = []
    # First: a wrong path should not cost a long wait.
    sound = None if audio is None else _described(audio, choice)
    analysis = kept_analysis(footage, found, progress) if backend is None else analyse(footage, backend, progress)
    with_face = np.zeros(footage.frame_count, bool)
    for member in analysis.cast:
        with_face[member.values("frames")] = True
    undecodable = np.zeros_like(with_face)
    undecodable[footage.missing] = True
    report = Findings(
        video=str(footage.path),
        facts=_facts(footage),
        shots=[_range(footage, shot.start, shot.stop) for shot in analysis.shots],
        cast=[_member(analysis, member) for member in analysis.cast],
        faceless=_ranges(footage, ~with_face & ~undecodable),
        undecodable=_ranges(footage, undecodable),
        audio=_audio(Path(audio), sound, footage, choice) if audio is not None and sound is not None else None,
        notes=list(footage.notes),
        not_people=[_thing(footage, run) for run in analysis.unproven],
    )
    return report, analysis


def _thing(footage: Footage, run: Run) -> str:
    box = run.box(len(run.frames) // 2)
    x, y = (box[:2] + box[2:]) / 2
    return f"something at {x:.0f}, {y:.0f} px, {_range(footage, run.frames[0], run.frames[-1] + 1)}"


def _facts(footage: Footage) -> dict[str, Any]:
    return {
        "container": footage.container,
        "codec": footage.codec,
        "width": footage.width,
        "height": footage.height,
        "coded_width": footage.coded_width,
        "coded_height": footage.coded_height,
        "sample_aspect": shape_words(footage.sample_aspect),
        "rotation_degrees": footage.rotation,
        "pix_fmt": footage.pix_fmt,
        "bit_depth": footage.bit_depth,
        "fps": footage.fps,
        "variable_rate": footage.has_variable_rate,
        "frames": footage.frame_count,
        "start_seconds": footage.start,
        "seconds": footage.duration,
        "streams": list(footage.streams),
        "audio_streams": [asdict(stream) for stream in footage.audio],
    }


def _range(footage: Footage, start: int, stop: int) -> Range:
    end = float(int(footage.pts[stop - 1] + footage.durations[stop - 1]) * footage.time_base)
    return Range(start, stop, timecode(float(footage.timestamps[start])), timecode(end))


def _ranges(footage: Footage, marked: np.ndarray) -> list[Range]:
    """Stretches of frames where bool [T] is True."""
    return [_range(footage, start, stop) for start, stop in _stretches(marked)]


def _stretches(marked: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]]).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def _member(analysis: Analysis, member: CastMember) -> MemberReport:
    footage = analysis.footage
    durations = footage.durations * float(footage.time_base)
    frames = member.values("frames")
    boxes = member.values("boxes").reshape(-1, 4)
    heights = boxes[:, 3] - boxes[:, 1]
    yaw = np.degrees(member.values("yaw"))
    usable = _is_usable(member)
    shots = sorted({run.shot for run in member.runs})
    absent = np.zeros(footage.frame_count, bool)
    for index in shots:
        absent[analysis.shots[index].start : analysis.shots[index].stop] = True
    absent[frames] = False
    absent[footage.missing] = False
    half_out = np.zeros_like(absent)
    half_out[frames[member.values("is_whole") == 0]] = True
    missing = _missing(member, usable, durations)
    seconds = float(durations[frames[usable]].sum())
    return MemberReport(
        number=member.number,
        frames=len(frames),
        seconds=round(float(durations[frames].sum()), 3),
        usable_seconds=round(seconds, 3),
        shots=shots,
        face_height_px=[round(float(value), 1) for value in np.quantile(heights, (0, 0.5, 1))],
        eye_distance_px=round(float(np.median(member.values("eye_distance"))), 1),
        yaw_degrees=[round(float(value), 1) for value in np.quantile(yaw, (0.05, 0.95))],
        posture=_posture(footage.path, member.values("roll")),
        sharpness=round(float(np.median(member.values("sharpness"))), 3),
        half_out=_ranges(footage, half_out),
        faceless=_ranges(footage, absent),
        missing=missing,
        verdict="poor" if seconds < SHORTEST_SECONDS else "usable" if missing else "good",
    )


def _is_usable(member: CastMember) -> np.ndarray:
    """Bool per sighting: what a fit would learn from."""
    return (
        (member.values("eye_distance") >= SMALLEST_EYE_DISTANCE_PX)
        & (np.abs(np.degrees(member.values("yaw"))) <= LARGEST_YAW_DEGREES)
        & (member.values("confidence") >= SEEN_CONFIDENCE)
        & ~is_upside_down(member.values("roll"))
        & (member.values("is_whole") > 0)
    )


def _posture(path: Path, roll: np.ndarray) -> str:
    """What to do about faces that stand on their heads or lie, by the roll of each sighting, radians."""
    if is_upside_down(roll).mean() > 0.5:
        return f"the face is upside down and cannot be dubbed; {how_to_turn(path, 180)}"
    lying = roll[(np.abs(roll) > LYING) & ~is_upside_down(roll)]
    if len(lying) <= 0.5 * len(roll):
        return ""
    return f"the face lies on its side; unless it should, {how_to_turn(path, -90 if np.median(lying) > 0 else 90)}"


def how_to_turn(path: Path, degrees: int) -> str:
    """Advice: a command that turns a video clockwise by 180, 90 or -90 degrees."""
    words = ["ffmpeg", "-i", str(path), "-vf", TURNING_FILTERS[degrees], "-c:a", "copy", f"turned{path.suffix}"]
    return f"turn the picture by {degrees} degrees first: {shlex.join(words)}"


def _missing(member: CastMember, usable: np.ndarray, durations: np.ndarray) -> list[str]:
    """What a good fit would want and this member's footage lacks."""
    frames = member.values("frames")
    seconds = durations[frames]
    opening = member.values("opening")
    frontal = usable & (np.abs(np.degrees(member.values("yaw"))) <= FRONTAL_DEGREES)
    closed = usable & (opening <= CLOSED_OPENING)
    at_rest = np.zeros(len(durations), bool)
    at_rest[frames[closed]] = True
    rest = max((float(durations[start:stop].sum()) for start, stop in _stretches(at_rest)), default=0.0)
    total = float(seconds[usable].sum())
    whole_hundredths = math.floor(100 * total) / 100  # 3.999 s is less than 4.00
    wanted = [
        (
            total >= GOOD_SECONDS - ROUNDING_SECONDS,
            f"{GOOD_SECONDS:.0f} s of usable footage ({whole_hundredths:.2f} s here)",
        ),
        (float(seconds[frontal].sum()) >= FRONTAL_SECONDS, f"{FRONTAL_SECONDS:.0f} s of frontal view"),
        (bool((usable & (opening >= WIDE_OPENING)).any()), "a wide-open mouth"),
        (bool(closed.any()), "a closed mouth"),
        (rest >= REST_SECONDS, f"silence: lips at rest for {REST_SECONDS} s"),
    ]
    reasons = [
        (member.values("eye_distance") < GOOD_EYE_DISTANCE_PX, "a larger face"),
        (member.values("sharpness") < GOOD_SHARPNESS, "a sharper picture"),
    ]
    lacking = [phrase for is_there, phrase in wanted if not is_there]
    return lacking + [phrase for is_bad, phrase in reasons if is_bad.mean() > 0.5]


def _described(audio: str | Path, choice: list[str]) -> "AudioFacts":
    # Here, as what measures a sound takes longer to load than a short clip to be looked at.
    from prior.speech.loudness import describe_audio
    from prior.speech.speech_track import speech_track

    return describe_audio(speech_track(audio, choice))


def backend_of(name: str) -> LandmarkBackend:
    """What finds faces, by its name in `BACKENDS`."""
    if name == "mediapipe":
        return MediaPipeBackend()
    from adapt.cast.fan_backend import FanBackend

    return FanBackend()


def _audio(path: Path, sound: "AudioFacts", footage: Footage, choice: list[str]) -> dict[str, Any]:
    """Facts of the driving sound, and `remarks`: what should be known before use, the `choice` of a track first."""
    longer = sound.duration_seconds - footage.duration
    frame = footage.duration / footage.frame_count
    low, high = LOUDNESS_LUFS
    remarks = [
        (sound.is_silent, "silent from end to end: it cannot drive"),
        (abs(longer) > frame, f"{abs(longer):.2f} s {'longer' if longer > 0 else 'shorter'} than the video"),
        (sound.loudness_lufs < low and not sound.is_silent, f"very quiet ({sound.loudness_lufs:.0f} LUFS)"),
        (sound.loudness_lufs > high, f"very loud ({sound.loudness_lufs:.0f} LUFS)"),
        (sound.clipped_fraction > CLIPPED_PART, f"clipped ({100 * sound.clipped_fraction:.1f} % of samples)"),
        (sound.has_music_or_noise, "music or noise under the speech: drive with the clean voice"),
    ]
    facts = {key: round(value, 4) if isinstance(value, float) else value for key, value in asdict(sound).items()}
    del facts["notes"]
    spoken = [*choice, *sound.notes, *(text for is_so, text in remarks if is_so)]
    return {"file": str(path), **facts, "longer_than_video_seconds": round(longer, 3), "remarks": spoken}
