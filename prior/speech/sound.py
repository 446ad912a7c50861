"""Sound: any file's first sound track as a mono waveform float32 [samples] in [-1, 1] at `SAMPLE_RATE`, and back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soxr

from render.errors import FootageError

SAMPLE_RATE = 16_000  # Hz


def audio_blocks(path: str | Path, from_beginning: bool = False) -> Iterator[tuple[np.ndarray, int]]:
    """Decode a file's first audio stream block by block.

    Args:
        path: any container that FFmpeg reads, sound file or video.
        from_beginning: time 0 is where the file begins, as a player has it, not 0 of the container's clock.

    Yields:
        (samples float32 [n, channels] in [-1, 1], sample_rate in Hz). Blocks follow each other without gaps, the
        first sample at time 0; holes in the stream are filled with zeros.

    Raises:
        FootageError: the file cannot be opened, has no audio stream, or holds no samples.
    """
    import av  # at use: training machines that only read caches have no PyAV

    from render.video.container import open_media

    path = Path(path)
    with open_media(path) as container:
        begin = max(0, container.start_time or 0) / av.time_base if from_beginning else 0.0
        if not container.streams.audio:
            raise FootageError(f"{path}: has no audio stream. Give a file with sound.")
        stream = container.streams.audio[0]
        rate = int(stream.codec_context.sample_rate)
        resampler = av.AudioResampler(format="fltp", rate=rate)
        position = 0  # samples given out so far, at the file's own rate
        frames = container.decode(stream)
        while True:
            try:
                frame = next(frames)
            except StopIteration:
                break
            except av.FFmpegError:
                continue  # a damaged packet leaves a hole, which the next frame's time stamp fills
            start = position if frame.time is None else round((frame.time - begin) * rate)
            for part in resampler.resample(frame):
                samples = part.to_ndarray().T
                if start > position + rate // 50:  # 20 ms: smaller steps are rounding of the container's clock
                    yield np.zeros((start - position, samples.shape[1]), np.float32), rate
                    position = start
                skip = max(0, -start) if position == 0 else 0
                position += len(samples) - min(skip, len(samples))
                start = position
                yield np.ascontiguousarray(samples[skip:], dtype=np.float32), rate
    if position == 0:
        raise FootageError(f"{path}: its audio stream holds no samples. Give a file with sound.")


def read_waveform(path: str | Path, from_beginning: bool = False) -> np.ndarray:
    """Read any file's sound as a mono waveform at `SAMPLE_RATE`; arguments as of `audio_blocks`.

    Returns:
        float32 [N], mean of the channels, resampled by soxr (high quality, linear phase).
    """
    parts: list[np.ndarray] = []
    resampler: soxr.ResampleStream | None = None
    for samples, rate in audio_blocks(path, from_beginning):
        if resampler is None:
            resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
        parts.append(resampler.resample_chunk(samples.mean(axis=1)))
    assert resampler is not None  # audio_blocks raises on an empty stream
    parts.append(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
    return np.concatenate(parts)


def resample(waveform: np.ndarray, rate: float) -> np.ndarray:
    """Bring a mono waveform [N] at `rate` Hz to float32 [N'] at `SAMPLE_RATE`."""
    return soxr.resample(waveform.astype(np.float32), rate, SAMPLE_RATE)


AUDIO_BIT_RATE = 32_000


def write_audio(waveform: np.ndarray, path: Path) -> None:
    """Write a mono waveform [N] at `SAMPLE_RATE` as Opus."""
    import av  # at use, as above

    samples = (waveform.clip(-1, 1) * 32767).astype(np.int16)
    # Else every run draws another serial number for its stream.
    with av.open(str(path), "w", format="ogg", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libopus", rate=SAMPLE_RATE, layout="mono")
        stream.bit_rate = AUDIO_BIT_RATE
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
