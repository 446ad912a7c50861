"""How well a mouth is followed with what is known of the actor: 4 seconds, or all own speech but the stretch judged.

Part of `prior.benchmarks.motion`. Every clip is cut into stretches; for each, style and personal filter are learnt from
the rest of the clip, `GAP_SECONDS` away, and from the person's other clips. A clip's score is the mean of its
stretches'. The curve asks how much speech it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from prior.motion.model import MotionModel
from prior.motion.own_speech import OwnSpeech, heard_style
from prior.motion.style import MEASURES, MouthStyle, mouth_measures
from prior.speech.phonemes import LABEL_RATE
from prior.training.motion import concordance_over_known
from prior.training.spoken_clips import SpokenClip
from render.head.face_model import FaceModel

GAP_ROWS = LABEL_RATE  # between a stretch and what is learnt for it
STRETCH_ROWS, HALVED_FROM_ROWS, SHORTEST_ROWS = 300, 400, 100
LEARNT_SECONDS = (4.0, 10.0, 30.0, 60.0, 300.0)
SENTENCES_SCORED, SENTENCES_TOGETHER, DRAWS = 40, 10, 3
WARP_ROWS = 10  # by which time may be bent, to either side: 0.2 s
RESAMPLES = 10_000

#: Rows of a clip for measuring the style and for scoring, bool [T] each.
Split = Callable[[SpokenClip], tuple[torch.Tensor, torch.Tensor]]
Row = dict[str, object]


def row_scores(guess: torch.Tensor, truth: torch.Tensor, known: torch.Tensor) -> dict[str, float]:
    """Scores of guess and truth [T, 3] over rows `known` [T].

    Of each measure concordance, correlation and ratio of spreads; of the opening concordance after bending time, too,
    and its liveliness: the ratio of the spreads of its velocity.
    """
    agreement = concordance_over_known(guess[None], truth[None], known[None])[0]
    scores = {}
    for column, name in enumerate(MEASURES):
        a, b = guess[known, column], truth[known, column]
        scores[f"{name}_ccc"] = float(agreement[column])
        scores[f"{name}_correlation"] = float(torch.corrcoef(torch.stack([a, b]))[0, 1]) if a.std() > 1e-6 else 0.0
        scores[f"{name}_spread"] = float(a.std() / b.std())
    both = known[1:] & known[:-1]
    scores["liveliness"] = float(guess.diff(dim=0)[both, 0].std() / truth.diff(dim=0)[both, 0].std())
    bent = warped(guess[known, 0].numpy(), truth[known, 0].numpy())
    pair = torch.from_numpy(bent)[None, :, None], truth[known, :1][None]
    scores["warped_ccc"] = float(concordance_over_known(*pair, torch.ones(1, len(bent), dtype=torch.bool)))
    return scores


def warped(guess: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """A guess [T] with its time bent by up to `WARP_ROWS` to fit the truth [T] best (dynamic time warping)."""
    count, reach = len(truth), WARP_ROWS
    scale = max(float(truth.std()), 1e-6)
    shifts = np.arange(-reach, reach + 1)
    at = np.clip(np.arange(count)[:, None] + shifts, 0, count - 1)
    cost = np.square((guess[at] - truth[:, None]) / scale)  # [T, shifts]
    total, came = cost[0].copy(), np.zeros((count, len(shifts)), int)
    for row in range(1, count):
        # From one row to the next a shift may stay, grow by one (a row is skipped) or fall by one (a row is held).
        options = np.stack([np.append(np.inf, total[:-1]), total, np.append(total[1:], np.inf)])
        best = options.argmin(0)
        came[row] = np.arange(len(shifts)) + best - 1
        total = options.min(0) + cost[row]
    path = np.zeros(count, int)
    path[-1] = int(total.argmin())
    for row in range(count - 1, 0, -1):
        path[row - 1] = came[row, path[row]]
    return guess[at[np.arange(count), path]]


def stretches(scored: torch.Tensor) -> list[torch.Tensor]:
    """Parts bool [T] of the scored rows [T], each judged for itself."""
    rows = torch.nonzero(scored).flatten()
    first, last = int(rows[0]), int(rows[-1]) + 1
    count = max(1, (last - first) // STRETCH_ROWS)
    if count == 1 and last - first >= HALVED_FROM_ROWS:
        count = 2
    edges = np.linspace(first, last, count + 1).astype(int).tolist()
    place = torch.arange(len(scored))
    parts = [scored & (place >= start) & (place < end) for start, end in zip(edges, edges[1:], strict=False)]
    return [part for part in parts if int(part.sum()) >= SHORTEST_ROWS]


def outside(stretch: torch.Tensor, clip: SpokenClip, clips: Sequence[SpokenClip]) -> list[SpokenClip]:
    """The person's clips with what lies within `GAP_ROWS` of a stretch [T] of one of them not known."""
    place = torch.nonzero(stretch).flatten()
    rows = torch.arange(len(stretch))
    far = (rows < int(place[0]) - GAP_ROWS) | (rows > int(place[-1]) + GAP_ROWS)
    return [_known(one, one.known & far if one is clip else one.known) for one in clips if one.person == clip.person]


def _known(clip: SpokenClip, known: torch.Tensor) -> SpokenClip:
    return replace(clip, known=known)


def speech_of(clip: SpokenClip) -> OwnSpeech:
    """A clip's sound and mouth, in step as it is."""
    return OwnSpeech(clip.rows, clip.gate, clip.lower, clip.known)


def frames_style(clips: Sequence[SpokenClip]) -> MouthStyle:
    """The style of all known rows of some clips, without sound."""
    lower = torch.cat([clip.lower[clip.known] for clip in clips])
    return MouthStyle.of(lower, torch.cat([clip.measures[clip.known, 0] for clip in clips]))


def styles_of(
    model: MotionModel, enrolled: SpokenClip, others: Sequence[SpokenClip]
) -> Iterator[tuple[str, MouthStyle]]:
    """Name and style of every way to know the actor: 4 seconds of a clip, or all the person's other speech."""
    for name, clips in (("4 s", [enrolled]), ("all", others)):
        plain = frames_style(clips)
        yield f"{name}, frames", plain
        heard = heard_style(model, plain, [speech_of(clip) for clip in clips]).style
        if heard.speech is not None and heard.speech.filter is not None:
            yield f"{name}, own speech", replace(heard, speech=replace(heard.speech, filter=None))
        else:
            yield f"{name}, own speech", heard
        yield f"{name}, own speech and filter", heard


def score_stretches(
    model: MotionModel,
    face_model: FaceModel,
    clips: Sequence[SpokenClip],
    split: Split,
) -> list[Row]:
    """One row a clip and way to know the actor; `seconds` is how much own speech there is outside a stretch, voiced."""
    lines: list[Row] = []
    for clip in clips:
        enrolled, scored = split(clip)
        if int(scored.sum()) < SHORTEST_ROWS or int(enrolled.sum()) < LABEL_RATE:
            continue
        scores: dict[str, list[dict[str, float]]] = {}
        for stretch in stretches(scored):
            others = outside(stretch, clip, clips)
            seconds = sum(speech_of(one).seconds for one in others)
            for name, style in styles_of(model, _known(clip, enrolled), others):
                guess = mouth_measures(face_model, model.expression(clip.rows, clip.gate, style))
                found = {**row_scores(guess, clip.measures, stretch), "seconds": seconds}
                scores.setdefault(name, []).append(found)
        for name, parts in scores.items():
            means = {key: float(np.mean([part[key] for part in parts])) for key in parts[0]}
            lines.append({"clip": clip.name, "person": clip.person, "row": name, **means})
    return lines


def means_of(lines: Sequence[Row], name: str, clips: str) -> Row:
    """Means of a way's rows over clips, and the share of clips whose opening has .8 to 1.25 of the true spread."""
    group = [line for line in lines if line["row"] == name]
    keys = [key for key, value in group[0].items() if isinstance(value, float)]
    means = {key: round(float(np.mean([line[key] for line in group])), 3) for key in keys}
    right = [0.8 <= float(line["opening_spread"]) <= 1.25 for line in group]  # type: ignore[arg-type]
    return {"clips": clips, "count": len(group), "row": name, **means, "spread_right": round(float(np.mean(right)), 3)}


def gain_over(lines: Sequence[Row], better: str, worse: str, measure: str = "opening_ccc") -> dict[str, object]:
    """How much higher one way scores than another, clip by clip: mean and 95 % interval over people."""
    table = {(line["clip"], line["row"]): float(line[measure]) for line in lines}  # type: ignore[arg-type]
    people: dict[object, list[float]] = {}
    for line in lines:
        if line["row"] == better:
            difference = table[line["clip"], better] - table[line["clip"], worse]
            people.setdefault(line["person"], []).append(difference)
    means = np.array([np.mean(values) for values in people.values()])
    drawn = np.random.default_rng(0).integers(0, len(means), (RESAMPLES, len(means)))
    low, high = np.quantile(means[drawn].mean(1), [0.025, 0.975])
    interval = [round(float(value), 3) for value in (means.mean(), low, high)]
    return {"gain": better, "over": worse, "people": len(means), "mean, low, high": interval}


def nearest(clips: Sequence[SpokenClip], clip: SpokenClip, stretch: torch.Tensor, seconds: float) -> list[SpokenClip]:
    """Of clips, voiced `seconds` of speech: of the clip itself what is nearest to a stretch [T] of it."""
    own = next(one for one in clips if one.name == clip.name)
    middle = float(torch.nonzero(stretch).float().mean())
    order = (torch.arange(len(own.known)) - middle).abs().argsort()
    voiced = (own.gate * own.known)[order].cumsum(0) / LABEL_RATE
    known = torch.zeros_like(own.known)
    known[order[voiced <= seconds]] = True
    return [_known(own, known & own.known)] if float(voiced[-1]) >= seconds else []


def curve_within(
    model: MotionModel,
    face_model: FaceModel,
    clips: Sequence[SpokenClip],
    split: Split,
) -> Iterator[Row]:
    """Scores of long takes by how much of the rest of the take was learnt from."""
    for clip in clips:
        _, scored = split(clip)
        if speech_of(clip).seconds < LEARNT_SECONDS[2]:
            continue
        for seconds in LEARNT_SECONDS:
            parts = []
            for stretch in stretches(scored):
                learnt = nearest(outside(stretch, clip, [clip]), clip, stretch, seconds)
                if learnt:
                    style = heard_style(model, frames_style(learnt), [speech_of(one) for one in learnt]).style
                    guess = mouth_measures(face_model, model.expression(clip.rows, clip.gate, style))
                    parts.append(row_scores(guess, clip.measures, stretch))
            if parts:
                means = {key: round(float(np.mean([part[key] for part in parts])), 3) for key in parts[0]}
                yield {"curve": clip.name, "learnt_seconds": seconds, **means}


def curve_over_clips(model: MotionModel, face_model: FaceModel, clips: Sequence[SpokenClip]) -> Iterator[Row]:
    """Scores of one person's sentences by how much of the person's others was learnt from.

    Sentences are drawn, the mean is over `DRAWS`; then they are taken in the order of names, where those that are named
    by their words begin with other ones than what is scored.
    """
    person = clips[0].person
    orders = [np.random.default_rng(seed).permutation(len(clips)) for seed in range(DRAWS)]
    drawn = [list(_curve(model, face_model, [clips[place] for place in order])) for order in orders]
    for rows in zip(*drawn, strict=True):
        means = {key: round(float(np.mean([row[key] for row in rows])), 3) for key in rows[0]}
        yield {"curve": person, **means}
    for row in _curve(model, face_model, clips):
        yield {"curve": f"{person}, other words", **{key: round(value, 3) for key, value in row.items()}}


def _curve(model: MotionModel, face_model: FaceModel, clips: Sequence[SpokenClip]) -> Iterator[dict[str, float]]:
    """Scores of a person's last sentences by how much of those before was learnt from."""
    scored, learnable = clips[-SENTENCES_SCORED:], clips[:-SENTENCES_SCORED]
    groups = [scored[start : start + SENTENCES_TOGETHER] for start in range(0, len(scored), SENTENCES_TOGETHER)]
    for seconds in (0.0, *LEARNT_SECONDS):
        voiced = np.cumsum([speech_of(clip).seconds for clip in learnable])
        learnt = learnable[: int(np.searchsorted(voiced, seconds)) + 1] if seconds else []
        style = heard_style(model, frames_style(learnt), [speech_of(one) for one in learnt]).style if learnt else None
        parts = []
        for group in groups:
            guess = torch.cat([model.expression(clip.rows, clip.gate, style) for clip in group])
            truth, known = (torch.cat([getattr(clip, name) for clip in group]) for name in ("measures", "known"))
            parts.append(row_scores(mouth_measures(face_model, guess), truth, known))
        means = {key: float(np.mean([part[key] for part in parts])) for key in parts[0]}
        yield {"learnt_seconds": min(seconds, float(voiced[-1])), **means}
