"""What the mouth that the renderer prior draws follows: `python -m adapt.benchmarks.leak CACHE -o FOLDER`.

In: a prepared cache of held-out people. Every held-out frame of a clip, its mouth erased, is drawn with another
held-out frame's expression; the look comes from an enrollment at least `GAP_SECONDS` away. Out: `leak.jsonl`, one
line a clip: whether the drawn opening goes with the one given, or tells of the hidden one. How well mouths are drawn is
for `adapt compare --lanes 1` to say.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adapt.benchmarks.fit import FitSplit, complete, read_crops
from adapt.metrics.mouth_meter import MouthMeter
from adapt.metrics.picture import correlation
from adapt.progress import Bar
from prior.cache.prepared import PreparedClip, prepared_clips
from prior.renderer.prior import RendererPrior, load_renderer_prior
from prior.training.renderer_items import good_frames
from render.drawing.renderer import Renderer, draw, fast_renderer, render_inputs

ENROLLMENT_SECONDS = 4.0
GAP_SECONDS = 2.0
#: For clips too short for that: seconds of enrollment and of gap.
SHORT = (2.0, 1.0)
#: Held-out frames of a clip: so many runs of so many neighbours.
RUNS, RUN_FRAMES = 4, 5


def split_clip(clip: PreparedClip) -> FitSplit | None:
    """Enrollment from the start of a clip, held-out frames from its end; None where the clip is too short."""
    frames = good_frames(clip)
    times = clip.track.timestamps[frames]
    if not len(frames):
        return None
    for seconds, gap in ((ENROLLMENT_SECONDS, GAP_SECONDS), SHORT):
        learn = frames[times < times[0] + seconds]
        held_out = _runs(frames[times >= times[0] + seconds + gap])
        if len(held_out) >= 2 * RUN_FRAMES and len(learn) >= 2 * RUN_FRAMES:
            return FitSplit(clip, learn, held_out)
    return None


def _runs(frames: torch.Tensor) -> torch.Tensor:
    """`RUNS` runs of consecutive frames spread evenly over frames [N]; all of them where they are few."""
    if len(frames) <= RUNS * RUN_FRAMES:
        return frames
    starts = [
        i for i in range(len(frames) - RUN_FRAMES + 1) if frames[i + RUN_FRAMES - 1] - frames[i] == RUN_FRAMES - 1
    ]
    if not starts:
        return frames[torch.linspace(0, len(frames) - 1, RUNS * RUN_FRAMES).long()]
    chosen = {starts[round(part)] for part in np.linspace(0, len(starts) - 1, RUNS)}
    return frames[sorted({start + step for start in chosen for step in range(RUN_FRAMES)})]


def leak_clip(
    prior: RendererPrior, renderer: Renderer, split: FitSplit, meter: MouthMeter, shuffles: int = 200, seed: int = 0
) -> dict[str, Any] | None:
    """Drive each held-out frame with another's expression; does the drawn mouth follow it, or the hidden one?

    Returns:
        Correlation of the drawn opening with the one given; partial correlation with the hidden one, given the first;
        the 95 % band of that partial correlation where the hidden openings are shuffled. None where the clip has too
        few frames or no varying mouth.
    """
    track, rows = split.clip.track, split.held_out
    real = read_crops(split.clip, rows)
    random = np.random.default_rng(seed)
    count = len(rows)
    other = torch.from_numpy(random.permutation(count))
    lower = track.lower_expression.clone()
    lower[rows] = track.lower_expression[rows[other]]
    own_inputs = render_inputs(prior.model, track, rows, real, prior.erasing_expressions)
    inputs = render_inputs(prior.model, track, rows, real, prior.erasing_expressions, lower, own_inputs.window[other])
    look = prior.encode_look((track, split.learn, read_crops(split.clip, split.learn)))
    drawn = complete(draw(renderer, look, inputs).rgb, real, inputs.erased)
    measured, hidden = meter.openings(drawn), meter.openings(real)
    if count < 12 or float(hidden.std()) < 0.01:
        return None
    given = hidden[other]
    partial = partial_correlation(measured, hidden, given)
    shuffled = [
        partial_correlation(measured, hidden[torch.from_numpy(random.permutation(count))], given)
        for _ in range(shuffles)
    ]
    low, high = np.quantile(shuffled, [0.025, 0.975])
    facts = {"clip": split.clip.folder.name, "person": split.clip.person}
    return {
        **facts,
        "given": correlation(measured, given),
        "hidden_partial": partial,
        "band": [float(low), float(high)],
        "shuffled_deviation": float(np.std(shuffled)),
    }


def partial_correlation(first: torch.Tensor, second: torch.Tensor, given: torch.Tensor) -> float:
    """Correlation of two series [T] once what a third explains of either is taken off."""
    ab, ac, bc = correlation(first, second), correlation(first, given), correlation(second, given)
    return (ab - ac * bc) / max(1e-9, ((1 - ac**2) * (1 - bc**2)) ** 0.5)


def leak_summary(lines: list[dict[str, Any]]) -> str:
    """One line: what the drawn mouths follow, and what they tell of the hidden ones, over all clips."""
    given = np.mean([line["given"] for line in lines])
    partial = np.mean([line["hidden_partial"] for line in lines])
    band = 1.96 * np.sqrt(np.mean([line["shuffled_deviation"] ** 2 for line in lines]) / len(lines))
    inside = np.mean([line["band"][0] <= line["hidden_partial"] <= line["band"][1] for line in lines])
    return (
        f"{len(lines)} clips: correlation with the mouth given {given:.3f}; partial correlation with the hidden one "
        f"{partial:+.3f} (95 % band of shuffled ones ±{band:.3f}); inside its own band for {inside:.0%} of clips"
    )


def main(arguments: list[str] | None = None) -> None:
    """Test from the command line."""
    parser = argparse.ArgumentParser(description="Test what the mouth follows that the renderer prior draws.")
    parser.add_argument("cache", type=Path, help="prepared cache of people that the prior never saw")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for leak.jsonl")
    parser.add_argument("--prior", type=Path, help="another renderer.safetensors")
    parser.add_argument("--clips", type=int, help="only the longest so many clips a person")
    given = parser.parse_args(arguments)
    prior, progress, meter = load_renderer_prior(given.prior), Bar(), MouthMeter()
    renderer = fast_renderer(prior.renderer)
    given.out.mkdir(parents=True, exist_ok=True)
    lines: list[dict[str, Any]] = []
    with (given.out / "leak.jsonl").open("w", encoding="utf-8") as log:
        for clip in progress.over("clips", _longest(given.cache, given.clips)):
            split = split_clip(clip)
            if split is None:
                progress.note(f"{clip.folder.name}: too short, left out")
                continue
            line = leak_clip(prior, renderer, split, meter)
            if line is not None:
                log.write(json.dumps(line) + "\n")
                log.flush()
                lines.append(line)
    print(leak_summary(lines))


def _longest(cache: Path, count: int | None) -> list[PreparedClip]:
    """The clips of a cache, at most `count` a person, longest first."""
    people: dict[str, list[PreparedClip]] = defaultdict(list)
    for clip in prepared_clips(cache):
        people[clip.person].append(clip)
    chosen = [sorted(clips, key=lambda clip: -len(clip.frames()))[:count] for clips in people.values()]
    return [clip for clips in chosen for clip in clips]


if __name__ == "__main__":
    main()
