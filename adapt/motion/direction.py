"""Direction: what an editor asks of the motion in a shot, of all of it and by cue file, brought onto a person's frames.

In: what is asked for, and motion that lies on the frames of a shot. Out: the motion to be drawn, what is put back in
every frame, and what of it was asked for, in words. Where nothing is asked for, the motion stays as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from adapt.motion.controls import Cue, MouthScale, PlacedMotion, Speaker, directed, share_of_range
from adapt.motion.cues import Cues, RegionCue, read_cues
from adapt.motion.keys import Key, KeyEdits, keys_of
from adapt.motion.other_style import StyleOf, talking_styles
from adapt.motion.placement import Placement
from adapt.motion.sources import Driven, Driver, Silence, Sound
from prior.motion.key_places import key_places
from prior.motion.marks import speech_marks
from prior.speech.phonemes import LABEL_RATE
from render.compositing.region import DEFAULT_REGION
from render.errors import ConfigError
from render.head.motion import Motion

#: Opening up to which a seen mouth counts as closed, and from which not at all, cm.
SHUT_CM, PARTED_CM = 0.02, 0.15
#: Speaking, shut and near of a mouth at rest.
AT_REST = (0.0, 1.0, 0.0)


@dataclass(frozen=True)
class Direction:
    """What is asked of the motion in a shot.

    Attributes:
        mouth: factor on all movement away from the closed mouth, after all else.
        region: of what is put back, where no cue says another.
        whole: what is asked of the whole shot.
        table: a cue file, which is read when it is first asked for.
    """

    mouth: float = 1.0
    region: str = DEFAULT_REGION
    whole: tuple[Cue, ...] = ()
    table: Path | None = None

    @cached_property
    def cues(self) -> Cues:
        """All that is asked for, but for the factor of `mouth`; raises `ConfigError` and `OSError` of the cue file."""
        of_table = read_cues(self.table) if self.table else Cues()
        return Cues((*self.whole, *of_table.motion), of_table.regions)

    def read(self) -> None:
        """Read tables now, look whether other files are there, and so find what is wrong with them."""
        for style in self._styles:
            style.refuse_missing()

    @property
    def _styles(self) -> list[StyleOf]:
        return [cue.control for cue in self.cues.motion if isinstance(cue.control, StyleOf)]

    def refuse_others(self, people: Sequence[int]) -> None:
        """Raise `ConfigError` where somebody is meant who is none of the `people` dubbed, or nobody can know who."""
        everyones = [cue.told for cue in self.cues.motion if isinstance(cue.control, KeyEdits) and cue.person is None]
        if everyones and len(people) > 1:
            raise ConfigError(f"{everyones[0]}: of one person, but several are dubbed; say in a cue file of whom")
        others = sorted(self.cues.people - set(people))
        if others:
            named = f"{'person' if len(others) == 1 else 'people'} {', '.join(map(str, others))}"
            dubbed = ", ".join(map(str, sorted(people)))
            raise ConfigError(f"{self.table}: names {named}, but dubbed is {dubbed}; see `adapt check`")

    def of_person(self, person: int) -> list[Cue | RegionCue]:
        """What is asked for that means somebody, by cast number."""
        return [cue for cue in self.cues.every if cue.person in (None, person)]

    def regions(self, person: int, seconds: torch.Tensor) -> dict[str, torch.Tensor]:
        """Region → its share [T] of what is put back of somebody; empty where the options' own is, throughout.

        Args:
            person: cast number.
            seconds: [T] float64 from the shot's first frame.
        """
        cues = [cue for cue in self.cues.regions if cue.person in (None, person)]
        if not cues:
            return {}
        shares = {self.region: torch.ones(len(seconds))}
        for cue in cues:
            share = share_of_range(seconds, cue.start, cue.end)
            shares = {name: before * (1 - share) for name, before in shares.items()}
            shares[cue.region] = shares.get(cue.region, 0) + share
        return shares

    def expression(
        self, expression: torch.Tensor, driver: Driver, driven: Driven, placement: Placement, inside: torch.Tensor
    ) -> torch.Tensor:
        """An expression [T, E] on the frames of a shot, as asked for; arguments as of `placed_motion`."""
        cues = [*self.cues.motion, Cue(MouthScale(self.mouth))]
        marks = torch.zeros(len(expression), 3)
        if len(cues) > 1:  # they take a while, and to scale all movement none are needed
            marks = placed_marks(expression, driver, driven, placement, inside)
        speaker = replace(speaker_of(driven), others=talking_styles(self._styles, driven))
        return directed(placed_motion(expression, marks, driven), speaker, cues)


def speaker_of(driven: Driven) -> Speaker:
    """Whose mouth is controlled, with the mean and spread that audio to motion gives to it."""
    model = driven.motion_model
    person = int(str(driven.track.source["person"]))
    return Speaker(person, *model.blended(driven.style), model.opening_axis, model.closing_direction, driven.model)


def placed_motion(expression: torch.Tensor, marks: torch.Tensor, driven: Driven) -> PlacedMotion:
    """An expression [T, E] on the frames of a shot, with marks of it [T, 3]."""
    speaker, times = speaker_of(driven), driven.track.timestamps
    speaking, shut, near = marks.unbind(1)
    about = torch.lerp(speaker.closed, speaker.mean, speaking[:, None])
    return PlacedMotion(times - times[0], expression, about, speaking, shut, near)


def placed_marks(
    expression: torch.Tensor, driver: Driver, driven: Driven, placement: Placement, inside: torch.Tensor
) -> torch.Tensor:
    """Speaking, shut and near [T, 3]: as heard in a sound that drives, at rest in silence, else as seen.

    Args:
        expression: [T, E] on the frames of the shot.
        driver: whose motion it is.
        driven: who is driven.
        placement: of the motion.
        inside: [T] bool, frames that are to be dubbed.
    """
    if isinstance(driver, Silence):
        return torch.tensor(AT_REST).expand(len(expression), 3)
    seen = seen_marks(expression, speaker_of(driven))
    if not isinstance(driver, Sound):
        return seen
    marks = speech_marks(driver.waveform)
    rows = torch.stack([marks.speaking, marks.shut, marks.near], 1)
    heard = Motion(torch.arange(len(rows), dtype=torch.float64) / LABEL_RATE, rows, torch.ones(len(rows)))
    # Lengths were compared with those of the motion.
    placement = replace(placement, on_mismatch="hold" if placement.on_mismatch == "hold" else "pad")
    on_frames = replace(driven.track, lower_expression=seen)
    return placement.placed(heard, on_frames, inside, on_frames.duration_seconds, torch.tensor(AT_REST))[0]


def seen_marks(expression: torch.Tensor, speaker: Speaker) -> torch.Tensor:
    """Speaking, shut and near [T, 3] where no sound tells: lips that are together stay so."""
    opening = (expression - speaker.closed) @ speaker.opening_axis
    shut = ((PARTED_CM - opening) / (PARTED_CM - SHUT_CM)).clamp(0, 1)
    return torch.stack([torch.ones_like(shut), shut, torch.zeros_like(shut)], 1)


def keys_heard(motion: PlacedMotion, waveform: np.ndarray, begins: float, speaker: Speaker) -> list[Key]:
    """Keys of a motion by what is heard in the sound that drives it.

    Args:
        motion: on the frames of a shot.
        waveform: [N] at `prior.speech.sound.SAMPLE_RATE`.
        begins: when it does, seconds from the shot's first frame.
        speaker: whose mouth it is.
    """
    places = [
        (round(begins + place.row / LABEL_RATE, 3), place.sound) for place in key_places(speech_marks(waveform).heard)
    ]
    within = [place for place in places if 0 <= place[0] <= float(motion.seconds[-1])]
    return keys_of(motion, within, speaker)
