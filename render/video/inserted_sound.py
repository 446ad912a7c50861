"""Inserted sound: a new line in a video's own sound, at its rate and channels, streamed block by block.

Outside of the line samples stay as they were, to the bit where the codec is lossless; at its ends line and sound are
faded into each other, inside it. Seconds count from where the own sound begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from render.video.delivery import AAC_BITS_PER_CHANNEL, AAC_LAYOUTS
from render.video.sound_blocks import audio_blocks, named_channels
from render.video.sound_track import SoundTrack

#: Where a line begins and ends, it and the own sound are faded into each other over so long.
FADE_SECONDS = 0.01
#: Lossless sound keeps its kind, by the decoder's samples; all other is encoded anew.
PCM = {"u8": "pcm_u8", "s16": "pcm_s16le", "s32": "pcm_s24le", "flt": "pcm_f32le", "dbl": "pcm_f64le"}
#: Samples of silence in a block.
BLOCK = 4_800


@dataclass(frozen=True)
class Line:
    """A new line that is inserted.

    Attributes:
        track: what is heard.
        start, end: seconds between which it may be.
        offset: seconds by which it begins later than `start`; where it is negative its beginning is cut off.
        fills: the source's sound is silent between `start` and `end`, whether the line is heard or not.
    """

    track: SoundTrack
    start: float
    end: float
    offset: float = 0.0
    fills: bool = False


def named_form(layout: str, channels: int) -> tuple[str, int]:
    """FFmpeg's layout and its channels: one without a name is mono, two are stereo, more stay without names."""
    if "channels" in layout and channels <= 2:
        layout = "mono" if channels == 1 else "stereo"
    return layout, channels


@dataclass(frozen=True)
class SoundForm:
    """How an inserted sound is written: FFmpeg's encoder, Hz, FFmpeg's layout and its number of channels."""

    codec: str
    rate: int
    layout: str
    channels: int

    @staticmethod
    def of(context: Any) -> SoundForm:
        """As a decoder's sound is, as near as an encoder comes to it."""
        name, kind = context.codec.canonical_name, context.format.name.removesuffix("p")
        layout, channels = named_form(context.layout.name, context.channels)
        if name.startswith("pcm_") or name in ("flac", "alac"):
            codec = "flac" if name == "flac" and kind == "s16" else PCM[kind]
            return SoundForm(codec, context.sample_rate, layout, channels)
        rates = av.Codec("aac", "w").audio_rates or [context.sample_rate]
        rate = min(rates, key=lambda one: (abs(one - context.sample_rate), -one))
        layout = layout.removesuffix("(side)")
        if layout not in AAC_LAYOUTS:
            layout, channels = "stereo", 2
        return SoundForm("aac", rate, layout, channels)

    @property
    def is_lossless(self) -> bool:
        """Whether samples are read back as they were."""
        return self.codec != "aac"

    @property
    def suffix(self) -> str:
        """Of a file that holds it."""
        return {"aac": ".m4a", "flac": ".flac"}.get(self.codec, ".mov")

    @property
    def told(self) -> str:
        """In words."""
        return f"{self.codec} {self.rate} Hz {self.layout}"


def insert_line(
    line: Line, own: SoundTrack | None, form: SoundForm, output: Path, least_seconds: float
) -> tuple[float, float]:
    """Write the source's sound with a line in it; both are faded into each other over `FADE_SECONDS` inside the line.

    Args:
        line: what is inserted.
        own: the source's sound, sample 0 at the first frame; None for silence.
        form: how it is written.
        output: file.
        least_seconds: the sound is at least so long.

    Returns:
        Seconds between which the source is not heard.

    Raises:
        FootageError: a sound cannot be read.
    """
    rate = form.rate
    begin, end = round(line.start * rate), round(line.end * rate)
    at = begin + round(line.offset * rate)
    length = sum(len(samples) for samples in arranged(line.track, form))
    first, last = (begin, end) if line.fills else (max(begin, at), min(end, at + length))
    last = max(first, last)
    new = _Reader(arranged(line.track, form))
    new.skip(max(0, first - at))
    wait = max(0, at - first)  # silence before the line, where it fills
    fade = min(round(FADE_SECONDS * rate), (last - first) // 2)
    with _SoundFile(output, form) as file:
        place = 0
        for samples in _long_enough(
            () if own is None else arranged(own, form), form, max(last, round(least_seconds * rate))
        ):
            low, high = max(first, place), min(last, place + len(samples))
            if low < high:
                times = np.arange(low, high)
                heard = np.minimum(np.minimum(times - first + 1, last - times) / (fade + 1), 1.0)[:, None]
                silent = min(max(0, first + wait - low), high - low)
                inserted = np.concatenate([np.zeros((silent, form.channels)), new.take(high - low - silent)])
                samples = samples.copy()
                window = samples[low - place : high - place]
                window[:] = window * (1 - heard) + inserted * heard
            file.write(samples)
            place += len(samples)
    return first / rate, last / rate


def _long_enough(blocks: Iterable[np.ndarray], form: SoundForm, least: int) -> Iterator[np.ndarray]:
    """Blocks of samples, followed by silence until there are at least so many."""
    count = 0
    for samples in blocks:
        yield samples
        count += len(samples)
    while count < least:
        yield np.zeros((min(BLOCK, least - count), form.channels), np.float32)
        count += BLOCK


class _Reader:
    """Takes samples from blocks, as many as are asked for; zeros once they have ended."""

    def __init__(self, blocks: Iterator[np.ndarray]) -> None:
        self._blocks = blocks
        self._held: np.ndarray | None = None

    def take(self, count: int) -> np.ndarray:
        """The next `count` samples, float32 [count, channels]."""
        while self._held is None or len(self._held) < count:
            block = next(self._blocks, None)
            if block is None:
                channels = 1 if self._held is None else self._held.shape[1]
                held = np.zeros((0, channels), np.float32) if self._held is None else self._held
                self._held = np.concatenate([held, np.zeros((count - len(held), channels), np.float32)])
            else:
                self._held = block if self._held is None else np.concatenate([self._held, block])
        taken, self._held = self._held[:count], self._held[count:]
        return taken

    def skip(self, count: int) -> None:
        """Leave out the next `count` samples."""
        while count > 0:
            count -= len(self.take(min(count, BLOCK)))


class _SoundFile:
    """A sound file in the making, of float32 blocks [n, channels]."""

    def __init__(self, path: Path, form: SoundForm) -> None:
        self._container: Any = av.open(f"file:{path}", "w", format={".m4a": "mp4"}.get(form.suffix))
        self._stream: Any = self._container.add_stream(form.codec, rate=form.rate)
        context: Any = self._stream.codec_context
        context.layout = form.layout
        if not form.is_lossless:
            context.bit_rate = AAC_BITS_PER_CHANNEL * form.channels
        self._form = form
        self._place = 0

    def __enter__(self) -> _SoundFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def write(self, samples: np.ndarray) -> None:
        """Add a block."""
        kind = self._stream.codec_context.format.name.removesuffix("p")
        values = _coded(samples, kind)
        frame = av.AudioFrame.from_ndarray(values.reshape(1, -1), format=kind, layout=self._form.layout)
        frame.sample_rate, frame.pts, frame.time_base = self._form.rate, self._place, Fraction(1, self._form.rate)
        self._container.mux(self._stream.encode(frame))
        self._place += len(samples)


def _coded(samples: np.ndarray, kind: str) -> np.ndarray:
    """Samples as FFmpeg's format `kind` has them; those that were read of such a format come back as they were."""
    if kind in ("flt", "dbl"):
        return np.ascontiguousarray(samples, np.float32 if kind == "flt" else np.float64)
    bits = {"u8": 8, "s16": 16, "s32": 32}[kind]
    top = 1 << (bits - 1)
    whole = np.clip(np.rint(samples.astype(np.float64) * top), -top, top - 1)
    return np.ascontiguousarray(whole + 128 if kind == "u8" else whole).astype(
        {8: np.uint8, 16: np.int16, 32: np.int32}[bits]
    )


def arranged(track: SoundTrack, form: SoundForm) -> Iterator[np.ndarray]:
    """A sound in pieces float32 [N, channels], brought to a form's rate and channels; untouched where it has them."""
    same, resampler = "", None
    target = form.layout if "channels" not in form.layout else "mono"  # which then sounds in all that have no names
    for block in audio_blocks(track):
        if (block.rate, block.samples.shape[1], block.layout) == (form.rate, form.channels, form.layout):
            yield block.samples
            continue
        samples, layout = named_channels(block)
        if (block.rate, layout) == (form.rate, target):
            yield np.repeat(samples, form.channels // samples.shape[1], axis=1)
            continue
        if layout != same:
            yield from _pieces(resampler, None, form)
            same, resampler = layout, av.AudioResampler("flt", target, form.rate)
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="flt", layout=layout)
        frame.sample_rate = block.rate
        yield from _pieces(resampler, frame, form)
    yield from _pieces(resampler, None, form)


def _pieces(resampler: Any, frame: Any, form: SoundForm) -> Iterator[np.ndarray]:
    for piece in resampler.resample(frame) if resampler is not None else ():
        samples = piece.to_ndarray().reshape(-1, piece.layout.nb_channels)
        yield np.repeat(samples, form.channels // samples.shape[1], axis=1)
