"""Options of a comparison: the one home of its defaults. Light to import: the flags read them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adapt.fitting.options import FitOptions
from render.errors import ConfigError

LANES = {
    1: "real motion, held-out frames",
    2: "the speaker's own held-out sound",
    3: "another speaker's sound",
    4: "silence",
}
#: How held-out frames are split off: in time, by take, or by take where a person has several files.
WAYS = ("auto", "time", "take")
#: A part of footage shorter than this says nothing.
LEAST_SECONDS = 0.5


@dataclass(frozen=True)
class CompareOptions:
    """What is compared, and how.

    Attributes:
        methods: names, in the order of the tables; None for every method whose weights are there.
        commands: methods from outside, NAME='COMMAND {enrollment} {query} {mask} {audio} {output}'.
        method_minutes: such a command that takes longer for a clip is stopped.
        lanes: of `LANES`.
        enrollment: seconds of footage to learn from.
        held_out: seconds of footage to draw, at most.
        split: of `WAYS`.
        sound: file for lane 3; None for the next person's sound.
        fit_steps: optimiser steps of the fit, by default those of the fit that ships; the network from scratch gets as
            much processor time.
        tracks: cache folder of `adapt prepare`, whose tracks of the same files are used.
        prior: renderer prior, a safetensors file; None for the shipped one.
        progressive: the files' pictures are of one moment, whatever they are flagged as; see `Footage`.

    Raises:
        ConfigError: a number or a word that means nothing.
    """

    methods: Sequence[str] | None = None
    commands: Sequence[str] = ()
    method_minutes: float = 30.0
    lanes: Sequence[int] = tuple(LANES)
    enrollment: float = 4.0
    held_out: float = 2.5
    split: str = WAYS[0]
    sound: Path | None = None
    fit_steps: int = FitOptions.steps
    tracks: Path | None = None
    prior: Path | None = None
    progressive: bool = False

    def __post_init__(self) -> None:
        least = {"enrollment": LEAST_SECONDS, "held_out": LEAST_SECONDS, "fit_steps": 1, "method_minutes": 1 / 60}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise ConfigError(f"--{name.replace('_', '-')} {getattr(self, name):g}: at least {value:.2g}")
        if self.split not in WAYS:
            raise ConfigError(f"--split {self.split}: choose one of {', '.join(WAYS)}")
        if not self.lanes or set(self.lanes) - set(LANES):
            words = ",".join(map(str, self.lanes))
            raise ConfigError(f"--lanes {words}: numbers from 1 to {max(LANES)} with commas between")
