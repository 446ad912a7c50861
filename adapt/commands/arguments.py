"""Arguments: what of a command's settings is refused at once, before torch is loaded or a model or footage is read.

A command looks at the same again where it is called without the command line; here a slip costs no wait.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

from adapt.commands.flags import COMMANDS, CheckConfig, DubConfig, FitConfig, PreviewConfig, TrackConfig
from adapt.config import parse_range, refuse_mistyped
from adapt.dubbing.options import INSERT, MIX, RUN, SOURCE, DubOptions
from adapt.motion.words import OWN, SILENCE, parse_weights
from adapt.output import refuse_existing
from adapt.progress import Progress
from render.errors import ConfigError
from render.video.container import open_media
from render.video.sound_track import SoundTrack

KEEP, IGNORE = "keep", "ignore"
#: In place of a folder for fits: they are not kept.
NO_CACHE = "none"


def main(config: Any, progress: Progress) -> None:
    """Look at the settings of a command, then load it and run it."""
    refuse_wrong(config)
    module, function = next(target for kind, target in COMMANDS.values() if kind is type(config)).split(":")
    getattr(import_module(module), function)(config, progress)


def refuse_wrong(config: Any) -> None:
    """Look at the settings of a command.

    Raises:
        ConfigError, FootageError, OutputError: they contradict each other or mean nothing, name what is not there, or
            an output that exists.
    """
    match config:
        case FitConfig():
            refuse_wrong_fit(config)
            for file in config.footage:
                _refuse_absent(file)
        case DubConfig():
            refuse_wrong_dub(config)
            dub_options(config)
            if not config.plan:
                out = Path(config.out)
                refuse_existing(out, config.overwrite, "dub", not out.exists() or (out / RUN).is_file())
            _refuse_absent(config.video)
            for word, others in (
                (config.audio, [SILENCE]),
                (config.drive, [OWN, SILENCE]),
                (config.deliver, [SOURCE, MIX, INSERT]),
            ):
                if word is not None and word not in others and not word.endswith(".safetensors"):
                    _refuse_absent(word)
        case CheckConfig() | PreviewConfig() | TrackConfig():
            _refuse_absent(config.video)


def _refuse_absent(name: str) -> None:
    """Refuse a video, or a sound (which may be named with its track), that is not there."""
    path = Path(name) if Path(name).exists() else SoundTrack.named(name).path
    if not path.is_file():
        open_media(path)  # says what is wrong


def refuse_wrong_fit(config: FitConfig) -> None:
    """Raise `ConfigError` for settings of a fit that contradict each other or mean nothing."""
    if not config.footage:
        raise ConfigError("missing: footage (adapt fit FOOTAGE… -o NAME.actor)")
    if config.steps < 1:
        raise ConfigError(f"--steps {config.steps}: at least 1")
    if config.seconds is not None:
        from adapt.cast.suitability import SHORTEST_SECONDS  # here, as it loads what looks at footage

        if config.seconds < SHORTEST_SECONDS:
            raise ConfigError(f"--seconds {config.seconds:g}: at least {SHORTEST_SECONDS:g} s are needed")
    if config.minutes is not None and not (config.minutes > 0 or (config.minutes == 0 and config.resume)):
        raise ConfigError(f"--minutes {config.minutes:g}: more than 0 (0 with --resume writes what is learnt so far)")
    parse_range(config.range)
    if not config.all:
        return
    if config.person is not None:
        raise ConfigError("--all fits everyone; leave out --person")
    if config.name is not None or config.consent is not None:
        raise ConfigError("--name and --consent are one person's; with --all leave them out, or fit with --person")
    if len(config.footage) > 1:
        raise ConfigError("--all takes one file: people are numbered in each file anew")


def refuse_wrong_dub(config: DubConfig) -> None:
    """Raise `ConfigError` for settings of a dub that do not say, or say twice, what moves the mouth."""
    ways = [name for name in ("audio", "drive", "face") if getattr(config, name)]
    if len(ways) != 1:
        given = " and ".join(ways) or "none"
        raise ConfigError(f"say what moves the mouth by one of AUDIO, --drive or --face ACTOR=AUDIO ({given} given)")
    refuse_mistyped("AUDIO", config.audio, [SILENCE])
    refuse_mistyped("--drive", config.drive, [OWN, SILENCE])
    refuse_mistyped("--deliver", config.deliver, [SOURCE, MIX, INSERT])
    if config.face and (config.person is not None or config.actor is not None):
        raise ConfigError("with --face, name bundle and person in it: --face ACTOR@PERSON=AUDIO or --face PERSON=AUDIO")


def dub_options(config: DubConfig) -> DubOptions:
    """How a dub is made, by settings whose device was not looked at; raises `ConfigError` for what means nothing."""
    if config.occluders not in (KEEP, IGNORE):
        raise ConfigError(f"--occluders {config.occluders}: choose one of {KEEP}, {IGNORE}")
    weights = {} if config.weights is None else parse_weights(config.weights)
    options = DubOptions(
        part=parse_range(config.range),
        mouth=config.mouth,
        intensity=config.intensity,
        lips=weights.get("lips", DubOptions.lips),
        jaw=weights.get("jaw", DubOptions.jaw),
        style=config.style,
        emotion=config.emotion,
        keys=None if config.keys is None else Path(config.keys),
        cues=None if config.cues is None else Path(config.cues),
        audio_offset=config.audio_offset,
        on_mismatch=config.on_mismatch,
        deliver=config.deliver,
        region=config.region,
        occluders=config.occluders == KEEP,
        codec=config.codec,
        quality=config.quality,
        grain=config.grain,
        fit_steps=config.fit_steps,
        fit_minutes=config.fit_minutes,
        keep_fits=config.fit_cache != NO_CACHE,
        fit_cache=None if config.fit_cache in (None, NO_CACHE) else Path(str(config.fit_cache)),
        keep_found=not config.no_cache,
        resume=config.resume,
        motion_model=None if config.motion_model is None else Path(config.motion_model),
        progressive=config.progressive,
        overwrite=config.overwrite,
        anyway=config.anyway,
        device=config.device,
        seed=config.seed,
    )
    return options.drafted() if config.draft else options
