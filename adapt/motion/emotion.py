"""Emotion: a mouth that talks as people do who are happy or angry, more or less so, to its own words.

What was learnt of an emotion is laid over the motion: the mean of talking moves, and movement about it widens. Timing
and closures stay. Where nobody speaks, corners keep the expression and the lips stay closed.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from adapt.motion.controls import PlacedMotion, Speaker
from adapt.motion.keys import coefficients_per_cm, measures_per_unit
from prior.motion.emotion import mouth_shape, shipped_emotions


@dataclass(frozen=True)
class Emotion:
    """An emotion of the mouth.

    Attributes:
        word: of `adapt.motion.words.EMOTIONS`.
        strength: how much of it, from 0 (neutral, which changes nothing) to 1.
    """

    word: str
    strength: float = 1.0
    stage: ClassVar[str] = "emotion"

    @property
    def told(self) -> str:
        """In words."""
        return f"emotion {self.word}" + (f":{self.strength:g}" if self.strength < 1 else "")

    def applied(self, motion: PlacedMotion, speaker: Speaker) -> PlacedMotion:
        """Moved about another mean, and further."""
        if self.strength == 0:
            return motion
        mouth = shipped_emotions()[self.word]
        per_unit = measures_per_unit(speaker.face_model, mouth_shape)
        per_cm = coefficients_per_cm(speaker, mouth_shape)
        shift = self.strength * mouth.shift
        silent = torch.cat([torch.zeros(1), shift[1:]])  # the opening is of talking alone
        about = torch.lerp(silent, shift, motion.speaking[:, None]) @ per_cm
        moved = motion.expression - motion.mean
        wider = (moved @ per_unit * (mouth.ratio**self.strength - 1)) @ per_cm
        return replace(motion, mean=motion.mean + about, expression=motion.expression + about + wider)
