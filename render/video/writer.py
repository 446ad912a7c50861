"""Video out: frames of one footage → a new file that differs from it in the pictures alone.

In: `Frame`s, untouched or with new planes. Out: one encode with the source's timestamps, rotation, colour tags, sample
aspect, metadata, chapters and other streams, and the delivered sound, copied packet by packet where the container
allows. The file appears under its name when all of it is written and read back (frame times and sound compared); until
then it is a hidden `.part` beside it, which is removed when anything goes wrong, or by the next one to write there.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import ColorRange

from render.errors import OutputError
from render.part_file import PartFile
from render.video.clean_aperture import WHOLE, write_aperture
from render.video.delivery import StreamFeed, open_feeds
from render.video.encoder import ENCODERS, FORMATS, MISFITS, codec_like, encoded_format, encoder_options, losses
from render.video.encoding import QUALITIES, DeliveredSound, Encoding
from render.video.planes import RGB_MATRIX, planar, plane_views
from render.video.reader import Footage, Frame

# Written by the muxer itself.
OWN_METADATA = {"major_brand", "minor_version", "compatible_brands", "encoder", "handler_name", "vendor_id", "duration"}


class VideoWriter:
    """Writes frames of `footage`, in order, into a new file; a context manager, left normally once all is written.

    Args:
        footage: the source of frames, timing, tags and other streams.
        path: `.mp4`, `.mov` or `.mkv`.
        encoding: how the pictures are encoded.
        sound: what is delivered; default the source's own streams.
        metadata: of the container, added to the source's.
        overwrite: replace a file that exists.

    Attributes:
        notes: what could not be kept as it was, and why.

    Raises:
        OutputError: the file exists or cannot be written, the container cannot hold the codec, or what was read back
            differs from what was written.
    """

    def __init__(
        self,
        footage: Footage,
        path: str | Path,
        encoding: Encoding = Encoding(),
        sound: DeliveredSound | None = None,
        metadata: dict[str, str] | None = None,
        overwrite: bool = False,
    ) -> None:
        self.footage = footage
        self.path = Path(path)
        self.overwrite = overwrite
        self.codec = encoding.codec or codec_like(footage)
        if self.codec not in ENCODERS or encoding.quality not in QUALITIES:
            raise ValueError(
                f"VideoWriter(): codec is one of {', '.join(ENCODERS)} and quality one of {', '.join(QUALITIES)}, "
                f"got {encoding.codec!r} and {encoding.quality!r}"
            )
        self.notes: list[str] = []
        self._written: list[int] = []
        self._durations: dict[int, int] = {}
        self._feeds: list[StreamFeed] = []
        self._output: Any = None
        self._part: PartFile | None = None
        self._refuse_bad_path()
        try:
            self._open(encoding, metadata or {})
            self._feeds = open_feeds(footage, self._output, sound, self.notes)
        except BaseException as error:
            self.abandon()
            self._explain(error)
            raise

    def _refuse_bad_path(self) -> None:
        if self.path.suffix.lower() not in FORMATS:
            raise OutputError(
                f"{self.path}: cannot write {self.path.suffix or 'a file without suffix'}; use .mp4, .mov or .mkv"
            )
        container_name = FORMATS[self.path.suffix.lower()]
        if fitting := MISFITS.get((container_name, self.codec)):
            raise OutputError(f"{self.path}: {container_name} cannot hold {self.codec}; use {fitting}")
        if self.path.exists() and not self.overwrite:
            raise OutputError(f"{self.path}: exists already; choose another name or pass --overwrite")
        if not self.path.parent.is_dir():
            raise OutputError(f"{self.path}: there is no folder {self.path.parent}")
        if self.path.resolve() == self.footage.path.resolve():
            raise OutputError(f"{self.path}: is the source itself; choose another name")

    def _open(self, encoding: Encoding, added: dict[str, str]) -> None:
        footage = self.footage
        container_name = FORMATS[self.path.suffix.lower()]
        self._part = PartFile.beside(self.path)  # a folder without permission fails here, with the system's own words
        metadata = {k: v for k, v in footage.metadata.items() if k not in OWN_METADATA} | added
        self._output = av.open(
            f"file:{self._part.path}",
            "w",
            format=container_name,
            container_options=self._mux_options(container_name, metadata),
        )
        self._output.metadata.update(metadata)
        if footage.chapters:
            self._output.set_chapters(footage.chapters)
        self.pix_fmt = encoded_format(footage.pix_fmt, footage.coded_width, footage.coded_height, self.codec)
        self.notes += losses(footage, encoding, self.codec, self.pix_fmt)
        self._stream = stream = self._add_pictures(encoding)
        stream.time_base = footage.time_base
        stream.metadata.update({k: v for k, v in footage.video_metadata.items() if k not in OWN_METADATA})
        if footage.has_other_videos:
            stream.disposition = Disposition.default  # players and this reader take that one
        if footage.orientation.matrix is not None:
            stream.set_display_matrix(footage.orientation.matrix)

    def _add_pictures(self, encoding: Encoding) -> Any:
        """Add the stream of pictures to the output, and set up what encodes them."""
        stream = self._output.add_stream(ENCODERS[self.codec].name, rate=self.footage.nominal_rate)
        self._encoder = stream.codec_context
        self._configure(self._encoder, encoding)
        return stream

    def _mux_options(self, container_name: str, metadata: dict[str, str]) -> dict[str, str]:
        if container_name == "matroska":
            return {"fflags": "+bitexact"}  # else it draws random numbers for its tracks
        colour, flags, options = self.footage.colour, [], {}
        if colour.is_tagged:
            flags.append("write_colr")  # else it is written only where every one of its values is known
        if any(key.startswith("com.") for key in metadata):
            flags.append("use_metadata_tags")  # the classic tag list has no place for a vendor's keys
        if flags:
            options["movflags"] = "+".join(flags)
        if self.footage.time_base.numerator == 1 and self.footage.time_base.denominator < 2**31:
            # The movie's own scale (1000 by default) would round the time of the first frame.
            scale = str(self.footage.time_base.denominator)
            options |= {"video_track_timescale": scale, "movie_timescale": scale}
        return options

    def _configure(self, context: Any, encoding: Encoding) -> None:
        """Tell an encoder, before it is opened, what it gets and how to write it."""
        footage = self.footage
        context.time_base = footage.time_base
        context.width, context.height = footage.coded_width, footage.coded_height
        context.pix_fmt = self.pix_fmt
        context.sample_aspect_ratio = footage.sample_aspect
        context.thread_type = "SLICE" if self.codec == "ffv1" else "AUTO"
        becomes_yuv = footage.colour.is_rgb and not av.VideoFormat(self.pix_fmt).is_rgb
        colour = footage.colour
        context.colorspace = 1 if becomes_yuv else RGB_MATRIX if colour.is_rgb else colour.tag_matrix
        context.color_range = int(ColorRange.MPEG) if becomes_yuv else colour.tag_range
        context.color_primaries, context.color_trc = colour.tag_primaries, colour.tag_transfer
        if self.codec == "prores" and not becomes_yuv:
            context.colorspace = colour.matrix  # it has no "unspecified"
        if self.codec == "h265" and self.path.suffix.lower() != ".mkv":
            context.codec_tag = "hvc1"  # the only tag that Apple's players take
        context.options = encoder_options(footage, self.codec, encoding.quality, self.pix_fmt)

    def write(self, frame: Frame, planes: Sequence[np.ndarray] | None = None) -> None:
        """Encode the next frame, with `planes` (shapes and dtypes of `frame.planes`) in place of its own if given.

        New planes are put into the frame itself: what else is wanted of it is read before.

        Raises:
            ValueError: planes of another shape or dtype, or frames out of order.
            OutputError: the disk is full or the file cannot be written any more.
        """
        if self._written and frame.pts <= self._written[-1]:
            raise ValueError(f"write(): frame at pts {frame.pts} comes after the one at {self._written[-1]}")
        picture = planar(frame.picture)
        if planes is not None:
            picture.make_writable()
            views = plane_views(picture)
            if [(v.shape, v.dtype) for v in views] != [(np.shape(p), p.dtype) for p in planes]:
                wanted = ", ".join(f"{v.dtype} {v.shape}" for v in views)
                raise ValueError(f"write(): planes must be {wanted}")
            for view, plane in zip(views, planes, strict=True):
                view[:] = plane
        picture, context = self._encodable(picture), self._encoder
        # ProRes is told colours by each picture, and those of the source may mean nothing.
        picture.colorspace, picture.color_primaries = context.colorspace, context.color_primaries
        picture.color_trc = context.color_trc
        picture.pts, picture.time_base = frame.pts, self.footage.time_base
        picture.pict_type = 0  # the source's own choice of key frames does not bind the encoder
        self._written.append(frame.pts)
        self._durations[frame.pts] = int(self.footage.durations[frame.index])
        try:
            self._mux(self._encoder.encode(picture))
            for feed in self._feeds:
                feed.mux_until(frame.time)
        except (av.error.FFmpegError, OSError) as error:
            self._explain(error)
            raise

    def _encodable(self, picture: av.VideoFrame) -> av.VideoFrame:
        """The picture in the encoder's pixel format; the same samples wherever that holds them."""
        name = picture.format.name
        if name == self.pix_fmt:
            return picture
        if name.replace("yuvj", "yuv") == self.pix_fmt:
            same: Any = av.VideoFrame(picture.width, picture.height, self.pix_fmt)
            for target, source in zip(plane_views(same), plane_views(picture), strict=True):
                target[:] = source
            same.color_range = ColorRange.JPEG
            same.colorspace, same.color_trc = picture.colorspace, picture.color_trc
            same.color_primaries = picture.color_primaries
            return same
        colour = self.footage.colour
        becomes_yuv = colour.is_rgb and not av.VideoFormat(self.pix_fmt).is_rgb
        full = ColorRange.JPEG if colour.is_full_range else ColorRange.MPEG
        return picture.reformat(
            format=self.pix_fmt,
            src_colorspace=None if colour.is_rgb else colour.matrix,
            dst_colorspace=1 if becomes_yuv else None if colour.is_rgb else colour.matrix,
            src_color_range=full,
            dst_color_range=ColorRange.MPEG if becomes_yuv else full,
            interpolation="BICUBIC",
            threads=1,
        )

    def _mux(self, packets: Any) -> None:
        for packet in packets:
            packet.stream = self._stream
            packet.duration = self._durations.pop(packet.pts, packet.duration or 0)
            self._output.mux(packet)

    def _finish_pictures(self) -> None:
        """Mux what the encoder still held; an MP4 counts on from its last packet, also where another is shown last."""
        packets = list(self._encoder.encode(None))
        usual = int(np.median(self.footage.durations))
        extra = self._durations.get(self._written[-1], usual) - usual
        if packets and packets[-1].pts != self._written[-1] and extra > usual / 2:
            self._durations[packets[-1].pts] += extra
        self._mux(packets)

    def close(self) -> None:
        """Finish, read back, compare, and give the file its name: `path`, or another one where that is taken by now.

        Raises:
            OutputError: nothing was written, the disk is full, or what was read back differs.
        """
        try:
            if not self._written:
                raise OutputError(f"{self.path}: no frame was written")
            self._finish_pictures()
            for feed in self._feeds:
                feed.finish()
            self._output.close()
            self._output = None
            part = self._part
            assert part is not None
            if self.footage.aperture != WHOLE and self.path.suffix.lower() != ".mkv":
                size = self.footage.coded_width, self.footage.coded_height
                write_aperture(part.path, self.footage.aperture, *size)
            self._compare(part.path)
            if not self.overwrite:
                self._stand_aside()
            part.become(self.path)
            self._part = None
        except BaseException as error:
            self.abandon()
            self._explain(error)
            raise
        for feed in self._feeds:
            feed.close()

    def _stand_aside(self) -> None:
        """Take another name where a file came into being under this one meanwhile: neither is lost."""
        wanted, number = self.path, 0
        while self.path.exists():
            number += 1
            self.path = wanted.with_name(f"{wanted.stem}.{number}{wanted.suffix}")
        if number:
            self.notes.append(f"{wanted.name} was made by somebody else meanwhile; this result is {self.path.name}")

    def _compare(self, written: Path) -> None:
        """Read the file back: as many frames, at the same times, and the same sound packets."""
        result = Footage(written, self.footage.progressive)
        self._compare_pictures(result)
        if result.pix_fmt == self.footage.pix_fmt and result.siting != self.footage.siting:
            where = self.footage.siting.location
            self.notes.append(
                f"{self.codec} in {self.path.suffix} cannot say that chroma lies at {where}: players show colours up "
                "to half a pixel off; .mkv says it"
            )
        if result.aperture != self.footage.aperture:
            self.notes.append(
                f"{self.path.suffix} is not told which part of the pictures is shown (clean aperture): players show "
                "all of them; a .mov says it"
            )
        for feed in self._feeds:
            feed.compare(written)

    def _compare_pictures(self, result: Footage) -> None:
        """Compare the frames that were read back, of which there must be as many, at the same times."""
        times = [int(pts) * result.time_base for pts in result.pts]
        wanted = [pts * self.footage.time_base for pts in self._written]
        if len(times) != len(wanted):
            raise OutputError(f"{self.path}: {len(wanted)} frames were written but {len(times)} read back")
        # Matroska counts in milliseconds; mp4 and mov hold the source's own unit.
        fits = all((time / result.time_base).denominator == 1 for time in wanted)
        worst = max(abs(a - b) for a, b in zip(times, wanted, strict=True))
        if worst > (0 if fits else result.time_base):
            raise OutputError(f"{self.path}: frame times read back differ by up to {float(worst):.4f} s")

    def abandon(self) -> None:
        """Drop what was written so far."""
        for feed in self._feeds:
            feed.close()
        if self._output is not None:
            with suppress(av.error.FFmpegError, OSError):
                self._output.close()
            self._output = None
        if self._part is not None:
            self._part.drop()
            self._part = None

    def _explain(self, error: BaseException) -> None:
        """Turn what the system says about writing into one line."""
        if not isinstance(error, (OSError, av.error.FFmpegError)):
            return
        number = getattr(error, "errno", None)
        if number == errno.ENOSPC:
            raise OutputError(f"{self.path}: the disk is full; free some space and run again") from error
        if number in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise OutputError(f"{self.path}: no permission to write there") from error
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{self.path}: cannot be written ({reason})") from error

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()
