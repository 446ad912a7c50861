"""`adapt fit` on the command line: settings → fits → bundles with contact sheet and report."""

import json
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

from adapt.actor.bundle import FACTS, read_facts, refuse_existing
from adapt.actor.consent import read_consent
from adapt.cast.analyse import analyse, everyone
from adapt.commands.flags import FitConfig
from adapt.config import parse_range
from adapt.device import usable_device
from adapt.fitting.enrollment import SHORTEST_SECONDS
from adapt.fitting.fit import Fitted, fit
from adapt.fitting.report import SETTINGS, write_extras
from adapt.progress import Progress
from adapt.tracking.track import track_person
from prior.renderer.prior import RendererPrior, load_renderer_prior
from render.errors import ConfigError, FitError, OutputError, TrackingError
from render.head.track import Track
from render.store import file_sha256
from render.video.footage import Footage


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
            extras = write_extras(fitted, prior, Path(folder), config, progress)
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


def _tell(fitted: Fitted, out: Path, progress: Progress) -> None:
    facts = fitted.bundle.facts
    kept = "adapted" if facts["adapted"] else "adapting did not help on held-out frames: the unadapted prior is kept"
    progress.note(f"{out}: {kept}; {facts['seconds']:.1f} s used, {facts['steps']} steps")
    progress.note(f"never seen: {'; '.join(facts['never_seen'])}")
    for name, value in facts["scores"].items():
        progress.note(f"{name}: {value}")
    progress.note(fitted.bundle.consent)
    progress.result({"bundle": str(out), "report": str(out / "report.html"), **facts})
