"""Score `adapt fit` on people that the prior never saw: `python -m adapt.evaluate_fit CACHE -o FOLDER`.

In: a prepared cache of held-out people. Out: `scores.jsonl`, `table.md` and `sheets/`. Each actor is fitted on the
first four seconds of a clip and judged, at its own tracked motion, on frames at least two seconds later. Beside the
fit stand the unadapted prior and the same network learnt from scratch on the same frames.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from adapt.contact_sheet import encode_image
from adapt.enrollment import HELD_OUT_PART
from adapt.evaluate_renderer import Split, complete, sheet, split_clip, table
from adapt.fit import adapted_renderer
from adapt.metrics import score_frames
from adapt.optimise import BATCH, FitClip, optimise
from adapt.progress import Progress
from prior.losses import SqueezeNetTrunk, load_trunk, renderer_loss
from prior.prepared import PreparedClip, prepared_clips
from prior.renderer_prior import RendererPrior, load_renderer_prior
from render.errors import StoreError
from render.neural_texture import TEXTURE_CHANNELS, TEXTURE_SIZE, sample_texture
from render.renderer import Renderer, draw, fast_renderer, render_inputs, seen_corners

SCRATCH_RATE = 2e-3


def fit_clip(split: Split) -> FitClip:
    """The enrollment of a split as `optimise` reads it; its end judges the fit."""
    count = len(split.known)
    judged = max(round(count * HELD_OUT_PART), 3)
    rows = torch.arange(count)
    crops = (split.known_crops * 255).round().to(torch.uint8)
    return FitClip(split.clip.track, split.known, crops, rows[: count - judged], rows[count - judged :])


def from_scratch(prior: RendererPrior, split: Split, steps: int, seed: int = 0) -> tuple[Renderer, torch.Tensor]:
    """The same network and a texture learnt from the enrollment alone, from random weights; texture [1, C, H, W]."""
    torch.manual_seed(seed)
    arguments = {key: value for key, value in prior.renderer.arguments.items() if key != "expression_size"}
    renderer = RendererPrior(prior.model, arguments).renderer
    for name in ("expression_mean", "expression_scale"):
        getattr(renderer, name).copy_(getattr(prior.renderer, name))
    texture = torch.full((1, TEXTURE_CHANNELS, TEXTURE_SIZE, TEXTURE_SIZE), 0.5, requires_grad=True)
    groups = [{"params": [texture], "lr": 1e-2}, {"params": list(renderer.parameters()), "lr": SCRATCH_RATE}]
    optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    random = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randint(len(split.known), (BATCH,), generator=random)
        crops = split.known_crops[rows]
        inputs = render_inputs(prior.model, split.clip.track, split.known[rows], crops, prior.outer_expressions)
        corners, fits = seen_corners(inputs.outer)
        inputs = inputs.seen(corners) if bool(fits.all()) else inputs
        inner, mouth = inputs.buffer.inner, inputs.buffer.mouth
        features = sample_texture(texture, inputs.buffer)
        drawn = renderer(features, inner, inputs.outer, inputs.crop, inputs.window, inputs.log_scale)
        masks = (inner, mouth, inputs.outer)
        loss = renderer_loss(drawn[0], drawn[1], inputs.crop, *masks, inputs.log_scale)["total"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return fast_renderer(renderer), texture.detach()


def score_fit(
    prior: RendererPrior, split: Split, trunk: SqueezeNetTrunk | None, steps: int, scratch_steps: int
) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    """Scores of every method on one clip, and the pictures [T, 3, H, W] by method."""
    track, real = split.clip.track, split.query_crops
    inputs = render_inputs(prior.model, track, split.query, real, prior.outer_expressions)
    texture = prior.encode_texture((track, split.known, split.known_crops))
    started = time.monotonic()
    state = optimise(prior, [fit_clip(split)], texture, steps)
    seconds = {"prior + fit": time.monotonic() - started}
    delta = {name: value for name, value in state.best.items() if name != "texture"}
    drawn = {
        "prior": draw(fast_renderer(prior.renderer), texture, inputs).rgb,
        "prior + fit": draw(adapted_renderer(prior, delta), state.best.get("texture", texture), inputs).rgb,
    }
    if scratch_steps:
        started = time.monotonic()
        drawn["scratch"] = draw(*from_scratch(prior, split, scratch_steps), inputs).rgb
        seconds["scratch"] = time.monotonic() - started
    pictures = {"real": real} | {name: complete(rgb, real, inputs.outer) for name, rgb in drawn.items()}
    facts = {"clip": split.clip.folder.name, "person": split.clip.person, "short": split.short}
    lines = []
    for method, picture in pictures.items():
        scores = score_frames(picture, real, inputs.outer, track.timestamps[split.query], trunk)
        adapted = {"adapted": bool(state.best)} if method == "prior + fit" else {}
        lines.append({**facts, "method": method, "seconds": seconds.get(method), **adapted, "scores": scores})
    return lines, pictures


def main(arguments: list[str] | None = None) -> None:
    """Score from the command line."""
    parser = argparse.ArgumentParser(description="Score adapt fit on held-out people.")
    parser.add_argument("cache", type=Path, help="prepared cache of people that the prior never saw")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for scores, table and sheets")
    parser.add_argument("--steps", type=int, default=300, help="optimiser steps of the fit")
    parser.add_argument("--scratch-steps", type=int, default=0, help="also score the network learnt from scratch")
    parser.add_argument("--people", type=str, nargs="*", help="only these people")
    given = parser.parse_args(arguments)
    prior = load_renderer_prior()
    progress = Progress()
    try:
        trunk: SqueezeNetTrunk | None = load_trunk()
    except StoreError as error:
        trunk = None
        progress.note(f"no perceptual distance: {error}")
    (given.out / "sheets").mkdir(parents=True, exist_ok=True)
    lines: list[dict[str, Any]] = []
    with (given.out / "scores.jsonl").open("w", encoding="utf-8") as log:
        for clip in progress.over("people", _one_a_person(given.cache, given.people)):
            split = split_clip(clip)
            if split is None:
                progress.note(f"{clip.folder.name}: too short, left out")
                continue
            fresh, pictures = score_fit(prior, split, trunk, given.steps, given.scratch_steps)
            picture = encode_image(sheet(pictures), ".png")
            (given.out / "sheets" / f"{clip.folder.name}.png").write_bytes(picture)
            for line in fresh:
                log.write(json.dumps(line) + "\n")
            log.flush()
            lines += fresh
    text = table(lines)
    (given.out / "table.md").write_text(text, encoding="utf-8")
    print(text)


def _one_a_person(cache: Path, people: list[str] | None) -> list[PreparedClip]:
    """The longest clip of each person."""
    longest: dict[str, PreparedClip] = {}
    for clip in prepared_clips(cache):
        known = longest.get(clip.person)
        if (not people or clip.person in people) and (known is None or len(clip.frames()) > len(known.frames())):
            longest[clip.person] = clip
    return list(longest.values())


if __name__ == "__main__":
    main()
