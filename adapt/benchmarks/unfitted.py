"""Score the renderer prior without a step of fitting: `python -m adapt.benchmarks.unfitted CACHE -o FOLDER`.

In: a prepared cache of held-out people. The longest clip of each person is split as `adapt.benchmarks.leak` splits it;
its held-out frames are drawn with their own tracked motion from a look of the enrollment. Out: `scores.jsonl`,
`table.md` and `sheets/`, the frames of each person that are drawn worst, real and drawn. Two kinds of frames are scored
apart, too: each person's widest fifth of openings, and small openings, in which teeth just show.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adapt.benchmarks.fit import FitSplit, complete, longest_clips, read_crops
from adapt.benchmarks.leak import split_clip
from adapt.metrics.mouth import opening_ratio
from adapt.metrics.mouth_meter import MouthMeter
from adapt.metrics.picture import MOUTH_BOX, concordance, mouth_box_mask, score_frames, squeezenet_distance
from adapt.progress import Bar
from adapt.reports.contact_sheet import contact_sheet, encode_image
from prior.renderer.perceptual import SqueezeNetTrunk, load_trunk
from prior.renderer.prior import RendererPrior, load_renderer_prior
from render.drawing.look import Look
from render.drawing.renderer import Renderer, draw, fast_renderer, render_inputs

#: The widest part of a person's openings, and openings that count as small, in eye distances.
WIDEST_PART = 0.2
SMALL_OPENINGS = (0.02, 0.08)
#: A small opening counts as drawn closed where less than this part of it is seen.
CLOSED_PART = 0.35
SHEET_ROWS = 3


def score_split(
    split: FitSplit,
    renderer: Renderer,
    look: Look,
    prior: RendererPrior,
    trunk: SqueezeNetTrunk,
    meter: MouthMeter,
) -> tuple[dict[str, Any], list[list[np.ndarray]]]:
    """Draw and score the held-out frames of a split; the scores, and mouths [real, drawn] of the worst frames."""
    track, rows = split.clip.track, split.held_out
    real = read_crops(split.clip, rows)
    inputs = render_inputs(prior.model, track, rows, real, prior.erasing_expressions)
    drawn = complete(draw(renderer, look, inputs).rgb, real, inputs.erased)
    scores: dict[str, Any] = score_frames(drawn, real, inputs.erased, track.timestamps[rows], trunk)
    wanted, measured = meter.openings(real), meter.openings(drawn)
    scores["mouth"] |= {"ccc": concordance(measured, wanted), "opening": opening_ratio(measured, wanted)}
    distance = squeezenet_distance(trunk, drawn, real, mouth_box_mask(real))
    scores["apart"] = frames_apart(distance, measured, wanted)
    top, bottom, left, right = MOUTH_BOX
    worst = distance.argsort(descending=True)[:: max(1, len(distance) // SHEET_ROWS)][:SHEET_ROWS]
    pictures = [[_bytes(images[row, :, top:bottom, left:right]) for images in (real, drawn)] for row in worst.tolist()]
    return scores, pictures


def frames_apart(distance: torch.Tensor, measured: torch.Tensor, wanted: torch.Tensor) -> dict[str, dict[str, float]]:
    """Scores of the widest openings and of the small ones.

    Args:
        distance: [T] perceptual distance of each frame.
        measured: [T] opening seen in the drawing.
        wanted: [T] opening seen in the real frame.

    Returns:
        By kind: frames, mean distance, mean of what is seen over what is asked, share that wrongly looks closed.
    """
    kinds = {
        "wide": wanted >= torch.quantile(wanted, 1 - WIDEST_PART),
        "small": (wanted >= SMALL_OPENINGS[0]) & (wanted <= SMALL_OPENINGS[1]),
    }
    scores = {}
    for kind, chosen in kinds.items():
        if bool(chosen.any()):
            ratio = measured[chosen] / wanted[chosen].clamp(min=SMALL_OPENINGS[0])
            scores[kind] = {
                "frames": float(chosen.sum()),
                "squeezenet": float(distance[chosen].mean()),
                "opening": float(ratio.mean()),
                "closed": float((ratio < CLOSED_PART).float().mean()),
            }
    return scores


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Markdown: means over people by region, and over frames of each kind."""
    text = [f"{len(lines)} people", ""]
    for region in ("mouth", "erased"):
        names = list(lines[0]["scores"][region])
        means = [np.nanmean([line["scores"][region][name] for line in lines]) for name in names]
        text += [f"| {region} | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
        text += [f"| mean | {' | '.join(f'{value:.3f}' for value in means)} |", ""]
    text += ["| frames | people | squeezenet | opening, seen over asked | look closed |", "|---|---|---|---|---|"]
    for kind in ("wide", "small"):
        found = [line["scores"]["apart"][kind] for line in lines if kind in line["scores"]["apart"]]
        means = [np.mean([one[name] for one in found]) for name in ("squeezenet", "opening", "closed")]
        text.append(f"| {kind} | {len(found)} | {means[0]:.3f} | {means[1]:.3f} | {means[2]:.0%} |")
    return "\n".join(text) + "\n"


def _bytes(image: torch.Tensor) -> np.ndarray:
    return (
        (image.permute(1, 2, 0).clamp(0, 1) * 255)
        .round()
        .to(torch.uint8)
        .repeat_interleave(2, 0)
        .repeat_interleave(2, 1)
        .numpy()
    )


def main(arguments: list[str] | None = None) -> None:
    """Score from the command line."""
    parser = argparse.ArgumentParser(description="Score the renderer prior without a step of fitting.")
    parser.add_argument("cache", type=Path, help="prepared cache of people that the prior never saw")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for scores, table and sheets")
    parser.add_argument("--prior", type=Path, help="another renderer.safetensors")
    parser.add_argument("--people", type=str, nargs="*", help="only these people")
    given = parser.parse_args(arguments)
    prior, progress, meter, trunk = load_renderer_prior(given.prior), Bar(), MouthMeter(), load_trunk()
    renderer = fast_renderer(prior.renderer)
    (given.out / "sheets").mkdir(parents=True, exist_ok=True)
    lines: list[dict[str, Any]] = []
    with (given.out / "scores.jsonl").open("w", encoding="utf-8") as log:
        for clip in progress.over("people", longest_clips(given.cache, given.people)):
            split = split_clip(clip)
            if split is None:
                progress.note(f"{clip.folder.name}: too short, left out")
                continue
            look = prior.encode_look((clip.track, split.learn, read_crops(clip, split.learn)))
            scores, pictures = score_split(split, renderer, look, prior, trunk, meter)
            line = {"clip": clip.folder.name, "person": clip.person, "scores": scores}
            log.write(json.dumps(line) + "\n")
            log.flush()
            lines.append(line)
            picture = encode_image(contact_sheet(pictures, ["real", "drawn"]), ".png")
            (given.out / "sheets" / f"{clip.folder.name}.png").write_bytes(picture)
    text = table(lines)
    (given.out / "table.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
