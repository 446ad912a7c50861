"""Clip: pictures as a small video inside a page."""

import io
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np

CLIP_QUALITY = 18
#: 1 / 90000 s, fine enough for every frame rate.
CLIP_TIME_BASE = Fraction(1, 90_000)


class ClipEncoder:
    """Encodes frames for a report's player, one at a time, as an H.264 mp4 file in memory that starts at time 0.

    Args:
        quality: x264's constant rate factor; lower is better and larger.
    """

    def __init__(self, quality: int = CLIP_QUALITY) -> None:
        self._buffer = io.BytesIO()
        self._container: Any = av.open(self._buffer, "w", format="mp4")
        options = {"crf": str(quality), "preset": "superfast"}  # a third faster, and what is drawn waits for it
        self._stream: Any = self._container.add_stream("libx264", rate=25, options=options)
        self._stream.time_base = self._stream.codec_context.time_base = CLIP_TIME_BASE
        self._stream.pix_fmt = "yuv420p"
        self._start: float | None = None

    def add(self, rgb: np.ndarray, timestamp: float) -> None:
        """Add a frame, uint8 [H, W, 3] sRGB, all of one size; timestamps in seconds, increasing."""
        even = np.ascontiguousarray(rgb[: rgb.shape[0] // 2 * 2, : rgb.shape[1] // 2 * 2])
        if self._start is None:
            self._start = timestamp
            self._stream.height, self._stream.width = even.shape[:2]
        frame = av.VideoFrame.from_ndarray(even, format="rgb24")
        frame.pts = round((timestamp - self._start) / CLIP_TIME_BASE)
        frame.time_base = CLIP_TIME_BASE
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> bytes:
        """The file."""
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._buffer.getvalue()


def encode_clip(frames: Iterable[np.ndarray], timestamps: Sequence[float], quality: int = CLIP_QUALITY) -> bytes:
    """Encode frames uint8 [H, W, 3] sRGB at `timestamps` (seconds, one per frame); see `ClipEncoder`."""
    encoder = ClipEncoder(quality)
    for rgb, timestamp in zip(frames, timestamps, strict=True):
        encoder.add(rgb, timestamp)
    return encoder.finish()


def encode_sound(samples: np.ndarray, rate: int) -> bytes:
    """One channel of float32 samples [N] at `rate` Hz (one that Opus has) as an Ogg file that starts at time 0."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="ogg") as container:
        stream: Any = container.add_stream("libopus", rate=rate)
        stream.codec_context.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None], np.float32), format="flt", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()
