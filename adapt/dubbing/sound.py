"""Sound of a dub: what is delivered beside the pictures, and the sum of several files, streamed block by block."""

import wave
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

import av
import numpy as np

from adapt.dubbing.options import MIX, SOURCE, DubOptions
from adapt.dubbing.request import Request
from adapt.motion.sources import Sound
from render.errors import ConfigError, FootageError
from render.video.container import open_media, timecode
from render.video.encoding import DeliveredSound
from render.video.reader import Footage

SAMPLE_RATE = 48_000  # Hz
BLOCK = 4_800  # samples
CHANNELS = 2
MIXED = "mix.wav"


def refuse_joined(footage: Footage) -> None:
    """Refuse a shot with streams on a clock that begins anew: they cannot be passed on in step with its pictures.

    Raises:
        FootageError: it is one.
    """
    if footage.joins and len(footage.streams) > 1:
        raise FootageError(
            f"{footage.path}: its clock begins anew at {timecode(footage.joins[0])}, so its sound cannot be kept in "
            "step; join the recordings anew, e.g. with the concat demuxer of FFmpeg"
        )


def refuse_undeliverable(requests: Sequence[Request], options: DubOptions) -> None:
    """Check what is to be delivered before anything long is begun.

    Raises:
        ConfigError: nothing drives that could be mixed, or several people speak and nothing says what is heard.
        FootageError: a file that is to be delivered cannot be read, or holds no sound.
    """
    speaking = sum(isinstance(request.driver, Sound) for request in requests)
    if options.deliver == MIX and not speaking:
        raise ConfigError("--deliver mix: no sound drives, so there is nothing to mix; leave it out")
    if speaking > 1 and options.deliver is None:
        raise ConfigError(
            "several people speak: say with --deliver which sound the result has (mix, source, or an audio file)"
        )
    if options.deliver in (None, SOURCE, MIX):
        return
    with open_media(Path(options.deliver)) as container:
        if not container.streams.audio:
            raise FootageError(f"{options.deliver}: there is no sound in it to deliver")


def delivered(
    requests: Sequence[Request], options: DubOptions, footage: Footage, folder: Path
) -> DeliveredSound | None:
    """What is delivered in place of the source's own sound; None where that is kept.

    Args:
        requests: whose drivers are heard: sounds first, then videos.
        options: say what is delivered, and when what drives starts.
        footage: the shot.
        folder: where a mix is made.

    Raises:
        FootageError: a file that is to be mixed cannot be read or holds no sound.
    """
    drivers = sorted((request.driver for request in requests), key=lambda driver: not isinstance(driver, Sound))
    files = [path for driver in drivers if (path := driver.heard()) is not None]
    start, end = options.part or (0.0, footage.duration)
    if options.deliver == SOURCE or not files and options.deliver is None:
        return None
    if options.deliver not in (None, MIX):
        return DeliveredSound([Path(options.deliver)])
    if options.deliver == MIX:
        mixed = folder / MIXED
        mix_sounds(files, mixed)
        files = [mixed]
    return DeliveredSound(files, options.audio_offset + start, end if options.on_mismatch == "trim" else None)


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
