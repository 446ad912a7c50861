"""Mix: several sound files summed into one, streamed block by block."""

import wave
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

import av
import numpy as np

from render.errors import FootageError
from render.video.media import open_media

SAMPLE_RATE = 48_000  # Hz
BLOCK = 4_800  # samples
CHANNELS = 2


def mix_sounds(paths: Sequence[Path], output: Path) -> None:
    """Write the sum of sound files, from their starts, as 48 kHz stereo in 16 bits; what is too loud is clipped.

    Raises:
        FootageError: a file cannot be read or holds no sound.
    """
    with wave.open(str(output), "wb") as file:
        file.setnchannels(CHANNELS)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        for blocks in zip_longest(*(_blocks(path) for path in paths)):
            total = np.zeros((max(len(block) for block in blocks if block is not None), CHANNELS), np.float32)
            for block in blocks:
                if block is not None:
                    total[: len(block)] += block
            file.writeframes((np.clip(total, -1, 1) * 32767).round().astype("<i2").tobytes())


def _blocks(path: Path) -> Iterator[np.ndarray]:
    """A file's sound in blocks float32 [N, CHANNELS], all but the last of `BLOCK` samples."""
    with open_media(path) as container:
        if not container.streams.audio:
            raise FootageError(f"{path}: holds no sound; give a file with speech in it")
        resampler = av.AudioResampler("fltp", "stereo", SAMPLE_RATE, BLOCK)
        for packet in container.demux(container.streams.audio[0]):
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                continue
            for frame in frames:
                frame.pts = None
                yield from (piece.to_ndarray().T for piece in resampler.resample(frame))
        yield from (piece.to_ndarray().T for piece in resampler.resample(None))
