"""Request: who is to be dubbed to what, as asked for."""

from dataclasses import dataclass
from pathlib import Path


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
