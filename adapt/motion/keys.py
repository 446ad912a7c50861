"""Key motions: what a mouth does at the boundaries of sounds and at the centres of p b m f v w, as a table to edit.

A row is a key: `time` (seconds of the shot), `sound`, `opening`, `width`, `rounding` (cm of the average head, from the
closed mouth), and the same three as they were `predicted`. What an edit changes is reached at the key, fades to nothing
within `REACH_SECONDS` of it, and adds to the motion that there is; rows as they were written change nothing.
"""

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from adapt.motion.controls import PlacedMotion, Speaker
from adapt.motion.placement import rows_around
from adapt.motion.tables import read_table, seconds_of
from prior.motion.style import mouth_measures
from render.errors import ConfigError
from render.head.face_model import FaceModel
from render.store import write_bytes

#: An edit is felt so long before and after its key.
REACH_SECONDS = 0.2
#: Columns of what a mouth does, as of `prior.motion.style.MEASURES`, and digits with which they are written.
MEASURED, DIGITS = ("opening", "width", "rounding"), 3
PREDICTED = tuple(f"predicted_{name}" for name in MEASURED)
TIME, SOUND = "time", "sound"
COLUMNS = (TIME, SOUND, *MEASURED, *PREDICTED)
#: Keys of a table are so far apart, at least.
LEAST_APART_SECONDS = 0.01
#: Measures [.., M] of expressions [.., E], cm, linear in them.
Measures = Callable[[FaceModel, torch.Tensor], torch.Tensor]
#: A mouth is never so far from its closed shape, cm.
FARTHEST_CM = 6.0


@dataclass(frozen=True)
class Key:
    """One key of a table.

    Attributes:
        seconds: from the shot's first frame.
        sound: what is heard.
        wanted: opening, width, rounding, cm from the closed mouth; NaN where the table leaves one as it is.
        predicted: the same as it was when the table was written; NaN where it does not say.
    """

    seconds: float
    sound: str
    wanted: tuple[float, ...]
    predicted: tuple[float, ...]


@dataclass(frozen=True)
class KeyEdits:
    """The edits of a table of keys.

    Attributes:
        keys: of the table, in order of time, those that were not edited, too.
    """

    keys: tuple[Key, ...]
    stage: ClassVar[str] = "keys"

    def applied(self, motion: PlacedMotion, speaker: Speaker) -> PlacedMotion:
        """The motion with what the edits add to it."""
        if not self.keys:
            return motion
        times = torch.tensor([key.seconds for key in self.keys], dtype=torch.float64)
        wanted = torch.tensor([key.wanted for key in self.keys])
        predicted = torch.tensor([key.predicted for key in self.keys])
        edits = wanted - torch.where(predicted.isnan(), measured_at(motion, times, speaker), predicted)
        # The last digit may be of rounding.
        edits = torch.where(edits.abs() < 1.5 * 10.0**-DIGITS, 0.0, edits.nan_to_num())
        edited = edits.any(1)
        if not bool(edited.any()):
            return motion
        added = between_edits(motion.seconds, times[edited], edits[edited])
        expression = motion.expression + added @ coefficients_per_cm(speaker)
        return replace(motion, expression=torch.where(added.any(1, keepdim=True), expression, motion.expression))


def between_edits(seconds: torch.Tensor, times: torch.Tensor, edits: torch.Tensor) -> torch.Tensor:
    """What edits [K, D] at times [K] (increasing) add at `seconds` [T]: [T, D].

    At an edit all of it, from there to the next one smoothly to that, and where there is none within `REACH_SECONDS`
    smoothly to nothing; never more than the larger of two edits, and exactly nothing beyond the reach of all.
    """
    gaps = times.diff().clamp(max=REACH_SECONDS)
    end = torch.tensor([REACH_SECONDS], dtype=times.dtype)
    away = seconds[:, None] - times
    reach = torch.where(away < 0, torch.cat([end, gaps]), torch.cat([gaps, end]))
    place = (away.abs() / reach).clamp(max=1)
    return (1 - place * place * (3 - 2 * place)).float() @ edits


def measured_at(motion: PlacedMotion, times: torch.Tensor, speaker: Speaker) -> torch.Tensor:
    """What a mouth does at times [K] of the shot: [K, 3] of `MEASURED`, cm from its closed shape."""
    left, right, weight = rows_around(motion.seconds, times)
    lower = torch.lerp(motion.expression[left], motion.expression[right], weight.float()[:, None])
    return mouth_measures(speaker.face_model, lower) - mouth_measures(speaker.face_model, speaker.closed)


def coefficients_per_cm(speaker: Speaker, measures: Measures = mouth_measures) -> torch.Tensor:
    """[M, E] coefficients that add a centimetre of each of M measures and leave the others as they are.

    Of all that do, those that ask least of the person's own range, but that lips part as they do when people talk.

    Args:
        speaker: whose mouth it is.
        measures: of which the first is the opening.
    """
    per_unit = measures_per_unit(speaker.face_model, measures)
    spread = per_unit * speaker.spread.square()[:, None]
    least = torch.linalg.solve(per_unit.T @ spread, spread.T)
    parting = speaker.closing_direction
    return least + torch.stack([parting - parting @ per_unit @ least, *torch.zeros(len(least) - 1, len(parting))])


def measures_per_unit(face_model: FaceModel, measures: Measures = mouth_measures) -> torch.Tensor:
    """[E, M] what a unit of each coefficient adds to what is measured, cm."""
    units = torch.eye(len(face_model.lower_basis))
    return measures(face_model, units) - measures(face_model, torch.zeros_like(units))


def keys_of(motion: PlacedMotion, places: Sequence[tuple[float, str]], speaker: Speaker) -> list[Key]:
    """Keys of a motion at places (seconds of the shot, sound), as they are."""
    times = torch.tensor([seconds for seconds, _ in places], dtype=torch.float64)
    values = (np.round(measured_at(motion, times, speaker).double().numpy(), DIGITS) + 0.0).tolist()
    return [Key(seconds, sound, tuple(one), tuple(one)) for (seconds, sound), one in zip(places, values, strict=True)]


def write_keys(path: Path, keys: Sequence[Key]) -> None:
    """Write a table of keys; raises `OutputError`."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for key in keys:
        values = [f"{value:.{DIGITS}f}" for value in (*key.wanted, *key.predicted)]
        table.writerow([f"{key.seconds:.{DIGITS}f}", key.sound, *values])
    write_bytes(path, text.getvalue().encode())


def read_keys(path: Path) -> KeyEdits:
    """Read a table of keys: columns may be left out but `time`, and cells be empty.

    Raises:
        OSError: it cannot be read.
        ConfigError: with the row, and what is wrong there.
    """
    keys = []
    for line, filled in read_table(path, COLUMNS):
        told = f"{path} row {line}:"
        if TIME not in filled:
            raise ConfigError(f"{told} no time; give seconds of the shot")
        wanted, predicted = (
            tuple(_centimetres(filled.get(name), f"{told} {name}") for name in names) for names in (MEASURED, PREDICTED)
        )
        keys.append(Key(seconds_of(filled[TIME], f"{told} time"), filled.get(SOUND, ""), wanted, predicted))
        if any(abs(keys[-1].seconds - key.seconds) < LEAST_APART_SECONDS for key in keys[:-1]):
            raise ConfigError(f"{told} time {filled[TIME]}: there is a key already")
    return KeyEdits(tuple(sorted(keys, key=lambda key: key.seconds)))


def _centimetres(text: str | None, told: str) -> float:
    if text is None:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= FARTHEST_CM:
        raise ConfigError(f"{told} {text}: give centimetres from -{FARTHEST_CM:g} to {FARTHEST_CM:g}")
    return value
