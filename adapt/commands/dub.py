"""`adapt dub`: settings → requests and options → a folder with video, report, sidecar and sheet."""

from dataclasses import asdict
from pathlib import Path

from adapt.actor.bundle import FACTS
from adapt.commands.arguments import dub_options, refuse_wrong_dub
from adapt.commands.flags import DubConfig
from adapt.config import command_line, handed_on, refuse_mistyped
from adapt.device import usable_device
from adapt.dubbing.dub import dub, opened
from adapt.dubbing.options import DubOptions
from adapt.dubbing.part import Request
from adapt.dubbing.plan import plan
from adapt.dubbing.quality import told
from adapt.motion.sources import Driver, driver_of_motion, driver_of_sound
from adapt.motion.words import SILENCE
from adapt.progress import Progress
from render.errors import ConfigError


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
    refuse_wrong_dub(config)
    if not config.face:
        driver = (
            driver_of_sound(config.audio) if config.audio else driver_of_motion(str(config.drive), config.progressive)
        )
        return [Request(driver, Path(config.actor) if config.actor else None, config.person)]
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
    options = dub_options(config)
    usable_device(options.device)
    return options
