"""Report of a fit: held-out frames re-rendered, scored, and shown beside the real ones."""

import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from adapt.actor.bundle import ActorBundle, FitScores
from adapt.fitting.fit import Fitted, draw_clip
from adapt.fitting.frame_choice import HELD_OUT_GAP_SECONDS
from adapt.fitting.state import FitState
from adapt.metrics.picture import psnr
from adapt.progress import SILENT, Progress
from adapt.reports.clip import encode_clip
from adapt.reports.contact_sheet import contact_sheet, encode_image
from adapt.reports.page import Report
from render.compositing.matte import put_back
from render.store import write_json
from render.video.container import timecode

SETTINGS = "config.json"
SHEET_ROWS = 6
BANK_TEXT = (
    "What they show of lips, teeth and skin is blended from pixel to pixel; a mouth that none of them shows is guessed."
)
HELD_OUT_TEXT = (
    f"Held out is the end of what was used of a file, from {HELD_OUT_GAP_SECONDS:g} s after the last learnt frame on. "
    "Frames that are further away from what was learnt are drawn less well."
)


def save_fitted(
    fitted: Fitted,
    out: str | Path,
    overwrite: bool = False,
    settings: dict[str, Any] | None = None,
    progress: Progress = SILENT,
) -> ActorBundle:
    """Write a fit as a bundle with contact sheet, report and settings; returns what was written.

    Args:
        fitted: the fit.
        out: the bundle's directory.
        overwrite: replace an existing bundle.
        settings: JSON-able, what config.json keeps as the settings; default the options.
        progress: where the bar goes.

    Raises:
        OutputError: `out` exists, or cannot be written.
    """
    with tempfile.TemporaryDirectory() as folder:
        scores = write_report(fitted, Path(folder), progress)
        write_json(Path(folder) / SETTINGS, asdict(fitted.options) if settings is None else settings)
        bundle = replace(fitted.bundle, facts=replace(fitted.bundle.facts, scores=scores))
        written = bundle.save(Path(out), {path.name: path for path in sorted(Path(folder).iterdir())}, overwrite)
    if written.name != Path(out).name:
        progress.note(f"{out}: something else came into being there; the bundle is {written}")
    return bundle


def write_report(fitted: Fitted, folder: Path, progress: Progress) -> FitScores:
    """Draw the held-out frames of the longest clip, score them, and write sheet and report."""
    clip = max(fitted.clips, key=lambda clip: len(clip.held_out))
    rows = clip.held_out
    with progress.stage("report", 2 * len(rows)) as advance:
        before = draw_clip(fitted.prior, fitted.unadapted.look, {}, clip, rows, advance)
        after = draw_clip(fitted.prior, fitted.bundle.look, fitted.bundle.delta, clip, rows, advance)
    real = clip.crops[rows].float() / 255
    means = [round(float(psnr(drawn.rgb, real, drawn.erased).mean()), 2) for drawn in (before, after)]
    scores, facts = FitScores(*means), fitted.bundle.facts
    worst = psnr(after.rgb, real, after.erased).argsort()
    pictures = [_bytes(images) for images in (real, put_back(before, real), put_back(after, real))]
    shown = worst[:: max(1, len(worst) // SHEET_ROWS)][:SHEET_ROWS].tolist()
    times = clip.track.timestamps[clip.frames[rows]].tolist()
    columns = ["real", "unadapted", "adapted"]
    sheet = contact_sheet(
        [[images[index] for images in pictures] for index in shown],
        columns,
        [timecode(times[index]) for index in shown],
    )
    (folder / "sheet.jpg").write_bytes(encode_image(sheet))
    report = Report(f"Actor {fitted.bundle.name}")
    report.facts({"consent": fitted.bundle.consent, "terms of the prior": facts.terms, **scores.labelled})
    report.facts({"seconds": facts.seconds, "steps": facts.steps, "adapted": facts.adapted})
    report.section("What the footage never showed")
    report.text("; ".join(facts.never_seen))
    report.section("Frames that every drawn mouth is made of")
    report.text(BANK_TEXT)
    report.image(encode_image(bank_sheet(fitted)), "the bank")
    report.section("Held-out frames, re-rendered from their own tracked motion")
    clips = {label: encode_clip(images, times) for label, images in zip(columns, pictures, strict=True)}
    report.player(clips, times)
    report.image(encode_image(sheet), "worst frames first")
    report.section("Loss on held-out frames")
    report.text(HELD_OUT_TEXT)
    report.figure(loss_curve(fitted.state), "mean over held-out frames")
    report.write(folder / "report.html")
    return scores


def bank_sheet(fitted: Fitted) -> np.ndarray:
    """The frames of the actor's bank in one row with their times, uint8 [H, W, 3]."""
    pictures, labels = [], []
    for (number, frame), seconds in dict(zip(fitted.unadapted.frames, fitted.unadapted.seconds, strict=True)).items():
        clip = fitted.clips[number]
        row = int((clip.frames == frame).nonzero()[0, 0])
        pictures.append(clip.crops[row].permute(1, 2, 0).numpy())
        labels.append(timecode(seconds))
    return contact_sheet([pictures], labels)


def loss_curve(state: FitState) -> Figure:
    """Loss on held-out frames by step: the unadapted prior's, while learning, and of what is kept."""
    figure = Figure((6.0, 3.0), 90, layout="constrained")
    axes = figure.subplots()
    steps, losses = ([entry[key] for entry in state.history] for key in ("step", "held_out_loss"))
    axes.plot(steps, losses, "o-", markersize=3, label="learnt")
    axes.axhline(state.unadapted_loss, color="grey", linestyle="--", label="unadapted prior")
    if state.best:
        axes.axhline(state.best_loss, color="tab:green", linestyle=":", label="kept")
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.legend()
    return figure


def _bytes(images: torch.Tensor) -> list[np.ndarray]:
    return list((images.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())
