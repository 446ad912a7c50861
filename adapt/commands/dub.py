"""`adapt dub`: settings → requests and options → a folder with video, report, sidecar and sheet."""

from dataclasses import asdict
from pathlib import Path

from adapt.actor.bundle import FACTS
from adapt.commands.flags import DubConfig
from adapt.config import command_line, handed_on, parse_range, refuse_mistyped
from adapt.device import usable_device
from adapt.dubbing.dub import dub, opened
from adapt.dubbing.options import INSERT, MIX, SOURCE, DubOptions
from adapt.dubbing.plan import plan
from adapt.dubbing.quality import told
from adapt.dubbing.request import Request
from adapt.motion.sources import Driver, driver_of_motion, driver_of_sound
from adapt.motion.words import OWN, SILENCE, parse_weights
from adapt.progress import Progress
from render.errors import ConfigError

KEEP, IGNORE = "keep", "ignore"
#: In place of a folder for fits: they are not kept.
NO_CACHE = "none"


def main(config: DubConfig, progress: Progress) -> None:
    """Dub, and write the output folder."""
    requests, options = requests_of(config), options_of(config)
    advice = "--face ACTOR@1=AUDIO" if config.face else f"{command_line('dub', config)} --person 1"
    if config.plan:
        planned = plan(opened(config.video, requests, options, advice, progress), requests)
        for line in planned.lines():
            progress.say(line)
        progress.result({"plan": asdict(planned)})
        return
    dubbed = dub(
        config.video, requests, config.out, options, advice=advice, settings=handed_on(config), progress=progress
    )
    progress.note(dubbed.quality["written"])
    for line in told(dubbed.quality):
        progress.note(line)
    progress.result({"output": dubbed.video.name, **dubbed.quality})
    progress.note(f"{dubbed.folder}: done; look at {dubbed.folder / 'report.html'}")


def requests_of(config: DubConfig) -> list[Request]:
    """Who is dubbed to what; raises `ConfigError` where settings contradict each other or say nothing."""
    ways = [name for name in ("audio", "drive", "face") if getattr(config, name)]
    if len(ways) != 1:
        given = " and ".join(ways) or "none"
        raise ConfigError(f"say what moves the mouth by one of AUDIO, --drive or --face ACTOR=AUDIO ({given} given)")
    refuse_mistyped("AUDIO", config.audio, [SILENCE])
    refuse_mistyped("--drive", config.drive, [OWN, SILENCE])
    refuse_mistyped("--deliver", config.deliver, [SOURCE, MIX, INSERT])
    if not config.face:
        driver = (
            driver_of_sound(config.audio) if config.audio else driver_of_motion(str(config.drive), config.progressive)
        )
        return [Request(driver, Path(config.actor) if config.actor else None, config.person)]
    if config.person is not None or config.actor is not None:
        raise ConfigError("with --face, name bundle and person in it: --face ACTOR@PERSON=AUDIO or --face PERSON=AUDIO")
    return [_request(entry) for entry in config.face]


def _request(entry: str) -> Request:
    """One `--face`. A bundle that is there is meant, whatever its name holds; else the first `=` parts."""
    splits = [(entry[:at], entry[at + 1 :]) for at, letter in enumerate(entry) if letter == "="]
    for who, sound in splits:
        name, mark, person = who.rpartition("@")
        is_there = (Path(who) / FACTS if who.isdecimal() else Path(who)).exists()
        if who and sound and is_there:
            return Request(_of_sound(sound), Path(who))
        if sound and mark and person.isdecimal() and name and Path(name).exists():
            return Request(_of_sound(sound), Path(name), int(person))
    who, sound = splits[0] if splits else ("", "")
    name, mark, person = who.rpartition("@") if "@" in who else (who, "", "")
    if not name or not sound or (mark and not person.isdecimal()):
        raise ConfigError(f"--face {entry}: give ACTOR=AUDIO, ACTOR@PERSON=AUDIO or PERSON=AUDIO")
    driver = _of_sound(sound)
    if name.isdecimal() and not mark:
        return Request(driver, person=int(name))
    return Request(driver, Path(name), int(person) if person else None)


def _of_sound(word: str) -> Driver:
    refuse_mistyped("--face", word, [SILENCE])
    return driver_of_sound(word)


def options_of(config: DubConfig) -> DubOptions:
    """How the dub is made, by the settings; raises `ConfigError` for a word that means nothing."""
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
        motion_model=None if config.motion_model is None else Path(config.motion_model),
        progressive=config.progressive,
        overwrite=config.overwrite,
        anyway=config.anyway,
        device=usable_device(config.device),
        seed=config.seed,
    )
    return options.drafted() if config.draft else options
