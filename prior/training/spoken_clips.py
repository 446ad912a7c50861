"""What audio to motion learns from: sound and mouth motion on one clock, brought into step.

In: tracks of a prepared cache and the clips' own sound. Out: rows at `LABEL_RATE`. Some footage's sound is out of step
or a voice-over: a ridge regression that never saw the person says by how much, and how sure that is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from prior.motion.closures import CLOSURE_LEAD_ROWS
from prior.motion.filtering import with_context
from prior.motion.model import SOUND_INPUTS, input_rows
from prior.motion.style import MouthStyle, mouth_measures, mouth_style
from prior.speech.features import FRAME_RATE, features
from prior.speech.phonemes import INDEX, LABEL_RATE
from prior.speech.phonetics import PhoneticEncoder, load_phonetics
from prior.speech.pretrained_front_end import FrontEnd
from prior.speech.sound import SAMPLE_RATE, read_waveform, resample
from render.errors import FootageError, StoreError
from render.head.face_model import FaceModel
from render.head.track import Track

LONGEST_GAP_SECONDS = 0.08  # between tracked frames that a row may lie between
LEAST_SYNC = 0.25  # correlation of predicted and seen opening at the best lag, below which a clip is left out
LONGEST_LAG_ROWS = 15  # 0.3 s
RIG_LEAST_SPREAD = 0.02  # rig controls that move less are left out
BELONGING = "whose sound belongs to the picture (`adapt prepare --help` says how footage is listed)"
CLOSURE_REACH_ROWS = 10  # to either side of an m in which the lips' closure is looked for


@dataclass(frozen=True)
class SpokenClip:
    """One clip's sound and motion on one clock, rows at `LABEL_RATE`.

    Attributes:
        name, person: of the clip.
        mel: [T, MEL_BANDS], for the regressions that the model is measured against.
        rows: [T, INPUTS]; gate: [T]: see `input_rows`. A front end's columns stand beside the rows.
        lower: [T, E] lower expression.
        known: bool [T], where the face was tracked.
        style: of the clip's own track.
        measures: [T, 3] of `mouth_measures`.
    """

    name: str
    person: str
    mel: torch.Tensor
    rows: torch.Tensor
    gate: torch.Tensor
    lower: torch.Tensor
    known: torch.Tensor
    style: MouthStyle
    measures: torch.Tensor

    def delayed(self, lag_rows: int) -> SpokenClip:
        """The same with the sound moved later by `lag_rows` (earlier where negative)."""
        if not lag_rows:
            return self
        mel, rows, gate = (torch.roll(value, lag_rows, 0) for value in (self.mel, self.rows, self.gate))
        known = self.known.clone()
        known[:lag_rows] = False if lag_rows > 0 else known[:lag_rows]
        known[len(known) + min(lag_rows, 0) :] = False
        return replace(self, mel=mel, rows=rows, gate=gate, known=known)


def spoken_clips(
    cache: Path,
    footage: Path,
    face_model: FaceModel,
    factors: tuple[float, ...] = (1.0,),
    front_end: FrontEnd | None = None,
) -> Iterator[list[SpokenClip]]:
    """Every clip of a prepared cache that has sound, once for each speed factor, heard by the front end, too.

    Raises:
        StoreError: the cache holds no tracks.
    """
    ears = load_phonetics(), front_end
    for name, track, waveform in sounding(cache, footage):
        try:
            style = mouth_style(track, face_model)
        except ValueError:
            continue  # hardly tracked: nothing to pair
        yield [_spoken_clip(name, track, face_model, style, waveform, factor, ears) for factor in factors]


def sounding(cache: Path, footage: Path) -> Iterator[tuple[str, Track, np.ndarray]]:
    """Name, track and waveform of every clip of a prepared cache whose file has sound.

    Raises:
        StoreError: the cache holds no tracks.
    """
    paths = sorted(cache.glob("*/track.safetensors"))
    if not paths:
        raise StoreError(f"{cache}: no */track.safetensors; make it with `adapt prepare FOOTAGE -o {cache}`")
    for path in tqdm(paths, desc="sounds"):
        track = Track.load(path)
        try:
            waveform = read_waveform(footage / str(track.source["file"]))
        except FootageError:
            continue  # silent
        yield path.parent.name, track, waveform


def _spoken_clip(
    name: str,
    track: Track,
    face_model: FaceModel,
    style: MouthStyle,
    waveform: np.ndarray,
    factor: float,
    ears: tuple[PhoneticEncoder, FrontEnd | None],
) -> SpokenClip:
    """A clip whose sound and motion both run `factor` times as fast."""
    faster = resample(waveform, SAMPLE_RATE * factor) if factor != 1 else waveform
    sound = features(faster)
    encoder, front_end = ears
    rows, gate = input_rows(encoder, sound)
    if front_end is not None:
        rows = torch.cat([rows, front_end.columns(faster)], 1)
    seconds = track.timestamps.numpy() / factor
    sure = track.sure().numpy()
    count = min(len(rows), int(seconds[-1] * LABEL_RATE))
    clock = np.arange(count) / LABEL_RATE
    lower = np.stack([np.interp(clock, seconds[sure], axis) for axis in track.lower_expression[sure].T.numpy()], 1)
    right = np.searchsorted(seconds[sure], clock).clip(1, sure.sum() - 1)
    gap = seconds[sure][right] - seconds[sure][right - 1]
    known = (gap <= LONGEST_GAP_SECONDS / factor) & (clock >= seconds[sure][0]) & (clock <= seconds[sure][-1])
    expression = torch.from_numpy(lower.astype(np.float32))
    person = str(track.source.get("person", name))
    return SpokenClip(
        name,
        person,
        sound.mel[:: FRAME_RATE // LABEL_RATE][:count],
        rows[:count],
        gate[:count],
        expression,
        torch.from_numpy(known),
        style,
        mouth_measures(face_model, expression),
    )


def ridge_predictions(
    inputs: list[torch.Tensor], clips: list[SpokenClip], held_out: set[str], strength: float = 1.0
) -> list[torch.Tensor]:
    """Leave-one-person-out ridge regression to the measures, each normalised in its clip.

    Args:
        inputs: [T, D] per clip at `LABEL_RATE`, one to one with `clips`.
        clips: the clips.
        held_out: people that no regression may be learnt from.
        strength: penalty, relative to the number of rows.

    Returns:
        [T, 3] per clip, predicted by a regression that did not see the clip's person.
    """
    stacked = [with_context(rows) for rows in inputs]
    every = torch.cat([rows[clip.known] for rows, clip in zip(stacked, clips, strict=True)])
    mean, spread = every.mean(0), every.std(0) + 1e-6
    design = [
        torch.cat([(rows - mean) / spread, torch.ones(len(rows), 1)], 1).double() for rows in stacked
    ]  # [T, D * 11 + 1]
    targets = [_normalised(clip).double() for clip in clips]
    people = {clip.person for clip in clips}
    gram, cross, count = {}, {}, {}
    for person in people:
        of_person = [i for i, clip in enumerate(clips) if clip.person == person]
        left = torch.cat([design[i][clips[i].known] for i in of_person])
        right = torch.cat([targets[i][clips[i].known] for i in of_person])
        gram[person], cross[person], count[person] = left.T @ left, left.T @ right, len(left)
    taught = sorted(people - held_out)
    total, moment = sum(gram[p] for p in taught), sum(cross[p] for p in taught)
    row_count = sum(count[p] for p in taught)
    eye = torch.eye(design[0].shape[1], dtype=torch.float64)

    def solve(without: str | None) -> torch.Tensor:
        less = (gram[without], cross[without], count[without]) if without else (0, 0, 0)
        return torch.linalg.solve(total - less[0] + strength * (row_count - less[2]) * eye, moment - less[1])

    common = solve(None)
    own_weights = {person: solve(person) if person in taught else common for person in people}
    return [(design[i] @ own_weights[clip.person]).float() for i, clip in enumerate(clips)]


def _normalised(clip: SpokenClip) -> torch.Tensor:
    values = clip.measures[clip.known]
    return (clip.measures - values.mean(0)) / (values.std(0) + 1e-6)


def lag_of(predicted: torch.Tensor, clip: SpokenClip) -> tuple[int, float]:
    """By how many rows the sound must be delayed to fit the seen opening best, and the correlation there."""
    best = (0, -1.0)
    for lag in range(-LONGEST_LAG_ROWS, LONGEST_LAG_ROWS + 1):
        moved = torch.roll(predicted[:, 0], lag)
        known = clip.known.clone()
        known[: max(lag, 0)] = False
        known[len(known) + min(lag, 0) :] = False
        if known.sum() < LABEL_RATE:
            continue
        value = float(torch.corrcoef(torch.stack([moved[known], clip.measures[known, 0]]))[0, 1])
        if value > best[1]:
            best = (lag, value)
    return best


def in_step(clips: list[SpokenClip], held_out: set[str], rounds: int = 2) -> dict[str, tuple[int, float]]:
    """Lag (rows) and correlation at that lag of every clip, by regressions that did not see its person.

    Raises:
        StoreError: fewer than two people, besides those held out, whose sound belongs to the picture.
    """
    lags = {clip.name: (0, 1.0) for clip in clips}
    for _ in range(rounds):
        moved = [clip.delayed(lags[clip.name][0]) for clip in clips]
        learnt = [clip for clip in moved if lags[clip.name][1] >= LEAST_SYNC]
        rest = [clip for clip in moved if lags[clip.name][1] < LEAST_SYNC]
        taught = {clip.person for clip in learnt} - held_out
        if len(taught) < 2:
            raise StoreError(f"at least two people are needed {BELONGING}; found {len(taught)}")
        out = {clip.person for clip in clips} - taught
        predicted = ridge_predictions([clip.rows[:, :SOUND_INPUTS] for clip in learnt + rest], learnt + rest, out)
        # Predictions come from the moved sound: the lag found there adds to the lag it was moved by.
        for clip, guess in zip(learnt + rest, predicted, strict=True):
            more, value = lag_of(guess, clip)
            lags[clip.name] = (lags[clip.name][0] + more, value)
    return lags


def belonging(
    versions: list[list[SpokenClip]], lags: dict[str, tuple[int, float]], factors: tuple[float, ...]
) -> list[list[SpokenClip]]:
    """Clips whose sound belongs to the picture, in step, once for each speed factor.

    Args:
        versions: of `spoken_clips`.
        lags: of `in_step` or `on_closures`.
        factors: one to one with each clip's versions.

    Raises:
        StoreError: there is none.
    """
    kept = [
        [clip.delayed(round(lags[clip.name][0] / factor)) for clip, factor in zip(copies, factors, strict=True)]
        for copies in versions
        if lags[copies[0].name][1] >= LEAST_SYNC
    ]
    if not kept:
        raise StoreError(f"no clip {BELONGING}")
    return kept


def on_closures(lags: dict[str, tuple[int, float]], clips: list[SpokenClip]) -> dict[str, tuple[int, float]]:
    """Lags of `in_step`, all moved alike: it brings clips into step with each other, m says where all of them lie.

    An m sounds for as long as the lips are together. Most footage shows them together earlier, as much of it has late
    sound; here they are closest `CLOSURE_LEAD_ROWS` before the middle of m.
    """
    sure = [clip.delayed(lags[clip.name][0]) for clip in clips if lags[clip.name][1] >= LEAST_SYNC]
    late = round(lead_at_closures(sure)) - CLOSURE_LEAD_ROWS
    return {name: (lag - late, value) for name, (lag, value) in lags.items()}


def lead_at_closures(clips: list[SpokenClip]) -> float:
    """Rows by which lips are closest before the middle of m; 0 where no m is surely heard."""
    reach, dips = CLOSURE_REACH_ROWS, []
    for clip in clips:
        change = nn.functional.pad((clip.rows[:, INDEX["m"]] > 0.5).int(), (1, 1)).diff()
        starts, ends = (torch.nonzero(change == edge).flatten().tolist() for edge in (1, -1))
        for start, end in zip(starts, ends, strict=True):
            middle = (start + end) // 2
            around = slice(middle - reach, middle + reach + 1)
            if end - start >= 2 and middle >= reach and clip.known[around].sum() == 2 * reach + 1:
                dips.append(clip.measures[around, 0] / clip.measures[clip.known, 0].std())
    if not dips:
        return 0.0
    mean = torch.stack(dips).mean(0)
    depth = (mean.max() - mean) / (mean.max() - mean.min()) - 0.5
    rows = torch.arange(-reach, reach + 1)
    return -float((depth.clamp(min=0) * rows).sum() / depth.clamp(min=0).sum())
