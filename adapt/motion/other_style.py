"""Style of somebody else: a mouth that moves as another person's does, or partly so, to its own words.

In: a clip, an actor bundle or a track of that person. What is taken over is how far the mean of talking lies from the
closed mouth, and how far the mouth moves about it, coefficient by coefficient; timing and closed mouth stay.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch

from adapt.actor.bundle import FACTS, ActorBundle
from adapt.fitting.style import style_of_footage
from adapt.motion.controls import PlacedMotion, Speaker, TalkingStyle
from adapt.motion.shot_style import known_style
from adapt.motion.sources import TRACK_SUFFIX, Driven, TrackFile, style_of
from adapt.tracking.kept import track_footage
from prior.motion.style import MouthStyle
from render.errors import ConfigError, DubError
from render.video.reader import Footage


@dataclass(frozen=True)
class StyleOf:
    """The style of another person.

    Attributes:
        path: clip, actor bundle or track.
        weight: how much of it, from 0 (the actor's own) to 1.
    """

    path: Path
    weight: float = 1.0
    stage: ClassVar[str] = "style"

    @property
    def told(self) -> str:
        """In words, without the folder."""
        return f"style {self.path.name}" + (f":{self.weight:g}" if self.weight < 1 else "")

    def refuse_missing(self) -> None:
        """Raise `DubError` where there is no such file."""
        if not self.path.exists():
            raise DubError(f"{self.path}: no such file; give a clip, an actor bundle or a track whose style is wanted")

    def applied(self, motion: PlacedMotion, speaker: Speaker) -> PlacedMotion:
        """Moved about the other's mean, as far as the other moves; raises `KeyError` where the style was not read."""
        other = speaker.others[self.path]
        if self.weight == 0:
            return motion
        talking = torch.lerp(speaker.mean - speaker.closed, other.talking, self.weight)
        mean = speaker.closed + motion.speaking[:, None] * talking
        ratio = (other.spread / speaker.spread) ** self.weight
        return replace(motion, mean=mean, expression=mean + (motion.expression - motion.mean) * ratio)


def parse_style(text: str, told: str = "--style") -> StyleOf:
    """`PATH` or `PATH:WEIGHT`; raises `ConfigError`."""
    path, mark, number = text.rpartition(":")
    try:
        weight = float(number) if mark and not Path(text).exists() else None
    except ValueError:
        weight = None
    if weight is None:
        return StyleOf(Path(text))
    if not 0 <= weight <= 1:
        raise ConfigError(f"{told} {text}: give a weight from 0 (the actor's own style) to 1")
    return StyleOf(Path(path), weight)


def talking_styles(asked: Sequence[StyleOf], driven: Driven) -> dict[Path, TalkingStyle]:
    """Every style that is asked for, read once, as audio to motion uses it; `driven` says by which models.

    Raises:
        FootageError, TrackingError, StoreError, DubError: nothing can be learnt of a mouth there.
    """
    styles = {}
    for path in {one.path for one in asked}:
        closed, mean, spread = driven.motion_model.blended(_read(path, driven))
        styles[path] = TalkingStyle(mean - closed, spread)
    return styles


def _read(path: Path, driven: Driven) -> MouthStyle:
    if (path / FACTS).is_file():
        bundle = ActorBundle.load(path)
        if not bundle.style:
            raise DubError(f"{path}: the actor was seen too shortly to have a style; fit a longer take")
        return known_style(bundle, driven.motion_model)[0]
    if path.suffix == TRACK_SUFFIX:
        return style_of(TrackFile(path).track_for(driven.model), driven.model)
    footage = Footage(path)
    advice = f"adapt track {shlex.quote(str(path))} -o tracks, and give one of the tracks"
    track = track_footage(footage, None, advice, driven.progress, driven.found)
    heard = style_of_footage(driven.model, [footage], [track], driven.motion_model)
    return style_of(track, driven.model) if heard is None else heard.style
