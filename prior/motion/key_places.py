"""Where keys of a mouth's motion lie: at the boundaries of sounds, and at the centres of those that the lips make.

In: phonetic posteriors at `LABEL_RATE`. Out: places, a row and a sound each, in order of time.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import torch
from torch import nn

from prior.speech.phonemes import CLASSES

#: Sounds whose centre is a key besides: p b, m, f v, w, as `prior.speech.phonemes` merges them.
OF_LIPS = ("p", "m", "f", "w")
#: Posteriors are averaged over so many rows before the likeliest is taken: a single row is no sound.
STEADY_ROWS = 3
#: A sound is at least so many rows long; what is shorter goes to the sound before.
LEAST_ROWS = 2


@dataclass(frozen=True)
class KeyPlace:
    """One key.

    Attributes:
        row: at `LABEL_RATE`; a centre may lie between two.
        sound: the class that begins there, or whose centre it is, of `prior.speech.phonemes.CLASSES`.
    """

    row: float
    sound: str


def key_places(heard: torch.Tensor) -> list[KeyPlace]:
    """Keys of posteriors [T, len(CLASSES)]."""
    smooth = nn.functional.avg_pool1d(heard.T[None], STEADY_ROWS, 1, STEADY_ROWS // 2, count_include_pad=False)[0].T
    runs: list[tuple[int, int, str]] = []  # first row, row after the last, sound
    for sound, rows in groupby(enumerate(smooth.argmax(1).tolist()), key=lambda row: row[1]):
        places = [row for row, _ in rows]
        if runs and (len(places) < LEAST_ROWS or runs[-1][2] == CLASSES[sound]):
            runs[-1] = (runs[-1][0], places[-1] + 1, runs[-1][2])
        else:
            runs.append((places[0], places[-1] + 1, CLASSES[sound]))
    keys = [KeyPlace(first - 0.5, sound) for first, _, sound in runs[1:]]
    keys += [KeyPlace((first + end - 1) / 2, sound) for first, end, sound in runs if sound in OF_LIPS]
    return sorted(keys, key=lambda key: key.row)
