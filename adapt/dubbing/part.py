"""Part: who is to be dubbed to what, as asked for (`Request`), and the same ready to be drawn (`Part`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from adapt.actor.bundle import ActorBundle
from adapt.motion.controls import Cue
from adapt.motion.cues import RegionCue
from adapt.motion.sources import Driver
from adapt.tracking.in_picture import mouth_in_picture
from prior.renderer.prior import RendererPrior, load_renderer_prior
from render.head.track import Track

#: Of a dub is shown what is driven, with so much before and after it, and so many frames at most.
LEAD_SECONDS = 1.0
MOST_SHOWN = 1500


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


@dataclass(frozen=True)
class Part:
    """One actor's part in a dub.

    Attributes:
        bundle: the fitted actor.
        track: of that person in the shot.
        expression: [T, E] lower expression to be drawn, one row a frame.
        driven: [T] bool; frames whose motion is known.
        prior: renderer prior that the bundle belongs to; default the shipped one.
        heads: outlines of other people's heads that lie before this one's face, of `nearer_heads`.
        wanted: [T] bool; frames that are asked for, driven or not; None for those that are driven.
        mouth: what the style of the mouth was measured on, in words.
        regions: region → its share [T] of what is put back; empty where it is the options' own throughout.
        cues: what was asked for of this motion and of what is put back.
    """

    bundle: ActorBundle
    track: Track
    expression: torch.Tensor
    driven: torch.Tensor
    prior: RendererPrior = field(default_factory=load_renderer_prior)
    heads: Mapping[int, np.ndarray] = field(default_factory=dict)
    wanted: torch.Tensor | None = None
    mouth: str = "not known"
    regions: Mapping[str, torch.Tensor] = field(default_factory=dict)
    cues: Sequence[Cue | RegionCue] = ()

    @cached_property
    def in_picture(self) -> torch.Tensor:
        """Frames with a face whose mouth and chin lie inside the picture, bool [T]: only those can be drawn into."""
        return mouth_in_picture(self.prior.model, self.track)


def shown_frames(parts: Sequence[Part]) -> range:
    """The frames that a report shows: those that are driven, and a little before and after them."""
    driven = torch.stack([part.driven for part in parts]).any(0).nonzero()[:, 0].tolist() or [0]
    times = parts[0].track.timestamps
    first = int((times < times[driven[0]] - LEAD_SECONDS - 1e-6).sum())
    last = int((times <= times[driven[-1]] + LEAD_SECONDS + 1e-6).sum())
    return range(first, min(last, first + MOST_SHOWN))
