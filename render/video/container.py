"""A media file being read: opened safely, and what it says about itself.

In: a path. Out: an open PyAV container that reads nothing but this file, facts about its streams, and errors of one
line for what cannot be read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from render.errors import FootageError

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
    if stream.duration is not None:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    parts = stream.metadata.get("DURATION", "").split(":")  # Matroska, as h:mm:ss.fraction
    try:
        hours, minutes, seconds = (float(part) for part in parts)
    except ValueError:
        return None
    return hours * 3600 + minutes * 60 + seconds


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


def describe_stream(stream: Any) -> str:
    """One line about an open stream, for reports."""
    context = stream.codec_context
    name = context.codec.canonical_name if context is not None else getattr(stream, "name", None) or "unknown"
    language = f", {stream.language}" if stream.language else ""
    if stream.type == "video":
        return f"#{stream.index} video {name} {context.width}x{context.height} {context.pix_fmt}{language}"
    if stream.type == "audio":
        return f"#{stream.index} audio {name} {context.sample_rate} Hz {context.layout.name}{language}"
    return f"#{stream.index} {stream.type} {name}{language}"
