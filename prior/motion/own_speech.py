"""Own speech: an actor's sound and mouth on one clock, and what they tell of how this actor speaks.

In: tracked motion and the sound of the same footage. The sync network says by how much the sound is late, and where it
is the actor's own at all; elsewhere nothing is learnt. Out: a `SpeechStyle` (mean, spread and personal filter), which
`MotionModel` shrinks to the population by how much speech there was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from prior.motion.filtering import LINEAR_TAPS, with_constant
from prior.motion.model import SOUND_INPUTS, MotionModel, input_rows
from prior.motion.style import MouthStyle, SpeechStyle
from prior.motion.sync import LAGS, MARGIN_ROWS, ROWS_PER_FRAME, SyncModel, best_lag, motion_rows, shipped_sync_model
from prior.speech.features import features
from prior.speech.phonemes import LABEL_RATE
from prior.speech.phonetics import shipped_phonetics
from render.head.motion import Motion

# Set on training people: one of 20 foreign sounds has more than 1.9 over a clip at its best lag, or more than 1.2 over
# five seconds at a given one; their own has less in one of 30.
LEAST_CONFIDENCE, LEAST_WINDOW_CONFIDENCE = 2.0, 1.25
WINDOW_ROWS, SHORTEST_WINDOW_ROWS = 250, 100
# The network's frames against the clips' lags as training has them (`on_closures`): the median over training clips.
NETWORK_EARLY_ROWS = 1

LEAST_SPEECH_SECONDS = 1.0  # voiced; less tells nothing
LEAST_SPREAD, LEAST_MOVED = (
    1e-4,
    0.3,
)  # coefficients and the model's displacement are taken to spread by at least so much
FARTHEST = 4.0  # displacement beyond which a tracked mouth is not followed

SHOWN_LIMITS = (0.5, 2.0)  # of the spread of the true opening against the one shown

# Set on training people by the concordance of speech that neither style nor filter saw; a half or double is as good.
FILTER_PENALTY_ROWS = 225.0  # for a weight of 1: of the generic weights, against one's own speech
# With a filter the correlation of held-out opening may be lower by so much: a few seconds judge no better than that.
HARMLESS = 0.02
FILTER_WEIGHTS = LINEAR_TAPS * SOUND_INPUTS + 1  # width of a personal filter
FOLDS, PIECE_ROWS, PIECE_MARGIN_ROWS = 5, 200, 12


@dataclass(frozen=True)
class OwnSpeech:
    """Sound and mouth of one person in one piece of footage, in step, rows at `LABEL_RATE`.

    Attributes:
        rows: [T, INPUTS]; gate: [T]: see `input_rows`.
        lower: [T, E] lower expression.
        known: bool [T], where the mouth was tracked and the sound is the person's own.
    """

    rows: torch.Tensor
    gate: torch.Tensor
    lower: torch.Tensor
    known: torch.Tensor

    @property
    def seconds(self) -> float:
        """Of voiced speech."""
        return float(self.gate[self.known].sum()) / LABEL_RATE


@dataclass(frozen=True)
class HeardStyle:
    """A mouth style with what own speech told, and how that was found.

    Attributes:
        style: the style; its `speech` is None where there was too little.
        agreement: correlation of held-out opening without and with the personal filter; None where not measured.
    """

    style: MouthStyle
    agreement: tuple[float, float] | None = None

    @property
    def told(self) -> str:
        """What is known of the mouth, in words."""
        speech = self.style.speech
        if speech is None:
            return f"from {float(self.style.frames):.0f} frames, no own speech known"
        text = f"from {float(speech.seconds):.1f} s of own speech"
        if self.agreement is None:
            return f"{text}, too little for a personal filter"
        without, with_it = self.agreement
        verdict = (
            "with a personal filter" if speech.filter is not None else "without a personal filter, it does not help"
        )
        return f"{text}, {verdict} (r of held-out opening {without:.2f} without, {with_it:.2f} with one)"


def own_speech(motion: Motion, waveform: np.ndarray, sync: SyncModel | None = None) -> OwnSpeech | None:
    """Sound and mouth in step; None where the sound is not the person's own, or too short to say.

    Args:
        motion: tracked, at times on the sound's clock.
        waveform: [N] at `prior.speech.sound.SAMPLE_RATE`.
        sync: judges; the shipped one where not given.
    """
    sync = sync or shipped_sync_model()
    if len(motion.timestamps) < 2 or int((motion.confidence > 0).sum()) < 2:
        return None
    try:
        lower, known, first = motion_rows(motion)
    except ValueError:
        return None
    rows, gate = input_rows(shipped_phonetics(), features(waveform))
    heard = torch.arange(len(lower)) + first
    if int((known & (heard >= 0) & (heard < len(rows))).sum()) < SHORTEST_WINDOW_ROWS:
        return None
    found = best_lag(sync.curve(rows, lower, known, first))
    if not found.confidence >= LEAST_CONFIDENCE:
        return None
    known = known & _own_windows(sync, rows, lower, known, first, found.lag_frames)
    heard = heard + found.lag_frames * ROWS_PER_FRAME + NETWORK_EARLY_ROWS
    known = known & (heard >= 0) & (heard < len(rows))
    heard = heard.clamp(0, len(rows) - 1)
    return OwnSpeech(rows[heard], gate[heard], lower, known)


def _own_windows(
    sync: SyncModel, rows: torch.Tensor, lower: torch.Tensor, known: torch.Tensor, first: int, lag_frames: int
) -> torch.Tensor:
    """Rows bool [T] of the windows in which sound and mouth agree at a lag; others may speak in the rest."""
    own = torch.zeros_like(known)
    best = LAGS.index(lag_frames)
    edges = np.linspace(0, len(lower), max(1, len(lower) // WINDOW_ROWS) + 1).astype(int).tolist()
    for start, end in zip(edges, edges[1:], strict=False):
        if int(known[start:end].sum()) < SHORTEST_WINDOW_ROWS:
            continue
        begin = max(0, first + start - 2 * MARGIN_ROWS)
        heard = rows[begin : max(begin, first + end + 2 * MARGIN_ROWS)]
        curve = sync.curve(heard, lower[start:end], known[start:end], first + start - begin)
        judged = curve[curve.isfinite()]
        near = curve[max(0, best - 1) : best + 2].max()
        own[start:end] = bool(len(judged)) and bool(near - judged.median() >= LEAST_WINDOW_CONFIDENCE)
    return own


def heard_style(model: MotionModel, style: MouthStyle, speech: Sequence[OwnSpeech]) -> HeardStyle:
    """A style with what own speech tells: mean and spread, and a personal filter unless held-out speech is against it.

    Args:
        model: of audio to motion; where it hears through a front end besides, nothing is learnt from speech.
        style: of the same person; where it knows of own speech already, that is refined.
        speech: of the person.
    """
    speech = [one for one in speech if bool(one.known.any())]
    seconds = sum(one.seconds for one in speech)
    if seconds < LEAST_SPEECH_SECONDS or model.front_end is not None:
        return HeardStyle(style)
    heard = [model.displacement(one.rows, style) for one in speech]
    told = _mean_and_spread(model, style, speech, heard)
    folds = [_Moments.of(model, told, pieces) for pieces in _folds(speech, heard)]
    if len(folds) < 2:
        return HeardStyle(replace(style, speech=told))
    agreement = _agreement(model, told, folds)
    if agreement[1] >= agreement[0] - HARMLESS:
        more = _solved(folds)
        told = replace(told, filter=more if told.filter is None else told.filter + more)
    return HeardStyle(replace(style, speech=told), agreement)


def _mean_and_spread(
    model: MotionModel, style: MouthStyle, speech: Sequence[OwnSpeech], heard: Sequence[torch.Tensor]
) -> SpeechStyle:
    """Mean and spread beside the model's displacement of the same sound: what was said does not sway them."""
    lower = torch.cat([one.lower[one.known] for one in speech])
    moved = torch.cat([one_heard[one.known] for one, one_heard in zip(speech, heard, strict=True)])
    weight = torch.cat([one.gate[one.known] for one in speech])[:, None]
    seconds = weight.sum() / LABEL_RATE
    weight = weight / weight.sum()
    mean, moved_mean = (weight * lower).sum(0), (weight * moved).sum(0)
    spread = (weight * (lower - mean).square()).sum(0).sqrt()
    moved_spread = (weight * (moved - moved_mean).square()).sum(0).sqrt().clamp(min=LEAST_MOVED)
    # Neither alone is as good: all frames have pauses in them, and a ratio of spreads is not sure.
    spread = (spread / moved_spread * style.spread).sqrt()
    told = SpeechStyle(mean, spread, seconds)
    told = _as_shown(model, style, replace(told, mean=mean - model.spread_of(told) * moved_mean), speech, heard)
    before = style.speech
    if before is None:
        return told
    share, total = seconds / (seconds + before.seconds), seconds + before.seconds
    spread = torch.lerp(before.spread.log(), told.spread.clamp(min=LEAST_SPREAD).log(), share).exp()
    return SpeechStyle(torch.lerp(before.mean, told.mean, share), spread, total, before.filter)


def _as_shown(
    model: MotionModel,
    style: MouthStyle,
    told: SpeechStyle,
    speech: Sequence[OwnSpeech],
    heard: Sequence[torch.Tensor],
) -> SpeechStyle:
    """Mean and spread with which the opening that is shown has the person's own: closures and pauses change both."""
    own = replace(style, speech=told)
    shown, true = (
        torch.cat([(lower @ model.opening_axis)[one.known] for one, lower in zip(speech, series, strict=True)])
        for series in (
            [model.shaped(moved, one.rows, one.gate, own) for one, moved in zip(speech, heard, strict=True)],
            [one.lower for one in speech],
        )
    )
    weight = torch.cat([one.gate[one.known] for one in speech])
    weight = weight / weight.sum()
    means = [(weight * series).sum() for series in (shown, true)]
    spreads = [
        (weight * (series - mean).square()).sum().sqrt() for series, mean in zip((shown, true), means, strict=True)
    ]
    low, high = SHOWN_LIMITS
    ratio = (spreads[1] / spreads[0].clamp(min=1e-6)).clamp(low, high)
    return replace(told, mean=told.mean + (means[1] - means[0]) * model.closing_direction, spread=told.spread * ratio)


#: A piece of speech: the footage, displacement [T, E] by the model, and which rows are the piece, bool [T].
_Piece = tuple[OwnSpeech, torch.Tensor, torch.Tensor]


def _folds(speech: Sequence[OwnSpeech], heard: Sequence[torch.Tensor]) -> list[list[_Piece]]:
    """Speech in up to `FOLDS` parts, each of neighbouring pieces."""
    pieces = []
    for one, moved in zip(speech, heard, strict=True):
        edges = np.linspace(0, len(one.known), max(1, len(one.known) // PIECE_ROWS) + 1).astype(int).tolist()
        for start, end in zip(edges, edges[1:], strict=False):
            inside = torch.zeros_like(one.known)
            inside[start + PIECE_MARGIN_ROWS : end - PIECE_MARGIN_ROWS] = True
            if bool((inside & one.known).any()):
                pieces.append((one, moved, inside & one.known))
    count = min(FOLDS, len(pieces))
    return [pieces[len(pieces) * fold // count : len(pieces) * (fold + 1) // count] for fold in range(count)]


@dataclass(frozen=True)
class _Moments:
    """What a ridge regression needs of one fold, weighted by the gate [N] of its rows.

    Attributes:
        inputs: [N, K] of `with_constant`.
        heard: [N, E] displacement by the model before its gain; true: [N, E] the tracked one.
        gram: [K, K]; cross: [K, E] with what the model lacks.
    """

    inputs: torch.Tensor
    heard: torch.Tensor
    true: torch.Tensor
    gate: torch.Tensor
    gram: torch.Tensor
    cross: torch.Tensor

    @staticmethod
    def of(model: MotionModel, told: SpeechStyle, pieces: Sequence[_Piece]) -> _Moments:
        spread = model.spread_of(told)
        inputs = torch.cat([with_constant(one.rows[:, :SOUND_INPUTS])[rows] for one, _, rows in pieces])
        heard = torch.cat([moved[rows] for _, moved, rows in pieces]) / model.gain
        true = torch.cat([((one.lower - told.mean) / spread)[rows] for one, _, rows in pieces])
        gate = torch.cat([one.gate[rows] for one, _, rows in pieces])
        weighted = (inputs * gate[:, None]).T
        lacking = true.clamp(-FARTHEST, FARTHEST) - heard
        return _Moments(inputs, heard, true, gate, weighted @ inputs, weighted @ lacking)


def _solved(folds: Sequence[_Moments]) -> torch.Tensor:
    """The personal filter [E, K]: ridge regression to what the generic filter lacks, so that that is its prior mean."""
    gram, cross = sum(one.gram.double() for one in folds), sum(one.cross.double() for one in folds)
    assert isinstance(gram, torch.Tensor) and isinstance(cross, torch.Tensor)
    penalty = torch.full((len(gram),), FILTER_PENALTY_ROWS, dtype=torch.float64)
    penalty[-1] = 1.0  # the constant
    return torch.linalg.solve(gram + penalty.diag(), cross).T.float().contiguous()


def _agreement(model: MotionModel, told: SpeechStyle, folds: Sequence[_Moments]) -> tuple[float, float]:
    """Correlation of the opening without and with a personal filter, in folds that the filter did not see."""
    to_opening = model.spread_of(told) * model.gain * model.opening_axis
    without, with_it = [], []
    for number, fold in enumerate(folds):
        weights = _solved([one for place, one in enumerate(folds) if place != number])
        without.append(fold.heard @ to_opening)
        with_it.append((fold.heard + fold.inputs @ weights.T) @ to_opening)
    true = torch.cat([fold.true @ (model.spread_of(told) * model.opening_axis) for fold in folds])
    gate = torch.cat([fold.gate for fold in folds])
    return _correlation(torch.cat(without), true, gate), _correlation(torch.cat(with_it), true, gate)


def _correlation(one: torch.Tensor, other: torch.Tensor, weight: torch.Tensor) -> float:
    """Of two series [N] with weights [N]; 0 where one of them is constant."""
    share = weight / weight.sum()
    one, other = one - (share * one).sum(), other - (share * other).sum()
    power = (share * one * one).sum() * (share * other * other).sum()
    return float((share * one * other).sum() / power.sqrt()) if power > 0 else 0.0
