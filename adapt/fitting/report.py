"""Report of a fit: held-out frames re-rendered, scored, and shown beside the real ones."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from adapt.commands.flags import FitConfig
from adapt.config import write_config
from adapt.fitting.enrollment import HELD_OUT_GAP_SECONDS
from adapt.fitting.fit import Fitted, draw_clip
from adapt.fitting.state import FitState
from adapt.metrics.picture import psnr
from adapt.progress import Progress
from adapt.reports.clip import encode_clip
from adapt.reports.contact_sheet import contact_sheet, encode_image
from adapt.reports.page import Report
from prior.renderer.prior import RendererPrior
from render.compositing.matte import put_back
from render.video.media import timecode

SETTINGS = "config.json"
SHEET_ROWS = 6
HELD_OUT_TEXT = (
    f"Held out is the end of what was used of a file, from {HELD_OUT_GAP_SECONDS:g} s after the last learnt frame on. "
    "Frames that are further away from what was learnt are drawn less well."
)


def write_extras(
    fitted: Fitted, prior: RendererPrior, folder: Path, config: FitConfig, progress: Progress
) -> dict[str, Path]:
    """Draw the held-out frames of the longest clip, score them, and write sheet, report and settings."""
    clip = max(fitted.clips, key=lambda clip: len(clip.held_out))
    rows = clip.held_out
    with progress.stage("report", 2 * len(rows)) as advance:
        before = draw_clip(prior, fitted.unadapted, {}, clip, rows, advance)
        after = draw_clip(prior, fitted.bundle.texture[None], fitted.bundle.delta, clip, rows, advance)
    real = clip.crops[rows].float() / 255
    scores = {}
    for label, drawn in (("unadapted", before), ("adapted", after)):
        scores[f"{label}: PSNR over the erased area, dB"] = round(float(psnr(drawn.rgb, real, drawn.outer).mean()), 2)
    fitted.bundle.facts["scores"] = scores
    worst = psnr(after.rgb, real, after.outer).argsort()
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
    report.facts({"consent": fitted.bundle.consent, "terms of the prior": fitted.bundle.facts["terms"], **scores})
    report.facts({key: value for key, value in fitted.bundle.facts.items() if key in ("seconds", "steps", "adapted")})
    report.section("What the footage never showed")
    report.text("; ".join(fitted.bundle.facts["never_seen"]))
    report.section("Held-out frames, re-rendered from their own tracked motion")
    clips = {label: encode_clip(images, times) for label, images in zip(columns, pictures, strict=True)}
    report.player(clips, times)
    report.image(encode_image(sheet), "worst frames first")
    report.section("Loss on held-out frames")
    report.text(HELD_OUT_TEXT)
    report.figure(loss_curve(fitted.state), "mean over held-out frames")
    report.write(folder / "report.html")
    # A fit that was resumed is the same as one that was not.
    write_config(replace(config, resume=False), folder / SETTINGS)
    return {path.name: path for path in sorted(folder.iterdir())}


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
