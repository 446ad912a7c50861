"""The interface of every command: one frozen dataclass each. Light to import; the work is in the named modules.

`COMMANDS` maps a command's name to its config and to `module:function`, called with the config and a `Progress`.
"""

from dataclasses import dataclass

from adapt.config import argument, option


@dataclass(frozen=True)
class CheckConfig:
    """Look at footage: streams, timing, shots, who is in it, and whether it is good enough to fit an actor."""

    video: str = argument("video file")
    audio: str | None = option(None, "audio file that is to drive the dub; checked beside the video")
    out: str | None = option(None, "folder for cast.jpg and check.json (default: print only)", "--out", "-o")
    overwrite: bool = option(False, "replace an existing output folder's files")


@dataclass(frozen=True)
class InspectConfig:
    """Say what is known about a file or an actor: who, from what, with what consent, altered or not."""

    path: str = argument("dubbed video, dub folder, actor bundle or any video")


@dataclass(frozen=True)
class DoctorConfig:
    """Look at this installation: each line is OK or says how to fix it."""


COMMANDS: dict[str, tuple[type, str]] = {
    "check": (CheckConfig, "adapt.check:main"),
    "inspect": (InspectConfig, "adapt.inspection:main"),
    "doctor": (DoctorConfig, "adapt.doctor:main"),
}
