"""`adapt dub`: re-render one or several actors' mouths in a shot and leave everything else as it was.

In: footage, and for each actor a bundle, a track and the motion to be drawn. Frames stream: cut crops, draw, composite
plane by plane, encode. Out: the written video, and `Dubbed`, what happened frame by frame. Frames in which an actor
cannot be dubbed pass through; the change ramps in and out beside them, and no temporal operation crosses a cut.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch

from adapt.bundle import ActorBundle
from adapt.crop import cut_crop
from adapt.drive import blend_weights, pose_weights
from adapt.fit import adapted_renderer
from adapt.inspection import ALTERED
from adapt.progress import Progress
from prior.renderer_prior import RendererPrior, load_renderer_prior
from render.composite import Patch, changed_outside, composite, match_border, measure_grain
from render.errors import DubError
from render.gbuffer import CROP_SIZE
from render.renderer import FIXED_BATCH, Renderer, draw, render_inputs
from render.track import Track
from render.video import Footage, Frame
from render.video_writer import VideoWriter

#: Frames below this confidence pass through.
CONFIDENT = 0.4
RAMP_SECONDS = 0.16
#: The matte falls to 0 over so many px of a 256 px crop, inside the paste mask.
FEATHER_PX = 7
#: How far beyond the fitted pose a face may turn before it fades to the source, and over which angle; degrees.
POSE_MARGIN_DEGREES, POSE_FADE_DEGREES = 12.0, 8.0
DUBBED, PASSED, LOW = "dubbed", "passed through", "low confidence"


@dataclass(frozen=True)
class Part:
    """One actor's part in a dub.

    Attributes:
        bundle: the fitted actor.
        track: of that person in the shot.
        expression: [T, E] lower expression to be drawn, one row a frame.
        driven: [T] bool; frames whose motion is known.
    """

    bundle: ActorBundle
    track: Track
    expression: torch.Tensor
    driven: torch.Tensor


@dataclass
class Dubbed:
    """What a dub did.

    Attributes:
        weights: [P, T] how much of each part's mouth every frame took.
        status: per frame, a word of `adapt.report.STATUS_COLOURS`.
        notes: what could not be kept or done, one sentence each.
        changed: per frame, the share of the coded samples that differ from the source's.
    """

    weights: torch.Tensor
    status: list[str]
    notes: list[str] = field(default_factory=list)
    changed: list[float] = field(default_factory=list)


def part_weights(part: Part) -> torch.Tensor:
    """How much of a part's mouth each frame takes, [T] in [0, 1]."""
    track = part.track
    usable = (track.confidence >= CONFIDENT) & part.driven
    ramp = blend_weights(usable, track.shot, track.timestamps, RAMP_SECONDS)
    low, high = torch.full((3,), -torch.inf), torch.full((3,), torch.inf)
    margin = torch.tensor(POSE_MARGIN_DEGREES)
    for axis, name in ((1, "yaw"), (0, "pitch")):
        if name in part.bundle.pose_range:
            low[axis] = torch.deg2rad(part.bundle.pose_range[name][0] - margin)
            high[axis] = torch.deg2rad(part.bundle.pose_range[name][1] + margin)
    return ramp * pose_weights(track.rotation, low, high, float(np.deg2rad(POSE_FADE_DEGREES)))


def frame_status(parts: Sequence[Part], weights: torch.Tensor) -> list[str]:
    """One word a frame: dubbed where any part is drawn in full, else why not."""
    words = []
    for index in range(weights.shape[1]):
        seen = [float(part.track.confidence[index]) for part in parts]
        if float(weights[:, index].max()) > 0:
            words.append(DUBBED)
        elif any(0 < value < CONFIDENT for value in seen):
            words.append(LOW)
        else:
            words.append(PASSED)
    return words


def dub(
    footage: Footage,
    parts: Sequence[Part],
    output: Path,
    codec: str | None = None,
    quality: str = "standard",
    audio: Sequence[Path] | None = None,
    grain: bool = False,
    seed: int = 0,
    batch: int = 2 * FIXED_BATCH,
    prior: RendererPrior | None = None,
    watch: Callable[[Frame, list[Patch]], None] | None = None,
    progress: Progress | None = None,
) -> Dubbed:
    """Write `output`: the footage with the parts' mouths re-rendered.

    Args:
        footage: the shot.
        parts: who is dubbed, with what motion; each a different person.
        output: video file to write; must not exist.
        codec: h264, h265, ffv1 or prores; default the source's family.
        quality: draft, standard or final.
        audio: sound files to deliver; None keeps the source's own.
        grain: put the source's own grain onto drawn pixels.
        seed: of the grain.
        batch: frames held at once; does not change the result.
        prior: renderer prior; default the shipped one.
        watch: called with each frame, before it is written, and what was put into it.
        progress: where the bar goes.

    Raises:
        DubError: nothing can be dubbed.
        OutputError: the output cannot be written.
    """
    prior = prior or load_renderer_prior()
    progress = progress or Progress(silent=True)
    weights = torch.stack([part_weights(part) for part in parts])
    if not bool((weights > 0).any()):
        raise DubError(
            f"{footage.path.name}: in no frame can the chosen person be dubbed (face not found, confidence too low, "
            "or turned beyond the fitted range); `adapt track --overlay` shows why"
        )
    result = Dubbed(weights, frame_status(parts, weights))
    painters = [Painter.of(part, prior, weight) for part, weight in zip(parts, weights, strict=True)]
    with (
        VideoWriter(footage, output, codec, quality, audio, tags={"comment": ALTERED}) as writer,
        progress.stage("dub", footage.frame_count) as advance,
    ):
        for frames in _batches(footage.frames(), batch):
            patches = [painter.paint(frames) for painter in painters]
            for row, frame in enumerate(frames):
                own = [patch for found in patches if (patch := found[row]) is not None]
                if watch is not None:
                    watch(frame, own)
                result.changed.append(_write(writer, frame, own, grain, seed))
                advance(1)
    result.notes += writer.notes
    return result


def _batches(frames: Iterator[Frame], size: int) -> Iterator[list[Frame]]:
    while batch := list(islice(frames, size)):
        yield batch


def _write(writer: VideoWriter, frame: Frame, patches: list[Patch], grain: bool, seed: int) -> float:
    """Composite and encode one frame; returns the share of its samples that changed."""
    if not patches:
        writer.write(frame)
        return 0.0
    footage = writer.footage
    source = frame.planes
    planes = source
    for number, patch in enumerate(patches):
        noise = measure_grain(footage, source, patch) if grain else None
        planes = composite(footage, planes, patch, noise, (seed + number, frame.index))
    stray = changed_outside(footage, source, planes, patches)
    assert stray == 0, f"frame {frame.index}: {stray} samples outside the matte changed"
    changed = sum(int(np.count_nonzero(new != old)) for new, old in zip(planes, source, strict=True))
    writer.write(frame, planes)
    return changed / sum(plane.size for plane in source)


@dataclass(frozen=True)
class Painter:
    """Draws one part's mouth, batch by batch.

    Attributes:
        part: whose track has crops of the renderer's size.
        prior: renderer prior.
        renderer: the prior's with the actor's delta.
        weight: [T] how much of it each frame takes.
    """

    part: Part
    prior: RendererPrior
    renderer: Renderer
    weight: torch.Tensor

    @staticmethod
    def of(part: Part, prior: RendererPrior, weight: torch.Tensor) -> "Painter":
        """A painter for a part."""
        small = replace(part, track=part.track.with_crop_size(CROP_SIZE))
        return Painter(small, prior, adapted_renderer(prior, part.bundle.delta), weight)

    def paint(self, frames: Sequence[Frame]) -> list[Patch | None]:
        """What is put into each frame; None where nothing is."""
        wanted = [frame for frame in frames if float(self.weight[frame.index]) > 0]
        if not wanted:
            return [None] * len(frames)
        track = self.part.track
        index = torch.tensor([frame.index for frame in wanted])
        affine = [track.crop_from_image[number].numpy() for number in index]
        cut = [cut_crop(frame.rgb, matrix, CROP_SIZE) for frame, matrix in zip(wanted, affine, strict=True)]
        crops = torch.from_numpy(np.stack(cut)).permute(0, 3, 1, 2).float() / 255
        inputs = render_inputs(
            self.prior.model, track, index, crops, self.prior.outer_expressions, self.part.expression
        )
        drawn = draw(self.renderer, self.part.bundle.texture[None], inputs)
        patches: dict[int, Patch] = {}
        for row, frame in enumerate(wanted):
            matte = feathered(drawn.matte[row, 0].numpy(), drawn.paste[row, 0].numpy())
            source = cut[row].astype(np.float32) / 255
            rgb = match_border(np.ascontiguousarray(drawn.rgb[row].permute(1, 2, 0).numpy()), source, matte)
            patches[frame.index] = Patch(rgb, matte * float(self.weight[frame.index]), affine[row])
        return [patches.get(frame.index) for frame in frames]


def feathered(matte: np.ndarray, paste: np.ndarray) -> np.ndarray:
    """A matte [H, W] that falls to 0 towards the border of the paste mask [H, W] of 0 and 1, and is 0 outside it."""
    distance = cv2.distanceTransform((paste > 0).astype(np.uint8), cv2.DIST_L2, 3)
    ramp = np.clip(distance * (CROP_SIZE / paste.shape[0]) / FEATHER_PX, 0, 1)
    return np.asarray(matte * ramp * ramp * (3 - 2 * ramp), np.float32)
