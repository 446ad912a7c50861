"""Turns: who of several people speaks when, by how sound and mouths agree.

In: the motion of everybody in a shot, and one mixed sound or one sound for each voice. Out: for windows of
`WINDOW_SECONDS` in which somebody is heard, whose mouth agrees best with the sound, by how much, and whether that is
sure. The sync network judges; a voice whose mouth is not in the picture has nobody, surely.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from prior.motion.model import sound_rows
from prior.motion.own_speech import LEAST_CONFIDENCE, LEAST_WINDOW_CONFIDENCE
from prior.motion.sync import LAGS, MARGIN_ROWS, SyncModel, best_lag, motion_rows, shipped_sync_model
from prior.speech.features import features
from prior.speech.phonemes import LABEL_RATE
from prior.speech.phonetics import shipped_phonetics
from render.head.motion import Motion

WINDOW_SECONDS = 3.0
WINDOW_ROWS = round(WINDOW_SECONDS * LABEL_RATE)
#: A window is judged where so much of it is voiced, and a mouth where so many of its rows are known.
LEAST_VOICED, LEAST_KNOWN_ROWS = 0.2, 75
#: A sound may lie so many frames from where it lies best over the whole shot. Set on training people who take turns:
#: 97.1 % of windows are right with 2, 99.0 % with 3, 99.1 % with 4.
NEAR_FRAMES = 3
#: Agreement above the next best from which a window is sure; that itself has to be as of own speech.
SURE_MARGIN = 1.0
#: Agreement that is asked for where somebody's mouth cannot be judged: of training people's windows, one of 36 reaches
#: it within `NEAR_FRAMES` with somebody else's sound (one of 5 `LEAST_WINDOW_CONFIDENCE`), and 83 % with their own.
LEAST_UNRIVALLED = 2.0


@dataclass(frozen=True)
class Turn:
    """A window of a sound, and who speaks in it.

    Attributes:
        start, end: seconds.
        sound: which of the sounds.
        person: whose mouth agrees best, which of the motions.
        agreement: of sound and mouth at their lag, above the median over lags.
        margin: agreement above that of the next one; infinite where there is no other.
        next_best: agreement of the sound with the next mouth.
        everyone_seen: whether every mouth could be judged; where not, the voice may be of one that could not.
    """

    start: float
    end: float
    sound: int
    person: int
    agreement: float
    margin: float
    next_best: float = -math.inf
    everyone_seen: bool = True

    @property
    def is_sure(self) -> bool:
        """Whether there is enough to go by."""
        least = LEAST_WINDOW_CONFIDENCE if self.everyone_seen else LEAST_UNRIVALLED
        return self.agreement >= least and self.margin >= SURE_MARGIN

    @property
    def is_alone(self) -> bool:
        """Whether no other mouth agrees as one does that speaks, too."""
        return self.next_best < LEAST_WINDOW_CONFIDENCE


@dataclass(frozen=True)
class _Mouth:
    """Motion at `LABEL_RATE`, as of `motion_rows`."""

    lower: torch.Tensor
    known: torch.Tensor
    first: int


def turns(motions: Sequence[Motion], waveforms: Sequence[np.ndarray], sync: SyncModel | None = None) -> list[Turn]:
    """Who speaks in which window, sound by sound; windows in which nobody is heard or seen are left out.

    Args:
        motions: of everybody, at times on the sounds' clock.
        waveforms: [N] at `prior.speech.sound.SAMPLE_RATE`: one for all, or one for each voice.
        sync: judges; the shipped one where not given.
    """
    heard = [sound_rows(shipped_phonetics(), features(waveform)) for waveform in waveforms]
    rows, gates = [one for one, _ in heard], [gate for _, gate in heard]
    return turns_of_rows(sync or shipped_sync_model(), motions, rows, gates)


def turns_of_rows(
    sync: SyncModel, motions: Sequence[Motion], rows: Sequence[torch.Tensor], gates: Sequence[torch.Tensor]
) -> list[Turn]:
    """The same of rows [S, SOUND_INPUTS] and gates [S] of the sounds, as of `sound_rows`."""
    mouths = [_Mouth(*motion_rows(motion)) for motion in motions]
    lags = [[_lag(sync, sound, mouth) for mouth in mouths] for sound in rows]
    found = []
    for window in range(max(len(sound) for sound in rows) // WINDOW_ROWS):
        start = window * WINDOW_ROWS
        voiced = [float(gate[start : start + WINDOW_ROWS].sum()) / WINDOW_ROWS >= LEAST_VOICED for gate in gates]
        table = torch.full((len(rows), len(mouths)), -math.inf)
        for sound in (number for number, is_voiced in enumerate(voiced) if is_voiced):
            for person, mouth in enumerate(mouths):
                table[sound, person] = _agreement(sync, rows[sound], mouth, start, lags[sound][person])
        for sound in (number for number, is_voiced in enumerate(voiced) if is_voiced):
            margins = torch.tensor([_margin(table, sound, person) for person in range(len(mouths))])
            if float(margins.max()) > -math.inf:
                person = int(margins.argmax())
                others = torch.cat([table[sound, :person], table[sound, person + 1 :], torch.tensor([-math.inf])])
                everyone_seen = bool(table[sound].isfinite().all())
                judged = (float(table[sound, person]), float(margins[person]), float(others.max()))
                ends = (start / LABEL_RATE, (start + WINDOW_ROWS) / LABEL_RATE)
                found.append(Turn(*ends, sound, person, *judged, everyone_seen=everyone_seen))
    return found


def _margin(table: torch.Tensor, sound: int, person: int) -> float:
    """By how much a sound and a person agree better than the sound with others, and the person with other sounds."""
    own = float(table[sound, person])
    if own == -math.inf:
        return own
    people = torch.cat([table[sound, :person], table[sound, person + 1 :]])
    sounds = torch.cat([table[:sound, person], table[sound + 1 :, person]])
    people, sounds = people[people.isfinite()], sounds[sounds.isfinite()]
    if not len(people):
        return math.inf
    return own - float(people.max()) + (own - float(sounds.max()) if len(sounds) else 0.0)


def _lag(sync: SyncModel, rows: torch.Tensor, mouth: _Mouth) -> int:
    """Frames by which a sound is late against a mouth over all of a shot; 0 where that is not clear."""
    offset = best_lag(sync.curve(rows, mouth.lower, mouth.known, mouth.first))
    return offset.lag_frames if offset.confidence >= LEAST_CONFIDENCE else 0


def _agreement(sync: SyncModel, rows: torch.Tensor, mouth: _Mouth, start: int, lag: int) -> float:
    """How well a window of a sound from row `start` agrees with a mouth at a lag; -inf where that cannot be said."""
    first, end = max(0, start - mouth.first), start + WINDOW_ROWS - mouth.first
    known = mouth.known[first : max(first, end)]
    if int(known.sum()) < LEAST_KNOWN_ROWS:
        return -math.inf
    begin = max(0, start - 2 * MARGIN_ROWS)
    heard = rows[begin : start + WINDOW_ROWS + 2 * MARGIN_ROWS]
    curve = sync.curve(heard, mouth.lower[first:end], known, mouth.first + first - begin)
    judged, place = curve[curve.isfinite()], LAGS.index(lag)
    if not len(judged):
        return -math.inf
    return float(curve[max(0, place - NEAR_FRAMES) : place + NEAR_FRAMES + 1].max() - judged.median())
