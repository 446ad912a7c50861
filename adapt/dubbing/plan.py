"""`adapt dub --plan`: what a dub would do and how long it would take here, before anything is fitted or written.

In: a session, and requests as of a dub. Faces and tracks are found, and kept for the dub; then a few steps of a fit and
a few frames are done and thrown away. Out: a `Plan`: people, frames, poses, sound, minutes by the machine's own
speed at this moment, memory and disk.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from adapt.actor.bundle import ActorBundle
from adapt.actor.delta import new_delta
from adapt.dubbing.kept import DrawnFrame
from adapt.dubbing.options import INSERT, SOURCE, DubOptions
from adapt.dubbing.painter import Painter
from adapt.dubbing.part import MOST_SHOWN, Part, Request
from adapt.dubbing.quality import pose_coverage
from adapt.dubbing.redraw import look_at, put_into
from adapt.dubbing.report import Recorder
from adapt.dubbing.session import Session
from adapt.dubbing.weights import hand_over
from adapt.fitting.clip import KEPT_INPUTS, FirstLook, FitClip, FrameReader, first_look
from adapt.fitting.optimiser import JUDGE_EVERY, JUDGING, MOST_JUDGED, take_step
from adapt.fitting.replay import REPLAY_EVERY, REPLAYED
from adapt.fitting.state import FitState
from adapt.tracking.crop import read_crops
from render.compositing.composite import Patch
from render.compositing.occlusion import OccluderSeeker
from render.drawing.crop import CROP_SIZE
from render.errors import DubError
from render.head.track import Track
from render.splicing.stretches import plan_splice
from render.video.encoder import codec_like, suffix_like
from render.video.encoding import DeliveredSound, Encoding
from render.video.reader import Footage, Frame
from render.video.writer import VideoWriter

try:
    import resource
except ImportError:  # Windows has none
    resource = None  # type: ignore[assignment]

#: Frames that are drawn, frames that are written (an encoder holds back the first), and steps of a fit, to measure.
DRAWN, WRITTEN, STEPS = 8, 60, 3
#: What a fit keeps of a frame: a crop and the network's inputs, bytes. What a report's players take a frame, bytes.
FIT_BYTES, REPORT_BYTES = 2_200_000, 14_000


@dataclass(frozen=True)
class Plan:
    """What a dub would do.

    Attributes:
        people: a line for each: with what actor or fit, how many frames, which poses are beyond it.
        sound: what would be heard.
        frames: of the shot, and `drawn`: those in which somebody's mouth would be.
        minutes: that it would take now, and `fitting`: those of them that fits would.
        memory_gb: at most, by what planning took; `disk_gb`: what is written.
    """

    people: list[str]
    sound: str
    frames: int
    drawn: int
    minutes: float
    fitting: float
    memory_gb: float
    disk_gb: float

    def lines(self) -> list[str]:
        """The plan as text."""
        fitting = f", {self.fitting:.1f} of them to fit" if self.fitting else ""
        drawn = f"{self.drawn} of {self.frames} frames to draw; about {self.minutes:.1f} minutes{fitting}"
        room = f"memory: about {self.memory_gb:.1f} GB; disk: about {1000 * self.disk_gb:.0f} MB"
        return [*self.people, f"sound: {self.sound}", drawn, room]


def plan(session: Session, requests: Sequence[Request]) -> Plan:
    """Plan a dub.

    Raises:
        As `Session.parts`, but for what only a fit or the drawing would show.
    """
    bundles = session.refuse(requests)
    people, parts, fitting = [], [], 0.0
    inside = torch.from_numpy(session.inside)
    for (number, track), bundle in zip(session.tracks(requests), bundles, strict=True):
        trial = _Trial.of(session, track)
        actor = bundle.name if bundle else f"fitted from the shot in {session.options.fit_steps} steps, unless it was"
        part = Part(bundle or trial.bundle(), track, track.lower_expression, inside, session.prior, wanted=inside)
        parts.append(part)
        fitting += 0.0 if bundle else trial.fit_seconds()
        coverage = pose_coverage(part) if bundle else None
        shown = int((hand_over(part).weight > 0).sum())
        people.append("; ".join(filter(None, [f"person {number}: {actor}", f"{shown} frames", coverage])))
    drawn = torch.stack([hand_over(part).weight for part in parts]).amax(0) > 0
    if not bool(drawn.any()):
        raise DubError(f"{session.footage.path.name}: in no frame can anybody be dubbed; see `adapt check`")
    footage, count = session.footage, int(drawn.sum())
    speed = measured_speed(footage, parts, drawn, session.options)
    name = Path(f"out{suffix_of(footage, session.options)}")
    splice = plan_splice(footage, drawn.nonzero()[:, 0].tolist(), name, encoding_of(session.options))
    copied = splice.copied if splice else 0
    written = footage.frame_count - copied
    seconds = fitting + speed.drawing * count + speed.writing * written
    seconds += speed.showing * min(count, MOST_SHOWN)
    sound = sound_told(session.options, footage)
    replayed = min(session.options.fit_steps // REPLAY_EVERY, REPLAYED)
    fits = FIT_BYTES * (min(count, KEPT_INPUTS) + replayed) if fitting else 0
    disk = speed.bytes_a_frame * written + footage.path.stat().st_size * copied / footage.frame_count
    disk += REPORT_BYTES * min(count, MOST_SHOWN) * (1 + len(parts))
    room = (peak_memory() + fits) / 1e9, disk / 1e9
    return Plan(people, sound, footage.frame_count, count, seconds / 60, fitting / 60, *room)


def peak_memory() -> int:
    """The most memory that this process has held, bytes; 0 where the system does not say."""
    if resource is None:
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(most) * (1 if sys.platform == "darwin" else 1024)


@dataclass(frozen=True)
class _Trial:
    """A clip of a few frames of a track, to try a fit on."""

    session: Session
    clip: FitClip
    first: FirstLook

    @staticmethod
    def of(session: Session, track: Track) -> "_Trial":
        sure = (track.sure() & torch.from_numpy(session.inside)).nonzero()[:DRAWN, 0]
        if not len(sure):
            raise DubError(f"{session.footage.path.name}: the person is in no frame of the part, or not surely")
        small, rows = track.with_crop_size(CROP_SIZE), torch.arange(len(sure))
        clip = FitClip(small, sure, read_crops(session.footage, small, sure.tolist()), rows, rows)
        return _Trial(session, clip, first_look(session.prior, [clip]))

    def fit_seconds(self) -> float:
        """How long a fit takes at the speed of a few steps; the first, which lays things out, does not count."""
        options, prior = self.session.options, self.session.prior
        reader = FrameReader(prior, [self.clip], self.first, options.device)
        state = FitState(self.first.look.texture.clone(), new_delta(prior.renderer, 0)).to(reader.device)
        take_step(reader, state, 0.0, 0)
        started = time.monotonic()
        for _ in range(STEPS):
            take_step(reader, state, 0.0, 0)
        judged = (options.fit_steps / JUDGE_EVERY + 3) * MOST_JUDGED * JUDGING
        seconds = (time.monotonic() - started) / STEPS * (options.fit_steps + judged)
        return seconds if options.fit_minutes is None else min(seconds, 60 * options.fit_minutes)

    def bundle(self) -> ActorBundle:
        """The unadapted actor, who is drawn as fast as a fitted one."""
        prior = self.session.prior
        delta = {name: value.detach() for name, value in new_delta(prior.renderer, 0).items()}
        look = self.first.look
        return ActorBundle("unadapted", look.texture[0], delta, {}, prior.sha256, [], {}, bank=look.bank.stored())


@dataclass(frozen=True)
class Speed:
    """Seconds a frame: for `drawing` everybody into it, `showing` that in the report, and reading and `writing` it.

    And its bytes, written.
    """

    drawing: float
    showing: float
    writing: float
    bytes_a_frame: float


def measured_speed(footage: Footage, parts: Sequence[Part], drawn: torch.Tensor, options: DubOptions) -> Speed:
    """How fast frames are drawn and written, and how large they are; measured on a few, which are thrown away.

    Args:
        footage: the shot.
        parts: who is drawn.
        drawn: [T] bool, frames in which somebody is.
        options: how.
    """
    painters = [Painter.of(part, hand_over(part).weight, None, options.region, options.device) for part in parts]
    first = int(drawn.nonzero()[0, 0])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"trial{suffix_of(footage, options)}"
        writer = VideoWriter(footage, path, encoding_of(options), DeliveredSound([]))
        try:
            frames = footage.frames(first)
            some = list(islice(frames, DRAWN))
            started = time.monotonic()
            for part in parts if options.occluders else ():
                _look(part, some)
            patches = [painter.paint(some) for painter in painters]
            new = []
            for row, frame in enumerate(some):
                put_in = [by_one[row] for by_one in patches]
                new.append((frame, put_in, put_into(frame, put_in, options)))
            count = max(1, sum(any(patch is not None for patch in put_in) for _, put_in, _ in new))
            drawing, started = (time.monotonic() - started) / count, time.monotonic()
            _show(parts, new)
            showing = (time.monotonic() - started) / count
            for frame, _, one in new:
                writer.write(frame, one.planes(frame.planes))
            times = [time.monotonic()]
            for frame in islice(frames, WRITTEN):
                writer.write(frame)
                times.append(time.monotonic())
            writer.close()
        finally:
            writer.abandon()
        size = path.stat().st_size
    half = len(times) // 2
    writing = (times[-1] - times[half]) / max(len(times) - 1 - half, 1)
    return Speed(drawing, showing, writing, size / (len(some) + len(times) - 1))


def suffix_of(footage: Footage, options: DubOptions) -> str:
    """The suffix that the dubbed video has."""
    return suffix_like(footage.path.suffix, options.codec or codec_like(footage))


def encoding_of(options: DubOptions) -> Encoding:
    """How its pictures are encoded."""
    return Encoding(options.codec, options.quality)


def _show(parts: Sequence[Part], frames: Sequence[tuple[Frame, list[Patch | None], DrawnFrame]]) -> None:
    """Make the report's players of some frames, whether or not they would begin with these."""
    recorder = Recorder(parts)
    recorder.shown = range(frames[0][0].index, frames[-1][0].index + 1)
    for one in frames:
        recorder(*one)
    recorder.finish()


def _look(part: Part, frames: Sequence[Frame]) -> None:
    """Look for what lies in front, as is done before anything is drawn."""
    seeker = OccluderSeeker(part.prior.model, part.bundle.texture, part.track)
    for frame in frames:
        look_at(seeker, frame)


def sound_told(options: DubOptions, footage: Footage) -> str:
    """What would be heard, in words."""
    own = [f"{one.codec} {one.sample_rate} Hz {one.layout}" for one in footage.audio]
    source = f"the source's own ({', '.join(own) or 'none'})"
    deliver = options.deliver or (INSERT if options.part else None)
    if deliver == SOURCE:
        return source
    if deliver == INSERT:
        return f"the new line in {source}"
    return f"{deliver or 'what drives'}, in place of {source}"
