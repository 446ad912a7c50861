"""A media file being read: opened safely, and what it says about itself.

In: a path. Out: an open PyAV container that reads nothing but this file, facts about its streams, and errors of one
line for what cannot be read.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
import av.logging

from render.errors import FootageError

# By so much a file is longer than its streams where it is not by rounding, and by no more where it says something.
LEAST_HOLD_SECONDS, LONGEST_HOLD_SECONDS = 0.02, 3600
# A time that lies further back than this is no disorder: another recording begins.
CLOCK_RESET_SECONDS = Fraction(1, 4)
# FFmpeg may not leave the file it was given: a playlist must not fetch anything.
READ_OPTIONS = {"protocol_whitelist": "file"}


def timecode(seconds: float) -> str:
    """`h:mm:ss.mmm` of a time in seconds."""
    milliseconds = round(abs(seconds) * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    sign = "-" if seconds < 0 and (minutes or milliseconds) else ""
    return f"{sign}{minutes // 60}:{minutes % 60:02d}:{milliseconds // 1000:02d}.{milliseconds % 1000:03d}"


def open_media(path: Path) -> Any:
    """An open PyAV input container.

    Raises:
        FootageError: the file is missing, a folder, empty, unreadable or not media.
    """
    if not path.exists():
        raise FootageError(f"{path}: no such file")
    if path.is_dir():
        raise FootageError(f"{path}: is a folder, not a video or audio file")
    try:
        if path.stat().st_size == 0:
            raise FootageError(f"{path}: the file is empty (0 bytes)")
        with path.open("rb") as file:
            head = file.read(12)
        return av.open(f"file:{path}", metadata_errors="replace", options=READ_OPTIONS)
    except PermissionError as error:
        raise FootageError(f"{path}: no permission to read it") from error
    except (av.error.FFmpegError, OSError) as error:
        if head[4:8] == b"ftyp":
            reason = "its index is missing, so the recording or copy was cut off; fetch the file again"
        else:
            reason = "not a video or audio file that can be read"
        raise FootageError(f"{path}: {reason} ({short_reason(error)})") from error


def matroska_header(stream: Any) -> bytes:
    """Head of a Matroska file with this stream alone; empty where Matroska cannot hold it.

    PyAV does not show all that FFmpeg has read about a stream; this muxer writes it down.
    """
    file = io.BytesIO()
    try:
        with av.open(file, "w", format="matroska") as output:
            output.add_stream_from_template(stream, opaque=True)
            output.start_encoding()
    except (av.error.FFmpegError, ValueError, OSError):
        return b""
    return file.getvalue()


def short_reason(error: Exception) -> str:
    """What the system says about a failure, without the path."""
    return str(getattr(error, "strerror", None) or error)


@dataclass(frozen=True)
class AudioInfo:
    """One audio stream of a file. `start` and `duration` in seconds, on the clock of the file's video."""

    index: int
    codec: str
    sample_rate: int
    channels: int
    layout: str
    start: float
    duration: float
    language: str | None


def declared_end(stream: Any) -> float | None:
    """Where the file says that the stream ends, in seconds; None where it says nothing."""
    parts = stream.metadata.get("DURATION", "").split(":")  # Matroska, as h:mm:ss.fraction
    with suppress(ValueError):
        hours, minutes, seconds = (float(part) for part in parts)
        return hours * 3600 + minutes * 60 + seconds
    # Of Matroska this would be the length of the longest stream.
    return None if stream.duration is None else float(((stream.start_time or 0) + stream.duration) * stream.time_base)


def shown_until(container: Any, stream: Any, path: Path) -> float | None:
    """Where the file says that a picture stream is shown until, in seconds; None where it says nothing.

    An MP4 that lasts longer than each of its streams holds its last picture: with B-frames it may say so of the whole
    alone.
    """
    end = declared_end(stream)
    if end is None or "mp4" not in container.format.name:
        return end
    whole = _movie_seconds(path)
    ends = [declared_end(one) or 0.0 for one in container.streams]
    return whole if LEAST_HOLD_SECONDS < whole - max(ends) < LONGEST_HOLD_SECONDS else end


def _movie_seconds(path: Path) -> float:
    """How long an mp4 or mov file is as a whole, by its movie header (ISO/IEC 14496-12, 8.2.2); 0 where it has none."""
    with path.open("rb") as file:
        for name, start, _ in boxes_of_file(file, path.stat().st_size):
            if name == b"moov":
                file.seek(start)
                head = file.read(48)
                is_long = len(head) == 48 and head[16] == 1
                scale, length = struct.unpack_from(
                    ">IQ" if is_long else ">II", head.ljust(48, b"\0"), 36 if is_long else 28
                )
                return length / scale if head[12:16] == b"mvhd" and scale else 0.0
    return 0.0


def boxes_of_file(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of the boxes of a file."""
    start = 0
    while start + 8 <= size:
        file.seek(start)
        length, name, long = struct.unpack(">I4sQ", file.read(16).ljust(16, b"\0"))
        length = long if length == 1 else length or size - start
        if length < 8:
            return
        yield name, start, start + length
        start += length


def audio_info(stream: Any, container: Any) -> AudioInfo:
    """Facts about an open audio stream."""
    context = stream.codec_context
    start = float((stream.start_time or 0) * stream.time_base)
    if stream.duration is not None:
        duration = float(stream.duration * stream.time_base)
    else:
        duration = (container.duration or 0) / av.time_base
    return AudioInfo(
        index=stream.index,
        codec=context.codec.canonical_name,
        sample_rate=context.sample_rate or 0,
        channels=context.channels,
        layout=context.layout.name,
        start=start,
        duration=duration,
        language=stream.language,
    )


def describe_streams(container: Any) -> tuple[str, ...]:
    """One line about each open stream, for reports."""
    unknown = unknown_codecs(container)
    return tuple(_described(stream, unknown.get(stream.index)) for stream in container.streams)


def _described(stream: Any, unknown: str | None) -> str:
    context = stream.codec_context
    if context is not None:
        name = context.codec.canonical_name
    else:
        name = f"unknown ({unknown})" if unknown else getattr(stream, "name", None)
    line = f"#{stream.index} {stream.type} {name or 'unknown'}"
    if context is not None and stream.type == "video":
        line += f" {context.width}x{context.height} {context.pix_fmt}"
    if context is not None and stream.type == "audio":
        line += f" {context.sample_rate} Hz {context.layout.name}"
    return f"{line}, {stream.language}" if stream.language else line


def unknown_codecs(container: Any) -> dict[int, str]:
    """The file's own names for the codecs of video and sound streams that FFmpeg has no decoder for, by index."""
    indices = [s.index for s in container.streams if s.type in ("video", "audio") and s.codec_context is None]
    if not indices:
        return {}
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)  # else the listing, the only place that has the name, is empty
    try:
        listing = container.dumps_format()
    finally:
        av.logging.set_level(level)
    named = re.findall(r"Stream #0:(\d+).*?: (?:Video|Audio): [^(,]*\(([^ )]+) /", listing)
    names = {int(index): name for index, name in named}
    return {index: names.get(index, "without a name") for index in indices}


def videos(container: Any) -> list[Any]:
    """The video streams, less cover pictures."""
    return [s for s in container.streams.video if not s.disposition & s.disposition.attached_pic]


def choose_video(container: Any, path: Path) -> tuple[Any, list[str]]:
    """The video stream that is meant, and notes on those that are left alone.

    Of several with moving pictures it is the default one, or else the largest.

    Raises:
        FootageError: there is none that can be read.
    """
    unknown = unknown_codecs(container)
    pictures = videos(container)
    readable = [s for s in pictures if s.index not in unknown]
    if not readable:
        if pictures:
            codec = unknown[pictures[0].index]
            raise FootageError(f"{path}: its video codec ({codec}) is not known; convert it to ProRes or H.264 first")
        kinds = sorted({s.type for s in container.streams})
        is_sound = kinds == ["audio"] or bool(container.streams.video)
        held = "only sound" if is_sound else f"only {', '.join(kinds) or 'nothing'}"
        raise FootageError(f"{path}: there is no video in it ({held})")
    notes = [
        f"stream {index} ({container.streams[index].type}) is left alone: its codec ({name}) is not known"
        for index, name in unknown.items()
    ]
    moving = [s for s in readable if not _is_still(s)] or readable
    default = [s for s in moving if s.disposition & s.disposition.default]
    chosen = max(default or moving, key=lambda s: s.codec_context.width * s.codec_context.height)
    if len(readable) > 1:
        reason = (
            "the only moving one" if len(moving) == 1 else "the default one" if len(default) == 1 else "the largest"
        )
        notes.append(f"there are {len(readable)} videos in it; stream {chosen.index} is used, {reason}")
    return chosen, notes


def _is_still(stream: Any) -> bool:
    """Whether a video stream is one picture, such as a thumbnail."""
    end = declared_end(stream)
    if stream.frames == 1 or end is None or not stream.guessed_rate:
        return bool(stream.frames == 1)
    start = float((stream.start_time or 0) * stream.time_base)
    return end - start < 1.5 / stream.guessed_rate


def decoded(
    container: Any, stream: Any, time_base: Fraction, options: dict[str, str], resets: set[int]
) -> Iterator[tuple[int, av.VideoFrame]]:
    """(pts, frame) in order of time, pts strictly ascending; damaged packets are skipped.

    Where the clock begins anew, as in recordings joined by `cat`, it is counted on; `resets` gets the pts there.
    """
    stream.thread_type = "AUTO"
    stream.codec_context.options = options
    step = max(1, round(1 / ((stream.guessed_rate or Fraction(25)) * time_base)))
    last: int | None = None
    shift = 0
    for packet in _packets(container, stream):
        try:
            frames = packet.decode()
        except (av.error.FFmpegError, OSError):
            continue
        for frame in frames:
            pts = frame.pts
            if pts is None:
                pts = 0 if last is None else last + step
            else:
                pts += shift
                if last is not None and (last - pts) * time_base > CLOCK_RESET_SECONDS:
                    shift += last + step - pts
                    pts = last + step
                    resets.add(pts)
                elif last is not None and pts <= last:
                    pts = last + 1
            last = pts
            yield pts, frame


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    """Packets of one stream and the flush at its end, also where the file breaks off."""
    try:
        yield from container.demux(stream)
    except (av.error.FFmpegError, OSError):
        return
