"""Cast: who is in the footage, numbered by screen time.

In: a `Footage`. Out: an `Analysis`: shots, runs (one face followed through one shot) and cast members (runs that show
the same person). One pass over the frames, in memory that hardly grows with their number: landmarks go to an unnamed
temporary file, pictures are reduced to an `Appearance` per run.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from adapt.cast.appearance import Appearance, likenesses
from adapt.cast.faces import (
    overlap,
)

# What is added to the likeness of two runs of one shot of which the second begins where the first was lost.
RESUMED_BONUS = 4.0
# Seconds within which, and shared part of the boxes with which, a lost face counts as resumed.
RESUMED_SECONDS = 2.0
RESUMED_OVERLAP = 0.3
# A run shorter than this, in seconds or in frames, whose median confidence is below this, is not a face.
DOUBTFUL_SECONDS, DOUBTFUL_FRAMES = 1.0, 3
DOUBTFUL_CONFIDENCE = 0.95
# A sighting is asked whether it is a face at about the 1st, 3rd, 5th, 8th, 11th, 15th, … and then ever more rarely; of
# the 23 things taken for faces in 197 clips (lamps, cups, hands, pictures of things) none proved to be one in more than
# an eighth of the looks, of 42 runs of real faces, small, dark, turned or painted, but one nearly all always did.
LOOK_GROWTH, PROVEN_SHARE = 1.5, 1 / 3
# A likeness no clustering can make up for: two faces in one frame are two people.
TWO_PEOPLE = -1e4


@dataclass
class Run:
    """One face followed through one shot. One entry per sighting, in order of time.

    Attributes:
        shot: index of the shot.
        frames: index of the frame; `times`: its seconds, `seconds`: how long it is shown.
        rows: where its landmarks are kept.
        confidence: in [0, 1]. `boxes`: px, four numbers a sighting.
        eye_distance: px. `yaw`, `roll`: radians. `opening`: of the mouth, in eye distances.
        sharpness: see `faces.sharpness`. `is_whole`: whether mouth and chin are inside the picture, 0 or 1.
        appearance: what the face looks like, over the run.
        looks: how often it was asked whether it is a face, and `proofs`: how often it proved to be one.
    """

    shot: int
    frames: array = field(default_factory=lambda: array("i"))
    times: array = field(default_factory=lambda: array("d"))
    seconds: array = field(default_factory=lambda: array("d"))
    rows: array = field(default_factory=lambda: array("i"))
    confidence: array = field(default_factory=lambda: array("f"))
    boxes: array = field(default_factory=lambda: array("f"))
    eye_distance: array = field(default_factory=lambda: array("f"))
    yaw: array = field(default_factory=lambda: array("f"))
    roll: array = field(default_factory=lambda: array("f"))
    opening: array = field(default_factory=lambda: array("f"))
    sharpness: array = field(default_factory=lambda: array("f"))
    is_whole: array = field(default_factory=lambda: array("b"))
    appearance: Appearance = field(default_factory=Appearance)
    looks: int = 0
    proofs: int = 0

    @property
    def is_look_due(self) -> bool:
        """Whether the newest sighting is to be asked whether it is a face: more rarely as the run goes on."""
        return len(self.frames) >= LOOK_GROWTH * self.looks + LOOK_GROWTH**self.looks - 1

    @property
    def is_proven(self) -> bool:
        """Whether it is a face, as far as it was asked; a hand or a turn may hide it most of the time."""
        return self.proofs >= PROVEN_SHARE * self.looks

    @property
    def is_doubtful(self) -> bool:
        """Whether it is too short for how sure it is."""
        is_short = round(sum(self.seconds), 3) < DOUBTFUL_SECONDS or len(self.frames) < DOUBTFUL_FRAMES
        return is_short and float(np.median(self.confidence)) < DOUBTFUL_CONFIDENCE

    def box(self, sighting: int) -> np.ndarray:
        """Box of one sighting, float32 [4] px."""
        sighting %= len(self.frames)
        return np.array(self.boxes[4 * sighting : 4 * sighting + 4], np.float32)


@dataclass(frozen=True)
class CastMember:
    """One person: `number` by screen time from 1, and the runs that show them, in order of time."""

    number: int
    runs: tuple[Run, ...]

    @property
    def frame_count(self) -> int:
        """Frames in which this person's face is seen."""
        return sum(len(run.frames) for run in self.runs)

    def values(self, name: str) -> np.ndarray:
        """One of a run's measures over all sightings, such as "frames" or "yaw"; [frame_count]."""
        return np.concatenate([np.asarray(getattr(run, name)) for run in self.runs])


def gather_cast(runs: list[Run]) -> tuple[CastMember, ...]:
    """Cluster runs into people (average linkage on their likeness), most frames first; doubtful runs are left out."""
    runs = [run for run in runs if not run.is_doubtful]
    if not runs:
        return ()
    labels = np.ones(1, int)
    if len(runs) > 1:
        # Here, as they take longer to load than a short clip with one face to be looked at.
        from scipy.cluster.hierarchy import fcluster, linkage
        from scipy.spatial.distance import squareform

        alike = likenesses([run.appearance for run in runs])
        for a, b in _of_one_shot(runs):
            alike[a, b] += _bonus(runs[a], runs[b])
            alike[b, a] = alike[a, b]
        np.fill_diagonal(alike, 0.0)
        # Clustering wants distances from 0 up; a likeness of 0 (even odds) is where people part.
        distance = alike.max() - alike
        np.fill_diagonal(distance, 0.0)
        labels = fcluster(linkage(squareform(distance), "average"), alike.max(), "distance")
    people = [[run for run, label in zip(runs, labels, strict=True) if label == person] for person in set(labels)]
    people.sort(key=lambda person: (-sum(len(run.frames) for run in person), person[0].frames[0]))
    return tuple(CastMember(number, tuple(person)) for number, person in enumerate(people, 1))


def _of_one_shot(runs: list[Run]) -> Iterator[tuple[int, int]]:
    """Pairs of runs that share a shot, by index."""
    by_shot: dict[int, list[int]] = {}
    for index, run in enumerate(runs):
        by_shot.setdefault(run.shot, []).append(index)
    for together in by_shot.values():
        yield from combinations(together, 2)


def _bonus(first: Run, second: Run) -> float:
    """What is added to the likeness of two runs of one shot."""
    if first.frames[0] > second.frames[0]:
        first, second = second, first
    if second.frames[0] <= first.frames[-1]:
        return TWO_PEOPLE
    gap = round(second.times[0] - first.times[-1], 3)
    resumed = gap <= RESUMED_SECONDS and overlap(first.box(-1), second.box(0)) > RESUMED_OVERLAP
    return RESUMED_BONUS if resumed else 0.0
