"""Score the renderer prior on people it never saw: `python -m adapt.benchmarks.leak CACHE -o FOLDER`.

In: a prepared cache of held-out people. Out: `scores.jsonl` (one line a clip and method), `table.md` (means over people
and paired bootstrap intervals), and `sheets/` with pictures to look at. The motion is the real one (lane 1): the query
frame's *outer* area is erased, the texture comes from an enrollment at least `GAP_SECONDS` away, and control rows stand
beside ours. `--leak` drives every frame with another frame's expression instead and measures which of the two the
drawn mouth follows.
"""

import argparse
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adapt.baselines.transplant import EnrollmentFrames, frozen_mouth, nearest_mouth
from adapt.metrics.mouth_meter import MouthMeter
from adapt.metrics.picture import concordance, correlation, score_frames
from adapt.progress import Bar
from adapt.reports.contact_sheet import contact_sheet, encode_image
from prior.cache.prepared import PreparedClip, prepared_clips
from prior.renderer.losses import renderer_loss
from prior.renderer.perceptual import SqueezeNetTrunk, load_trunk
from prior.renderer.prior import RendererPrior, load_renderer_prior
from prior.training.renderer_items import good_frames
from render.drawing.renderer import Renderer, draw, draw_trainable, fast_renderer, render_inputs
from render.errors import StoreError

ENROLLMENT_SECONDS = 4.0
GAP_SECONDS = 2.0
#: For clips too short for that: seconds of enrollment and of gap.
SHORT = (2.0, 1.0)
#: Held-out frames of a clip: runs of neighbours, so that flicker can be measured.
RUNS, RUN_FRAMES = 4, 5
TEXTURE_RATE = 5e-3
TEXTURE_BATCH = 4
BOOTSTRAP_ROUNDS = 2000
METRICS = ("psnr", "ssim", "squeezenet", "texture", "flicker", "opening", "ccc")


@dataclass(frozen=True)
class Split:
    """Enrollment and held-out frames of a clip, with their crops [N, 3, H, W] in [0, 1]."""

    clip: PreparedClip
    known: torch.Tensor
    known_crops: torch.Tensor
    query: torch.Tensor
    query_crops: torch.Tensor
    short: bool


def split_clip(clip: PreparedClip) -> Split | None:
    """Enrollment from the start of a clip, held-out frames from its end; None where the clip is too short."""
    frames = good_frames(clip)
    times = clip.track.timestamps[frames]
    if not len(frames):
        return None
    for seconds, gap in ((ENROLLMENT_SECONDS, GAP_SECONDS), SHORT):
        known = frames[times < times[0] + seconds]
        query = _runs(frames[times >= times[0] + seconds + gap])
        if len(query) >= 2 * RUN_FRAMES and len(known) >= 2 * RUN_FRAMES:
            short = seconds == SHORT[0]
            return Split(clip, known, read_crops(clip, known), query, read_crops(clip, query), short)
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


def read_crops(clip: PreparedClip, frames: torch.Tensor) -> torch.Tensor:
    """Crops [N, 3, H, W] float32 sRGB in [0, 1]."""
    return torch.stack([torch.from_numpy(clip.crop(int(frame))).permute(2, 0, 1) for frame in frames]).float() / 255


def complete(rgb: torch.Tensor, crops: torch.Tensor, outer: torch.Tensor) -> torch.Tensor:
    """What was drawn inside *outer*, the real pixels around it."""
    return torch.where(outer > 0, rgb, crops)


def optimise_texture(
    prior: RendererPrior, split: Split, texture: torch.Tensor, steps: int, seed: int = 0
) -> torch.Tensor:
    """Fit the texture alone, network frozen, to the enrollment frames by the loss of pretraining; [1, C, H, W]."""
    random = torch.Generator().manual_seed(seed)
    texture = texture.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([texture], TEXTURE_RATE, betas=(0.9, 0.99))
    track = split.clip.track
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = TEXTURE_RATE * (1 - step / steps)
        rows = torch.randint(len(split.known), (TEXTURE_BATCH,), generator=random)
        crops = split.known_crops[rows]
        inputs = render_inputs(prior.model, track, split.known[rows], crops, prior.outer_expressions).narrowed()
        loss = renderer_loss(draw_trainable(prior.renderer, texture, inputs), inputs)["total"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return texture.detach()


def score_clip(
    prior: RendererPrior, renderer: Renderer, split: Split, trunk: SqueezeNetTrunk | None, meter: MouthMeter, steps: int
) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    """Scores of every method on one clip, and the pictures [T, 3, H, W] by method."""
    track, model = split.clip.track, prior.model
    inputs = render_inputs(model, track, split.query, split.query_crops, prior.outer_expressions)
    real, outer = split.query_crops, inputs.outer
    known = EnrollmentFrames(track, split.known, split.known_crops)
    query = (track, split.query, real, outer)
    texture = prior.encode_texture((track, split.known, split.known_crops))
    pictures = {
        "real": real,
        "frozen mouth": frozen_mouth(model, known, *query),
        "nearest mouth": nearest_mouth(model, known, *query),
        "prior": complete(draw(renderer, texture, inputs).rgb, real, outer),
    }
    if steps:
        fitted = optimise_texture(prior, split, texture, steps)
        pictures["prior + texture"] = complete(draw(renderer, fitted, inputs).rgb, real, outer)
    lines = []
    wanted = meter.openings(real)
    for method, picture in pictures.items():
        scores = score_frames(picture, real, outer, track.timestamps[split.query], trunk)
        measured = wanted if method == "real" else meter.openings(picture)
        scores["mouth"] |= {"opening": float(measured.mean() / wanted.mean()), "ccc": concordance(measured, wanted)}
        facts = {"clip": split.clip.folder.name, "person": split.clip.person, "short": split.short}
        lines.append({**facts, "method": method, "scores": scores})
    return lines, pictures


def leak_clip(
    prior: RendererPrior, renderer: Renderer, split: Split, meter: MouthMeter, shuffles: int = 200, seed: int = 0
) -> dict[str, Any] | None:
    """Drive each held-out frame with another's expression; does the drawn mouth follow it, or the hidden one?

    Returns:
        Correlation of the drawn opening with the one given; partial correlation with the hidden one, given the first;
        the 95 % band of that partial correlation where the hidden openings are shuffled. None where the clip has too
        few frames or no varying mouth.
    """
    track = split.clip.track
    random = np.random.default_rng(seed)
    count = len(split.query)
    other = torch.from_numpy(random.permutation(count))
    lower = track.lower_expression.clone()
    lower[split.query] = track.lower_expression[split.query[other]]
    own = render_inputs(prior.model, track, split.query, split.query_crops, prior.outer_expressions)
    inputs = render_inputs(
        prior.model, track, split.query, split.query_crops, prior.outer_expressions, lower, own.window[other]
    )
    texture = prior.encode_texture((track, split.known, split.known_crops))
    drawn = complete(draw(renderer, texture, inputs).rgb, split.query_crops, inputs.outer)
    measured, hidden = meter.openings(drawn), meter.openings(split.query_crops)
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


def table(lines: list[dict[str, Any]], seed: int = 0) -> str:
    """Markdown: means over people by method and region, and how our rows compare with the strongest cheap one."""
    people: dict[str, dict[str, dict[str, list[float]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for line in lines:
        for region, scores in line["scores"].items():
            for name, value in scores.items():
                people[line["method"]][line["person"]][f"{region} {name}"].append(value)
    methods = list(people)
    columns = [f"{region} {name}" for region in ("mouth", "erased") for name in METRICS]
    means = {
        method: {person: {key: float(np.nanmean(v)) for key, v in values.items()} for person, values in rows.items()}
        for method, rows in people.items()
    }
    columns = [column for column in columns if any(column in row for row in means[methods[0]].values())]
    text = [f"| method | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for method in methods:
        cells = [f"{np.nanmean([row[column] for row in means[method].values()]):.3f}" for column in columns]
        text.append(f"| {method} | {' | '.join(cells)} |")
    text.append(f"\n{len(means[methods[0]])} people.\n")
    random = np.random.default_rng(seed)
    for method in methods:
        if not method.startswith("prior") or f"mouth {METRICS[2]}" not in columns:
            continue
        for region in ("mouth", "erased"):
            column = f"{region} {METRICS[2]}"
            pairs = [means["nearest mouth"][person][column] - row[column] for person, row in means[method].items()]
            rounds = [np.mean(random.choice(pairs, len(pairs))) for _ in range(BOOTSTRAP_ROUNDS)]
            low, high = np.quantile(rounds, [0.025, 0.975])
            text.append(
                f"- {method}, {column}: ahead of the nearest mouth for {np.mean(np.array(pairs) > 0):.0%} of people; "
                f"mean gain {np.mean(pairs):.3f} [{low:.3f}, {high:.3f}]"
            )
    return "\n".join(text) + "\n"


def sheet(pictures: dict[str, torch.Tensor], count: int = 3) -> np.ndarray:
    """Contact sheet uint8 [H, W, 3] of a few evenly chosen frames, one row a frame, one column a method."""
    total = len(pictures["real"])
    rows = []
    for index in np.linspace(0, total - 1, min(count, total)).round().astype(int):
        chosen = [picture[index].permute(1, 2, 0).clamp(0, 1).numpy() for picture in pictures.values()]
        rows.append([(255 * image).round().astype(np.uint8) for image in chosen])
    return contact_sheet(rows, list(pictures))


def main(arguments: list[str] | None = None) -> None:
    """Score from the command line."""
    parser = argparse.ArgumentParser(description="Score the renderer prior on held-out people.")
    parser.add_argument("cache", type=Path, help="prepared cache of people that the prior never saw")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for scores, table and sheets")
    parser.add_argument("--prior", type=Path, help="another renderer.safetensors")
    parser.add_argument("--texture-steps", type=int, default=0, help="also score a texture fitted for so many steps")
    parser.add_argument("--leak", action="store_true", help="test what the drawn mouth follows instead")
    parser.add_argument("--clips", type=int, help="only the longest so many clips a person")
    given = parser.parse_args(arguments)
    prior = load_renderer_prior(given.prior)
    renderer = fast_renderer(prior.renderer)
    progress = Bar()
    try:
        trunk: SqueezeNetTrunk | None = load_trunk()
    except StoreError as error:
        trunk = None
        progress.note(f"no perceptual distance: {error}")
    (given.out / "sheets").mkdir(parents=True, exist_ok=True)
    meter = MouthMeter()
    lines: list[dict[str, Any]] = []
    with (given.out / ("leak.jsonl" if given.leak else "scores.jsonl")).open("w", encoding="utf-8") as log:
        for clip in progress.over("clips", _longest(given.cache, given.clips)):
            split = split_clip(clip)
            if split is None:
                progress.note(f"{clip.folder.name}: too short, left out")
                continue
            if given.leak:
                found = leak_clip(prior, renderer, split, meter)
                fresh = [] if found is None else [found]
            else:
                fresh, pictures = score_clip(prior, renderer, split, trunk, meter, given.texture_steps)
                picture = encode_image(sheet(pictures), ".png")
                (given.out / "sheets" / f"{clip.folder.name}.png").write_bytes(picture)
            for line in fresh:
                log.write(json.dumps(line) + "\n")
            log.flush()
            lines += fresh
    if given.leak:
        print(leak_summary(lines))
        return
    text = table(lines)
    (given.out / "table.md").write_text(text, encoding="utf-8")
    print(text)


def _longest(cache: Path, count: int | None) -> list[PreparedClip]:
    """The clips of a cache, at most `count` a person, longest first."""
    people: dict[str, list[PreparedClip]] = defaultdict(list)
    for clip in prepared_clips(cache):
        people[clip.person].append(clip)
    chosen = [sorted(clips, key=lambda clip: -len(clip.frames()))[:count] for clips in people.values()]
    return [clip for clips in chosen for clip in clips]


if __name__ == "__main__":
    main()
