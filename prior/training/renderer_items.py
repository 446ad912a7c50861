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
from prior.renderer.unwrapping import TextureFrames, choose_bins
from render.drawing.renderer import expression_window, log_source_scale
from render.errors import StoreError
from render.head.face_model import FaceModel

#: Length of the enrollment part, seconds (shortest, longest), and the shortest gap to the targets where there is room.
ENROLLMENT_SECONDS = (1.5, 6.0)
GAP_SECONDS = 1.0
FEWEST_FRAMES = 24


#: A clip with its surely tracked frames [N].
UsableClip = tuple[PreparedClip, torch.Tensor]


@dataclass(frozen=True)
class TrainingItem:
    """Target frames, neighbours in time, and enrollment of one person; a batch stacks P items.

    Attributes:
        crops: uint8 [T, 3, H, W] sRGB of the targets.
        clip_vertices: [T, V, 4] of the targets; erasing_vertices: [T, K, V, 4] with the fixed expressions.
        window: [T, W, E]; log_scale: [T].
        enrollment_crops: uint8 [bins, n, 3, H, W]; enrollment_vertices: [bins, n, V, 4]; opening: [bins].
    """

    crops: torch.Tensor
    clip_vertices: torch.Tensor
    erasing_vertices: torch.Tensor
    window: torch.Tensor
    log_scale: torch.Tensor
    enrollment_crops: torch.Tensor
    enrollment_vertices: torch.Tensor
    opening: torch.Tensor

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
        return self.item(clip, self._targets(clip, frames, random), other, part)

    def item(
        self, clip: PreparedClip, targets: torch.Tensor, other: PreparedClip, enrollment: torch.Tensor
    ) -> TrainingItem:
        """Target frames of a clip with an enrollment from frames of another (or the same)."""
        track = clip.track
        opening = other.track.lower_expression[enrollment, 0]
        bins = choose_bins(opening)
        chosen = enrollment[bins.flatten()]
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
            enrollment_crops=_stacked(other, chosen).unflatten(0, bins.shape),
            enrollment_vertices=other.track.clip_vertices(self.model, chosen).unflatten(0, bins.shape),
            opening=opening[bins].mean(1),
        )

    def _part(self, clip: PreparedClip, frames: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
        """A random stretch of a clip's frames, at most half of it."""
        times = clip.track.timestamps[frames]
        whole = float(times[-1] - times[0])
        length = min(random.uniform(*ENROLLMENT_SECONDS), whole / 2)
        first = float(times[0]) + random.uniform(0, whole - length)
        part = frames[(times >= first) & (times <= first + length)]
        return part if len(part) >= FEWEST_FRAMES // 4 else frames

    def _targets(self, clip: PreparedClip, frames: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
        """Neighbours in time around a frame that is, each half of the time, any or one of an evenly drawn opening."""
        place = int(random.integers(len(frames)))
        if random.random() < 0.5:
            opening = clip.track.lower_expression[frames, 0].numpy()
            place = int(np.abs(opening - random.uniform(opening.min(), opening.max())).argmin())
        # Crops are in short runs: whichever stretch around the frame is shortest in time lies within one.
        starts = range(max(0, place - self.targets + 1), min(place, len(frames) - self.targets) + 1)
        times = clip.track.timestamps[frames]
        first = min(starts, key=lambda start: float(times[start + self.targets - 1] - times[start]))
        return frames[first : first + self.targets]


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
