"""Sound: any file's sound track as a mono waveform float32 [samples] in [-1, 1] at `SAMPLE_RATE`, and back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soxr

# Files are opened by what needs PyAV, loaded when the first one is: training reads no file and does without.
if TYPE_CHECKING:
    from prior.speech.mixdown import ChannelSurvey, ChannelUse
    from render.video.sound_track import SoundTrack

SAMPLE_RATE = 16_000  # Hz
SILENT_LEVEL = 1e-4  # largest sample of what counts as silence: -80 dB of full scale


@dataclass(frozen=True)
class Waveform:
    """A sound as it is listened to.

    Attributes:
        samples: float32 [N] at `SAMPLE_RATE`, resampled by soxr (high quality, linear phase).
        uses: how the channels became one, for each stretch of one layout.
        notes: what was odd, one sentence each.
    """

    samples: np.ndarray
    uses: list[ChannelUse]
    notes: list[str]

    @property
    def is_silent(self) -> bool:
        """Whether there is nothing to be heard in it."""
        return float(np.abs(self.samples).max(initial=0.0)) < SILENT_LEVEL


def listen(track: SoundTrack, seconds: float | None = None) -> Waveform:
    """Read a sound: once as the mean of its channels, and once more where those want to be used otherwise.

    Args:
        track: which sound.
        seconds: of it from its beginning are enough; a little more may come. None for all of it.

    Raises:
        FootageError: see `audio_blocks`.
    """
    notes: list[str] = []
    samples, survey = _mono(track, None, notes, seconds)
    uses = survey.uses()
    if not all(use.is_plain for use in uses):
        del samples
        samples, _ = _mono(track, uses, None, seconds)
    notes += [f"{track}: {use.note}" for use in uses if use.note]
    return Waveform(samples, uses, list(dict.fromkeys(notes)))


def _mono(
    track: SoundTrack, uses: list[ChannelUse] | None, notes: list[str] | None, seconds: float | None
) -> tuple[np.ndarray, ChannelSurvey]:
    from prior.speech.mixdown import ChannelSurvey, ChannelUse
    from render.video.sound_blocks import audio_blocks

    parts: list[np.ndarray] = []
    survey = ChannelSurvey()
    resampler: soxr.ResampleStream | None = None
    for block in audio_blocks(track, notes):
        if resampler is None:
            resampler = soxr.ResampleStream(block.rate, SAMPLE_RATE, 1, dtype="float32")
        stretch = survey.add(block)
        use = ChannelUse() if uses is None else uses[stretch]
        parts.append(resampler.resample_chunk(use.mono(block)))
        if seconds is not None and block.start + len(block.samples) > seconds * block.rate:
            break
    assert resampler is not None  # audio_blocks raises on an empty stream
    parts.append(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
    return np.concatenate(parts), survey


def read_waveform(source: str | Path | SoundTrack, from_beginning: bool = False) -> np.ndarray:
    """Read any file's sound as a mono waveform float32 [N] at `SAMPLE_RATE`.

    Args:
        source: any container that FFmpeg reads, sound file or video; `FILE#2` is its second sound track.
        from_beginning: time 0 is where the file begins, as a player has it, not 0 of the container's clock.

    Raises:
        FootageError: see `audio_blocks`.
    """
    from render.video.sound_track import SoundTrack

    track = SoundTrack.named(source)
    if not from_beginning and track.begins is None:
        track = replace(track, begins=Fraction(0))
    return listen(track).samples


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
