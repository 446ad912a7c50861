"""What goes into the written file beside the pictures: delivered sound, and the source's subtitles and data.

In: the source footage or sounds. Out: packets in the output, in step with the frames, so that nothing piles up in
memory. Packets are copied as they are wherever the container takes them; a sound that it does not take is encoded anew,
and the reason is noted. Times: the source's own streams keep the source's clock; a delivered sound begins with the
first frame (plus the offset asked for), its own encoder delay kept out of the way as its container says.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.stream import Discard

from render.errors import OutputError
from render.video.container import open_media
from render.video.encoding import DeliveredSound
from render.video.reader import Footage
from render.video.sound_blocks import BlockMaker, SoundBlock, named_channels, named_layout, zeros_before
from render.video.sound_track import is_readable

# What AAC players know; other arrangements of speakers are brought to stereo.
AAC_LAYOUTS = ("mono", "stereo", "3.0", "4.0", "5.0", "5.1", "7.1")
AAC_BITS_PER_CHANNEL = 128_000  # per second, for sound that must be encoded anew
# Longer holes in a sound that is encoded anew are left to the clock instead of being filled with silence.
LONGEST_FILLED_SECONDS = 10


class CopiedStream:
    """Packets of one stream, passed on as they are."""

    def __init__(self, source: Any, output: Any, shift: Fraction) -> None:
        self.source = source
        self.output = output
        self.index: int = output.index
        self.shift = round(shift / source.time_base)
        self.digest = hashlib.md5(usedforsecurity=False)
        self.has_own_delay = source.type == "audio" and source.codec_context.codec.canonical_name == "opus"
        # AAC in a transport stream carries its header in every packet; mp4 moves it to the file's own.
        self.is_comparable = source.type == "audio" and not (
            source.codec_context.name.startswith("aac") and not source.codec_context.extradata
        )

    def packets(self, packet: Any) -> list[Any]:
        """The packet, on the output's clock."""
        if packet.pts is not None:
            packet.pts += self.shift
        if packet.dts is not None:
            packet.dts += self.shift
        packet.stream = self.output
        return [packet]

    def last_packets(self) -> list[Any]:
        """Nothing is held back."""
        return []


class EncodedStream:
    """One sound stream, decoded and encoded anew at its own rate and channels where the encoder has them."""

    is_comparable = False
    has_own_delay = False

    def __init__(self, source: Any, output: Any, shift: Fraction) -> None:
        self.source = source
        self.output = output
        self.index: int = output.index
        self.shift = shift
        self.digest = hashlib.md5(usedforsecurity=False)
        self._maker = BlockMaker("", -shift, output.codec_context.sample_rate)
        self._end: int | None = None
        self._layout = ""
        self._arranger: Any = None

    def packets(self, packet: Any) -> list[Any]:
        """Newly encoded packets; a damaged one gives none."""
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            return []
        return [p for frame in frames for block in self._maker.blocks(frame) for p in self._encoded(block)]

    def last_packets(self) -> list[Any]:
        """What the decoder, the resampler and the encoder still hold."""
        blocks = [block for frame in self.source.decode(None) for block in self._maker.blocks(frame)]
        packets = [p for block in (*blocks, *self._maker.rest()) for p in self._encoded(block)]
        return packets + list(self.output.encode(None))

    def _encoded(self, block: SoundBlock) -> Iterator[Any]:
        end = block.start if self._end is None else self._end
        filled = zeros_before(block, end) if block.start - end <= LONGEST_FILLED_SECONDS * block.rate else ()
        for part in (*filled, block):
            for frame in self._frames(part):
                yield from self.output.encode(frame)
        self._end = block.start + len(block.samples)

    def _frames(self, block: SoundBlock) -> list[Any]:
        """The block as frames of the output's channels; the encoder cuts them to its own size."""
        samples, layout = named_channels(block)
        if layout != self._layout:
            context = self.output.codec_context
            self._layout, self._arranger = layout, av.AudioResampler("flt", context.layout.name, context.sample_rate)
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="flt", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = block.rate, block.start, Fraction(1, block.rate)
        return list(self._arranger.resample(frame))


class StreamFeed:
    """The streams taken from one file, muxed in step with the frames."""

    def __init__(self, path: Path, output: Any, end: Fraction | None = None) -> None:
        self.path = path
        self.end = end
        self.output = output
        self.container = open_media(path)
        # Matroska has no times below 0 (but for the delay that Opus declares): it would move the frames to make room.
        self._begins_at_zero = output.format.name == "matroska"
        self.streams: dict[int, CopiedStream | EncodedStream] = {}
        self._times: list[tuple[Fraction, Any]] = []
        self._demuxed: Iterator[Any] | None = None

    def take(self, source: Any, shift: Fraction, notes: list[str], note_name: str) -> bool:
        """Route a stream into the output; False, with a note, where the container has no place for it."""
        is_cover = source.type == "video" and source.disposition & source.disposition.attached_pic
        is_kept = not is_cover or self.output.format.name == "mp4"
        if is_kept and _holds(self.output.format.name, source):
            output = self.output.add_stream_from_template(source, opaque=True)
            self.streams[source.index] = CopiedStream(source, output, shift)
        elif source.type == "audio":
            output = self._add_encoder(source, notes, note_name)
            self.streams[source.index] = EncodedStream(source, output, shift)
        else:
            notes.append(f"{note_name}: {self.output.format.name} cannot hold it; left out")
            return False
        output.metadata.update({k: v for k, v in source.metadata.items() if k not in ("encoder", "vendor_id")})
        output.disposition = source.disposition
        return True

    def _add_encoder(self, source: Any, notes: list[str], note_name: str) -> Any:
        context = source.codec_context
        name = "aac" if self.output.format.name == "mp4" else "pcm_s16le"
        rate, layout = _encoder_rate(name, context.sample_rate), named_layout(context.layout.name, context.channels)
        if name == "aac":
            layout = layout.removesuffix("(side)")
            layout = layout if layout in AAC_LAYOUTS else "stereo"
        changes = ([f"{rate} Hz"] if rate != context.sample_rate else []) + (
            [layout] if len(av.AudioLayout(layout).channels) != context.channels else []
        )
        notes.append(
            f"{note_name}: {self.output.format.name} cannot hold {context.name}; encoded anew as "
            f"{', '.join([name, *changes])}"
        )
        output = self.output.add_stream(name, rate=rate)
        output.codec_context.layout = layout
        output.codec_context.time_base = output.time_base = Fraction(1, rate)
        if name == "aac":
            output.codec_context.bit_rate = AAC_BITS_PER_CHANNEL * len(av.AudioLayout(layout).channels)
        return output

    def mux_until(self, time: Fraction) -> None:
        """Mux all packets that are due before `time` (seconds on the output's clock)."""
        for due, packet in self._pending():
            if due > time:
                self._times.append((due, packet))
                return
            self._pass_on(packet)

    def finish(self) -> None:
        """Mux everything that is left."""
        for _, packet in self._pending():
            self._pass_on(packet)
        for stream in self.streams.values():
            self._mux(stream, stream.last_packets())

    def _pass_on(self, packet: Any) -> None:
        stream = self.streams[packet.stream.index]
        self._mux(stream, stream.packets(packet))

    def _mux(self, stream: CopiedStream | EncodedStream, packets: list[Any]) -> None:
        for packet in packets:
            if self._begins_at_zero and not stream.has_own_delay and packet.pts is not None and packet.pts < 0:
                continue
            stream.digest.update(bytes(packet))
            self.output.mux(packet)

    def _pending(self) -> Iterator[tuple[Fraction, Any]]:
        while self._times:
            yield self._times.pop()
        if self._demuxed is None:
            self._demuxed = _packets_of(self.container, list(self.streams))
        for packet in self._demuxed:
            stream = self.streams[packet.stream.index]
            stamp = packet.dts if packet.dts is not None else packet.pts
            shift = stream.shift * stream.source.time_base if isinstance(stream, CopiedStream) else stream.shift
            due = (stamp or 0) * packet.time_base + shift
            if self.end is not None and due >= self.end:
                return
            yield due, packet

    def compare(self, written: Path) -> None:
        """Read the copied sound back from `written`.

        Raises:
            OutputError: a stream's packets are not the delivered ones.
        """
        copied = [s for s in self.streams.values() if isinstance(s, CopiedStream) and s.is_comparable]
        for stream in copied:
            digest = hashlib.md5(usedforsecurity=False)
            with open_media(written) as container:
                for packet in container.demux(container.streams[stream.index]):
                    digest.update(bytes(packet) if packet.size else b"")
            if digest.digest() != stream.digest.digest():
                raise OutputError(f"{written}: sound read back differs from that of {self.path}")

    def close(self) -> None:
        """Close the file that was read."""
        self._demuxed = None
        self._times.clear()
        self.container.close()


def _packets_of(container: Any, indices: list[int]) -> Iterator[Any]:
    """Packets with content; ends, without an error, where the file breaks off."""
    try:
        for packet in container.demux([container.streams[i] for i in indices]):
            if packet.size:
                yield packet
    except (av.error.FFmpegError, OSError):
        return


def _encoder_rate(name: str, rate: int) -> int:
    """The encoder's sample rate for a sound of `rate` Hz: the same, or the best that divides it, or the next higher."""
    offered = av.Codec(name, "w").audio_rates
    if not offered or rate in offered:
        return rate
    return max(
        (r for r in offered if rate % r == 0), default=min((r for r in offered if r > rate), default=max(offered))
    )


def _holds(container_name: str, source: Any) -> bool:
    """Whether a container of this kind takes the stream as it is: tried out in memory."""
    context = source.codec_context
    if container_name == "mp4" and source.type == "audio" and context.name.startswith("pcm_"):
        # Its table of channels can only name speakers, and fails at the very end where none are named.
        if context.channels > 1 and "channels" in context.layout.name:
            return False
    trial = av.open(io.BytesIO(), "w", format=container_name)
    try:
        trial.add_stream_from_template(source, opaque=True)
        trial.start_encoding()
    except (av.error.FFmpegError, ValueError, OSError):
        return False
    finally:
        trial.close()
    return True


def open_feeds(footage: Footage, output: Any, sound: DeliveredSound | None, notes: list[str]) -> list[StreamFeed]:
    """Add every stream beside the pictures to `output`.

    Args:
        footage: the source, of which everything but the pictures (and, with `sound`, its sound) is passed on.
        output: an open PyAV output container that has its video stream.
        sound: what is delivered; None for the source's own.
        notes: gets a sentence for everything that could not be passed on as it is.

    Raises:
        FootageError: a sound file cannot be read, or has no such sound.
    """
    feeds: list[StreamFeed] = []
    try:
        source_feed = StreamFeed(footage.path, output)
        feeds.append(source_feed)
        for source in source_feed.container.streams:
            if source.index == footage.stream_index:
                continue
            if source.type == "audio" and sound is not None and sound.in_place_of in (None, source.index):
                if sound.in_place_of == source.index:
                    feeds += _delivered_feeds(footage, output, sound, notes, source)
                continue
            if _is_made_by_muxer(source, footage):
                continue
            name = f"stream {source.index} of {footage.path.name}"
            if source.type == "audio" and not is_readable(source):
                notes.append(f"{name}: its sound cannot be read; left out")
            elif source.type == "data" and source.discard == Discard.all:
                notes.append(f"{name}: its data carry no times and cannot be read; left out")
            else:
                source_feed.take(source, Fraction(0), notes, name)
        if sound is not None and sound.in_place_of is None:
            if len(footage.audio) > 1:
                notes.append(f"{footage.path.name}: none of its {len(footage.audio)} sound tracks is in the result")
            feeds += _delivered_feeds(footage, output, sound, notes)
        for feed in list(feeds):
            if not feed.streams:
                feed.close()
                feeds.remove(feed)
    except BaseException:
        for feed in feeds:
            feed.close()
        raise
    return feeds


def _delivered_feeds(
    footage: Footage, output: Any, sound: DeliveredSound, notes: list[str], replaced: Any = None
) -> list[StreamFeed]:
    """Feeds of the delivered sounds; they are called as the stream that they replace, if any."""
    first = int(footage.pts[0]) * footage.time_base
    end = None if sound.end_seconds is None else first + Fraction(sound.end_seconds)
    feeds: list[StreamFeed] = []
    try:
        for track in sound.tracks:
            feed = StreamFeed(track.path, output, end)
            feeds.append(feed)
            source, begins = track.stream_in(feed.container), track.beginning_in(feed.container)
            feed.take(source, first + Fraction(sound.offset_seconds) - begins, notes, track.path.name)
            if replaced is not None:
                made = output.streams[feed.streams[source.index].index]
                made.disposition = replaced.disposition
                made.metadata.update({k: v for k, v in replaced.metadata.items() if k in ("language", "title")})
    except BaseException:
        for feed in feeds:
            feed.close()
        raise
    return feeds


def _is_made_by_muxer(source: Any, footage: Footage) -> bool:
    """Timecode and chapter tracks are written anew from the metadata; FFmpeg sets aside the chapters' by itself."""
    is_of_chapters = bool(footage.chapters) and source.discard == Discard.all
    return source.type == "data" and ("timecode" in source.metadata or is_of_chapters)
