"""Sound of a dub: what is delivered beside the pictures, and the sum of several files, streamed block by block."""

import wave
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import av
import numpy as np

from adapt.dubbing.options import MIX, SOURCE, DubOptions
from adapt.dubbing.request import Request
from adapt.motion.sources import Sound
from prior.speech.speech_track import speech_track
from render.errors import ConfigError, FootageError
from render.video.container import timecode
from render.video.encoding import DeliveredSound
from render.video.reader import Footage
from render.video.sound_blocks import audio_blocks, named_channels
from render.video.sound_track import SoundTrack

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
        FootageError: a file that is to be delivered cannot be read through, or has no such sound.
    """
    speaking = sum(isinstance(request.driver, Sound) for request in requests)
    if options.deliver == MIX and not speaking:
        raise ConfigError("--deliver mix: no sound drives, so there is nothing to mix; leave it out")
    if speaking > 1 and options.deliver is None:
        raise ConfigError(
            "several people speak: say with --deliver which sound the result has (mix, source, or an audio file)"
        )
    if options.deliver == SOURCE:
        return
    tracks = [request.driver.heard() for request in requests if not isinstance(request.driver, Sound)]
    if options.deliver not in (None, MIX):
        tracks = [speech_track(options.deliver)]
    for track in tracks:
        for _ in audio_blocks(track) if track is not None else ():
            pass  # a clock that jumps shows in the reading alone; sounds that drive are read anyway


def delivered(
    requests: Sequence[Request], options: DubOptions, footage: Footage, folder: Path, notes: list[str] | None = None
) -> DeliveredSound | None:
    """What is delivered in place of the source's own sound; None where that is kept.

    Args:
        requests: whose drivers are heard: sounds first, then videos.
        options: say what is delivered, and when what drives starts.
        footage: the shot.
        folder: where a mix is made.
        notes: gets a sentence where one of several sound tracks was chosen.

    Raises:
        FootageError: a file that is to be mixed cannot be read or holds no sound.
    """
    drivers = sorted((request.driver for request in requests), key=lambda driver: not isinstance(driver, Sound))
    heard: list[SoundTrack] = [track for driver in drivers if (track := driver.heard()) is not None]
    start, end = options.part or (0.0, footage.duration)
    if options.deliver == SOURCE or not heard and options.deliver is None:
        return None
    if options.deliver not in (None, MIX):
        return DeliveredSound([speech_track(options.deliver, notes)])
    if options.deliver == MIX:
        mixed = folder / MIXED
        mix_sounds(heard, mixed)
        heard = [SoundTrack(mixed)]
    return DeliveredSound(heard, options.audio_offset + start, end if options.on_mismatch == "trim" else None)


def mix_sounds(tracks: Sequence[SoundTrack], output: Path) -> None:
    """Write the sum of sounds, from their beginnings, as 48 kHz stereo in 16 bits; what is too loud is clipped.

    Raises:
        FootageError: a file cannot be read or holds no sound.
    """
    with wave.open(str(output), "wb") as file:
        file.setnchannels(CHANNELS)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        for blocks in zip_longest(*(_blocks(track) for track in tracks)):
            total = np.zeros((max(len(block) for block in blocks if block is not None), CHANNELS), np.float32)
            for block in blocks:
                if block is not None:
                    total[: len(block)] += block
            file.writeframes((np.clip(total, -1, 1) * 32767).round().astype("<i2").tobytes())


def _blocks(track: SoundTrack) -> Iterator[np.ndarray]:
    """A sound in blocks float32 [N, CHANNELS] at `SAMPLE_RATE`, all but the last of `BLOCK` samples."""
    pending = np.zeros((0, CHANNELS), np.float32)
    for samples in _stereo(track):
        pending = np.concatenate([pending, samples])
        whole = len(pending) // BLOCK * BLOCK
        yield from pending[:whole].reshape(-1, BLOCK, CHANNELS)
        pending = pending[whole:]
    if len(pending):
        yield pending


def _stereo(track: SoundTrack) -> Iterator[np.ndarray]:
    """A sound in pieces float32 [N, CHANNELS] at `SAMPLE_RATE`."""
    form, resampler = "", None
    for block in audio_blocks(track):
        samples, layout = named_channels(block)
        if layout != form:
            yield from _pieces(resampler, None)
            form, resampler = layout, av.AudioResampler("flt", "stereo", SAMPLE_RATE)
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="flt", layout=layout)
        frame.sample_rate = block.rate
        yield from _pieces(resampler, frame)
    yield from _pieces(resampler, None)


def _pieces(resampler: Any, frame: Any) -> Iterator[np.ndarray]:
    for piece in resampler.resample(frame) if resampler is not None else ():
        yield piece.to_ndarray().reshape(-1, CHANNELS)
