"""Score the sync network: `python -m prior.benchmarks.sync CACHE --footage DIR --train CACHE --train-footage DIR`.

CACHE holds tracks of people the network never saw. Whether a clip's sound belongs to the picture (besides what its
facts say), and how late it is, is judged by a regression that never saw them either
(`prior.training.spoken_clips.in_step`, learnt on `--train`), not by the network. Sound is then moved by known numbers
of frames, and windows of 2 and 5 seconds must find them among ± 15; the lag is found where it is within one frame. True
against shuffled: the network's confidence in a window's own sound against that in another clip's, as area under the ROC
curve. A row of the regression itself, judged alike, stands beside the network. Prints JSON lines: one a clip, then one
a row and window length.
"""

import argparse
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from prior.face.model import load_face_model
from prior.motion.model import SOUND_INPUTS
from prior.motion.sync import (
    LAGS,
    LEAST_SHARE,
    MARGIN_ROWS,
    ROWS_PER_FRAME,
    SyncModel,
    SyncOffset,
    best_lag,
    load_sync_model,
)
from prior.speech.phonemes import LABEL_RATE, SILENCE
from prior.training.spoken_clips import LEAST_SYNC, SpokenClip, in_step, ridge_predictions, spoken_clips
from prior.training.sync import own_sound

WINDOW_SECONDS = (2.0, 5.0)
#: Frames by which the sound is moved, and how far windows start apart, seconds.
SHIFTS = (-12, -5, 0, 5, 12)
STEP_SECONDS = 1.0
#: Windows with less speech than this share of their rows say nothing of lips, and those with less track neither.
LEAST_SPEECH, LEAST_KNOWN = 0.5, 0.9
TOLERANCE_FRAMES = 1
OTHERS = 4  # strangers' sounds a window


#: Agreement by lag [len(LAGS)] of a clip's sound with its (or another clip's) motion over rows [first, last), the sound
#: moved by so many rows: (clip heard, clip seen, first, last, rows).
Curve = Callable[[SpokenClip, SpokenClip, int, int, int], torch.Tensor]


def windows(clip: SpokenClip, seconds: float) -> list[int]:
    """First rows of a clip's windows that hold speech and track."""
    size = round(seconds * LABEL_RATE)
    starts = range(0, len(clip.rows) - size + 1, round(STEP_SECONDS * LABEL_RATE))
    speech = 1 - clip.rows[:, SILENCE]
    return [
        start
        for start in starts
        if float(speech[start : start + size].mean()) >= LEAST_SPEECH
        and float(clip.known[start : start + size].float().mean()) >= LEAST_KNOWN
    ]


def found_share(curve: Curve, clips: list[SpokenClip], seconds: float) -> tuple[float, int]:
    """Share of windows and shifts in which the shift is found, and how many there were."""
    size, hits = round(seconds * LABEL_RATE), []
    for clip in clips:
        for start in windows(clip, seconds):
            for shift in SHIFTS:
                lag = best_lag(curve(clip, clip, start, start + size, shift * ROWS_PER_FRAME)).lag_frames
                hits.append(abs(lag - shift) <= TOLERANCE_FRAMES)
    return float(np.mean(hits)), len(hits)


def true_against_shuffled(curve: Curve, clips: list[SpokenClip], seconds: float, seed: int = 0) -> float:
    """Area under the ROC curve of the confidence in own sounds against that in other people's."""
    size, random = round(seconds * LABEL_RATE), np.random.default_rng(seed)
    starts = {clip.name: windows(clip, seconds) for clip in clips}
    true, false = [], []
    for clip in clips:
        strangers = [other for other in clips if other.person != clip.person and starts[other.name]]
        for start in starts[clip.name]:
            true.append(best_lag(curve(clip, clip, start, start + size, 0)).confidence)
            for _ in range(OTHERS):
                other = strangers[random.integers(len(strangers))]
                at = starts[other.name][random.integers(len(starts[other.name]))]
                false.append(best_lag(curve(other, clip, start, start + size, start - at)).confidence)
    return area_under_curve(np.array(true), np.array(false))


def area_under_curve(true: np.ndarray, false: np.ndarray) -> float:
    """Chance that a true value [N] is above a false one [M], ties halved (Mann & Whitney 1947)."""
    below = np.searchsorted(np.sort(false), true, "left") + np.searchsorted(np.sort(false), true, "right")
    return float(below.mean() / (2 * len(false)))


def regression_curve(clips: list[SpokenClip], predicted: list[torch.Tensor]) -> Curve:
    """Correlation of the measures foreseen by the regression [T, 3] with the seen ones, mean over the three."""
    guess = {clip.name: rows for clip, rows in zip(clips, predicted, strict=True)}

    def curve(heard: SpokenClip, seen: SpokenClip, first: int, last: int, moved: int) -> torch.Tensor:
        rows = guess[heard.name]
        place = torch.arange(first, last) - moved
        agreements = []
        for lag in LAGS:
            at = place + lag * ROWS_PER_FRAME
            both = seen.known[first:last] & (at >= 0) & (at < len(rows))
            if int(both.sum()) < LEAST_SHARE * (last - first):
                agreements.append(torch.tensor(-torch.inf))
                continue
            pair = torch.cat([rows[at[both]], seen.measures[first:last][both]], 1)
            table = torch.corrcoef(pair.T).nan_to_num()
            agreements.append(table[:3, 3:].diagonal().mean())
        return torch.stack(agreements)

    return curve


def model_curve(model: SyncModel) -> Curve:
    """Agreement by the network; only the sound near the window is read."""
    margin = MARGIN_ROWS + model.context_rows

    def curve(heard: SpokenClip, seen: SpokenClip, first: int, last: int, moved: int) -> torch.Tensor:
        # A sound moved later by so many rows holds at a row what it had so many rows before.
        begin, end = max(0, first - moved - margin), max(0, last - moved + margin)
        return model.curve(heard.rows[begin:end], seen.lower[first:last], seen.known[first:last], first - moved - begin)

    return curve


def whole_clip(curve: Curve, clip: SpokenClip) -> SyncOffset | None:
    """The offset over a whole clip; None where too little overlaps."""
    offset = best_lag(curve(clip, clip, 0, len(clip.rows), 0))
    return offset if math.isfinite(offset.agreement) else None


def main() -> None:
    """Command line; see the module's first lines."""
    parser = argparse.ArgumentParser(description="Score the sync network.")
    parser.add_argument("cache", type=Path, help="prepared clips of people never trained on")
    parser.add_argument("--footage", type=Path, required=True, help="folder of those clips' own files")
    parser.add_argument("--train", type=Path, required=True, help="prepared clips the regression learns from")
    parser.add_argument("--train-footage", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=None)
    arguments = parser.parse_args()
    face_model, model = load_face_model(), load_sync_model(arguments.weights)

    def clips(cache: Path, footage: Path) -> list[SpokenClip]:
        return [one for (one,) in own_sound(cache, list(spoken_clips(cache, footage, face_model)))]

    raw, learnt = clips(arguments.cache, arguments.footage), clips(arguments.train, arguments.train_footage)
    for line in score(model, raw, learnt):
        print(json.dumps(line))


def score(model: SyncModel, raw: list[SpokenClip], learnt: list[SpokenClip]) -> Iterator[dict[str, object]]:
    """Lines for each of `raw`, then for each row and window length; the regression learns from `learnt`."""
    out = {clip.person for clip in raw}
    lags = in_step(raw + learnt, out)
    network = model_curve(model)
    for clip in raw:
        offset, (lag_rows, correlation) = whole_clip(network, clip), lags[clip.name]
        # The regression says by how much the sound must be delayed: it is early by that.
        line = {"clip": clip.name, "regression_lag_frames": -lag_rows / ROWS_PER_FRAME, "correlation": correlation}
        yield line | ({} if offset is None else {"lag_frames": offset.lag_frames, "confidence": offset.confidence})
    clips = [clip.delayed(lags[clip.name][0]) for clip in raw if lags[clip.name][1] >= LEAST_SYNC]
    taught = [clip.delayed(lags[clip.name][0]) for clip in learnt if lags[clip.name][1] >= LEAST_SYNC]
    predicted = ridge_predictions([clip.rows[:, :SOUND_INPUTS] for clip in clips + taught], clips + taught, out)[
        : len(clips)
    ]
    for name, curve in (("sync network", network), ("regression", regression_curve(clips, predicted))):
        for seconds in WINDOW_SECONDS:
            if len({clip.person for clip in clips if windows(clip, seconds)}) < 2:
                continue  # nobody to be taken for another
            share, tries = found_share(curve, clips, seconds)
            yield {
                "row": name,
                "window_seconds": seconds,
                "clips": len(clips),
                "people": len({clip.person for clip in clips}),
                "tries": tries,
                "found": round(share, 3),
                "by_chance": round((2 * TOLERANCE_FRAMES + 1) / len(LAGS), 3),
                "area_under_curve": round(true_against_shuffled(curve, clips, seconds), 3),
            }


if __name__ == "__main__":
    main()
