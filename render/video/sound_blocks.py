"""Sound as a stream of blocks: any file's sound, decoded, without gaps, on the clock of its file.

In: a `SoundTrack`, or the decoded frames of an open stream. Out: blocks of float32 samples at one rate, each beginning
where the one before ends; holes are filled with zeros, a second at a time. Everything that hears a sound hears it
through these blocks, so that what drives, what is mixed and what is encoded anew agree to the sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np

from render.errors import FootageError
from render.video.container import open_media, timecode
from render.video.sound_track import SoundTrack

# Time stamps that disagree with the samples by less are rounding of the container's clock.
LEAST_HOLE_SECONDS = Fraction(1, 50)
# A longer hole is no hole but a clock that jumped.
LONGEST_HOLE_SECONDS = 3600
# Floats beyond that level (+120 dB of full scale) are no sound: their squares overflow.
LARGEST_SAMPLE = 1e6


@dataclass(frozen=True)
class SoundBlock:
    """Consecutive samples of a sound.

    Attributes:
        samples: float32 [n, channels], 1 is full scale, finite.
        start: number of the first sample; the sound begins at 0.
        rate: samples a second, the same in all blocks of a sound.
        layout: FFmpeg's name of the channels, such as "5.1"; "8 channels" where nothing says which these are.
        is_hole: zeros that stand for what the file does not hold.
    """

    samples: np.ndarray
    start: int
    rate: int
    layout: str
    is_hole: bool = False


class BlockMaker:
    """Makes blocks of the decoded frames of one stream.

    Args:
        name: of the sound, for notes.
        begins: seconds on the stream's clock at which sample 0 lies; what comes before is left out.
        rate: of the blocks in Hz; None for that of the first frame.
        is_late: a first frame slightly after sample 0 is late indeed, and not by rounding.

    Attributes:
        position: number of the sample that comes next.
        notes: what was found on the way, one sentence each; complete after `rest`.
    """

    def __init__(self, name: str, begins: Fraction, rate: int | None = None, is_late: bool = True) -> None:
        self.name = name
        self.begins = begins
        self.rate = rate
        self.is_late = is_late
        self.position = 0
        self.notes: list[str] = []
        self._form: tuple[str, str, int] | None = None
        self._converter: Any = None
        self._not_numbers, self._first_not_number = 0, 0.0

    def blocks(self, frame: Any) -> Iterator[SoundBlock]:
        """Blocks of the next frame; a block may begin later than the one before ends, never earlier."""
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        self.rate = self.rate or frame.sample_rate
        if form != self._form:
            yield from self._converted(None)
            self._note_change(form)
            # Packed: planar frames of 8 channels and more end the interpreter in `to_ndarray`.
            self._form, self._converter = form, av.AudioResampler(format="flt", rate=self.rate)
        yield from self._converted(frame)

    def rest(self) -> Iterator[SoundBlock]:
        """What is still held back, once there are no more frames."""
        yield from self._converted(None)
        if self._not_numbers:
            values = "value that is no number" if self._not_numbers == 1 else "values that are no numbers"
            self.notes.append(
                f"{self.name}: {self._not_numbers} {values} in its sound, from {timecode(self._first_not_number)} on; "
                "taken as silence"
            )

    def _note_change(self, form: tuple[str, str, int]) -> None:
        if self._form is None or form[1:] == self._form[1:]:
            return
        old, new = (f"{layout} at {rate} Hz" for _, layout, rate in (self._form, form))
        self.notes.append(f"{self.name}: its sound changes from {old} to {new} at {timecode(self._seconds())}")

    def _seconds(self) -> float:
        return self.position / (self.rate or 1)

    def _converted(self, frame: Any) -> Iterator[SoundBlock]:
        rate = self.rate or 0
        for part in self._resampled(frame):
            samples = self._numbers(part.to_ndarray().reshape(-1, part.layout.nb_channels))
            start = self.position if part.time is None else round((part.time - float(self.begins)) * rate)
            if self.position == 0 and start < 0:
                samples, start = samples[-start:], 0
            elif (self.position or not self.is_late) and start <= self.position + rate * LEAST_HOLE_SECONDS:
                start = self.position
            if len(samples):
                yield SoundBlock(samples, start, rate, part.layout.name)
                self.position = start + len(samples)

    def _resampled(self, frame: Any) -> list[Any]:
        if self._converter is None or self._form is None:
            return []
        try:
            return list(self._converter.resample(frame))
        except (av.error.FFmpegError, OSError, NotImplementedError) as error:
            name, layout, rate = self._form
            raise FootageError(
                f"{self.name}: its sound from {timecode(self._seconds())} on ({layout} at {rate} Hz, {name}) cannot be "
                "converted; write it to a file of its own, such as stereo WAV, and give that"
            ) from error

    def _numbers(self, samples: np.ndarray) -> np.ndarray:
        """The samples with 0 for what is no number, or none that a sound can have."""
        wrong = ~(np.abs(samples) <= LARGEST_SAMPLE)
        if not wrong.any():
            return np.ascontiguousarray(samples, np.float32)
        if not self._not_numbers:
            self._first_not_number = self._seconds() + int(wrong.any(1).argmax()) / (self.rate or 1)
        self._not_numbers += int(wrong.sum())
        return np.where(wrong, np.float32(0), samples)


def audio_blocks(track: SoundTrack, notes: list[str] | None = None) -> Iterator[SoundBlock]:
    """Decode a sound block by block, without gaps; the first block begins at sample 0.

    Args:
        track: which sound.
        notes: gets a sentence for everything odd in it.

    Raises:
        FootageError: the file cannot be opened, has no such sound, holds no samples, or its clock jumps.
    """
    with open_media(track.path) as container:
        stream = track.stream_in(container)
        declared = container.duration / av.time_base if container.duration else LONGEST_HOLE_SECONDS
        begins, first = track.beginning_in(container), Fraction(container.start_time or 0, av.time_base)
        # Vorbis stamps its first samples a few milliseconds later than the packets that they come from.
        is_late = stream.start_time is not None and stream.start_time * stream.time_base > max(first, begins)
        maker = BlockMaker(str(track), begins, is_late=is_late)
        # The clock of a transport stream may be hours old where the file begins.
        lead = max(0.0, float(first - begins))
        if lead > LONGEST_HOLE_SECONDS:
            raise FootageError(
                f"{track}: its clock begins at {timecode(float(first))}; write it to a file whose clock begins at 0, "
                "such as with ffmpeg -i IN -c copy OUT.mkv"
            )
        end = 0
        for block in _decoded_blocks(container, stream, maker):
            missing = (block.start - end) / block.rate - (lead if end == 0 else 0.0)
            if missing > min(declared, LONGEST_HOLE_SECONDS):
                raise FootageError(
                    f"{track}: nothing for {timecode(missing)} after {timecode(end / block.rate)} of its sound, so its "
                    "clock jumps there; write the sound to a file of its own, such as WAV, and give that"
                )
            yield from zeros_before(block, end)
            yield block
            end = block.start + len(block.samples)
    if end == 0:
        raise FootageError(f"{track}: its sound holds no samples; give a file with sound")
    if notes is not None:
        notes.extend(maker.notes)


def _decoded_blocks(container: Any, stream: Any, maker: BlockMaker) -> Iterator[SoundBlock]:
    try:
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                continue  # a damaged packet leaves a hole
            for frame in frames:
                yield from maker.blocks(frame)
    except (av.error.FFmpegError, OSError):
        pass  # the file breaks off
    yield from maker.rest()


def zeros_before(block: SoundBlock, end: int) -> Iterator[SoundBlock]:
    """Zeros from sample `end` to where the block begins, at most a second in each."""
    while end < block.start:
        samples = np.zeros((min(block.rate, block.start - end), block.samples.shape[1]), np.float32)
        yield SoundBlock(samples, end, block.rate, block.layout, is_hole=True)
        end += len(samples)


def named_layout(layout: str, channels: int) -> str:
    """A layout of speakers for channels that may have no names: one is mono, two are stereo, more are mixed to mono."""
    if "channels" not in layout:
        return layout
    return "stereo" if channels == 2 else "mono"


def named_channels(block: SoundBlock) -> tuple[np.ndarray, str]:
    """A block's samples [n, speakers] and their `named_layout`; microphones mixed to mono keep their common power."""
    channels = block.samples.shape[1]
    layout = named_layout(block.layout, channels)
    if layout == block.layout or channels < 3:
        return block.samples, layout
    mixed = block.samples.sum(axis=1, keepdims=True) / np.float32(channels**0.5)
    return np.ascontiguousarray(mixed, np.float32), layout
