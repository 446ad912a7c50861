"""Options of a fit: the one home of its defaults. Light to import: the flags read them."""

from dataclasses import dataclass

from adapt.actor.consent import Consent
from adapt.config import refuse_below, refuse_seed


@dataclass(frozen=True)
class FitOptions:
    """How an actor is fitted.

    Attributes:
        person: cast number in each file (see `adapt.check`); needed where several people are seen.
        seconds: how much footage to learn from; None for all there is.
        part: (start, end) seconds of each file to use; None for the whole.
        steps: optimiser steps. The same steps, footage and seed give the same bundle.
        minutes: stop optimising after so many minutes; None for never.
        consent: record to keep in the bundle.
        seed: of the choice of frames and of noise.
        progressive: the files' pictures are of one moment, whatever they are flagged as; see `Footage`.
        device: where the network learns, such as cpu or cuda; a GPU does not give the same bytes.
        keep_found: keep faces and tracks of the footage, and use what was kept of it.

    Raises:
        ConfigError: a number that means nothing.
    """

    person: int | None = None
    seconds: float | None = None
    part: tuple[float, float] | None = None
    steps: int = 400
    minutes: float | None = None
    consent: Consent | None = None
    seed: int = 0
    progressive: bool = False
    device: str = "cpu"
    keep_found: bool = True

    def __post_init__(self) -> None:
        refuse_seed(self.seed)
        for flag, value in (("--steps", self.steps), ("--seconds", self.seconds), ("--minutes", self.minutes)):
            refuse_below(flag, value, 0)
