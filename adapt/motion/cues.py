"""Cue file: controls of motion by range of a shot and by person, a row each, as a table that spreadsheets write.

Columns are `start`, `end` (seconds of the shot, or H:MM:SS.s; empty: its beginning, its end), `person` (empty:
everyone), `note`, and one for each control; an empty cell leaves that as it is. A row is told by its line in the file.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from adapt.motion.controls import Control, Cue, Intensity, Listening, MouthScale, Offset, Weights
from adapt.motion.emotion import Emotion
from adapt.motion.keys import read_keys
from adapt.motion.other_style import parse_style
from adapt.motion.tables import read_table, seconds_of
from adapt.motion.words import LONGEST_SHIFT_SECONDS, parse_emotion, parse_weights, refuse_factor
from render.compositing.region import REGIONS
from render.errors import ConfigError
from render.video.container import timecode

#: Besides controls; a note is for people and changes nothing.
START, END, PERSON, REGION, NOTE = "start", "end", "person", "region", "note"


@dataclass(frozen=True)
class RegionCue:
    """Which part of the new face is put back over a range of a shot.

    Attributes:
        region: of `render.compositing.region.REGIONS`.
        start, end, person, told: as of `Cue`.
    """

    region: str
    start: float = -math.inf
    end: float = math.inf
    person: int | None = None
    told: str = ""


@dataclass(frozen=True)
class Cues:
    """What a cue file asks for.

    Attributes:
        motion: of the mouth, in the order of the rows.
        regions: of what is put back, in the order of the rows.
    """

    motion: tuple[Cue, ...] = ()
    regions: tuple[RegionCue, ...] = ()

    @property
    def people(self) -> set[int]:
        """Cast numbers of those who are named."""
        return {cue.person for cue in self.every if cue.person is not None}

    @property
    def every(self) -> "list[Cue | RegionCue]":
        """All of them."""
        return [*self.motion, *self.regions]


def _number(text: str, told: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(f"{told} {text}: give a finite number")
    return value


def _mouth(text: str, told: str, folder: Path) -> Control:
    return MouthScale(refuse_factor("mouth", _number(text, told), told))


def _intensity(text: str, told: str, folder: Path) -> Control:
    return Intensity(refuse_factor("intensity", _number(text, told), told))


def _weights(text: str, told: str, folder: Path) -> Control:
    return Weights(**parse_weights(text, told))


def _offset(text: str, told: str, folder: Path) -> Control:
    seconds = _number(text, told)
    if abs(seconds) > LONGEST_SHIFT_SECONDS:
        raise ConfigError(f"{told} {text}: give seconds from -{LONGEST_SHIFT_SECONDS} to {LONGEST_SHIFT_SECONDS}")
    return Offset(seconds)


def _style(text: str, told: str, folder: Path) -> Control:
    asked = parse_style(text, told)
    return replace(asked, path=folder / asked.path)


def _emotion(text: str, told: str, folder: Path) -> Control | None:
    word, strength = parse_emotion(text, told)
    return Emotion(word, strength) if strength else None


def _keys(text: str, told: str, folder: Path) -> Control:
    return read_keys(folder / text)


def _speaks(text: str, told: str, folder: Path) -> Control | None:
    if text not in ("yes", "no"):
        raise ConfigError(f"{told} {text}: say yes, or no for a mouth that rests")
    return None if text == "yes" else Listening()


#: Column → its control, of a cell's text, of what messages begin with, and of the cue file's folder.
CONTROLS: dict[str, Callable[[str, str, Path], Control | None]] = {
    "speaks": _speaks,
    "mouth": _mouth,
    "offset": _offset,
    "style": _style,
    "emotion": _emotion,
    "intensity": _intensity,
    "weights": _weights,
    "keys": _keys,
}
COLUMNS = (START, END, PERSON, *CONTROLS, REGION, NOTE)


def read_cues(path: Path) -> Cues:
    """Read a cue file.

    Raises:
        OSError: it, or a file that it names, cannot be read.
        ConfigError: with the row, and what is wrong there.
    """
    cues = Cues()
    for line, filled in read_table(path, COLUMNS):
        of_row = _row(filled, f"{path} row {line}:", Path(path).parent)
        cues = Cues(cues.motion + of_row.motion, cues.regions + of_row.regions)
    return cues


def _row(filled: dict[str, str], told: str, folder: Path) -> Cues:
    """The cues of a row: column → text of the cells that are not empty."""
    start = seconds_of(filled[START], f"{told} start") if START in filled else -math.inf
    end = seconds_of(filled[END], f"{told} end") if END in filled else math.inf
    if not start < end:
        raise ConfigError(f"{told} start {filled[START]} is not before end {filled[END]}")
    person = None
    if PERSON in filled:
        if not filled[PERSON].isdecimal():
            raise ConfigError(f"{told} person {filled[PERSON]}: give a cast number; see `adapt check`")
        person = int(filled[PERSON])
    motion = tuple(
        Cue(control, start, end, person, f"{name} {_shown(name, filled[name])}")
        for name, make in CONTROLS.items()
        if name in filled and (control := make(filled[name], f"{told} {name}", folder)) is not None
    )
    regions: tuple[RegionCue, ...] = ()
    if REGION in filled:
        word = filled[REGION]
        if word not in REGIONS:
            raise ConfigError(f"{told} region {word}: choose one of {', '.join(REGIONS)}")
        regions = (RegionCue(word, start, end, person, f"region {word}"),)
    if not {*filled} & {*CONTROLS, REGION, NOTE}:
        raise ConfigError(f"{told} says nothing; fill in one of {', '.join((*CONTROLS, REGION))}")
    return Cues(motion, regions)


def _shown(name: str, text: str) -> str:
    """A cell as it is told to others: files by their names alone."""
    return Path(text).name if name in ("style", "keys") else text


def told_range(cue: Cue | RegionCue) -> tuple[str, str, str]:
    """From when to when a cue holds, and what it asks for, in words."""
    start = "the beginning" if cue.start == -math.inf else timecode(cue.start)
    return start, "the end" if cue.end == math.inf else timecode(cue.end), cue.told
