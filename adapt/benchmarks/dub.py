"""Score `adapt dub` on people that the prior never saw: `python -m adapt.benchmarks.dub CACHE FOOTAGE -o FOLDER`.

In: a prepared cache of held-out people and the files that it was made from. Each actor is taken from the first seconds
of a clip; a later part is dubbed through the whole pipeline, losslessly, at its own resolution. Driven by its own
motion the result is compared with the source: as read back, and as it was before it left the renderer's crop. Driven
by another person's video, the opening is compared with that person's. Out: `scores.jsonl`, `table.md`, `sheets/`.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from adapt.actor.bundle import ActorBundle
from adapt.benchmarks.fit import FitSplit, longest_clips
from adapt.benchmarks.leak import split_clip
from adapt.dubbing.kept import DrawnFrame
from adapt.dubbing.options import DubOptions
from adapt.dubbing.part import Part
from adapt.dubbing.redraw import redraw
from adapt.dubbing.weights import LEAST_TO_DUB
from adapt.fitting.clip import first_look
from adapt.fitting.optimiser import optimise
from adapt.fitting.options import FitOptions
from adapt.fitting.state import Adapted
from adapt.metrics.mouth_meter import MouthMeter
from adapt.metrics.picture import correlation, mouth_box_mask, psnr
from adapt.motion.controls import retarget
from adapt.motion.placement import motion_at
from adapt.progress import Bar
from adapt.reports.contact_sheet import contact_sheet, encode_image
from prior.face.points import opening
from prior.motion.style import mouth_style
from prior.renderer.prior import RendererPrior, load_renderer_prior
from render.compositing.composite import Patch
from render.drawing.crop import CROP_SIZE, cut_crop
from render.drawing.erasure import erased_mask
from render.head.motion import Motion
from render.head.track import Track
from render.video.encoding import DeliveredSound, Encoding
from render.video.reader import Footage, Frame
from render.video.writer import VideoWriter

#: Where the matte is between these the new picture meets the old one.
SEAM = (0.02, 0.98)
SHEET_ROWS = 4


def cut_out(footage: Footage, track: Track, start: int, stop: int, path: Path) -> tuple[Footage, Track]:
    """Frames start ≤ index < stop of footage as a lossless file of its own, and the track of them."""
    with VideoWriter(footage, path, Encoding("ffv1"), DeliveredSound([])) as writer:
        for frame in footage.frames(start, stop):
            writer.write(frame)
    return Footage(path), part_of_track(track, start, stop)


def part_of_track(track: Track, start: int, stop: int) -> Track:
    """Rows start ≤ row < stop of a track."""
    values: dict[str, Any] = {name: value for name, value in vars(track).items() if isinstance(value, torch.Tensor)}
    values.pop("shape")
    return replace(track, **{name: value[start:stop] for name, value in values.items()})


def actor_of(prior: RendererPrior, split: FitSplit, steps: int) -> ActorBundle:
    """The actor from the enrollment of a split."""
    clips = [split.fit_clip()]
    first = first_look(prior, clips)
    adapted = optimise(prior, clips, first, FitOptions(steps=steps)).adapted or Adapted(first.look.texture, {})
    style = mouth_style(replace(split.clip.track, confidence=_only(split)), prior.model).tensors
    bank = first.look.bank.stored()
    return ActorBundle(split.clip.person, adapted.texture[0], adapted.delta, style, prior.sha256, [], {}, bank=bank)


def _only(split: FitSplit) -> torch.Tensor:
    """The confidence of the enrollment's frames, those without a crop among them, 0 elsewhere."""
    confidence = torch.zeros_like(split.clip.track.confidence)
    rows = slice(int(split.learn[0]), int(split.learn[-1]) + 1)
    confidence[rows] = split.clip.track.confidence[rows]
    return confidence


def stretch(split: FitSplit, frames: int) -> tuple[int, int]:
    """The most confident run of so many frames of one shot in the held-out part of a clip: first, last + 1."""
    track = split.clip.track
    first, last = int(split.held_out[0]), int(split.held_out[-1]) + 1
    frames = min(frames, last - first)
    starts = [
        start for start in range(first, last - frames + 1) if track.shot[start] == track.shot[start + frames - 1]
    ] or [first]
    best = max(starts, key=lambda start: float(track.confidence[start : start + frames].min()))
    return best, best + frames


def dubbed(
    actor: ActorBundle, shot: tuple[Footage, Track], expression: torch.Tensor, prior: RendererPrior, output: Path
) -> tuple[list[Patch | None], list[str]]:
    """Dub a shot losslessly; returns what was put into each frame, and its status."""
    footage, track = shot
    patches: list[Patch | None] = []
    part = Part(actor, track, expression, torch.ones(len(track), dtype=torch.bool), prior)

    def watch(frame: Frame, put_in: list[Patch | None], drawn: DrawnFrame | None) -> None:
        patches.append(put_in[0])

    result = redraw(footage, [part], output, DubOptions(codec="ffv1", keep_found=False), watch=watch)
    return patches, result.status


def border_gradient_ratio(source: np.ndarray, new: np.ndarray, patch: Patch) -> float:
    """Gradient energy of luma along the border of what was put in, over that of the source there; uint8 [H, W, 3]."""
    image_from_crop = cv2.invertAffineTransform(patch.crop_from_image)
    # OpenCV puts pixel centres at whole numbers.
    image_from_crop[:, 2] += image_from_crop[:, :2] @ np.array([0.5, 0.5]) - 0.5
    matte = cv2.warpAffine(patch.matte, image_from_crop, source.shape[1::-1])
    band = (matte > SEAM[0]) & (matte < SEAM[1])
    energies = []
    for picture in (new, source):
        luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
        energy = cv2.Sobel(luma, cv2.CV_32F, 1, 0) ** 2 + cv2.Sobel(luma, cv2.CV_32F, 0, 1) ** 2
        energies.append(float(energy[band].mean()))
    return energies[0] / max(energies[1], 1e-6)


def score_own_motion(
    actor: ActorBundle, shot: tuple[Footage, Track], prior: RendererPrior, output: Path
) -> tuple[dict[str, Any], list[list[np.ndarray]]]:
    """Dub a shot with its own motion; scores, and a few pairs of source and dubbed picture."""
    footage, track = shot
    patches, status = dubbed(actor, shot, track.lower_expression, prior, output)
    small = track.with_crop_size(CROP_SIZE)
    scores: dict[str, list[float]] = {"native": [], "crop": [], "renderer": [], "seam": []}
    pairs = []
    for old, new, patch in zip(footage.frames(), Footage(output).frames(), patches, strict=True):
        if patch is None or float(patch.matte.max()) < 0.99:
            continue
        affine = small.crop_from_image[old.index].numpy()
        real, result = (cut_crop(frame.rgb, affine, CROP_SIZE) for frame in (old, new))
        expressions = prior.erasing_expressions
        frames = torch.full((len(expressions),), old.index)
        erased = erased_mask(prior.model, small.clip_vertices(prior.model, frames, expressions)[None], CROP_SIZE)
        truth, native, drawn = (_tensor(picture) for picture in (real, result, 255 * patch.rgb))
        matte = torch.from_numpy(patch.matte)[None, None]
        box = mouth_box_mask(truth)
        scores["native"].append(float(psnr(native, truth, box)))
        scores["crop"].append(float(psnr(torch.lerp(truth, drawn, matte), truth, box)))
        scores["renderer"].append(float(psnr(torch.where(erased > 0, drawn, truth), truth, box)))
        scores["seam"].append(border_gradient_ratio(old.rgb, new.rgb, patch))
        pairs.append([real, result])
    means = {name: float(np.mean(values)) if values else float("nan") for name, values in scores.items()}
    facts = {"frames": len(status), "status": {word: status.count(word) for word in set(status)}}
    return {**means, **facts}, pairs[:: max(1, len(pairs) // SHEET_ROWS)][:SHEET_ROWS]


def _tensor(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float() / 255


def score_other_motion(
    actor: ActorBundle,
    shot: tuple[Footage, Track],
    driver: Track,
    prior: RendererPrior,
    meter: MouthMeter,
    output: Path,
) -> tuple[dict[str, Any], list[list[np.ndarray]]]:
    """Dub a shot with another person's motion; how the opening seen follows theirs, and a few pairs of pictures."""
    track, model = shot[1], prior.model
    theirs, closed = mouth_style(driver, model), actor.style["closed"]
    lower = retarget(driver.lower_expression, theirs.closed, theirs.spread, closed, actor.style["spread"])
    motion = Motion(driver.timestamps - driver.timestamps[0], lower, driver.confidence)
    expression, _ = motion_at(motion, track.timestamps, closed, "hold")
    shown = opening(model.vertices(driver.shape, driver.lower_expression))[:, None]
    wanted, _ = motion_at(replace(motion, lower_expression=shown), track.timestamps, torch.zeros(1), "hold")
    patches, _ = dubbed(actor, shot, expression, prior, output)
    small = track.with_crop_size(CROP_SIZE)
    crops, used, pairs = [], [], []
    for old, new, patch in zip(shot[0].frames(), Footage(output).frames(), patches, strict=True):
        if patch is not None and float(patch.matte.max()) >= 0.99:
            affine = small.crop_from_image[old.index].numpy()
            real, result = (cut_crop(frame.rgb, affine, CROP_SIZE) for frame in (old, new))
            crops.append(_tensor(result)[0])
            used.append(old.index)
            pairs.append([real, result])
    measured = meter.openings(torch.stack(crops))
    score = correlation(measured, wanted[used, 0])
    rows = wanted[used, 0].argsort()[torch.linspace(0, len(used) - 1, SHEET_ROWS).long()].tolist()
    return {"opening": score, "frames": len(used)}, [pairs[row] for row in rows]


def table(own: list[dict[str, Any]], other: list[dict[str, Any]]) -> str:
    """Markdown: people, then pairs."""
    text = ["| person | size | native, dB | crop, dB | renderer, dB | seam |", "|---|---|---|---|---|---|"]
    for line in own:
        values = " | ".join(f"{line[name]:.2f}" for name in ("native", "crop", "renderer", "seam"))
        text.append(f"| {line['person']} | {line['size']} | {values} |")
    means = {name: float(np.nanmean([line[name] for line in own])) for name in ("native", "crop", "renderer", "seam")}
    text.append("| mean | | " + " | ".join(f"{value:.2f}" for value in means.values()) + " |\n")
    if other:
        text += ["| actor | driver | frames | opening, r |", "|---|---|---|---|"]
        text += [
            f"| {line['person']} | {line['driver']} | {line['frames']} | {line['opening']:.3f} |" for line in other
        ]
        text.append(f"| mean | | | {np.nanmean([line['opening'] for line in other]):.3f} |")
    return "\n".join(text) + "\n"


def _sheet(folder: Path, name: str, pairs: list[list[np.ndarray]]) -> None:
    if pairs:
        picture = contact_sheet(pairs, ["source", "dubbed"])
        (folder / "sheets" / f"{name}.png").write_bytes(encode_image(picture, ".png"))


def main(arguments: list[str] | None = None) -> None:
    """Score from the command line."""
    parser = argparse.ArgumentParser(description="Score adapt dub on held-out people.")
    parser.add_argument("cache", type=Path, help="prepared cache of people that the prior never saw")
    parser.add_argument("footage", type=Path, help="folder of the files that the cache was made from")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for scores, table and sheets")
    parser.add_argument("--people", nargs="*", help="only these people")
    parser.add_argument("--steps", type=int, default=300, help="optimiser steps of the fit")
    parser.add_argument("--actors", type=Path, help="folder of bundles CLIP.actor, fitted already on the first 4 s")
    parser.add_argument("--frames", type=int, default=24, help="frames of each clip dubbed with its own motion")
    parser.add_argument("--pairs", type=int, default=6, help="actors that are also driven by the next person")
    parser.add_argument("--pair-frames", type=int, default=60, help="frames dubbed with another's motion")
    given = parser.parse_args(arguments)
    prior, progress, meter = load_renderer_prior(), Bar(), MouthMeter()
    (given.out / "sheets").mkdir(parents=True, exist_ok=True)
    clips = longest_clips(given.cache, given.people)
    own: list[dict[str, Any]] = []
    other: list[dict[str, Any]] = []
    with (given.out / "scores.jsonl").open("w", encoding="utf-8") as log:
        for number, clip in enumerate(progress.over("people", clips, len(clips))):
            split = split_clip(clip)
            if split is None:
                progress.note(f"{clip.folder.name}: too short, left out")
                continue
            if given.actors is None:
                actor = actor_of(prior, split, given.steps)
            else:
                actor = ActorBundle.load(given.actors / f"{clip.folder.name}.actor", prior.sha256)
            footage = Footage(given.footage / str(clip.facts["file"]))
            facts = {"person": clip.person, "size": f"{footage.width}×{footage.height}"}
            with tempfile.TemporaryDirectory() as folder:
                place = Path(folder)
                shot = cut_out(footage, clip.track, *stretch(split, given.frames), place / "own.mp4")
                scores, pairs = score_own_motion(actor, shot, prior, place / "own.dubbed.mp4")
                own.append({**facts, **scores})
                _sheet(given.out, clip.person, pairs)
                log.write(json.dumps(own[-1]) + "\n")
                if number < given.pairs:
                    driver = clips[(number + 1) % len(clips)]
                    shot = cut_out(footage, clip.track, *stretch(split, given.pair_frames), place / "other.mp4")
                    part = part_of_track(driver.track, *_speaking(driver.track, given.pair_frames))
                    scores, pairs = score_other_motion(actor, shot, part, prior, meter, place / "other.dubbed.mp4")
                    other.append({**facts, "driver": driver.person, **scores})
                    _sheet(given.out, f"{clip.person} driven by {driver.person}", pairs)
                    log.write(json.dumps(other[-1]) + "\n")
                log.flush()
    text = table(own, other)
    (given.out / "table.md").write_text(text, encoding="utf-8")
    print(text)


def _speaking(track: Track, frames: int) -> tuple[int, int]:
    """The run of so many frames in which the mouth moves most while the track is sure: first, last + 1."""
    frames = min(frames, len(track))
    opening = track.lower_expression[:, 0]
    starts = range(len(track) - frames + 1)

    def moves(start: int) -> float:
        rows = slice(start, start + frames)
        sure = float((track.confidence[rows] >= LEAST_TO_DUB).float().mean())
        return float(opening[rows].std()) * sure

    best = max(starts, key=moves)
    return best, best + frames


if __name__ == "__main__":
    main()
