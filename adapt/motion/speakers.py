"""Who speaks when, proposed as a cue file: people who listen rest, and what is not sure is named and left alone.

In: tracks of everybody in a shot, and one mixed sound or one for each voice. Out: rows of a table that an editor looks
through and hands to `adapt dub --cues`; nothing is decided here.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np

from adapt.cache import Found
from adapt.cast.analyse import everyone
from adapt.cast.kept import kept_analysis
from adapt.motion.cues import END, NOTE, PERSON, START
from adapt.motion.sources import Sound
from adapt.progress import SILENT, Progress
from adapt.tracking.kept import kept_track
from prior.motion.turns import Turn, turns
from prior.speech.sound import listen
from prior.speech.speech_track import speech_track
from render.errors import DubError, TrackingError
from render.head.motion import Motion
from render.head.track import Track
from render.store import write_text
from render.video.reader import Footage

SPEAKS = "speaks"
ALONE = "nobody else's mouth could be judged"
#: Who is surely seen in fewer frames is nobody of whom it can be said whether they speak.
LEAST_SEEN_FRAMES = 25


@dataclass(frozen=True)
class Proposal:
    """Who speaks when.

    Attributes:
        people: cast numbers.
        sounds: names of the sounds.
        turns: window by window; `person` counts in `people`, `sound` in `sounds`.
    """

    people: tuple[int, ...]
    sounds: tuple[str, ...]
    turns: tuple[Turn, ...]

    @property
    def voices(self) -> dict[str, int]:
        """Sound → cast number of who speaks most of it, as far as that is sure."""
        voices = {}
        for number, name in enumerate(self.sounds):
            sure = [turn.person for turn in self.turns if turn.sound == number and self.is_clear(turn)]
            if sure:
                voices[name] = self.people[int(np.bincount(sure).argmax())]
        return voices

    def is_clear(self, turn: Turn) -> bool:
        """Whether it is sure who speaks; of one mixed sound, that nobody else does, too."""
        return turn.is_sure and (len(self.sounds) > 1 or turn.is_alone)

    def rows(self) -> list[dict[str, str]]:
        """Rows of a cue file.

        One mixed sound: `speaks` is no for everybody but who surely speaks, where that is sure. Sounds of one voice
        each drive their own person, and nobody has to rest: rows name whose they are. Where it is not sure, a row says
        so and asks for nothing.
        """
        rows = []
        for key, group in groupby(self.turns, key=lambda turn: (self.is_clear(turn), turn.sound, turn.person)):
            is_sure, sound, number = key
            run, person = list(group), self.people[number]
            window = {START: f"{run[0].start:g}", END: f"{run[-1].end:g}"}
            margin = min(turn.margin for turn in run)
            judged = f"agrees by {margin:.1f} more than any other" if math.isfinite(margin) else ALONE
            if not is_sure:
                rows.append({**window, NOTE: f"not sure: {self.sounds[sound]} may be of person {person}, {judged}"})
            elif len(self.sounds) > 1:
                rows.append({**window, PERSON: str(person), NOTE: f"speaks {self.sounds[sound]}, {judged}"})
            else:
                note = f"person {person} speaks, {judged}"
                others = [other for other in self.people if other != person]
                rows += [{**window, PERSON: str(other), SPEAKS: "no", NOTE: note} for other in others]
        return rows


def speakers(
    shot: str | Path,
    sounds: Sequence[str | Path] = (),
    *,
    progressive: bool = False,
    keep_found: bool = True,
    progress: Progress = SILENT,
) -> Proposal:
    """Who speaks when in a shot.

    Args:
        shot: video file.
        sounds: one mixed sound, or one for each voice, which begin with the shot; default the shot's own.
        progressive: as of `Footage`.
        keep_found: keep faces and tracks, and use what was kept of the same video.
        progress: where bars go.

    Raises:
        FootageError, DubError: a file cannot be read, or holds no sound.
        TrackingError: nobody is seen.
    """
    waveforms = {Path(sound).name: Sound(Path(sound)).waveform for sound in sounds}
    if len(waveforms) < len(sounds):
        raise DubError("two sounds have the same name; rename one, or leave it out")
    footage, found = Footage(shot, progressive), Found.of_user(keep_found)
    if not sounds:
        waveforms = {footage.path.name: own_waveform(footage)}
    analysis = kept_analysis(footage, found, progress, None)
    tracks = {}
    for number in everyone(analysis):
        try:
            tracks[number] = kept_track(analysis, number, found)
        except TrackingError as error:
            progress.note(f"person {number}: left out: {error}")
    return propose(tracks, waveforms, len(everyone(analysis)))


def own_waveform(footage: Footage) -> np.ndarray:
    """A shot's own sound [N] at `prior.speech.sound.SAMPLE_RATE`, from its first frame on.

    Raises:
        FootageError: it has none that can be read.
        DubError: it is silent from there on.
    """
    begins = int(footage.pts[0]) * footage.time_base
    heard = listen(replace(speech_track(footage.path), begins=begins))
    if heard.is_silent:
        raise DubError(f"{footage.path}: silent from its first frame on; give the sound in which people speak")
    return heard.samples


def propose(tracks: Mapping[int, Track], sounds: Mapping[str, np.ndarray], people: int | None = None) -> Proposal:
    """Who speaks when.

    Args:
        tracks: cast number → track in the shot; people who are hardly seen are left out.
        sounds: name → waveform [N] at `prior.speech.sound.SAMPLE_RATE`, which begins with the shot.
        people: how many there are in the shot; default all whose tracks are given.
    """
    seen = {number: track for number, track in tracks.items() if int(track.sure().sum()) >= LEAST_SEEN_FRAMES}
    motions = [_from_beginning(track) for track in seen.values()]
    found = turns(motions, list(sounds.values())) if motions else []
    if len(seen) < (len(tracks) if people is None else people):  # the voice may be of somebody who is not judged
        found = [replace(turn, everyone_seen=False) for turn in found]
    return Proposal(tuple(seen), tuple(sounds), tuple(found))


def _from_beginning(track: Track) -> Motion:
    motion = track.motion()
    return replace(motion, timestamps=motion.timestamps - motion.timestamps[0])


def write_proposal(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write rows as a cue file; raises `OutputError`."""
    text = io.StringIO()
    table = csv.DictWriter(text, (START, END, PERSON, SPEAKS, NOTE), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_text(path, text.getvalue())
