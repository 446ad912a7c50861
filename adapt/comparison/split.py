"""Enrollment and held-out frames of the footage of a comparison, by time or by take.

In: video files (with an `index.csv` beside them as `adapt prepare` reads it, which says who is seen and whether the
sound belongs to the picture). Out: `Split`s. A person with several takes is enrolled from one and held out in another;
a person with one is split by time, with a gap. Tracks are made once a file and kept.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adapt.baselines.contract import Enrollment, rows_of, sound_of
from adapt.cache import Cache, code_sha256, content_key
from adapt.cast.analyse import analyse
from adapt.cast.suitability import LARGEST_YAW_DEGREES
from adapt.comparison.options import LEAST_SECONDS
from adapt.preparation.index import find_clips
from adapt.tracking.crop import read_crops
from adapt.tracking.track import track_person
from prior.cache.prepared import FACTS_NAME, TRACK_NAME
from prior.face.model import WEIGHTS as FACE_MODEL
from prior.speech.sound import read_waveform
from prior.speech.speech_track import speech_track
from render.drawing.crop import CROP_SIZE
from render.errors import FootageError
from render.head.camera import head_turn
from render.head.track import Track
from render.store import file_sha256
from render.text import read_json
from render.video.reader import Footage

#: Held-out frames are so far from those of the enrollment.
GAP_SECONDS = 2.0
#: What a clip too short for that gets: seconds of enrollment, at most, and of gap.
SHORT = (2.0, 1.0)
#: Frames are taken at about this rate; a faster clip is thinned.
FRAMES_PER_SECOND = 25.0
#: A held-out part starts at one of the times so far apart.
START_STEP_SECONDS = 0.2


@dataclass(frozen=True)
class Take:
    """One file: the person seen longest in it, tracked."""

    footage: Footage
    person: str
    track: Track
    speech: bool

    @property
    def rows(self) -> torch.Tensor:
        """Rows [N] that are tracked surely, at about `FRAMES_PER_SECOND`."""
        rows = torch.arange(0, len(self.track), max(1, round(1 / self.track.frame_seconds / FRAMES_PER_SECOND)))
        return rows[self.track.sure()[rows]]

    def times(self, rows: torch.Tensor) -> torch.Tensor:
        """Seconds of rows [N] on the file's own clock."""
        return self.track.timestamps[rows]

    @cached_property
    def waveform(self) -> np.ndarray | None:
        """The sound of the whole file from its first frame on, where it belongs to the picture."""
        if not self.speech:
            return None
        begins = int(self.footage.pts[0]) * self.footage.time_base
        return read_waveform(replace(speech_track(self.footage.path), begins=begins))

    def heard(self, start: float, seconds: float) -> np.ndarray | None:
        """The sound [N] of `seconds` from `start` on, on the file's own clock."""
        return None if self.waveform is None else sound_of(self.waveform, start - self.footage.start, seconds)


@dataclass(frozen=True)
class TakePart:
    """Rows [N] of a take."""

    take: Take
    rows: torch.Tensor

    @cached_property
    def track(self) -> Track:
        """Track of these rows alone."""
        return rows_of(self.take.track, self.rows)

    def crops(self) -> torch.Tensor:
        """uint8 [N, 3, H, W] sRGB, decoded anew."""
        return read_crops(self.take.footage, self.take.track, self.rows.tolist())

    def native(self) -> tuple[list[np.ndarray], torch.Tensor]:
        """The source around each crop, uint8 [H', W', 3] sRGB, decoded anew, and [N, 2, 3] from there to the crops."""
        footage, track = self.take.footage, self.take.track
        chosen = {int(row): place for place, row in enumerate(self.rows)}
        pictures: list[np.ndarray] = [np.zeros((1, 1, 3), np.uint8)] * len(chosen)
        matrices = track.crop_from_image[self.rows].clone()
        side = float(track.crop_size)
        corners = np.array([[0, 0], [side, 0], [0, side], [side, side]])
        for frame in footage.frames(min(chosen), max(chosen) + 1):
            if frame.index not in chosen:
                continue
            matrix = matrices[chosen[frame.index]]
            places = (corners - matrix[:, 2].numpy()) @ np.linalg.inv(matrix[:, :2].numpy()).T
            x0, y0 = np.floor(places.min(0)).clip(0).astype(int)
            x1, y1 = np.ceil(places.max(0)).clip(1).astype(int)
            pictures[chosen[frame.index]] = frame.rgb[y0:y1, x0:x1].copy()
            matrix[:, 2] += matrix[:, :2] @ torch.tensor([x0, y0], dtype=matrix.dtype)
        return pictures, matrices

    @cached_property
    def waveform(self) -> np.ndarray | None:
        """The part's own sound, time 0 at its first frame."""
        return self.take.heard(float(self.track.timestamps[0]), self.track.duration_seconds)

    @property
    def facts(self) -> dict[str, Any]:
        """What decides its content."""
        footage, track = self.take.footage, self.take.track
        return {"file": footage.sha256, "track": track.source["key"], "rows": content_key(self.rows.tolist())}


@dataclass(frozen=True)
class Split:
    """One comparison: what is learnt from, what is drawn.

    Attributes:
        clip: name of the held-out file.
        enrolled: to learn from.
        held_out: to be drawn.
        way: "time" or "take".
        gap_seconds: between the two; None for takes.
        is_short: the clip was too short for the usual enrollment and gap.
    """

    clip: str
    enrolled: TakePart
    held_out: TakePart
    way: str
    gap_seconds: float | None
    is_short: bool

    @property
    def person(self) -> str:
        """Who is seen."""
        return self.held_out.take.person

    @property
    def facts(self) -> dict[str, Any]:
        """What decides its content."""
        return {"known": self.enrolled.facts, "held_out": self.held_out.facts}

    @property
    def key(self) -> str:
        """Hash of the content."""
        return content_key(self.facts)

    def enrollment(self) -> Enrollment:
        """The enrollment as methods see it."""
        track = replace(self.enrolled.track, source={})
        return Enrollment(track, self.enrolled.crops(), self.enrolled.waveform, content_key(self.enrolled.facts))


def find_takes(footage: Sequence[str]) -> list[tuple[Path, str, bool | None]]:
    """File, person and whether the sound belongs to the picture (None: not known), of files and folders of them."""
    return [(clip.path, clip.person, clip.speech) for clip in find_clips(list(footage), 0)]


def open_take(
    path: Path,
    person: str,
    speech: bool | None,
    cache: Cache,
    prepared: Path | None = None,
    progressive: bool = False,
) -> Take:
    """Open a file and track the person seen longest, unless a track is there already.

    Args:
        path: video file.
        person: who is seen.
        speech: whether the sound belongs to the picture; None: not known.
        cache: where tracks are kept.
        prepared: folder of `adapt prepare`, whose track of the same file is taken.
        progressive: as of `Footage`.

    Raises:
        FootageError, TrackingError: unreadable, or nobody in it.
    """
    footage = Footage(path, progressive)
    track = prepared_track(prepared, footage) if prepared is not None else None
    if track is None:
        key = content_key([footage.sha256, file_sha256(FACE_MODEL), code_sha256("adapt.tracking.track")])
        kept = cache.path("tracks", key, ".safetensors")
        if not kept.is_file():
            tracked = track_person(analyse(footage), 1).with_crop_size(CROP_SIZE)
            replace(tracked, source={**tracked.source, "key": key}).save(kept)
        track = Track.load(kept)
    return Take(footage, person, track, bool(footage.audio) and speech is not False)


def prepared_track(folder: Path, footage: Footage) -> Track | None:
    """The track that `adapt prepare` made of a file; None where it made none of this very file."""
    clip_folder = folder / footage.path.stem
    if not (clip_folder / FACTS_NAME).is_file():
        return None
    facts = read_json(clip_folder / FACTS_NAME)
    if facts["sha256"] != footage.sha256 or facts["settings"]["model"] != file_sha256(FACE_MODEL):
        return None
    track = Track.load(clip_folder / TRACK_NAME).with_crop_size(CROP_SIZE)
    return replace(track, source={**track.source, "key": file_sha256(clip_folder / TRACK_NAME)})


def group_takes(takes: Iterable[Take], way: str) -> list[list[Take]]:
    """Takes that make a split together: all of a person by take, each alone by time.

    Args:
        takes: of any number of people.
        way: "time", "take", or "auto": by take where a person has several.
    """
    if way == "time":
        return [[take] for take in takes]
    people: dict[str, list[Take]] = defaultdict(list)
    for take in takes:
        people[take.person].append(take)
    return list(people.values())


def make_split(takes: Sequence[Take], enrollment: float, held_out: float, way: str = "auto") -> Split:
    """The split of a group of takes.

    Args:
        takes: of `group_takes`.
        enrollment: seconds to learn from.
        held_out: most seconds to draw.
        way: as there.

    Raises:
        FootageError: too short.
    """
    if way == "auto":
        takes = [take for take in takes if not _too_short(take, take.rows)] or takes[:1]
    if way == "take" or len(takes) > 1:
        return _split_takes(takes, enrollment, held_out)
    return _split_time(takes[0], enrollment, held_out)


def _split_takes(takes: Sequence[Take], enrollment: float, held_out: float) -> Split:
    """Enrollment from the take with most usable frames, held out the next one (with sound before without)."""
    if len(takes) < 2:
        name = takes[0].footage.path.name
        raise FootageError(f"{name}: {takes[0].person} has one take only; give another, or --split time")
    order = sorted(takes, key=lambda take: -len(take.rows))
    enrolled, other = order[0], max(order[1:], key=lambda take: (take.speech, len(take.rows)))
    first, last = _enrollment_rows(enrolled, enrollment), _held_out_rows(other, other.rows, held_out)
    if _too_short(enrolled, first) or _too_short(other, last):
        raise FootageError(
            f"{other.footage.path.name}: too short; two takes with {LEAST_SECONDS:g} s of usable frames are needed"
        )
    return Split(other.footage.path.stem, TakePart(enrolled, first), TakePart(other, last), "take", None, False)


def _split_time(take: Take, enrollment: float, held_out: float) -> Split:
    """Enrollment from the start of a take, held-out frames from `GAP_SECONDS` after it."""
    for seconds, gap in ((enrollment, GAP_SECONDS), (min(enrollment, SHORT[0]), SHORT[1])):
        first = _enrollment_rows(take, seconds)
        if _too_short(take, first):
            continue
        after = take.rows[take.times(take.rows) >= float(take.times(first)[-1]) + gap]
        last = _held_out_rows(take, after, held_out)
        if not _too_short(take, last):
            is_short = gap != GAP_SECONDS
            return Split(take.footage.path.stem, TakePart(take, first), TakePart(take, last), "time", gap, is_short)
    raise _refusal(take)


def _refusal(take: Take) -> FootageError:
    return FootageError(
        f"{take.footage.path.name}: too short to learn from one part and hold out another "
        f"({len(take.rows)} usable frames; at least {2 * LEAST_SECONDS + SHORT[1]:.0f} s are needed)"
    )


def _too_short(take: Take, rows: torch.Tensor) -> bool:
    return len(rows) < 2 or float(take.times(rows)[-1] - take.times(rows)[0]) < LEAST_SECONDS - 1 / FRAMES_PER_SECOND


def _enrollment_rows(take: Take, seconds: float) -> torch.Tensor:
    """Rows of the first `seconds` in which the person is seen."""
    rows = take.rows
    rows = rows[head_turn(take.track.rotation[rows])[:, 0].abs() <= LARGEST_YAW_DEGREES]
    return rows[take.times(rows) < take.times(rows)[0] + seconds] if len(rows) else rows


def _held_out_rows(take: Take, rows: torch.Tensor, seconds: float) -> torch.Tensor:
    """The stretch of `seconds` that holds most of rows [N]; the earliest of the best."""
    if len(rows) < 2:
        return rows
    times = take.times(rows).contiguous()
    starts = torch.arange(float(times[0]), float(times[-1]), START_STEP_SECONDS, dtype=torch.float64)
    count = torch.searchsorted(times, starts + seconds - 1e-6) - torch.searchsorted(times, starts - 1e-6)
    best = float(starts[int(count.argmax())])
    return rows[(times >= best - 1e-6) & (times < best + seconds - 1e-6)]
