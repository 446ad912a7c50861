"""`adapt dub` on the command line: settings → parts → a folder with the dubbed video, report, sidecar and sheet.

What can be wrong is looked for in the order of what it costs to find: settings, output, sounds, bundles, then people.
"""

import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch

from adapt.bundle import ActorBundle
from adapt.cast import Analysis, analyse
from adapt.commands import DubConfig
from adapt.config import ConfigError
from adapt.device import usable_device
from adapt.drive import MISMATCH, SILENCE, TOLERANCE_SECONDS, motion_at, retarget, scale_mouth
from adapt.dub import CONFIDENT, DubOptions, Part
from adapt.dub_folder import write_folder
from adapt.fit import fit
from adapt.fit_cache import cached_fit
from adapt.fit_command import parse_range
from adapt.mix import mix_sounds
from adapt.people import choose_person, read_crops, track_footage, track_person
from adapt.progress import Progress
from adapt.region import REGIONS
from adapt.resemblance import DIFFERENT, DOUBTFUL, describe, log_odds
from prior.audio import SAMPLE_RATE, read_waveform
from prior.motion_model import LEAST_STYLE_FRAMES, MouthStyle, load_motion_model, mouth_style, shipped_motion_model
from prior.phonemes import LABEL_RATE
from prior.renderer_prior import RendererPrior, load_renderer_prior
from render.errors import DubError, FootageError, OutputError
from render.gbuffer import CROP_SIZE
from render.media import open_media
from render.motion import Motion
from render.store import DISK_FULL
from render.track import Track
from render.video import Footage
from render.video_writer import ENCODERS, QUALITIES

SILENT_LEVEL = 1e-4
TRACK_SUFFIX = ".safetensors"
MIX = "mix.wav"
#: What `--draft` allows: optimiser steps of a fit, and the encoder's quality. Frames and masks are the same.
DRAFT_FIT_STEPS, DRAFT_QUALITY = 80, "draft"
#: Confident frames among which an actor is compared with a bundle.
COMPARED_FRAMES = 48


@dataclass(frozen=True)
class Request:
    """Who is to be dubbed to what, as asked for.

    Attributes:
        actor: path of a bundle, or None to fit the person from the shot.
        person: cast number in the shot, or None where one alone can be meant.
        sound: audio file that drives, or None.
        drive: "source", "silence", a video or a track file that drives, or None.
    """

    actor: Path | None
    person: int | None
    sound: Path | None
    drive: str | None


def requests_of(config: DubConfig) -> list[Request]:
    """Read the settings; raises `ConfigError` where they contradict each other or say nothing."""
    ways = [name for name in ("audio", "drive", "face") if getattr(config, name)]
    if len(ways) != 1:
        given = " and ".join(ways) or "none"
        raise ConfigError(f"say what moves the mouth by one of AUDIO, --drive or --face ACTOR=AUDIO ({given} given)")
    for name, allowed in (
        ("region", REGIONS), ("on_mismatch", MISMATCH), ("quality", QUALITIES), ("occluders", ("keep", "ignore")),
        ("codec", (None, *ENCODERS)),
    ):  # fmt: skip
        if getattr(config, name) not in allowed:
            words = ", ".join(word for word in allowed if word)
            raise ConfigError(f"--{name.replace('_', '-')} {getattr(config, name)}: choose one of {words}")
    scale_mouth(torch.zeros(1), torch.zeros(1), config.mouth)
    usable_device(config.device)
    if config.face and (config.person is not None or config.actor is not None):
        raise ConfigError("with --face, name bundle and person in it: --face ACTOR@PERSON=AUDIO or --face PERSON=AUDIO")
    requests = []
    if not config.face:
        actor = Path(config.actor) if config.actor else None
        requests = [Request(actor, config.person, *_driver(config.audio, config.drive))]
    for entry in config.face:
        who, found, sound = entry.partition("=")
        name, _, person = who.partition("@")
        if not found or not name or not sound or (person and not person.isdigit()):
            raise ConfigError(f"--face {entry}: give ACTOR=AUDIO, ACTOR@PERSON=AUDIO or PERSON=AUDIO")
        if name.isdigit():
            requests.append(Request(None, int(name), *_driver(sound)))
        else:
            requests.append(Request(Path(name), int(person) if person else None, *_driver(sound)))
    speaking = sum(request.sound is not None for request in requests)
    if config.deliver == "mix" and not speaking:
        raise ConfigError("--deliver mix: no sound drives, so there is nothing to mix; leave it out")
    if speaking > 1 and config.deliver is None:
        raise ConfigError(
            "several people speak: say with --deliver which sound the result has (mix, source, or an audio file)"
        )
    return requests


def _driver(sound: str | None, drive: str | None = None) -> tuple[Path | None, str | None]:
    """Sound file and drive of a request."""
    if sound is None or sound == SILENCE:
        return None, sound or drive
    return Path(sound), None


def command_line(config: DubConfig, **changed: object) -> str:
    """The command that a config stands for, for a message that tells what to run."""
    words = ["adapt", "dub"]
    for item in fields(config):
        value = changed.get(item.name, getattr(config, item.name))
        if item.metadata["positional"]:
            words += [] if value is None else [str(value)]
            continue
        flag = (item.metadata["flags"] or (f"--{item.name.replace('_', '-')}",))[-1]
        if value == item.default or value == []:
            continue
        for entry in value if isinstance(value, list) else [value]:
            words += [flag] if entry is True else [flag, str(entry)]
    return shlex.join(words)


def read_sound(path: Path) -> np.ndarray:
    """The sound that drives, mono at `SAMPLE_RATE`.

    Raises:
        FootageError: unreadable, or no sound in it.
        DubError: silent from end to end.
    """
    waveform = read_waveform(path, from_beginning=True)
    if float(np.abs(waveform).max(initial=0.0)) < SILENT_LEVEL:
        raise DubError(
            f"{path}: silent from end to end; choose the file that holds the speech, or write {SILENCE} in its place "
            "to close the mouth"
        )
    return waveform


def style_of(track: Track, prior: RendererPrior) -> MouthStyle:
    """The mouth style that a track shows.

    Raises:
        DubError: the face is seen in too few frames.
    """
    try:
        return mouth_style(track, prior.model)
    except ValueError as error:
        name = track.source.get("file", "the driving video")
        raise DubError(
            f"{name}: too few frames with a sure face to learn the mouth's range from; {LEAST_STYLE_FRAMES} are "
            "needed: use a longer take, or a bundle fitted from one"
        ) from error


def video_motion(drive: str, actor: ActorBundle, prior: RendererPrior, progress: Progress) -> Motion:
    """The mouth motion of another video or a track file, carried over to the actor's own closed mouth and range."""
    path = Path(drive)
    if path.suffix == TRACK_SUFFIX:
        track = Track.load(path)
    else:
        track = track_footage(Footage(path), None, f"adapt track {shlex.quote(drive)} -o tracks", progress)
    driver = style_of(track, prior)
    lower = track.lower_expression
    if actor.style:
        style = MouthStyle(**actor.style)
        lower = retarget(lower, driver.closed, driver.spread, style.closed, style.spread)
    return Motion(track.timestamps - track.timestamps[0], lower, track.confidence)


class Casting:
    """Finds people, their bundles and their motion for one shot.

    Args:
        config: the settings.
        footage: the shot.
        prior: renderer prior.
        progress: where bars and notes go.
    """

    def __init__(self, config: DubConfig, footage: Footage, prior: RendererPrior, progress: Progress) -> None:
        self.config = config
        self.footage = footage
        self.prior = prior
        self.progress = progress
        self.notes: list[str] = []
        own = config.motion_model
        self.motion_model = load_motion_model(Path(own)) if own else shipped_motion_model()

    def parts(self, requests: list[Request]) -> list[Part]:
        """A part for each request."""
        sounds = [None if request.sound is None else read_sound(request.sound) for request in requests]
        for request, sound in zip(requests, sounds, strict=True):
            self._refuse_length(request, sound)
        sha256 = self.prior.facts["sha256"]
        bundles = [None if one.actor is None else ActorBundle.load(one.actor, sha256) for one in requests]
        analysis = analyse(self.footage, progress=self.progress)
        people = [self._person(analysis, request.person) for request in requests]
        if len(set(people)) < len(people):
            named = ", ".join(map(str, people))
            raise DubError(f"people {named}: the same person is named twice; use --face ACTOR@PERSON=AUDIO")
        found = zip(requests, people, bundles, sounds, strict=True)
        return [self._part(request, analysis, person, bundle, sound) for request, person, bundle, sound in found]

    def note(self, text: str) -> None:
        """Tell now, and again in the report."""
        self.progress.note(text)
        self.notes.append(text)

    def _person(self, analysis: Analysis, person: int | None) -> int:
        chosen = "--face ACTOR@1=AUDIO" if self.config.face else f"{command_line(self.config)} --person 1"
        return choose_person(analysis, person, chosen)

    def _part(
        self, request: Request, analysis: Analysis, person: int, bundle: ActorBundle | None, sound: np.ndarray | None
    ) -> Part:
        track = track_person(analysis, person)
        if bundle is None:
            bundle = self._fitted(track, person)
        else:
            self._compare(bundle, track, str(request.actor))
        style = MouthStyle(**bundle.style) if bundle.style else style_of(track, self.prior)
        if request.drive == "source":
            expression, driven = track.lower_expression, track.confidence > 0
        elif request.drive == SILENCE:
            expression, driven = style.closed.expand(len(track), -1), torch.ones(len(track), dtype=torch.bool)
        else:
            if sound is not None:
                times = np.arange(int(len(sound) / SAMPLE_RATE * LABEL_RATE)) / LABEL_RATE
                motion = self.motion_model.predict(sound, times, style)
            else:
                motion = video_motion(str(request.drive), bundle, self.prior, self.progress)
            expression, driven = self._placed(motion, track, style)
        expression = scale_mouth(expression, style.closed, self.config.mouth)
        return Part(bundle, track, expression, driven & torch.from_numpy(self._in_range()))

    def _fitted(self, track: Track, person: int) -> ActorBundle:
        """The person, fitted from the shot, now or earlier."""
        config = self.config
        steps = min(config.fit_steps, DRAFT_FIT_STEPS) if config.draft else config.fit_steps
        minutes, seed, path = config.fit_minutes, config.seed, self.footage.path
        key = {"footage": self.footage.sha256, "person": person, "steps": steps, "minutes": minutes, "seed": seed}

        def make() -> ActorBundle:
            self.progress.note(f"person {person}: no bundle given, fitting from the shot itself")
            name = f"person {person} of {path.name}"
            return fit(
                [path], name, person, steps=steps, minutes=minutes, seed=seed, prior=self.prior,
                progress=self.progress, tracks=[track], device=config.device,
            ).bundle  # fmt: skip

        def note(text: str) -> None:
            self.note(f"person {person}: {text}")

        folder = None if config.fit_cache is None else Path(config.fit_cache)
        return cached_fit(key, self.prior.facts["sha256"], make, note, folder)

    def _compare(self, bundle: ActorBundle, track: Track, name: str) -> None:
        """Refuse a bundle that is clearly of somebody else than the person in the shot, and tell where it may be."""
        rows = (track.confidence >= CONFIDENT).nonzero()[:COMPARED_FRAMES, 0]
        if not bundle.appearance or not len(rows):
            return
        rows = rows[:: max(1, len(rows) // 8)]
        small = track.with_crop_size(CROP_SIZE)
        crops = read_crops(self.footage, small, rows.tolist())
        odds = log_odds(bundle.appearance, describe(self.prior.model, small, rows, crops))
        person = track.source["person"]
        if odds < DIFFERENT and not self.config.anyway:
            raise DubError(
                f"{name}: does not look like person {person} of {self.footage.path.name} (log-odds {odds:.1f}); see "
                f"`adapt check {shlex.quote(str(self.footage.path))}` and choose with --person, or pass --anyway"
            )
        if odds < DOUBTFUL:
            self.note(f"{name} may be of somebody else than person {person} (log-odds {odds:.1f})")

    def _in_range(self) -> np.ndarray:
        """Frames of the range, bool [T]; all of them where none is given."""
        time = self.footage.timestamps - self.footage.timestamps[0]
        part = parse_range(self.config.range)
        if part is None:
            return np.ones(len(time), bool)
        inside = (time >= part[0]) & (time < part[1])
        if not inside.any():
            name = self.footage.path
            raise DubError(f"--range {self.config.range}: no frame lies in it; {name} is {time[-1]:.2f} s long")
        return np.asarray(inside)

    def _refuse_length(self, request: Request, sound: np.ndarray | None) -> None:
        """Refuse a sound of another length before anything long is begun; motion is compared again, exactly."""
        inside = self._in_range()
        if sound is None or self.config.on_mismatch != "error":
            return
        shot = length_seconds(self.footage.timestamps[inside])
        seconds = len(sound) / SAMPLE_RATE + self.config.audio_offset
        if abs(seconds - shot) > 2 * TOLERANCE_SECONDS:
            raise DubError(
                f"{request.sound}: ends {abs(seconds - shot):.2f} s {'after' if seconds > shot else 'before'} the "
                f"{shot:.2f} s to be dubbed; pass --on-mismatch trim, pad or hold, or give the part with --range"
            )

    def _placed(self, motion: Motion, track: Track, style: MouthStyle) -> tuple[torch.Tensor, torch.Tensor]:
        """The motion on the frames of the range (of the whole shot if none is given); others keep the track's own."""
        rows = torch.from_numpy(np.flatnonzero(self._in_range()))
        begin = parse_range(self.config.range)
        # The sound starts with the range, the first frame in it a part of a frame later.
        late = float(track.timestamps[rows[0]] - track.timestamps[0]) - begin[0] if begin else 0.0
        expression, driven = track.lower_expression.clone(), torch.zeros(len(track), dtype=torch.bool)
        expression[rows], driven[rows] = motion_at(
            motion, track.timestamps[rows], style.closed, self.config.on_mismatch, self.config.audio_offset - late
        )
        return expression, driven


def options_of(config: DubConfig, requests: list[Request], footage: Footage, folder: Path) -> DubOptions:
    """How the dub is made and written; a mix is made in `folder`."""
    sounds = [request.sound for request in requests if request.sound]
    sounds += [video for video in driving_videos(requests) if Footage(video).audio]
    start, end = parse_range(config.range) or (0.0, length_seconds(footage.timestamps))
    options = DubOptions(
        codec=config.codec,
        quality=DRAFT_QUALITY if config.draft else config.quality,
        grain=config.grain and not config.draft,
        seed=config.seed,
        region=config.region,
        occluders=config.occluders == "keep",
        device=config.device,
    )
    trimmed = end if config.on_mismatch == "trim" else None
    driven = replace(options, audio=sounds, audio_offset=config.audio_offset + start, audio_end=trimmed)
    if config.deliver == "source" or not sounds and config.deliver is None:
        return options
    if config.deliver == "mix":
        mixed = folder / MIX
        mix_sounds(sounds, mixed)
        return replace(driven, audio=[mixed])
    if config.deliver is not None:
        return replace(options, audio=[Path(config.deliver)])
    return driven


def driving_videos(requests: list[Request]) -> list[Path]:
    """Videos whose motion drives."""
    drives = [request.drive for request in requests if request.drive not in (None, "source", SILENCE)]
    return [path for path in map(Path, filter(None, drives)) if path.suffix != TRACK_SUFFIX]


def length_seconds(times: np.ndarray) -> float:
    """From the first frame to the end of the last one; float64 [T] seconds."""
    return float(times[-1] - times[0]) + float(np.median(np.diff(times)) if len(times) > 1 else 0.0)


def refuse_unreadable(config: DubConfig, requests: list[Request]) -> None:
    """Raise `FootageError` for a missing driving video or a sound that could not be delivered, before anything long."""
    for video in driving_videos(requests):
        Footage(video)
    if config.deliver in (None, "source", "mix"):
        return
    with open_media(Path(config.deliver)) as container:
        if not container.streams.audio:
            raise FootageError(f"{config.deliver}: there is no sound in it to deliver")


def main(config: DubConfig, progress: Progress) -> None:
    """Dub, and write the output folder; nothing is left where it fails."""
    requests = requests_of(config)
    out = Path(config.out)
    if out.exists():
        raise OutputError(f"{out}: exists already; choose another folder")
    footage = Footage(config.video)
    refuse_unreadable(config, requests)
    with _new_folder(out) as folder:
        prior = load_renderer_prior()
        options = options_of(config, requests, footage, folder)
        casting = Casting(config, footage, prior, progress)
        parts = casting.parts(requests)
        if config.range and options.audio and config.deliver is None:
            casting.note("the result's sound is the driving one alone; choose another with --deliver")
        write_folder(folder, config, footage, parts, options, prior, progress, casting.notes)
        (folder / MIX).unlink(missing_ok=True)
    progress.note(f"{out}: done; look at {out / 'report.html'}")


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder that gets the name `out` when all went well, and is removed when not.

    Raises:
        OutputError: it cannot be made, or the disk is full.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror}); choose another folder with --out") from error
    try:
        folder.chmod(0o755)
        yield folder
        folder.rename(out)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        if error.errno in DISK_FULL:
            where = error.filename or "the temporary folder"
            raise OutputError(f"{where}: {error.strerror}; make room, or choose another folder with --out") from error
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
