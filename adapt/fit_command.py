"""`adapt fit` on the command line: settings → fits → bundles with contact sheet and report."""

import json
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from adapt.bundle import FACTS, read_consent, read_facts, refuse_existing
from adapt.cast import analyse
from adapt.commands import FitConfig
from adapt.config import ConfigError, write_config
from adapt.contact_sheet import contact_sheet, encode_image
from adapt.device import usable_device
from adapt.enrollment import HELD_OUT_GAP_SECONDS, SHORTEST_SECONDS
from adapt.fit import Fitted, draw_clip, fit
from adapt.metrics import psnr
from adapt.optimise import FitState
from adapt.painter import put_back
from adapt.people import everyone, track_person
from adapt.progress import Progress
from adapt.report import Report, encode_clip
from prior.renderer_prior import RendererPrior, load_renderer_prior
from render.errors import FitError, OutputError, TrackingError
from render.store import file_sha256
from render.track import Track
from render.video import Footage, timecode

SETTINGS = "config.json"
SHEET_ROWS = 6
HELD_OUT_TEXT = (
    f"Held out is the end of what was used of a file, from {HELD_OUT_GAP_SECONDS:g} s after the last learnt frame on. "
    "Frames that are further away from what was learnt are drawn less well."
)


def main(config: FitConfig, progress: Progress) -> None:
    """Fit one actor, or with `all` everyone in the footage."""
    _check(config)
    prior = load_renderer_prior()
    if config.all:
        _fit_all(config, prior, progress)
        return
    out = Path(config.out)
    _refuse(out, config)
    _fit_one(config, config.person, out, prior, progress)


def _check(config: FitConfig) -> None:
    """Raise `ConfigError` for settings that contradict each other or mean nothing."""
    if not config.footage:
        raise ConfigError("missing: footage (adapt fit FOOTAGE… -o NAME.actor)")
    if config.steps < 1:
        raise ConfigError(f"--steps {config.steps}: at least 1")
    if config.seconds is not None and config.seconds < SHORTEST_SECONDS:
        raise ConfigError(f"--seconds {config.seconds:g}: at least {SHORTEST_SECONDS:g} s are needed")
    if config.minutes is not None and not (config.minutes > 0 or (config.minutes == 0 and config.resume)):
        raise ConfigError(f"--minutes {config.minutes:g}: more than 0 (0 with --resume writes what is learnt so far)")
    usable_device(config.device)
    if not config.all:
        return
    if config.person is not None:
        raise ConfigError("--all fits everyone; leave out --person")
    if config.name is not None or config.consent is not None:
        raise ConfigError("--name and --consent are one person's; with --all leave them out, or fit with --person")
    if len(config.footage) > 1:
        raise ConfigError("--all takes one file: people are numbered in each file anew")


def _fit_all(config: FitConfig, prior: RendererPrior, progress: Progress) -> None:
    """Fit every cast member; who cannot be fitted is said, in the end as an error."""
    out = Path(config.out)
    analysis = analyse(Footage(Path(config.footage[0])), progress=progress)
    targets = {person: out.with_name(f"{out.stem}.{person}{out.suffix}") for person in everyone(analysis)}
    done = [person for person, target in targets.items() if config.resume and _is_made(target, config, prior)]
    for person, target in targets.items():
        if person not in done:
            _refuse(target, config)
    left_out = []
    for person, target in targets.items():
        if person in done:
            progress.note(f"{target}: fitted already")
            continue
        try:
            _fit_one(config, person, target, prior, progress, track_person(analysis, person))
        except (FitError, TrackingError) as error:
            progress.note(f"person {person}: not fitted: {error}")
            left_out.append(person)
    if left_out:
        people = ", ".join(map(str, left_out))
        raise FitError(f"{config.footage[0]}: not fitted, for the reasons above: {people}")


def _is_made(out: Path, config: FitConfig, prior: RendererPrior) -> bool:
    """Whether a bundle is there that the same settings made of the same file."""
    if not (out / FACTS).is_file() or _checkpoint(out).is_file():
        return False
    facts = read_facts(out)
    try:
        settings = json.loads((out / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    same = facts["sources"][0]["sha256"] == file_sha256(Path(config.footage[0]))
    return same and facts["prior_sha256"] == prior.facts["sha256"] and settings == asdict(replace(config, resume=False))


def _refuse(out: Path, config: FitConfig) -> None:
    """Raise `StoreError` or `OutputError` where a bundle could not be written in the end."""
    refuse_existing(out, config.overwrite)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror}); choose another place with --out") from error


def _checkpoint(out: Path) -> Path:
    return out.with_name(f".{out.name}.checkpoint")


def _fit_one(
    config: FitConfig,
    person: int | None,
    out: Path,
    prior: RendererPrior,
    progress: Progress,
    track: Track | None = None,
) -> None:
    checkpoint = _checkpoint(out)
    try:
        fitted = fit(
            [Path(file) for file in config.footage],
            config.name or out.stem,
            person,
            config.seconds,
            parse_range(config.range),
            config.steps,
            config.minutes,
            read_consent(Path(config.consent)) if config.consent else None,
            config.seed,
            checkpoint,
            config.resume,
            prior,
            progress,
            None if track is None else [track],
            config.device,
        )
        with tempfile.TemporaryDirectory() as folder:
            extras = _extras(fitted, prior, Path(folder), config, progress)
            fitted.bundle.save(out, extras, config.overwrite)
    except KeyboardInterrupt:
        if checkpoint.is_file():
            progress.note(
                f"{out}: not finished; the same command with --resume goes on from the last checkpoint, with "
                "--resume --minutes 0 it writes what is learnt so far"
            )
        raise
    checkpoint.unlink(missing_ok=True)
    _tell(fitted, out, progress)


def parse_range(text: str | None) -> tuple[float, float] | None:
    """`START-END` in seconds; raises `ConfigError`."""
    if text is None:
        return None
    try:
        start, end = (float(part) for part in text.split("-"))
    except ValueError as error:
        raise ConfigError(f"--range {text}: give START-END in seconds, such as 2.5-6") from error
    if end <= start:
        raise ConfigError(f"--range {text}: the end must be after the start")
    return start, end


def _tell(fitted: Fitted, out: Path, progress: Progress) -> None:
    facts = fitted.bundle.facts
    kept = "adapted" if facts["adapted"] else "adapting did not help on held-out frames: the unadapted prior is kept"
    progress.note(f"{out}: {kept}; {facts['seconds']:.1f} s used, {facts['steps']} steps")
    progress.note(f"never seen: {'; '.join(facts['never_seen'])}")
    for name, value in facts["scores"].items():
        progress.note(f"{name}: {value}")
    progress.note(fitted.bundle.consent)
    progress.result({"bundle": str(out), "report": str(out / "report.html"), **facts})


def _extras(
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
