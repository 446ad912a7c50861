"""Redraw: re-render one or several actors' mouths in a shot and leave everything else as it was.

In: footage, and for each actor a bundle, a track and the motion to be drawn. A first look finds what lies in front of
the mouths; then frames stream: cut crops, draw, composite plane by plane, encode. Out: the written video, and
`Redrawn`, what happened frame by frame. Frames in which an actor cannot be dubbed pass through; beside them the mouth
is handed over (`adapt.dubbing.weights`), and no temporal operation crosses a cut. What was drawn is kept until all is
done, so that an interrupted run goes on (`adapt.dubbing.kept`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

import torch

from adapt.cache import NOTHING_KEPT, Found
from adapt.dubbing.kept import DrawnFrame, KeptDrawings, drawing_key, occlusion_key
from adapt.dubbing.options import DubOptions
from adapt.dubbing.painter import Painter
from adapt.dubbing.part import Part, shown_frames
from adapt.dubbing.provenance import ALTERED
from adapt.dubbing.weights import OCCLUDED, Handover, frame_status, hand_over
from adapt.progress import SILENT, Progress
from render.compositing.composite import MATTE_FLOOR, Patch, changed_outside, composite, measure_grain
from render.compositing.occlusion import LOOK_PX, OccluderSeeker, Occlusion
from render.drawing.crop import cut_crop
from render.drawing.renderer import FIXED_BATCH
from render.errors import DubError
from render.splicing.joins import SpliceError
from render.splicing.spliced_writer import SplicedWriter
from render.splicing.stretches import plan_splice
from render.video.encoding import DeliveredSound, Encoding
from render.video.reader import Footage, Frame
from render.video.writer import VideoWriter

#: Part of a new mouth that something in front holds back at least, where that is told: it may lie beside all of it.
LEAST_HELD_BACK = 0.01
#: Called with a frame, what is put into it for each part (None for nothing, and in a frame that was drawn by an earlier
#: run), and what became of it, None where it is the source's.
Watch = Callable[[Frame, list[Patch | None], DrawnFrame | None], None]


@dataclass(frozen=True)
class Redrawn:
    """What was redrawn.

    Attributes:
        handovers: of each part, how much of its mouth every frame took, and why where that is not all.
        status: per frame, a word of `adapt.dubbing.weights.STATUS`.
        in_front: frames in which something lies over a part of what would be drawn, and was left there.
        notes: what could not be kept or done, one sentence each.
        changed: per frame, the share of the coded samples that differ from the source's.
        kept: what was drawn, until all that belongs to it is written; None where nothing is kept.
        copied: stretches of frames (first, last + 1) that are the source's own packets.
    """

    handovers: list[Handover]
    status: list[str]
    in_front: list[int]
    notes: list[str]
    changed: list[float]
    kept: KeptDrawings | None = None
    copied: Sequence[tuple[int, int]] = ()

    @property
    def weights(self) -> torch.Tensor:
        """[P, T] how much of each part's mouth every frame took."""
        return torch.stack([handover.weight for handover in self.handovers])


def find_occlusions(
    footage: Footage, parts: Sequence[Part], progress: Progress, found: Found = NOTHING_KEPT
) -> list[Occlusion]:
    """What lies in front of each part's lower face: looked for in one pass, where it was not found before."""
    wanted = [hand_over(part).weight > 0 for part in parts]
    keys = ["" if found.folder is None else occlusion_key(*pair) for pair in zip(parts, wanted, strict=True)]
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
                    look_at(seeker, frame)
    for number, seeker in seekers.items():
        seen = occlusions[number] = seeker.occlusion()
        found.write(keys[number], *seen.stored())
    return [one for one in occlusions if one is not None]


def look_at(seeker: OccluderSeeker, frame: Frame) -> None:
    """Let what lies in front be looked for in one frame."""
    affine = seeker.track.crop_from_image[frame.index].numpy()
    seeker.look(frame.index, cut_crop(frame.preview, affine, LOOK_PX))


def redraw(
    footage: Footage,
    parts: Sequence[Part],
    output: Path,
    options: DubOptions = DubOptions(),
    sound: DeliveredSound | None = None,
    watch: Watch | None = None,
    progress: Progress = SILENT,
) -> Redrawn:
    """Write `output`: the footage with the parts' mouths re-rendered.

    Args:
        footage: the shot.
        parts: who is dubbed, with what motion; each a different person.
        output: video file to write; must not exist.
        options: how it is drawn and written.
        sound: what is delivered; None for the source's own sound.
        watch: called with each frame before it is written; where frames are copied, with those that are encoded and
            with what a report shows (`adapt.dubbing.part.shown_frames`).
        progress: where the bar goes.

    Raises:
        DubError: nothing can be dubbed.
        OutputError: the output cannot be written.
    """
    found = Found.of_user(options.keep_found)
    occlusions: list[Occlusion | None] = [None] * len(parts)
    if options.occluders:
        occlusions = list(find_occlusions(footage, parts, progress, found))
    pairs = list(zip(parts, occlusions, strict=True))
    handovers = [hand_over(part, one.hidden if one else None) for part, one in pairs]
    wanted = (torch.stack([handover.weight for handover in handovers]) > 0).any(0).nonzero()[:, 0].tolist()
    if not wanted:
        raise DubError(_why_nothing(footage, parts, occlusions))
    moved = [gliding(*pair) for pair in zip(parts, handovers, strict=True)]
    key = drawing_key(footage, moved, handovers, occlusions, options) if found.folder else ""
    kept = KeptDrawings(found, key, wanted)
    _tell_resumed(kept, footage, wanted, options, progress)
    painters = [
        Painter.of(part, handover.weight, one, options.region, options.device)
        for part, handover, one in zip(moved, handovers, occlusions, strict=True)
    ]
    drawing = _Drawing(footage, painters, handovers, kept, options, watch, shown_frames(parts) if watch else range(0))
    with kept.saved_when_interrupted(progress.note):
        written = _write(drawing, output, sound, wanted, progress)
    status = frame_status(handovers)
    return Redrawn(handovers, status, drawing.in_front, written.notes, drawing.changed, kept, written.copied)


def _tell_resumed(
    kept: KeptDrawings, footage: Footage, wanted: Sequence[int], options: DubOptions, progress: Progress
) -> None:
    """Say where drawing goes on; or that there is nothing to go on from, to those who asked for that."""
    if kept.first is None:
        progress.note(f"{footage.path.name}: all of it was drawn before, and is only written")
    elif kept.first > wanted[0]:
        at = f"{kept.first} of {footage.frame_count}"
        progress.note(f"{footage.path.name}: drawn before, so it goes on at frame {at}")
    elif options.resume:
        progress.note(f"{footage.path.name}: there is no drawing to go on from; it begins anew")


@dataclass
class _Drawing:
    """Frames of a dub as they are drawn, in order, in one or several passes.

    Attributes:
        changed: per frame, the share of samples that differ from the source's, so far.
        in_front: frames in which something in front of a mouth was left there, so far.
        seen: the frames before this one were shown to `watch`.
    """

    footage: Footage
    painters: Sequence[Painter]
    handovers: Sequence[Handover]
    kept: KeptDrawings
    options: DubOptions
    watch: Watch | None
    shown: range

    def __post_init__(self) -> None:
        self.changed = [0.0] * self.footage.frame_count
        self.in_front: list[int] = []
        self.seen = 0

    def write(self, writer: VideoWriter, copied: Sequence[tuple[int, int]], progress: Progress) -> None:
        """Draw all frames but those that are copied, and write them; those that are shown, too, are shown."""
        left_out = {frame for start, stop in copied for frame in range(start, stop)}
        read = [n for n in range(self.footage.frame_count) if n not in left_out or n in self.shown]
        with progress.stage("dub", len(read)) as advance:
            for frame, patches, drawn in self._frames(_spans(read)):
                _mark_hidden(self.handovers, frame.index, drawn)
                if self.watch is not None and frame.index >= self.seen:
                    self.watch(frame, patches, drawn)
                self.seen = max(self.seen, frame.index + 1)
                if frame.index not in left_out:
                    writer.write(frame, drawn.planes(frame.planes) if drawn else None)
                self.changed[frame.index] = drawn.changed if drawn else 0.0
                if drawn and drawn.in_front and frame.index not in self.in_front:
                    self.in_front.append(frame.index)
                advance(1)

    def _frames(
        self, spans: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[Frame, list[Patch | None], DrawnFrame | None]]:
        """Every frame, with what is put into it for each part now, and what became of it; None where nothing is."""
        nothing: list[Patch | None] = [None] * len(self.painters)
        frames_of_spans = chain.from_iterable(self.footage.frames(*span) for span in spans)
        for frames in _batches(frames_of_spans, self.options.batch or 2 * FIXED_BATCH):
            before = {frame.index: drawn for frame in frames if (drawn := self.kept.get(frame.index))}
            new = [frame for frame in frames if frame.index not in before]
            by_part = [painter.paint(new) for painter in self.painters]
            painted = {frame.index: [one[row] for one in by_part] for row, frame in enumerate(new)}
            for frame in frames:
                patches, drawn = painted.get(frame.index, nothing), before.get(frame.index)
                if drawn is None and any(patch is not None for patch in patches):
                    patches = [patch if patch is not None and _is_seen(patch) else None for patch in patches]
                    drawn = put_into(frame, patches, self.options)
                    self.kept.add(frame.index, drawn)
                yield frame, patches, drawn


@dataclass(frozen=True)
class _Written:
    """What a writer noted, and which stretches of frames (first, last + 1) it copied."""

    notes: list[str]
    copied: Sequence[tuple[int, int]] = ()


def _write(
    drawing: _Drawing, output: Path, sound: DeliveredSound | None, wanted: Sequence[int], progress: Progress
) -> _Written:
    """Write the video: what nothing is drawn into is copied where that can be, else all of it is encoded anew."""
    footage, options = drawing.footage, drawing.options
    encoding = Encoding(options.codec, options.quality)
    comment = footage.metadata.get("comment", ALTERED)
    tags = {"comment": comment if comment.startswith(ALTERED) else f"{ALTERED}; {comment}"}
    notes = []
    if splice := plan_splice(footage, wanted, output, encoding):
        copied = [(one.start, one.stop) for one in splice.stretches if one.is_copied]
        try:
            with SplicedWriter(splice, footage, output, encoding, sound, tags) as spliced:
                drawing.write(spliced, copied, progress)
            return _Written(spliced.notes, copied)
        except SpliceError as error:
            notes.append(f"no frame is copied from the source, all are encoded anew: {error}")
    with VideoWriter(footage, output, encoding, sound, tags) as writer:
        drawing.write(writer, (), progress)
    return _Written([*notes, *writer.notes])


def _spans(frames: Sequence[int]) -> list[tuple[int, int]]:
    """Runs of ascending numbers that follow each other: first, last + 1."""
    runs: list[tuple[int, int]] = []
    for frame in frames:
        if runs and runs[-1][1] == frame:
            runs[-1] = runs[-1][0], frame + 1
        else:
            runs.append((frame, frame + 1))
    return runs


def _mark_hidden(handovers: Sequence[Handover], frame: int, drawn: DrawnFrame | None) -> None:
    """What lies in front of all of a mouth is told as such."""
    for handover, is_shown in zip(handovers, drawn.shown if drawn else (), strict=False):
        if not is_shown and float(handover.weight[frame]) > 0:
            handover.weight[frame], handover.reason[frame] = 0.0, OCCLUDED


def _is_seen(patch: Patch) -> bool:
    return bool((patch.matte >= MATTE_FLOOR).any())


def gliding(part: Part, handover: Handover) -> Part:
    """The part with its motion gliding to the source's own where it is handed over."""
    motion = handover.motion[:, None].to(part.expression.dtype)
    return replace(part, expression=torch.lerp(part.track.lower_expression, part.expression, motion))


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


def put_into(frame: Frame, patches: Sequence[Patch | None], options: DubOptions) -> DrawnFrame:
    """Composite what is to be seen of each part's mouth into a frame."""
    footage, source = frame.footage, frame.planes
    planes = source
    put_in = [patch for patch in patches if patch is not None]
    for number, patch in enumerate(put_in):
        noise = measure_grain(footage, source, patch) if options.grain else None
        planes = composite(footage, planes, patch, noise, (options.seed + number, frame.index))
    stray = changed_outside(footage, source, planes, put_in)
    assert stray == 0, f"frame {frame.index}: {stray} samples outside the matte changed"
    in_front = any(patch.held_back >= LEAST_HELD_BACK for patch in put_in)
    return DrawnFrame.of(source, planes, [patch is not None for patch in patches], in_front)
