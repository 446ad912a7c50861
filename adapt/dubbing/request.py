"""Request: who is to be dubbed to what, as asked for."""

from dataclasses import dataclass
from pathlib import Path

from adapt.motion.sources import Driver


@dataclass(frozen=True)
class Request:
    """One mouth that is to be moved.

    Attributes:
        driver: what moves it.
        actor: path of a bundle (text is taken, too), or None to fit the person from the shot.
        person: cast number in the shot, or None where one alone can be meant.
    """

    driver: Driver
    actor: Path | None = None
    person: int | None = None

    def __post_init__(self) -> None:
        if self.actor is not None:
            object.__setattr__(self, "actor", Path(self.actor))
