"""Video in: a file → facts, exact timestamps, frames that stream.

In: any file that FFmpeg reads (through PyAV). Out: `Footage` (facts and timestamps, known before anything is decoded)
and its `Frame`s, one at a time: coded planes in the source's own sampling, depth, orientation and pixel shape, and
upright 8-bit rgb of square pixels for looking at. Time is `pts * time_base` as a Fraction; nominal frame rates are
never used. What a damaged file lacks is noted in `Footage.notes`; interlaced footage, and footage whose pictures change
in size or pixel format, is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.stream import Discard

from render.errors import FootageError
from render.video.clean_aperture import WHOLE, CleanAperture, read_aperture
from render.video.container import (
    audio_info,
    choose_video,
    decoded,
    describe_streams,
    matroska_header,
    open_media,
    short_reason,
    shown_until,
    timecode,
    videos,
)
from render.video.picture_kind import Announcements, PictureKind, declares_fields
from render.video.pixel_shape import LARGEST_ASPECT, resized, shape_words, square_size
from render.video.planes import (
    Colour,
    Orientation,
    drop_meaningless_tags,
    dynamic_hdr,
    frame_colour,
    frame_planes,
    mastering_words,
    planar,
    planar_format,
    plane_views,
    rgb_from_frame,
)
from render.video.siting import ASSUMED, HALF_AND_HALF, Siting, read_siting

# Frames looked at when the file is opened.
PROBE_FRAMES = 4


class Frame:
    """One frame of footage: `index`, exact time, `planes` as coded, upright `rgb`; converted only when asked for."""

    def __init__(self, footage: Footage, index: int, pts: int, picture: av.VideoFrame) -> None:
        self.footage = footage
        self.index = index
        self.pts = pts
        self.picture = picture

    @property
    def time(self) -> Fraction:
        """Exact presentation time in seconds."""
        return self.pts * self.footage.time_base

    @property
    def timestamp(self) -> float:
        """Presentation time in seconds."""
        return float(self.time)

    @cached_property
    def rgb(self) -> np.ndarray:
        """Upright picture in square pixels, uint8 [H, W, 3], the footage's own transfer curve (not tone-mapped)."""
        return self.footage.shown(rgb_from_frame(self.picture, self.footage.colour))

    @cached_property
    def preview(self) -> np.ndarray:
        """`rgb`, converted many times faster and a few levels off: for finding things in, not for rendering."""
        return self.footage.shown(rgb_from_frame(self.picture, self.footage.colour, is_exact=False), is_exact=False)

    @property
    def planes(self) -> list[np.ndarray]:
        """Copies of the planes as coded (not rotated, not square), uint8 or uint16 [H, W] each, by `pix_fmt`."""
        return frame_planes(self.picture)

    def with_planes(self, planes: Sequence[np.ndarray]) -> Frame:
        """The frame with other samples, of the shapes and types of `planes`: to be looked at by `preview`."""
        source = planar(self.picture)
        picture = av.VideoFrame(source.width, source.height, source.format.name)
        for view, plane in zip(plane_views(picture), planes, strict=True):
            view[:] = plane
        picture.colorspace, picture.color_range = source.colorspace, source.color_range
        return Frame(self.footage, self.index, self.pts, picture)

    def __repr__(self) -> str:
        return f"<Frame {self.index} at {timecode(self.timestamp)}>"


class Footage:
    """One video file, opened for reading. Facts at once, frames as a stream; may be iterated any number of times.

    Args:
        path: the file.
        progressive: pictures that are flagged as interlaced are of one moment all the same, and are read as frames.

    Attributes:
        path: the file.
        width, height: upright size of what is shown, square px. `coded_width`, `coded_height`: of the coded luma plane.
        aperture: what of the coded picture is shown.
        orientation: how the coded picture is turned upright; `rotation` is its clockwise angle in degrees.
        pix_fmt: planar FFmpeg name of `Frame.planes` (`yuv420p10le`); `bit_depth`: bits per sample.
        colour: matrix, range, primaries, transfer (as tagged, and the matrix in force where the tag is silent).
        siting: where chroma samples lie, as tagged, else at the left; `Frame.rgb` is read so.
        dynamic_hdr: names of what describes light frame by frame: Dolby Vision, HDR10+.
        mastering: HDR10 mastering display and light levels in x265's words, empty if there are none.
        sample_aspect: width / height of a coded pixel.
        codec, profile, container: FFmpeg names; the profile is None where the codec has none.
        time_base: seconds per pts unit. `pts`: int64 [T], ascending. `durations`: int64 [T] in the same unit.
        audio: the audio streams. `streams`: one line per stream.
        has_other_videos: whether it holds more video streams than the one that is read.
        metadata, video_metadata, chapters: as in the file.
        notes: faults and losses of the file, one sentence each.

    Raises:
        FootageError: missing, empty, not media, no video, nothing decodable, interlaced, unsupported pixel format, or
            pictures that change in size or pixel format. Where nothing but a later picture itself tells of such a
            change, or of fields, `frames` raises it.
    """

    def __init__(self, path: str | Path, progressive: bool = False) -> None:
        self.path = Path(path)
        self.progressive = progressive
        self.notes: list[str]
        self._missing: set[int] = set()
        self._decoder_options: dict[str, str] = {}
        self._resets: set[int] = set()
        with open_media(self.path) as container:
            stream, self.notes = choose_video(container, self.path)
            self._read_container(container, stream)
            first = self._probe(container, stream)
            header = matroska_header(stream)
            self._measure(read_aperture(header, first.width, first.height))
            self.dynamic_hdr = dynamic_hdr(first, header)
            self.siting = self._sited(first, HALF_AND_HALF in header)
        self._decodes_in_order = self._scan(first)

    def __enter__(self) -> Footage:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None

    def _read_container(self, container: Any, stream: Any) -> None:
        self.container = container.format.name
        self.codec = stream.codec_context.codec.canonical_name
        self.profile: str | None = stream.codec_context.profile
        self.stream_index: int = stream.index
        self.time_base: Fraction = stream.time_base
        self.sample_aspect = stream.sample_aspect_ratio or Fraction(1)
        self.nominal_rate: Fraction | None = stream.guessed_rate or stream.average_rate
        self.metadata = dict(container.metadata)
        self.video_metadata = dict(stream.metadata)
        self.chapters = container.chapters()
        self._declared_frames = stream.frames if "mp4" in self.container else 0
        self._declared_end = shown_until(container, stream, self.path)
        self.audio = tuple(audio_info(s, container) for s in container.streams.audio if s.codec_context)
        self.streams = describe_streams(container)
        self.has_other_videos = len(videos(container)) > 1

    def _probe(self, container: Any, stream: Any) -> av.VideoFrame:
        pictures = list(islice(self._decoded(container, stream), PROBE_FRAMES))
        if not pictures:
            raise FootageError(f"{self.path}: none of its video can be decoded ({self.codec})")
        start, first = pictures[0]
        self.coded_width, self.coded_height = first.width, first.height
        self.pix_fmt = planar_format(first.format.name, self.path)
        self.bit_depth: int = av.VideoFormat(self.pix_fmt).components[0].bits
        self.orientation = Orientation.of(first, self.path)
        self.colour: Colour = frame_colour(first, self.path)
        self.mastering = mastering_words(first)
        self._kind = PictureKind(self.path, self.codec, first.width, first.height, self.pix_fmt, self.progressive)
        if declares_fields(stream.codec_context):
            self._kind.refuse_fields(float(start * self.time_base))
        for pts, picture in pictures:
            self._kind.refuse_other(picture, float(pts * self.time_base))
        return first

    def _measure(self, aperture: CleanAperture) -> None:
        """Find the size of what is shown."""
        self.aperture = aperture
        square = square_size(*aperture.size(self.coded_width, self.coded_height), self.sample_aspect)
        self.width, self.height = self.orientation.size(*square)
        if not Fraction(1, LARGEST_ASPECT) <= self.sample_aspect <= LARGEST_ASPECT:
            self.notes.append(f"a pixel shape of {shape_words(self.sample_aspect)} is not believed; taken as square")
        if aperture != WHOLE:
            clean = "x".join(map(str, aperture.size(self.coded_width, self.coded_height)))
            self.notes.append(
                f"of {self.coded_width}x{self.coded_height} coded pixels {clean} are shown (clean aperture); the rest "
                "is kept as it is"
            )

    def _sited(self, first: av.VideoFrame, is_said: bool) -> Siting:
        """Where chroma lies; where nothing says so, decoders are told `ASSUMED` from here on."""
        siting = read_siting(first)
        if siting.across == 0 or is_said:
            return siting
        self._decoder_options = ASSUMED
        with open_media(self.path) as container:
            stream = container.streams[self.stream_index]
            return read_siting(next(frame for _, frame in self._decoded(container, stream)))

    @property
    def rotation(self) -> int:
        """Clockwise angle in degrees by which the coded picture is turned when shown: 0, 90, 180 or 270."""
        return self.orientation.rotation

    def shown(self, coded: np.ndarray, is_exact: bool = True) -> np.ndarray:
        """A coded picture uint8 [H, W, 3] as it is shown: its clean aperture, upright, in square pixels."""
        upright = np.ascontiguousarray(self.orientation.upright(self.aperture.of(coded)))
        return resized(upright, self.width, self.height, is_exact)

    @property
    def coded_from_image(self) -> np.ndarray:
        """Affine map, float64 [2, 3], from px of the picture that is shown to px of the coded luma plane."""
        clean = self.aperture.size(self.coded_width, self.coded_height)
        width, height = self.orientation.size(*clean)
        upright_from_image = np.diag([width / self.width, height / self.height, 1.0])
        coded_from_image = self.orientation.coded_from_upright(*clean) @ upright_from_image
        coded_from_image[:, 2] += self.aperture.left, self.aperture.top
        return coded_from_image

    def _scan(self, first: av.VideoFrame) -> bool:
        """Fill `pts` and `durations`; True where frame numbers are only known by decoding from the start."""
        stamps, damaged = self._packet_times()
        stamps = {pts: d for pts, d in stamps.items() if first.pts is not None and pts >= first.pts}
        # A cut-off file's index lists frames that are not there, VP8 has packets that are never shown, and AVI keeps
        # the order of decoding only.
        cut_off = len(stamps) < self._declared_frames and not self._edited
        by_decoding = damaged or cut_off or not stamps or self.codec == "vp8" or self.container == "avi"
        if by_decoding:
            stamps = {}
            with open_media(self.path) as container:
                stream = container.streams[self.stream_index]
                stamps = {p: f.duration for p, f in self._pictures(container, stream)}
        self.pts = np.array(sorted(stamps), dtype=np.int64)
        gaps = np.append(np.diff(self.pts), 0)
        last = stamps[int(self.pts[-1])] or (int(np.median(gaps[:-1])) if len(gaps) > 1 else 0)
        gaps[-1] = last or max(1, round(1 / ((self.nominal_rate or 25) * self.time_base)))
        self.durations = gaps
        is_whole = len(self.pts) == self._declared_frames and not self._edited
        if is_whole and self._declared_end is not None and self._declared_end - self.end > 1.5 / self.fps:
            # With B-frames an MP4 says only of the whole how long its last picture is held.
            self.durations[-1] += round((self._declared_end - self.end) / self.time_base)
        if self.joins:
            joined = ", ".join(timecode(seconds) for seconds in self.joins)
            self.notes.append(f"its clock begins anew at {joined} (recordings joined as they were): it is counted on")
        else:
            self._note_damage(damaged)
        return by_decoding

    def _note_damage(self, damaged: bool) -> None:
        lost = 0 if self._edited else self._declared_frames - len(self.pts)
        short = 0.0 if self._declared_end is None else self._declared_end - self.end
        if lost > 0:
            missing = f"{lost} of {self._declared_frames} frames are missing or undecodable"
        elif not self._declared_frames and short > 1.5 / self.fps:
            missing = f"the last {short:.2f} s that the file declares are missing"
        elif damaged:
            missing = "some packets are damaged or carry no times, so frames were counted by decoding"
        else:
            return
        self.notes.append(f"{missing}; the last good frame ends at {timecode(self.end)}")

    def _packet_times(self) -> tuple[dict[int, int], bool]:
        """Time → duration of every packet that will be shown, and whether some are damaged or have no time."""
        stamps: dict[int, int] = {}
        damaged = self._edited = False
        with open_media(self.path) as container:
            for stream in container.streams:
                if stream.index != self.stream_index:
                    stream.discard = Discard.all
            stream = container.streams[self.stream_index]
            announcements = Announcements(stream.codec_context)
            try:
                for packet in container.demux(stream):
                    if not packet.size:
                        continue
                    if (other := announcements.changed(packet)) is not None:
                        self._kind.refuse_other(other, float((packet.pts or 0) * self.time_base))
                    if packet.is_discard:
                        self._edited = True
                        continue
                    damaged |= packet.is_corrupt or packet.pts is None or packet.pts in stamps
                    if packet.pts is not None:
                        stamps[packet.pts] = packet.duration or 0
            except (av.error.FFmpegError, OSError) as error:
                self.notes.append(f"reading stopped early: {short_reason(error)}")
                damaged = True
        return stamps, damaged

    @property
    def joins(self) -> list[float]:
        """Times in seconds at which the file's clock begins anew, and is counted on."""
        return [float(pts * self.time_base) for pts in sorted(self._resets)]

    @property
    def missing(self) -> list[int]:
        """Indices of frames that turned out undecodable so far, ascending."""
        return sorted(self._missing)

    @property
    def frame_count(self) -> int:
        """Number of frames."""
        return len(self.pts)

    @property
    def timestamps(self) -> np.ndarray:
        """Presentation times in seconds, float64 [T], on the file's own clock (the first may not be 0)."""
        return self.pts * self.time_base.numerator / self.time_base.denominator

    @property
    def ends(self) -> np.ndarray:
        """Times in seconds at which the frames end, float64 [T], on the file's own clock."""
        return (self.pts + self.durations) * self.time_base.numerator / self.time_base.denominator

    @property
    def start(self) -> float:
        """Time of the first frame in seconds."""
        return float(int(self.pts[0]) * self.time_base)

    @property
    def end(self) -> float:
        """Time at which the last frame ends, in seconds."""
        return float(int(self.pts[-1] + self.durations[-1]) * self.time_base)

    @property
    def duration(self) -> float:
        """Seconds from the first frame's start to the last frame's end."""
        return self.end - self.start

    @property
    def fps(self) -> float:
        """Frames per second, for display: the inverse of the median frame duration."""
        return float(1 / (Fraction(float(np.median(self.durations))) * self.time_base))

    @property
    def has_variable_rate(self) -> bool:
        """Whether frame durations differ by more than the rounding of the time base."""
        gaps = self.durations[:-1]
        return bool(len(gaps) and gaps.max() - gaps.min() > max(1, 0.02 * np.median(gaps)))

    @cached_property
    def sha256(self) -> str:
        """Hash of the file's bytes."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def frames(self, start: int = 0, end: int | None = None) -> Iterator[Frame]:
        """Frames `start` ≤ index < `end` in order of time; undecodable ones are left out and listed in `missing`."""
        end = self.frame_count if end is None else min(end, self.frame_count)
        if not 0 <= start <= end:
            raise ValueError(f"frames(): need 0 <= start <= end <= {self.frame_count}, got {start}, {end}")
        expected = start
        for index, pts, picture in self._numbered(start) if start < end else ():
            if index < expected:
                continue
            self._missing.update(range(expected, min(index, end)))
            expected = index + 1
            if index >= end:
                return
            yield Frame(self, index, pts, picture)
            if expected == end:
                return
        self._missing.update(range(expected, end))

    def _pictures(self, container: Any, stream: Any) -> Iterator[tuple[int, av.VideoFrame]]:
        """(pts, picture) in order of time; raises `FootageError` where one is of another kind than the first."""
        for pts, picture in self._decoded(container, stream):
            self._kind.refuse_other(picture, float(pts * self.time_base))
            yield pts, picture

    def _decoded(self, container: Any, stream: Any) -> Iterator[tuple[int, av.VideoFrame]]:
        for pts, picture in decoded(container, stream, self.time_base, self._decoder_options, self._resets):
            drop_meaningless_tags(picture)
            yield pts, picture

    def _numbered(self, start: int) -> Iterator[tuple[int, int, av.VideoFrame]]:
        """(index, pts, picture) from a frame at or before `start`, where seeking can be trusted."""
        with open_media(self.path) as container:
            stream = container.streams[self.stream_index]
            if self._decodes_in_order:
                for index, (pts, picture) in enumerate(self._pictures(container, stream)):
                    yield index, pts, picture
                return
            index_of = {int(pts): index for index, pts in enumerate(self.pts)}
            landed = start == 0
            if not landed:
                container.seek(int(self.pts[start]), stream=stream, backward=True)
            for pts, picture in self._pictures(container, stream):
                if pts not in index_of:
                    continue
                if not landed and index_of[pts] > start:
                    break  # the container's index points past the frame
                landed = True
                yield index_of[pts], pts, picture
            if landed:
                return
        with open_media(self.path) as container:
            for pts, picture in self._pictures(container, container.streams[self.stream_index]):
                if pts in index_of:
                    yield index_of[pts], pts, picture
