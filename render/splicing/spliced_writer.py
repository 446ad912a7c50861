"""Spliced writer: a `VideoWriter` that copies the source's packets where nothing changes.

In: a `Splice`, and the frames of the stretches that are to be encoded, in order. Out: the file as of `VideoWriter`, in
which all other packets are the source's to the byte, at their own times. Both kinds of H.264 packets find their
parameter sets in the head of the file (`parameter_sets`). The joins are decoded before the file gets its name.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np

from render.errors import OutputError
from render.splicing.joins import SpliceError, is_near_join, refuse_wrong_joins, small_picture
from render.splicing.parameter_sets import units_of_stream
from render.splicing.stretches import Splice, Stretch
from render.video.container import open_media
from render.video.encoder import ENCODERS
from render.video.encoding import DeliveredSound, Encoding
from render.video.reader import Footage, Frame
from render.video.writer import VideoWriter

#: FFmpeg's flag of an encoder that keeps parameter sets out of its packets.
GLOBAL_HEADER = 1 << 22
#: What the system says where another way of writing would not help.
OUR_OWN_FAULT = (errno.EINVAL, errno.ERANGE)


class SplicedWriter(VideoWriter):
    """Writes the frames of the stretches of `splice` that are encoded, in order, and copies what lies between.

    Args:
        splice: of `plan_splice`, for the same footage, path and encoding.
        footage, path, encoding, sound, metadata: as of `VideoWriter`.

    Raises:
        SpliceError: the file cannot be put together so; encode all of it.
        OutputError: as of `VideoWriter`.
    """

    def __init__(
        self,
        splice: Splice,
        footage: Footage,
        path: str | Path,
        encoding: Encoding = Encoding(),
        sound: DeliveredSound | None = None,
        metadata: dict[str, str] | None = None,
    ) -> None:
        self.splice = splice
        self._encoding = encoding
        self._left = iter(splice.stretches)
        self._stretch: Stretch | None = None
        self._place = 0
        self._near_joins: dict[int, np.ndarray] = {}
        self._source: Any = None
        super().__init__(footage, path, encoding, sound, metadata)

    def _add_pictures(self, encoding: Encoding) -> Any:
        self._source = open_media(self.footage.path)
        template = self._source.streams[self.footage.stream_index]
        self._packets = self._demuxed(template)
        stream = self._output.add_stream_from_template(template, opaque=True)
        stream.rate = template.guessed_rate  # a template lacks it, and without it there is no track of timecode
        if self.footage.codec == "prores":
            stream.codec_context.codec_tag = template.codec_context.codec_tag  # it says the profile
        self._begin()
        self._header = self.splice.header
        if self.splice.header is not None:
            self._header = self.splice.header.with_sets(units_of_stream(self._encoder.extradata or b""))
            if self._header is None:
                raise SpliceError(f"{self.path.name}: the encoder's pictures are of another kind than the source's")
            stream.codec_context.extradata = self._header.data
        return stream

    def _begin(self) -> None:
        """Set up an encoder for another stretch."""
        self._encoder = av.CodecContext.create(ENCODERS[self.codec].name, "w")
        self._encoder.framerate = self.footage.nominal_rate
        self._configure(self._encoder, self._encoding)
        options = self._encoder.options
        for name, words in self.splice.options.items():
            options[name] = f"{options[name]}:{words}" if name == "x264-params" and name in options else words
        self._encoder.flags |= GLOBAL_HEADER
        self._encoder.open()

    def _demuxed(self, stream: Any) -> Iterator[Any]:
        return (packet for packet in self._source.demux(stream) if packet.size)

    def write(self, frame: Frame, planes: Sequence[np.ndarray] | None = None) -> None:
        """Encode the next frame of the stretches that are; what lies before is copied first. As of `VideoWriter`."""
        self._go_to(frame.index)
        assert self._stretch is not None
        super().write(frame, planes)
        if is_near_join(self._stretch, frame.index):
            luma = frame.planes[0] if planes is None else planes[0]
            self._near_joins[frame.index] = small_picture(luma)
        if frame.index + 1 == self._stretch.stop:
            self._finish_stretch()

    def _go_to(self, frame: int) -> None:
        """Copy the stretches before a frame, and begin to encode the one that it lies in."""
        while self._stretch is None or frame >= self._stretch.stop:
            if self._stretch is not None and not self._stretch.is_copied and self._place < self._stretch.stop:
                raise SpliceError(f"{self.path.name}: frames before {frame} cannot be decoded")
            self._stretch = next(self._left, None)
            if self._stretch is None:
                return
            if self._stretch.is_copied:
                self._copy(self._stretch)
            elif self._encoder is None:
                self._begin()
        if self._stretch.is_copied:
            raise ValueError(f"write(): frame {frame} is one of those that are copied")

    def _copy(self, stretch: Stretch) -> None:
        self._written += self.footage.pts[stretch.start : stretch.stop].tolist()
        try:
            for packet in self._packets:
                packet.dts = self.splice.dts[self._place]
                time = packet.pts * self.footage.time_base
                packet.stream = self._stream
                self._output.mux(packet)
                for feed in self._feeds:
                    feed.mux_until(time)
                self._place += 1
                if self._place == stretch.stop:
                    return
        except (av.error.FFmpegError, OSError) as error:
            self._explain(error)
            raise
        raise SpliceError(f"{self.path.name}: the source ends before frame {stretch.stop}")

    def _mux(self, packets: Any) -> None:
        for packet in packets:
            place = self._place
            assert self._stretch is not None
            if place >= self._stretch.stop or packet.pts < self.splice.dts[place]:
                raise SpliceError(f"{self.path.name}: frame {place} waits longer for others than in the source")
            new = av.Packet(bytes(packet) if self._header is None else self._header.packed(bytes(packet)))
            new.pts, new.dts, new.time_base = packet.pts, self.splice.dts[place], self.footage.time_base
            lasts = self._durations.pop(packet.pts, 0)
            new.duration = self.splice.durations[place] if self.splice.durations else lasts
            new.is_keyframe = packet.is_keyframe
            new.stream = self._stream
            self._output.mux(new)
            next(self._packets)  # the one in whose place it stands
            self._place += 1

    def _finish_stretch(self) -> None:
        assert self._stretch is not None
        try:
            self._mux(self._encoder.encode(None))
        except (av.error.FFmpegError, OSError) as error:
            self._explain(error)
            raise
        self._encoder = None
        if self._place != self._stretch.stop:
            raise SpliceError(f"{self.path.name}: frames before {self._stretch.stop} cannot be decoded")

    def _finish_pictures(self) -> None:
        self._go_to(self.footage.frame_count)

    def _compare_pictures(self, result: Footage) -> None:
        try:
            super()._compare_pictures(result)
        except OutputError as error:
            raise SpliceError(str(error)) from error
        refuse_wrong_joins(self.footage, result, self.splice, self._near_joins)

    def _explain(self, error: BaseException) -> None:
        if isinstance(error, av.error.FFmpegError) and getattr(error, "errno", None) in OUR_OWN_FAULT:
            raise SpliceError(f"{self.path.name}: cannot be put together ({error})") from error
        super()._explain(error)

    def close(self) -> None:
        """As of `VideoWriter`; raises `SpliceError`, too, where the joins do not read back right."""
        super().close()
        self._close_source()

    def abandon(self) -> None:
        """Drop what was written so far."""
        super().abandon()
        self._close_source()

    def _close_source(self) -> None:
        if self._source is not None:
            self._packets = iter(())
            self._source.close()
            self._source = None
