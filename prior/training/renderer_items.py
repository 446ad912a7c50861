"""Training data of the renderer from a prepared cache: people, their clips, and random batches of them.

In: the folder that `adapt prepare FOOTAGE… -o CACHE` wrote. Out: `TrainingItem`s: a few target frames of one person
and an enrollment of the same person from another part of the footage, as `adapt fit` will see it. People are drawn
with equal weight, mouth openings evenly over the person's range. Item n depends on the seed and n only.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch

from prior.cache.prepared import PreparedClip, prepared_clips
from prior.renderer.bank_choice import BankFrames, opening_and_width
from prior.renderer.unwrapping import TextureFrames, choose_bins
from render.drawing.look import BANK_FRAMES
from render.drawing.renderer import expression_window, log_source_scale, pitch_and_yaw
from render.errors import StoreError
from render.head.face_model import FaceModel

#: Length of the enrollment part, seconds (shortest, longest), and the shortest gap to the targets where there is room.
ENROLLMENT_SECONDS = (1.5, 6.0)
GAP_SECONDS = 1.0
FEWEST_FRAMES = 24
#: How often an item's surroundings are out of step, and by how many frames at most, within so many seconds.
OUT_OF_STEP, STEP_FRAMES, STEP_SECONDS = 0.5, 3, 0.14
#: Targets by chance: any frame, an evenly drawn opening, one of the widest, a small opening.
TARGET_SHARES = (0.35, 0.3, 0.2, 0.15)
#: The widest are those from this quantile on; a small opening lies between these, in eye distances.
WIDEST_FROM, SMALL_OPENINGS = 0.8, (0.015, 0.08)
#: Frames that a bank of an item has at least, and how often it goes without the one most like the target.
FEWEST_BANK, WITHOUT_NEAREST = 3, 0.5
#: Turned by so much a frame is as far from another as by one standard deviation of opening, radians.
TURN_SPREAD = 0.2
#: Of frames that differ the least favoured counts this, the most favoured 1.
LEAST_FAVOUR = 0.1


#: A clip with its surely tracked frames [N].
UsableClip = tuple[PreparedClip, torch.Tensor]


@dataclass(frozen=True)
class TrainingItem:
    """Target frames, neighbours in time, and enrollment of one person; a batch stacks P items.

    Attributes:
        crops: uint8 [T, 3, H, W] sRGB of the targets.
        clip_vertices: [T, V, 4] of the targets; erasing_vertices: [T, K, V, 4] with the fixed expressions.
        window: [T, W, E]; log_scale: [T].
        turn: [T, 2] pitch and yaw, radians.
        surround: uint8 [T, 3, H, W], what the network sees around the erased area: the crops, or those of frames just
            before or after, so that chin and neck are out of step, as they are in a dub.
        enrollment_crops: uint8 [bins, n, 3, H, W]; enrollment_vertices: [bins, n, V, 4]; opening: [bins].
        bank_crops: uint8 [K, 3, H, W]; bank_vertices: [K, V, 4]; bank_expression: [K, E]; bank_turn: [K, 2];
            bank_hidden: bool [K], frames that are not to be used.
    """

    crops: torch.Tensor
    clip_vertices: torch.Tensor
    erasing_vertices: torch.Tensor
    window: torch.Tensor
    log_scale: torch.Tensor
    turn: torch.Tensor
    surround: torch.Tensor
    enrollment_crops: torch.Tensor
    enrollment_vertices: torch.Tensor
    opening: torch.Tensor
    bank_crops: torch.Tensor
    bank_vertices: torch.Tensor
    bank_expression: torch.Tensor
    bank_turn: torch.Tensor
    bank_hidden: torch.Tensor

    @staticmethod
    def stack(items: "list[TrainingItem]") -> "TrainingItem":
        """A batch: every tensor gets a leading dimension P."""
        return TrainingItem(
            **{field.name: torch.stack([getattr(item, field.name) for item in items]) for field in fields(TrainingItem)}
        )

    def to(self, device: str | torch.device) -> "TrainingItem":
        """The same on a device."""
        return TrainingItem(**{field.name: getattr(self, field.name).to(device) for field in fields(TrainingItem)})

    def enrollment(self) -> TextureFrames:
        """The enrollment of a batch, colours in [0, 1]."""
        return TextureFrames(self.enrollment_crops.float() / 255, self.enrollment_vertices, self.opening)

    def bank(self) -> BankFrames:
        """The frames of a batch's banks, colours in [0, 1]."""
        return BankFrames(self.bank_crops.float() / 255, self.bank_vertices, self.bank_expression, self.bank_turn)


def good_frames(clip: PreparedClip) -> torch.Tensor:
    """Frames [N] (int64) of a clip that have a crop and are tracked surely."""
    frames = clip.frames()
    return frames[clip.track.sure()[frames]]


class RendererDataset:
    """People of a cache.

    Args:
        cache: prepared folder.
        model: the face model its tracks belong to.
        erasing_expressions: [K, E].
        people: names to use; all where not given.
        targets: frames an item.
        seed: of the drawing.
    """

    def __init__(
        self,
        cache: Path,
        model: FaceModel,
        erasing_expressions: torch.Tensor,
        people: list[str] | None = None,
        targets: int = 4,
        seed: int = 0,
    ) -> None:
        self.model, self.erasing_expressions, self.targets, self.seed = model, erasing_expressions, targets, seed
        self.clips: dict[str, list[UsableClip]] = defaultdict(list)
        for clip in prepared_clips(cache):
            frames = good_frames(clip)
            if (people is None or clip.person in people) and len(frames) >= FEWEST_FRAMES:
                self.clips[clip.person].append((clip, frames))
        if not self.clips:
            raise StoreError(f"{cache}: no clip with {FEWEST_FRAMES} surely tracked frames; see `adapt prepare --help`")
        self.people = sorted(self.clips)
        self.openings = {
            clip.folder.name: opening_and_width(model, clip.track.lower_expression)[:, 0]
            for clips in self.clips.values()
            for clip, _ in clips
        }
        every = [clip.track.lower_expression[frames] for clips in self.clips.values() for clip, frames in clips]
        self.scale = torch.cat(every).std(0).clamp(min=1e-3)

    def __getitem__(self, index: int) -> TrainingItem:
        """Item `index`, any int ≥ 0."""
        random = np.random.default_rng([self.seed, index])
        clips = self.clips[self.people[random.integers(len(self.people))]]
        shares = np.sqrt([len(frames) for _, frames in clips])
        clip, frames = clips[random.choice(len(clips), p=shares / shares.sum())]
        other, other_frames = clips[random.integers(len(clips))]
        part = self._part(other, other_frames, random)
        if other is clip:
            apart = (clip.track.timestamps[frames][:, None] - clip.track.timestamps[part]).abs().amin(1) >= GAP_SECONDS
            frames = frames[apart] if int(apart.sum()) >= self.targets else frames
        targets = self._targets(clip, frames, random)
        surround = out_of_step(clip, targets, random) if random.random() < OUT_OF_STEP else targets
        return self.item(clip, targets, other, part, surround, random)

    def item(
        self,
        clip: PreparedClip,
        targets: torch.Tensor,
        other: PreparedClip,
        enrollment: torch.Tensor,
        surround: torch.Tensor,
        random: np.random.Generator,
    ) -> TrainingItem:
        """Targets of a clip in the surroundings of frames of it, with an enrollment from another clip (or the same)."""
        track = clip.track
        opening = other.track.lower_expression[enrollment, 0]
        bins = choose_bins(opening)
        chosen = enrollment[bins.flatten()]
        bank = self._bank(other, enrollment, random)
        expression = other.track.lower_expression[bank]
        count = len(self.erasing_expressions)
        fixed = track.clip_vertices(
            self.model, targets.repeat_interleave(count), self.erasing_expressions.repeat(len(targets), 1)
        )
        return TrainingItem(
            crops=_stacked(clip, targets),
            clip_vertices=track.clip_vertices(self.model, targets),
            erasing_vertices=fixed.unflatten(0, (len(targets), count)),
            window=expression_window(track.lower_expression, track.timestamps, track.shot, targets),
            log_scale=log_source_scale(track.crop_from_image[targets]),
            turn=pitch_and_yaw(track, targets),
            surround=_stacked(clip, surround),
            enrollment_crops=_stacked(other, chosen).unflatten(0, bins.shape),
            enrollment_vertices=other.track.clip_vertices(self.model, chosen).unflatten(0, bins.shape),
            opening=opening[bins].mean(1),
            bank_crops=_stacked(other, bank),
            bank_vertices=other.track.clip_vertices(self.model, bank),
            bank_expression=expression,
            bank_turn=pitch_and_yaw(other.track, bank),
            bank_hidden=_hidden(expression - track.lower_expression[targets[:1]], self.scale, random),
        )

    def mouths(self, count: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Of each person up to so many crops [N, 3, H, W] in [0, 1], over all clips, and heads [N, V, 4]."""
        for person in self.people:
            every = [(clip, int(frame)) for clip, frames in self.clips[person] for frame in frames]
            chosen = [every[place] for place in np.linspace(0, len(every) - 1, min(count, len(every))).astype(int)]
            crops = torch.cat([_stacked(clip, torch.tensor([frame])) for clip, frame in chosen]).float() / 255
            yield (
                crops,
                torch.cat([clip.track.clip_vertices(self.model, torch.tensor([frame])) for clip, frame in chosen]),
            )

    def decode(self) -> None:
        """Decode all crops, which else happens as they are asked for: processes that fork from this one share them."""
        for clips in self.clips.values():
            for clip, frames in clips:
                clip.crop(int(frames[0]))

    def _bank(self, clip: PreparedClip, frames: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
        """Frames [BANK_FRAMES] of an enrollment that differ, starting anywhere."""
        description = clip.track.lower_expression[frames] / self.scale
        description = torch.cat([description, pitch_and_yaw(clip.track, frames) / TURN_SPREAD], 1)
        rows = spread_out(description, torch.from_numpy(random.random(len(frames))))
        return frames[rows.repeat(BANK_FRAMES // len(rows) + 1)[:BANK_FRAMES]]

    def _part(self, clip: PreparedClip, frames: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
        """A random stretch of a clip's frames, at most half of it."""
        times = clip.track.timestamps[frames]
        whole = float(times[-1] - times[0])
        length = min(random.uniform(*ENROLLMENT_SECONDS), whole / 2)
        first = float(times[0]) + random.uniform(0, whole - length)
        part = frames[(times >= first) & (times <= first + length)]
        return part if len(part) >= FEWEST_FRAMES // 4 else frames

    def _targets(self, clip: PreparedClip, frames: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
        """Neighbours in time around a frame chosen by `TARGET_SHARES`."""
        opening = self.openings[clip.folder.name][frames].numpy()
        kind = random.choice(len(TARGET_SHARES), p=TARGET_SHARES)
        wanted = np.ones(len(frames), bool)
        if kind == 1:
            wanted = np.arange(len(frames)) == np.abs(opening - random.uniform(opening.min(), opening.max())).argmin()
        elif kind == 2:
            wanted = opening >= np.quantile(opening, WIDEST_FROM)
        elif kind == 3:
            wanted = (opening > SMALL_OPENINGS[0]) & (opening < SMALL_OPENINGS[1])
        places = np.flatnonzero(wanted if wanted.any() else np.ones(len(frames), bool))
        place = int(places[random.integers(len(places))])
        # Crops are in short runs: whichever stretch around the frame is shortest in time lies within one.
        starts = range(max(0, place - self.targets + 1), min(place, len(frames) - self.targets) + 1)
        times = clip.track.timestamps[frames]
        first = min(starts, key=lambda start: float(times[start + self.targets - 1] - times[start]))
        return frames[first : first + self.targets]


def out_of_step(clip: PreparedClip, targets: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
    """Frames [T] just before or after targets [T] of a clip, as far as there are crops of them; else the targets."""
    shift = int(random.integers(1, STEP_FRAMES + 1)) * (1 if random.random() < 0.5 else -1)
    frames, times = clip.frames(), clip.track.timestamps
    places = (torch.searchsorted(frames, targets) + shift).clamp(0, len(frames) - 1)
    moved = frames[places]
    near = (times[moved] - times[targets]).abs() <= STEP_SECONDS
    return torch.where(near, moved, targets)


def _hidden(difference: torch.Tensor, scale: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
    """Which frames of a bank are left out, bool [K], by its differences [K, E] from the target.

    Some are, at times the most alike: choosing is to be learnt, and not copying.
    """
    hidden = torch.from_numpy(random.permutation(len(difference)) >= random.integers(FEWEST_BANK, len(difference) + 1))
    if random.random() < WITHOUT_NEAREST:
        distance = (difference / scale).square().sum(1).masked_fill(hidden, torch.inf)
        hidden[distance.argmin()] = int((~hidden).sum()) > 1
    return hidden


def _stacked(clip: PreparedClip, frames: torch.Tensor) -> torch.Tensor:
    """uint8 [N, 3, H, W] crops."""
    return torch.stack([torch.from_numpy(clip.crop(int(frame))).permute(2, 0, 1) for frame in frames])


class BatchStream(torch.utils.data.IterableDataset):
    """Endless batches of P items from batch `first` on, shared out over worker processes and ranks.

    Args:
        dataset: the people.
        people: items a batch.
        first: index of the first batch.
        rank, ranks: of this process among several.
    """

    def __init__(self, dataset: RendererDataset, people: int, first: int, rank: int = 0, ranks: int = 1) -> None:
        self.dataset, self.people, self.first, self.rank, self.ranks = dataset, people, first, rank, ranks

    def __iter__(self) -> Iterator[TrainingItem]:
        worker = torch.utils.data.get_worker_info()
        step, offset = (worker.num_workers, worker.id) if worker else (1, 0)
        batch = self.first + offset
        while True:
            start = (batch * self.ranks + self.rank) * self.people
            yield TrainingItem.stack([self.dataset[start + slot] for slot in range(self.people)])
            batch += step


def spread_out(description: torch.Tensor, favour: torch.Tensor, count: int = BANK_FRAMES) -> torch.Tensor:
    """Choose frames that differ, of like ones the favoured.

    Args:
        description: [N, D], each column on one scale.
        favour: [N] any measure; its ranks count.
        count: how many, at most.

    Returns:
        Rows int64 [min(count, N)], in the order of their choice.
    """
    total = len(description)
    rank = favour.argsort().argsort().float() / max(total - 1, 1)
    weight = LEAST_FAVOUR + (1 - LEAST_FAVOUR) * rank
    from_middle = (description - description.mean(0)).norm(dim=1)
    chosen = [int((weight / (from_middle + 0.5)).argmax())]
    nearest = torch.full((total,), torch.inf)
    while len(chosen) < min(count, total):
        nearest = torch.minimum(nearest, (description - description[chosen[-1]]).norm(dim=1))
        worth = nearest * weight
        worth[chosen] = -1
        chosen.append(int(worth.argmax()))
    return torch.tensor(chosen)
