"""Stretches: which of a source's packets can be copied where only some of its frames change.

In: footage, the frames that change, and how they are to be written. Out: a `Splice`, that is the stretches to copy and
to encode, in turn; or None where anything about the source or what is asked for is not plain. What is shown before a
stretch is stored before it: a stretch's packets are its frames, in another order. A copied one that follows an encoded
one begins with a picture that nothing before is needed for; an encoded one brings such a picture, and begins anywhere.
"""

from __future__ import annotations

from bisect import bisect, insort
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.stream import Discard

from render.errors import FootageError
from render.splicing.parameter_sets import IDR, PICTURE_SET, PROFILES, SEQUENCE_SET, SLICES, Header, SequenceSet
from render.video.container import open_media
from render.video.encoder import FORMATS, codec_like, encoded_format
from render.video.encoding import Encoding
from render.video.reader import Footage

#: Pictures that the encoder keeps at most, and how many it needs for what comes before what was stored before it.
REFERENCES, REORDERED_REFERENCES, PYRAMID_REFERENCES = 2, 2, 4
#: Bytes of the length of an encoded picture: with fewer, one that is large cannot be told.
LENGTH_SIZE = 4


@dataclass(frozen=True)
class Stretch:
    """Frames start ≤ index < stop, which are the packets of these numbers; copied or encoded anew."""

    start: int
    stop: int
    is_copied: bool


@dataclass(frozen=True)
class Splice:
    """How a file is put together.

    Attributes:
        stretches: all frames, in order; neighbours are of another kind.
        starts: frames of the source from which it can be decoded, ascending; the first is 0.
        dts: of each packet, in the source's unit, rising.
        durations: of each packet, in the source's unit; none where each lasts as its picture does (Matroska).
        header: of an H.264 source; None where every packet says all that it needs.
        options: for the encoder, beside those of its quality.
    """

    stretches: tuple[Stretch, ...]
    starts: tuple[int, ...]
    dts: tuple[int, ...]
    durations: tuple[int, ...]
    header: Header | None
    options: dict[str, str]

    @property
    def copied(self) -> int:
        """How many frames are copied."""
        return sum(one.stop - one.start for one in self.stretches if one.is_copied)


@dataclass(frozen=True)
class _Packets:
    """A picture stream's packets in order: their times, and which of them nothing before is needed for."""

    pts: list[int]
    dts: list[int | None]
    durations: list[int]
    is_entry: list[bool]


def plan_splice(footage: Footage, changed: Iterable[int], output: Path, encoding: Encoding) -> Splice | None:
    """Find what can be copied; None where nothing can.

    Args:
        footage: the source.
        changed: numbers of the frames that may change.
        output: file to be written: of the source's kind.
        encoding: as is asked for; a codec that is asked for by name is for all frames.
    """
    is_mp4 = "mp4" in footage.container
    is_alike = FORMATS.get(output.suffix.lower(), "") in (("mp4", "mov") if is_mp4 else ("matroska",))
    if encoding.codec is not None or not is_alike or footage.codec not in ("h264", "prores"):
        return None
    pix_fmt = encoded_format(footage.pix_fmt, footage.coded_width, footage.coded_height, codec_like(footage))
    if pix_fmt != footage.pix_fmt.replace("yuvj", "yuv"):
        return None
    header, options, reorder = None, dict[str, str](), 0
    packets = _read_packets(footage)
    if packets is None or not np.array_equal(np.sort(packets.pts), footage.pts):
        return None
    if packets.durations[int(np.argmax(packets.pts))] not in (0, footage.durations[-1]):
        return None  # its last picture is held by other means
    breaks = _breaks(packets.pts)
    starts = [number for number in breaks if number == 0 or packets.is_entry[number]]
    reorder = most_reordered(packets.pts)
    if footage.codec == "h264":
        header = _header(footage)
        if header is None or (found := _h264_options(header, reorder)) is None:
            return None
        options = found
    stretches = _stretches(starts, breaks, set(changed), footage.frame_count)
    if not any(one.is_copied for one in stretches):
        return None
    dts = _decoding_times(packets, reorder, footage)
    return Splice(stretches, tuple(starts), dts, tuple(packets.durations) if is_mp4 else (), header, options)


def _header(footage: Footage) -> Header | None:
    with open_media(footage.path) as container:
        return Header.of(container.streams[footage.stream_index].codec_context.extradata)


def _read_packets(footage: Footage) -> _Packets | None:
    """The packets; None where one is damaged, left out, without a time, or brings other parameter sets."""
    found = _Packets([], [], [], [])
    try:
        with open_media(footage.path) as container:
            for stream in container.streams:
                if stream.index != footage.stream_index:
                    stream.discard = Discard.all
            stream = container.streams[footage.stream_index]
            header = Header.of(stream.codec_context.extradata) if footage.codec == "h264" else None
            if footage.codec == "h264" and header is None:
                return None
            for packet in container.demux(stream):
                if not packet.size:
                    continue
                if packet.is_corrupt or packet.is_discard or packet.pts is None:
                    return None
                if packet.has_sidedata("new_extradata"):
                    return None
                is_entry = bool(packet.is_keyframe) if header is None else _is_entry(header, bytes(packet))
                if is_entry is None:
                    return None
                found.pts.append(packet.pts)
                found.dts.append(packet.dts)
                found.durations.append(packet.duration or 0)
                found.is_entry.append(is_entry)
    except (av.error.FFmpegError, OSError, FootageError):
        return None
    return found


def _is_entry(header: Header, packet: bytes) -> bool | None:
    """Whether nothing before a packet is needed for it; None where it brings parameter sets that the head has not."""
    is_entry = None
    for unit in header.units(packet):
        kind = unit[0] & 31 if unit else 0
        if kind in (SEQUENCE_SET, PICTURE_SET) and unit not in (*header.sequence_sets, *header.picture_sets):
            return None
        if kind in SLICES and is_entry is None:
            is_entry = kind == IDR
    return is_entry


def _breaks(pts: list[int]) -> list[int]:
    """Numbers of packets, ascending, from which on all is shown after all before."""
    latest = np.maximum.accumulate(pts)
    earliest = np.minimum.accumulate(pts[::-1])[::-1]
    return [0, *(1 + np.flatnonzero(latest[:-1] < earliest[1:])).tolist()]


def most_reordered(pts: list[int]) -> int:
    """How many pictures at most are stored before one and shown after it."""
    seen: list[int] = []
    most = 0
    for time in pts:
        most = max(most, len(seen) - bisect(seen, time))
        insort(seen, time)
    return most


def _h264_options(header: Header, reorder: int) -> dict[str, str] | None:
    """Options of an encoder whose sets stand beside the source's, and whose pictures wait no longer for others."""
    try:
        own = SequenceSet.of(header.sequence_sets[0])
        number = header.free_number
    except ValueError:
        return None
    if number is None or header.profile not in PROFILES or own.profile != header.profile:
        return None
    if header.length_size < LENGTH_SIZE:
        return None
    order = ""
    if own.references == 0:
        order = "keyint=1"  # every picture by itself, as cameras and for editing
    elif reorder == 0 or own.references < REORDERED_REFERENCES:
        order = "bframes=0"
    elif reorder == 1 or own.references < PYRAMID_REFERENCES:
        order = "b-pyramid=none"
    # Where the number of pictures that are kept changes, a decoder may drop those that it has not shown (C.4.5.3).
    references = f"ref={max(1, min(own.references, REFERENCES))}:dpb-size={own.references}"
    words = ":".join(filter(None, [f"sps-id={number}", references, order]))
    return {"profile": PROFILES[header.profile], "x264-params": words}


def _stretches(starts: list[int], breaks: list[int], changed: set[int], count: int) -> tuple[Stretch, ...]:
    """Encoded are the groups in which something changes, from the last break before that on."""
    edges = [0]  # of stretches that are copied and encoded in turn, beginning with a copied one
    for start, stop in zip(starts, [*starts[1:], count], strict=True):
        first = min(changed.intersection(range(start, stop)), default=None)
        if first is None:
            continue
        begins = breaks[bisect(breaks, first) - 1]
        edges = [*edges[:-1], stop] if begins == edges[-1] and len(edges) > 1 else [*edges, begins, stop]
    edges.append(count)
    stretches = [Stretch(*pair, number % 2 == 0) for number, pair in enumerate(zip(edges, edges[1:], strict=False))]
    return tuple(one for one in stretches if one.start < one.stop)


def _decoding_times(packets: _Packets, reorder: int, footage: Footage) -> tuple[int, ...]:
    """Times of decoding; Matroska has none, so they are as late as the order in which pictures are shown allows."""
    given = [time for time in packets.dts if time is not None]
    if len(given) == len(packets.dts) and all(a < b for a, b in zip(given, given[1:], strict=False)):
        return tuple(given)
    times = [int(pts) for pts in footage.pts]
    step = max(1, int(np.median(footage.durations)))
    before = [times[0] - step * (reorder - number) for number in range(reorder)]
    return tuple([*before, *times][: len(times)])
