"""Redraw: re-render one or several actors' mouths in a shot and leave everything else as it was.

In: footage, and for each actor a bundle, a track and the motion to be drawn. A first look finds what lies in front of
the mouths; then frames stream: cut crops, draw, composite plane by plane, encode. Out: the written video, and
`Redrawn`, what happened frame by frame. Frames in which an actor cannot be dubbed pass through; beside them the mouth
is handed over (`adapt.dubbing.weights`), and no temporal operation crosses a cut.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from adapt.cache import NOTHING_KEPT, Found, code_sha256, content_key
from adapt.dubbing.options import DubOptions
from adapt.dubbing.painter import Painter
from adapt.dubbing.part import Part
from adapt.dubbing.provenance import ALTERED
from adapt.dubbing.weights import OCCLUDED, Handover, frame_status, hand_over
from adapt.progress import SILENT, Progress
from render.compositing.composite import MATTE_FLOOR, Patch, changed_outside, composite, measure_grain
from render.compositing.occlusion import LOOK_PX, OccluderSeeker, Occlusion
from render.drawing.crop import cut_crop
from render.drawing.renderer import FIXED_BATCH
from render.errors import DubError
from render.video.encoding import DeliveredSound, Encoding
from render.video.reader import Footage, Frame
from render.video.writer import VideoWriter


@dataclass(frozen=True)
class Redrawn:
    """What was redrawn.

    Attributes:
        handovers: of each part, how much of its mouth every frame took, and why where that is not all.
        status: per frame, a word of `adapt.dubbing.weights.STATUS`.
        in_front: frames in which something lies over a part of a lower face, and was left there.
        notes: what could not be kept or done, one sentence each.
        changed: per frame, the share of the coded samples that differ from the source's.
    """

    handovers: list[Handover]
    status: list[str]
    in_front: list[int]
    notes: list[str]
    changed: list[float]

    @property
    def weights(self) -> torch.Tensor:
        """[P, T] how much of each part's mouth every frame took."""
        return torch.stack([handover.weight for handover in self.handovers])


def find_occlusions(
    footage: Footage, parts: Sequence[Part], progress: Progress, found: Found = NOTHING_KEPT
) -> list[Occlusion]:
    """What lies in front of each part's lower face: looked for in one pass, where it was not found before."""
    wanted = [hand_over(part).weight > 0 for part in parts]
    keys = ["" if found.folder is None else _occlusion_key(*pair) for pair in zip(parts, wanted, strict=True)]
    occlusions = [Occlusion.of(*kept) if (kept := found.read(key)) else None for key in keys]
    seekers = {
        number: OccluderSeeker(part.prior.model, part.bundle.texture, part.track, part.heads)
        for number, part in enumerate(parts)
        if occlusions[number] is None
    }
    frames = torch.stack([wanted[number] for number in seekers] or [torch.zeros(1)]).any(0).nonzero()[:, 0]
    if len(frames):
        first, last = int(frames[0]), int(frames[-1])
        for frame in progress.over("look", footage.frames(first, last + 1), last + 1 - first):
            for number, seeker in seekers.items():
                if bool(wanted[number][frame.index]):
                    affine = seeker.track.crop_from_image[frame.index].numpy()
                    seeker.look(frame.index, cut_crop(frame.preview, affine, LOOK_PX))
    for number, seeker in seekers.items():
        seen = occlusions[number] = seeker.occlusion()
        found.write(keys[number], *seen.stored())
    return [one for one in occlusions if one is not None]


def _occlusion_key(part: Part, wanted: torch.Tensor) -> str:
    """What the occlusion of a part is kept under: all that is looked at, but not what is drawn."""
    track = part.track
    tensors = [track.crop_from_image, track.rotation, track.translation, track.focal_px, track.shape]
    tensors += [track.lower_expression, track.upper_expression, track.timestamps, track.shot]
    tensors += [part.bundle.texture, wanted]
    digest = sha256()
    for tensor in tensors:
        digest.update(tensor.contiguous().numpy().tobytes())
    for frame, outline in sorted(part.heads.items()):
        digest.update(f"{frame}".encode() + np.ascontiguousarray(outline).tobytes())
    return content_key(
        {
            "what": "occlusion",
            "footage": track.source.get("sha256"),
            "looked at": digest.hexdigest(),
            "code": code_sha256("render.compositing.occlusion", "render.drawing.crop", "render.video.reader"),
            "torch": torch.__version__,
        }
    )


def redraw(
    footage: Footage,
    parts: Sequence[Part],
    output: Path,
    options: DubOptions = DubOptions(),
    sound: DeliveredSound | None = None,
    watch: Callable[[Frame, list[Patch | None]], None] | None = None,
    progress: Progress = SILENT,
) -> Redrawn:
    """Write `output`: the footage with the parts' mouths re-rendered.

    Args:
        footage: the shot.
        parts: who is dubbed, with what motion; each a different person.
        output: video file to write; must not exist.
        options: how it is drawn and written.
        sound: what is delivered; None for the source's own sound.
        watch: called with each frame, before it is written, and what is put into it for each part, None for nothing.
        progress: where the bar goes.

    Raises:
        DubError: nothing can be dubbed.
        OutputError: the output cannot be written.
    """
    occlusions: list[Occlusion | None] = [None] * len(parts)
    if options.occluders:
        occlusions = list(find_occlusions(footage, parts, progress, Found.of_user(options.keep_found)))
    pairs = list(zip(parts, occlusions, strict=True))
    handovers = [hand_over(part, one.hidden if one else None) for part, one in pairs]
    if not any(bool((handover.weight > 0).any()) for handover in handovers):
        raise DubError(_why_nothing(footage, parts, occlusions))
    painters = [
        Painter.of(_gliding(part, handover), handover.weight, one, options.region, options.device)
        for (part, one), handover in zip(pairs, handovers, strict=True)
    ]
    comment = footage.metadata.get("comment", ALTERED)
    tags = {"comment": comment if comment.startswith(ALTERED) else f"{ALTERED}; {comment}"}
    changed = []
    with (
        VideoWriter(footage, output, Encoding(options.codec, options.quality), sound, tags) as writer,
        progress.stage("dub", footage.frame_count) as advance,
    ):
        for frames in _batches(footage.frames(), options.batch or 2 * FIXED_BATCH):
            patches = [painter.paint(frames) for painter in painters]
            for row, frame in enumerate(frames):
                seen = [
                    _visible(drawn[row], handover, frame.index)
                    for drawn, handover in zip(patches, handovers, strict=True)
                ]
                if watch is not None:
                    watch(frame, seen)
                put_in = [patch for patch in seen if patch is not None]
                changed.append(write_frame(writer, frame, put_in, options))
                advance(1)
    shown = torch.stack([handover.weight for handover in handovers]).amax(0)
    in_front = {frame for one in occlusions if one for frame in one.masks if float(shown[frame])}
    return Redrawn(handovers, frame_status(handovers), sorted(in_front), writer.notes, changed)


def _gliding(part: Part, handover: Handover) -> Part:
    """The part with its motion gliding to the source's own where it is handed over."""
    motion = handover.motion[:, None].to(part.expression.dtype)
    return replace(part, expression=torch.lerp(part.track.lower_expression, part.expression, motion))


def _visible(patch: Patch | None, handover: Handover, frame: int) -> Patch | None:
    """The patch, if anything of it is seen; what lies in front of all of it is told as such."""
    if patch is None or bool((patch.matte >= MATTE_FLOOR).any()):
        return patch
    handover.weight[frame], handover.reason[frame] = 0.0, OCCLUDED
    return None


def _why_nothing(footage: Footage, parts: Sequence[Part], occlusions: Sequence[Occlusion | None]) -> str:
    name = footage.path.name
    if all(bool((part.track.confidence > 0).any()) and not bool(part.in_picture.any()) for part in parts):
        return (
            f"{name}: in no frame can the chosen person be dubbed: mouth or chin lie outside the picture; choose a "
            "wider shot; `adapt track --overlay` shows the face"
        )
    if any(one is not None and bool(one.hidden.any()) for one in occlusions):
        return (
            f"{name}: in no frame can the chosen person be dubbed: something lies over the mouth, or the bundle is of "
            "somebody else; look at `adapt preview`, or pass --occluders ignore"
        )
    return (
        f"{name}: in no frame can the chosen person be dubbed (face not found, confidence too low, "
        "or turned beyond the fitted range); `adapt track --overlay` shows why"
    )


def _batches(frames: Iterator[Frame], size: int) -> Iterator[list[Frame]]:
    while batch := list(islice(frames, size)):
        yield batch


def write_frame(writer: VideoWriter, frame: Frame, patches: list[Patch], options: DubOptions) -> float:
    """Composite and encode one frame; returns the share of its samples that changed."""
    if not patches:
        writer.write(frame)
        return 0.0
    footage = writer.footage
    source = frame.planes
    planes = source
    for number, patch in enumerate(patches):
        noise = measure_grain(footage, source, patch) if options.grain else None
        planes = composite(footage, planes, patch, noise, (options.seed + number, frame.index))
    stray = changed_outside(footage, source, planes, patches)
    assert stray == 0, f"frame {frame.index}: {stray} samples outside the matte changed"
    changed = sum(int(np.count_nonzero(new != old)) for new, old in zip(planes, source, strict=True))
    writer.write(frame, planes)
    return changed / sum(plane.size for plane in source)
