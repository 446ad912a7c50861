"""Score `adapt fit` on people that the prior never saw: `python -m adapt.benchmarks.fit CACHE -o FOLDER`.

In: a prepared cache of held-out people, with crops of every frame (`adapt prepare … --crops-per-person 100000`). Out:
`scores.jsonl`, `table.md` and `sheets/`. Held out is the end of each person's longest clip; the enrollment is the
stretch that ends `GAP_SECONDS` before it, so that the same frames judge every length of enrollment. Beside the fit
stand the unadapted prior and the same network learnt from scratch on the same frames, for the fit's processor time and
multiples of it. Finished rows of an earlier run with the same settings are kept.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adapt.actor.renderer import adapted_renderer
from adapt.baselines.scratch import blank_renderer, from_scratch
from adapt.cache import code_sha256
from adapt.fitting.clip import FitClip, first_look
from adapt.fitting.frame_choice import HELD_OUT_PART
from adapt.fitting.optimiser import optimise
from adapt.fitting.options import FitOptions
from adapt.metrics.mouth_meter import MouthMeter
from adapt.metrics.picture import concordance, score_frames
from adapt.progress import Bar
from adapt.reports.contact_sheet import contact_sheet, encode_image
from prior.cache.prepared import PreparedClip, prepared_clips
from prior.renderer.perceptual import SqueezeNetTrunk, load_trunk
from prior.renderer.prior import RendererPrior, load_renderer_prior
from prior.training.renderer_items import good_frames
from render.drawing.look import Look
from render.drawing.renderer import draw, fast_renderer, render_inputs
from render.errors import StoreError
from render.head.track import frame_seconds

GAP_SECONDS = 2.0
#: Enrollments of so many seconds or fewer make do with this gap; they are rows of their own.
SHORT_SECONDS, SHORT_GAP_SECONDS = 2.0, 1.0
#: Held out at the end of a clip, at most and at least.
HELD_OUT_SECONDS = (2.5, 1.0)
#: About so many frames a second are learnt from and scored.
FRAMES_PER_SECOND = 25.0
#: "adapt" and "scratch" are followed by what makes them different from each other.
PRIOR, FIT, SCRATCH = "prior", "prior + fit", "scratch"
METRICS = ("psnr", "squeezenet", "texture", "flicker", "ssim", "ccc")


@dataclass(frozen=True)
class FitSplit:
    """Rows [N] of a clip to learn from, and [M] held-out ones."""

    clip: PreparedClip
    learn: torch.Tensor
    held_out: torch.Tensor

    def fit_clip(self) -> FitClip:
        """The enrollment as `optimise` reads it; its end judges the fit."""
        count = len(self.learn)
        judged = max(round(count * HELD_OUT_PART), 3)
        rows = torch.arange(count)
        crops = (read_crops(self.clip, self.learn) * 255).round().to(torch.uint8)
        return FitClip(self.clip.track, self.learn, crops, rows[: count - judged], rows[count - judged :])


def read_crops(clip: PreparedClip, frames: torch.Tensor) -> torch.Tensor:
    """Crops [N, 3, H, W] float32 sRGB in [0, 1]."""
    return torch.stack([torch.from_numpy(clip.crop(int(frame))).permute(2, 0, 1) for frame in frames]).float() / 255


def complete(rgb: torch.Tensor, crops: torch.Tensor, erased: torch.Tensor) -> torch.Tensor:
    """What was drawn inside the erased area, the real pixels around it."""
    return torch.where(erased > 0, rgb, crops)


def split_fit(clip: PreparedClip, lengths: Sequence[float]) -> dict[float, FitSplit]:
    """The splits of a clip by seconds of enrollment, those of `lengths` for which it is long enough."""
    frames = good_frames(clip)
    times = clip.track.timestamps[frames]
    if len(frames) < 2:
        return {}
    step = max(1, round(1 / frame_seconds(times) / FRAMES_PER_SECOND))
    whole = float(times[-1] - times[0])
    splits = {}
    needed = [length + _gap(length) for length in lengths if length + _gap(length) + HELD_OUT_SECONDS[1] <= whole]
    if not needed:
        return {}
    # As much is held out as the longest enrollment leaves: the same for all of them.
    start = float(times[-1]) - min(HELD_OUT_SECONDS[0], whole - max(needed))
    for length in lengths:
        end = start - _gap(length)
        if end - length < float(times[0]) - 1e-6:
            continue
        learn = frames[(times >= end - length) & (times < end)][::step]
        splits[length] = FitSplit(clip, learn, frames[times >= start][::step])
    return splits


def _gap(seconds: float) -> float:
    return SHORT_GAP_SECONDS if seconds <= SHORT_SECONDS else GAP_SECONDS


class FitScorer:
    """Draws and scores every method on a split.

    Args:
        prior: renderer prior.
        trunk: for the perceptual distance.
        steps: of the fit.
        times: multiples of the fit's processor time that scratch learns for.
        seed: of the fit.
    """

    def __init__(
        self, prior: RendererPrior, trunk: SqueezeNetTrunk | None, steps: int, times: Sequence[float], seed: int = 0
    ) -> None:
        self.prior, self.trunk, self.steps, self.times, self.seed = prior, trunk, steps, times, seed
        self.meter = MouthMeter()

    def score(self, split: FitSplit, seconds: float) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
        """A line a method, and the pictures [T, 3, H, W] by method."""
        track, prior = split.clip.track, self.prior
        real = read_crops(split.clip, split.held_out)
        inputs = render_inputs(prior.model, track, split.held_out, real, prior.erasing_expressions)
        clip = split.fit_clip()
        first = first_look(prior, [clip])
        pictures = {PRIOR: draw(fast_renderer(prior.renderer), first.look, inputs).rgb}
        started, cpu = time.monotonic(), time.process_time()
        state = optimise(prior, [clip], first, FitOptions(steps=self.steps, seed=self.seed))
        cpu = time.process_time() - cpu
        facts: dict[str, dict[str, Any]] = {
            FIT: {"adapted": bool(state.best), "wall_seconds": time.monotonic() - started, "cpu_seconds": cpu}
        }
        delta = {name: value for name, value in state.best.items() if name != "texture"}
        fitted = Look(state.best.get("texture", first.look.texture), first.look.bank)
        pictures[FIT] = draw(adapted_renderer(prior, delta), fitted, inputs).rgb
        for multiple in self.times:
            renderer = blank_renderer(prior)
            learnt, steps = from_scratch(prior, renderer, clip, multiple * cpu)
            name = f"{SCRATCH} {multiple:g}×"
            facts[name] = {"steps": steps}
            pictures[name] = draw(fast_renderer(renderer), learnt, inputs).rgb
        pictures = {"real": real} | {name: complete(rgb, real, inputs.erased) for name, rgb in pictures.items()}
        wanted = self.meter.openings(real)
        where = {"clip": split.clip.folder.name, "person": split.clip.person, "seconds": seconds}
        lines = []
        for method, picture in pictures.items():
            scores = score_frames(picture, real, inputs.erased, track.timestamps[split.held_out], self.trunk)
            measured = wanted if method == "real" else self.meter.openings(picture)
            scores["mouth"]["ccc"] = concordance(measured, wanted)
            lines.append({**where, "method": method, **facts.get(method, {}), "scores": scores})
        return lines, pictures


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Markdown: means over people by seconds of enrollment and method, and what the fit gains over each, in pairs."""
    text = [f"| s | people | method | {' | '.join(f'mouth {m}' for m in METRICS)} | "]
    text[0] += f"{' | '.join(f'erased {m}' for m in METRICS[:5])} |"
    text.append("|---" * (3 + 2 * len(METRICS) - 1) + "|")
    gains = []
    for seconds in sorted({line["seconds"] for line in lines}):
        group = [line for line in lines if line["seconds"] == seconds]
        fitted = {line["person"]: line["scores"] for line in group if line["method"] == FIT}
        for method in dict.fromkeys(line["method"] for line in group):
            by_person = {line["person"]: line["scores"] for line in group if line["method"] == method}
            cells = []
            for region, names in (("mouth", METRICS), ("erased", METRICS[:5])):
                for name in names:
                    values = [scores[region][name] for scores in by_person.values() if name in scores[region]]
                    cells.append(f"{np.nanmean(values):.3f}" if values else "—")
            text.append(f"| {seconds:g} | {len(by_person)} | {method} | {' | '.join(cells)} |")
            if method not in ("real", FIT):
                gains.append(_gain(seconds, method, by_person, fitted))
    return "\n".join([*text, "", *gains]) + "\n"


def _gain(seconds: float, method: str, other: dict[str, Any], fitted: dict[str, Any]) -> str:
    people = [person for person in other if person in fitted]
    words = []
    for region in ("mouth", "erased"):
        for name, sign, unit in (("psnr", 1, " dB"), ("squeezenet", -1, "")):
            if name in other[people[0]][region]:
                gain = np.array([sign * (fitted[p][region][name] - other[p][region][name]) for p in people])
                words.append(f"{region} {name} {gain.mean():+.3f}{unit} (better for {np.mean(gain > 0):.0%})")
    return f"- {seconds:g} s, fit against {method}, {len(people)} people: " + ", ".join(words)


def sheet(pictures: dict[str, torch.Tensor], count: int = 3) -> np.ndarray:
    """Contact sheet uint8 [H, W, 3] of a few evenly chosen frames, one row a frame, one column a method."""
    total = len(pictures["real"])
    rows = []
    for index in np.linspace(0, total - 1, min(count, total)).round().astype(int):
        chosen = [picture[index].permute(1, 2, 0).clamp(0, 1).numpy() for picture in pictures.values()]
        rows.append([(255 * image).round().astype(np.uint8) for image in chosen])
    return contact_sheet(rows, list(pictures))


def longest_clips(cache: Path, people: Sequence[str] | None = None) -> list[PreparedClip]:
    """The longest clip of each person."""
    longest: dict[str, PreparedClip] = {}
    for clip in prepared_clips(cache):
        best = longest.get(clip.person)
        if (not people or clip.person in people) and (best is None or len(clip.frames()) > len(best.frames())):
            longest[clip.person] = clip
    return list(longest.values())


def main(arguments: list[str] | None = None) -> None:
    """Score from the command line."""
    parser = argparse.ArgumentParser(description="Score adapt fit on held-out people.")
    parser.add_argument("cache", type=Path, help="prepared cache of people that the prior never saw, with every crop")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for scores, table and sheets")
    parser.add_argument("--steps", type=int, default=FitOptions.steps, help="optimiser steps of the fit")
    parser.add_argument("--enrollment", type=float, nargs="+", default=[4.0], help="seconds learnt from")
    parser.add_argument("--scratch", type=float, nargs="*", default=[], help="also from scratch, × the fit's time")
    parser.add_argument("--seed", type=int, default=0, help="of the fit")
    parser.add_argument("--people", type=str, nargs="*", help="only these people")
    given = parser.parse_args(arguments)
    prior = load_renderer_prior()
    progress = Bar()
    try:
        trunk: SqueezeNetTrunk | None = load_trunk()
    except StoreError as error:
        trunk = None
        progress.note(f"no perceptual distance: {error}")
    (given.out / "sheets").mkdir(parents=True, exist_ok=True)
    scorer = FitScorer(prior, trunk, given.steps, given.scratch, given.seed)
    code = code_sha256("adapt.benchmarks.fit")
    settings = {"steps": given.steps, "seed": given.seed, "scratch": given.scratch, "prior": prior.sha256}
    settings["code"] = code
    log = given.out / "scores.jsonl"
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.is_file() else []
    lines = [line for line in lines if line["settings"] == settings]
    done = {(line["clip"], line["seconds"]) for line in lines}
    for clip in progress.over("people", longest_clips(given.cache, given.people)):
        for seconds, split in split_fit(clip, given.enrollment).items():
            if (clip.folder.name, seconds) in done:
                continue
            fresh, pictures = scorer.score(split, seconds)
            picture = encode_image(sheet(pictures), ".png")
            (given.out / "sheets" / f"{clip.folder.name}_{seconds:g}s.png").write_bytes(picture)
            fresh = [{**line, "settings": settings} for line in fresh]
            with log.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(line) + "\n" for line in fresh)
            lines += fresh
    text = table(lines)
    (given.out / "table.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
