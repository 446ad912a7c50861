"""`adapt fit` on the command line: settings → fits → bundles with contact sheet and report."""

from dataclasses import replace
from pathlib import Path

from adapt.actor.bundle import FACTS, ActorBundle, read_facts, refuse_taken
from adapt.actor.consent import read_consent
from adapt.cache import Found
from adapt.cast.analyse import everyone
from adapt.cast.kept import kept_analysis
from adapt.commands.arguments import refuse_wrong_fit
from adapt.commands.flags import FitConfig
from adapt.config import handed_on, parse_range
from adapt.device import usable_device
from adapt.fitting.fit import fit
from adapt.fitting.options import FitOptions
from adapt.fitting.report import SETTINGS, save_fitted
from adapt.fitting.state import Checkpoint
from adapt.output import refuse_unwritable, work_folder
from adapt.progress import Progress
from adapt.tracking.kept import kept_track
from prior.renderer.prior import RendererPrior, load_renderer_prior
from render.errors import FitError, StoreError, TrackingError
from render.head.track import Track
from render.store import file_sha256
from render.text import read_json
from render.video.reader import Footage


def main(config: FitConfig, progress: Progress) -> None:
    """Fit one actor, or with `all` everyone in the footage."""
    refuse_wrong_fit(config)
    usable_device(config.device)
    consent = options_of(config).consent
    expired = consent.refuse_expired(str(config.consent), config.anyway) if consent else None
    if expired:
        progress.note(expired)
    prior = load_renderer_prior()
    if config.all:
        _fit_all(config, prior, progress)
        return
    out = Path(config.out)
    if config.resume and _is_made(out, config, prior):
        progress.note(f"{out}: fitted already")
        progress.result({"bundle": str(out), "report": str(out / "report.html"), **read_facts(out)["facts"]})
        return
    _refuse(out, config)
    _fit_one(config, config.person, out, prior, progress)


def options_of(config: FitConfig) -> FitOptions:
    """How the actor is fitted, by the settings."""
    return FitOptions(
        person=config.person,
        seconds=config.seconds,
        part=parse_range(config.range),
        steps=config.steps,
        minutes=config.minutes,
        consent=read_consent(Path(config.consent)) if config.consent else None,
        seed=config.seed,
        progressive=config.progressive,
        device=config.device,
        keep_found=not config.no_cache,
    )


def _refuse(out: Path, config: FitConfig) -> None:
    """Raise `OutputError` where a bundle could not be written in the end."""
    refuse_taken(out, config.overwrite)
    refuse_unwritable(out)


def _fit_all(config: FitConfig, prior: RendererPrior, progress: Progress) -> None:
    """Fit every cast member; raises `FitError` in the end, with the numbers of those who could not be fitted."""
    out = Path(config.out)
    found = Found.of_user(not config.no_cache)
    analysis = kept_analysis(Footage(Path(config.footage[0]), config.progressive), found, progress)
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
            _fit_one(config, person, target, prior, progress, kept_track(analysis, person, found))
        except (FitError, TrackingError) as error:
            progress.note(f"person {person}: not fitted: {error}")
            left_out.append(person)
    if left_out:
        people = ", ".join(map(str, left_out))
        raise FitError(f"{config.footage[0]}: not fitted, for the reasons above: {people}")


def _is_made(out: Path, config: FitConfig, prior: RendererPrior) -> bool:
    """Whether a bundle is there that the same settings made of the same files, with the same consent."""
    if not (out / FACTS).is_file() or _checkpoint(out).is_file():
        return False
    try:
        facts, settings = read_facts(out), read_json(out / SETTINGS)
    except StoreError:
        return False
    consent = options_of(config).consent
    made_of = [source["sha256"] for source in facts["sources"]]
    return (
        made_of == [file_sha256(Path(file)) for file in config.footage]
        and facts["facts"]["consent"] == (dict(consent.entries) if consent else None)
        and facts["prior_sha256"] == prior.sha256
        and settings == handed_on(replace(config, resume=False))
    )


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
    with work_folder(out, ".fit"):  # so that a second run of the same is refused at its start
        _fit_alone(config, person, out, prior, progress, track)


def _fit_alone(
    config: FitConfig,
    person: int | None,
    out: Path,
    prior: RendererPrior,
    progress: Progress,
    track: Track | None,
) -> None:
    checkpoint = _checkpoint(out)
    files = [Path(file) for file in config.footage]
    tracks = None if track is None else [track]
    try:
        fitted = fit(
            files,
            config.name or out.stem,
            replace(options_of(config), person=person),
            tracks=tracks,
            checkpoint=Checkpoint(checkpoint, config.resume),
            prior=prior,
            progress=progress,
        )
        # A fit that was resumed is the same as one that was not.
        settings = handed_on(replace(config, resume=False))
        bundle = save_fitted(fitted, out, config.overwrite, settings, progress)
    except KeyboardInterrupt:
        if checkpoint.is_file():
            progress.note(
                f"{out}: not finished; the same command with --resume goes on from the last checkpoint, with "
                "--resume --minutes 0 it writes what is learnt so far"
            )
        raise
    checkpoint.unlink(missing_ok=True)
    _tell(bundle, out, progress)


def _tell(bundle: ActorBundle, out: Path, progress: Progress) -> None:
    facts = bundle.facts
    kept = "adapted" if facts.adapted else "adapting did not help on held-out frames: the unadapted prior is kept"
    progress.note(f"{out}: {kept}; {facts.seconds:.1f} s used, {facts.steps} steps")
    progress.note(f"never seen: {'; '.join(facts.never_seen)}")
    for name, value in facts.scores.labelled.items() if facts.scores else ():
        progress.note(f"{name}: {value}")
    progress.note(bundle.consent)
    progress.result({"bundle": str(out), "report": str(out / "report.html"), **facts.record})
