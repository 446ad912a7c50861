"""`adapt dub`: settings → requests and options → a session → a folder with video, report, sidecar and sheet."""

from dataclasses import replace
from pathlib import Path

import torch

from adapt.commands.flags import DubConfig
from adapt.config import parse_range
from adapt.device import usable_device
from adapt.dubbing.options import DRAFT_QUALITY, DubOptions
from adapt.dubbing.report import write_folder
from adapt.dubbing.request import Request
from adapt.dubbing.session import Casting
from adapt.dubbing.sound import mix_sounds
from adapt.motion.controls import scale_mouth
from adapt.motion.placement import MISMATCH, SILENCE, length_seconds
from adapt.motion.sources import driving_videos
from adapt.output import new_folder
from adapt.progress import Progress
from prior.renderer.prior import load_renderer_prior
from render.compositing.matte import REGIONS
from render.errors import ConfigError, FootageError, OutputError
from render.video.footage import Footage
from render.video.media import open_media
from render.video.writer import ENCODERS, QUALITIES

MIX = "mix.wav"


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
    with new_folder(out) as folder:
        prior = load_renderer_prior()
        options = options_of(config, requests, footage, folder)
        casting = Casting(config, footage, prior, progress)
        parts = casting.parts(requests)
        if config.range and options.audio and config.deliver is None:
            casting.note("the result's sound is the driving one alone; choose another with --deliver")
        write_folder(folder, config, footage, parts, options, prior, progress, casting.notes)
        (folder / MIX).unlink(missing_ok=True)
    progress.note(f"{out}: done; look at {out / 'report.html'}")
