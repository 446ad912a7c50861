"""Sound of a dub: what is delivered beside the pictures, block by block: a file, a sum, or a new line inserted.

An inserted line lies in the source's own sound, at its rate and channels; outside of it samples stay as they were, to
the bit where the codec is lossless. Seconds count from the first frame.
"""

import wave
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from adapt.dubbing.options import INSERT, MIX, SOURCE, DubOptions
from adapt.dubbing.part import Request
from adapt.motion.sources import Sound
from prior.speech.speech_track import speech_track
from render.errors import ConfigError, FootageError
from render.video.container import open_media, timecode
from render.video.encoding import DeliveredSound
from render.video.inserted_sound import Line, SoundForm, arranged, insert_line, named_form
from render.video.reader import Footage
from render.video.sound_blocks import audio_blocks
from render.video.sound_track import SoundTrack

SAMPLE_RATE = 48_000  # Hz
BLOCK = 4_800  # samples
CHANNELS = 2
MIXED = "mix.wav"
#: The inserted sound's name, before a suffix for its codec.
INSERTED = "insert"


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
    if options.deliver in (MIX, INSERT) and not speaking:
        raise ConfigError(
            f"--deliver {options.deliver}: no sound drives, so there is nothing to {options.deliver}; leave it out"
        )
    if speaking > 1 and options.deliver is None:
        raise ConfigError(
            "several people speak: say with --deliver which sound the result has (mix, insert, source, or a sound file)"
        )
    if options.deliver == SOURCE:
        return
    tracks = [request.driver.heard() for request in requests if not isinstance(request.driver, Sound)]
    if options.deliver not in (None, MIX, INSERT):
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
    deliver = options.deliver or (INSERT if options.part else None)
    if deliver == SOURCE or not heard and deliver in (None, INSERT):
        return None
    if deliver not in (None, MIX, INSERT):
        return DeliveredSound([speech_track(str(deliver), notes)])
    if deliver == MIX or len(heard) > 1:
        mixed = folder / MIXED
        mix_sounds(heard, mixed)
        heard = [SoundTrack(mixed)]
    if deliver == INSERT:
        own = _own_track(footage, notes)
        fills = options.on_mismatch in ("pad", "hold")
        line = Line(heard[0], start, min(end, footage.duration), options.audio_offset, fills)
        return _inserted(line, own, footage, folder, notes)
    return DeliveredSound(heard, options.audio_offset + start, end if options.on_mismatch == "trim" else None)


def _own_track(footage: Footage, notes: list[str] | None) -> SoundTrack | None:
    """The source's own sound, of several tracks the one with speech, from its first frame on; None without any."""
    if not footage.audio:
        return None
    return replace(speech_track(footage.path, notes), begins=int(footage.pts[0]) * footage.time_base)


def _inserted(
    line: Line, own: SoundTrack | None, footage: Footage, folder: Path, notes: list[str] | None
) -> DeliveredSound:
    """Make the inserted sound in `folder`; it takes the place of the source's track that it is made from."""
    if own is None:
        path = folder / f"{INSERTED}.wav"
        with open_media(line.track.path) as container:
            context: Any = line.track.stream_in(container).codec_context
            form = SoundForm("pcm_s16le", context.sample_rate, *named_form(context.layout.name, context.channels))
        insert_line(line, None, form, path, footage.duration)
        return DeliveredSound([SoundTrack(path)])
    with open_media(own.path) as container:
        stream = own.stream_in(container)
        context, index = stream.codec_context, stream.index
        form = SoundForm.of(context)
        told = f"{context.codec.canonical_name} {context.sample_rate} Hz {context.layout.name}"
    path = folder / f"{INSERTED}{form.suffix}"
    first, last = insert_line(line, own, form, path, 0.0)
    if notes is not None:
        kept = "samples outside of it are the source's" if form.is_lossless else "all of it encoded anew"
        changed = "" if (form.rate, form.layout) == (context.sample_rate, context.layout.name) else f" as {form.told}"
        notes.append(
            f"sound: the source's own ({told}){changed}, with the new line from {timecode(first)} to {timecode(last)}; "
            f"{kept}"
        )
    return DeliveredSound([SoundTrack(path)], in_place_of=index)


def other_sound(sound: DeliveredSound, footage: Footage) -> str | None:
    """A sentence where what is delivered is of another rate or of other channels than the source's own sound."""
    if not footage.audio or sound.in_place_of is not None:
        return None
    own = footage.audio[0]
    for track in sound.tracks:
        with open_media(track.path) as container:
            context: Any = track.stream_in(container).codec_context
            rate, channels = context.sample_rate, context.channels
        if (rate, channels) != (own.sample_rate, own.channels):
            return (
                f"the result's sound is {track.path.name}: {_told(rate, channels)}, where the source has "
                f"{_told(own.sample_rate, own.channels)}; --deliver insert keeps what the source has"
            )
    return None


def _told(rate: int, channels: int) -> str:
    return f"{rate} Hz {({1: 'mono', 2: 'stereo'}).get(channels, f'of {channels} channels')}"


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
    return arranged(track, SoundForm("pcm_s16le", SAMPLE_RATE, "stereo", CHANNELS))
