"""Loudness: what is known of a sound before it is used: level, silence, clipping, music or noise under the speech.

Loudness is in LUFS by ITU-R BS.1770-4, measured in blocks, so that memory does not grow.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from prior.speech.features import FRAME_RATE, frame_level_db
from prior.speech.mixdown import ChannelSurvey
from prior.speech.sound import listen
from render.video.sound_blocks import audio_blocks
from render.video.sound_track import SoundTrack

LOW_ENERGY_SLOPE, SWING_SLOPE = 20.0, 1.0  # slopes of `music_or_noise`
MUSIC_OR_NOISE = 0.5  # of `music_or_noise`, from which a sound counts as more than one person talking in quiet
LOUDNESS_BLOCK_SECONDS = 0.1  # loudness is measured over four of these, every one of them


@dataclass(frozen=True)
class AudioFacts:
    """What a sound file is like, for a report before dubbing.

    Attributes:
        duration_seconds: length of the decoded stream.
        sample_rate_hz, channels: of the file's own stream, as it begins.
        loudness_lufs: integrated loudness after ITU-R BS.1770-4, at least -70, that standard's gate (all channels
            weighted 1: surround channels count 1.5 dB less than there).
        peak_dbfs: largest sample (not the true peak between samples), at least -100.
        clipped_fraction: share of samples at full scale (|x| >= 0.999).
        silence_fraction: share of 100 ms blocks below -60 dBFS or more than 40 dB below the loudest tenth.
        noise_floor_dbfs: level of the quietest tenth of the blocks that are not digital silence, at least -100.
        music_or_noise: in [0, 1], see `music_or_noise`.
        is_silent: nothing in it is loud enough to drive.
        notes: what was odd in it, one sentence each.
    """

    duration_seconds: float
    sample_rate_hz: int
    channels: int
    loudness_lufs: float
    peak_dbfs: float
    clipped_fraction: float
    silence_fraction: float
    noise_floor_dbfs: float
    music_or_noise: float
    is_silent: bool = False
    notes: tuple[str, ...] = ()

    @property
    def has_music_or_noise(self) -> bool:
        """Whether it counts as more than one person talking in quiet."""
        return self.music_or_noise > MUSIC_OR_NOISE


def describe_audio(source: str | Path | SoundTrack) -> AudioFacts:
    """Measure a file's sound, as it is when played: from where the file begins, without a constant under it.

    Raises:
        FootageError: see `audio_blocks`.
    """
    track = SoundTrack.named(source)
    heard = listen(track)
    meter: _LoudnessMeter | None = None
    survey = ChannelSurvey()
    peak, clipped, values, seconds = 0.0, 0, 0, 0.0
    for block in audio_blocks(track):
        meter = meter or _LoudnessMeter(block.rate, block.samples.shape[1])
        meter.add(heard.uses[survey.add(block)].centred(block))
        magnitude = np.abs(block.samples)
        peak = max(peak, float(magnitude.max(initial=0.0)))
        clipped += int((magnitude >= 0.999).sum())
        values += magnitude.size
        seconds = (block.start + len(block.samples)) / block.rate
    assert meter is not None  # audio_blocks raises on an empty stream
    levels = meter.level_dbfs()
    loudest = np.quantile(levels, 0.9)
    audible = levels[levels > -90.0]
    return AudioFacts(
        duration_seconds=seconds,
        sample_rate_hz=meter.rate,
        channels=meter.channels,
        loudness_lufs=meter.integrated_lufs(),
        peak_dbfs=20 * float(np.log10(max(peak, 1e-5))),
        clipped_fraction=clipped / values,
        silence_fraction=float((levels < max(-60.0, loudest - 40.0)).mean()),
        noise_floor_dbfs=float(np.quantile(audible, 0.1)) if len(audible) else -100.0,
        music_or_noise=music_or_noise(heard.samples),
        is_silent=heard.is_silent,
        notes=tuple(heard.notes),
    )


def music_or_noise(waveform: np.ndarray) -> float:
    """How much a sound is unlike one person talking in quiet, in [0, 1]: music, or noise over or without speech.

    Two classical cues: speech drops to low energy many times a second, and its level swings at the syllable rate of
    2 to 8 Hz (Scheirer & Slaney 1997). A rule of two numbers, not a trained classifier. It tells that the sound
    does not fall away between syllables, not why: speech under steady noise scores as high as a song with a band;
    unaccompanied singing and rap score low. Silence scores 0.

    Args:
        waveform: float32 [N] at `SAMPLE_RATE`.
    """
    levels = frame_level_db(torch.from_numpy(waveform)).numpy()
    if len(levels) < 2 * FRAME_RATE or levels.max() < -60.0:
        return 0.0
    inside = levels > max(levels.max() - 50.0, -80.0)
    first, last = np.flatnonzero(inside)[[0, -1]]
    levels = np.maximum(levels[first : last + 1], levels.max() - 50.0)
    amplitude = 10 ** (levels / 20)
    seconds = [amplitude[i : i + FRAME_RATE] for i in range(0, max(1, len(amplitude) - FRAME_RATE), FRAME_RATE)]
    low_energy = float(np.mean([(part < 0.5 * part.mean()).mean() for part in seconds]))
    spectrum = np.abs(np.fft.rfft((levels - levels.mean()) * np.hanning(len(levels)))) ** 2
    hz = np.fft.rfftfreq(len(levels), 1 / FRAME_RATE)
    swing_db = float(np.sqrt(spectrum[(hz >= 2) & (hz <= 8)].sum() * 16 / 3)) / len(levels)
    return float(1 / (1 + np.exp(LOW_ENERGY_SLOPE * (low_energy - 0.20) + SWING_SLOPE * (swing_db - 4.5))))


class _LoudnessMeter:
    """Level and BS.1770 loudness of a stream, kept as one power a 100 ms block.

    The K weighting is the standard's two biquads, derived for any sample rate by the bilinear transform of their
    analogue forms (constants: De Man 2014, which give the standard's table at 48 kHz).
    """

    def __init__(self, rate: int, channels: int) -> None:
        self.rate, self.channels = rate, channels
        self._size = max(1, round(rate * LOUDNESS_BLOCK_SECONDS))
        self._filters = [_shelf(rate), _high_pass(rate)]
        self._powers: list[np.ndarray] = []  # [n, 2]: mean square of the channels, sum of the K-weighted ones
        self._begin(channels)

    def _begin(self, channels: int) -> None:
        """Start anew with so many channels."""
        self._states = [np.zeros((2, channels)) for _ in self._filters]
        self._rest = np.zeros((0, 2, channels))

    def add(self, samples: np.ndarray) -> None:
        """Take the next samples [n, channels]; where their channels change, a block that is not full is left out."""
        if samples.shape[1] != self._rest.shape[2]:
            self._begin(samples.shape[1])
        from scipy.signal import lfilter  # takes half a second, and few commands measure loudness

        weighted = samples.astype(np.float64)
        for index, (b, a) in enumerate(self._filters):
            weighted, self._states[index] = lfilter(b, a, weighted, axis=0, zi=self._states[index])
        pending = np.concatenate([self._rest, np.stack([samples, weighted], 1)])
        whole = len(pending) // self._size * self._size
        self._powers.append(_block_powers(pending[:whole].reshape(-1, self._size, *pending.shape[1:])))
        self._rest = pending[whole:]

    def _blocks(self) -> np.ndarray:
        powers = np.concatenate(self._powers)
        return powers if len(powers) else _block_powers(self._rest[None])  # shorter than one block

    def level_dbfs(self) -> np.ndarray:
        """Unweighted level of every 100 ms block [n], mean of the channels' power, at least -100."""
        return 10 * np.log10(self._blocks()[:, 0] + 1e-10)

    def integrated_lufs(self) -> float:
        """Gated loudness: 400 ms blocks every 100 ms, absolute gate -70, relative gate 10 LU under the mean."""
        power = self._blocks()[:, 1]
        if len(power) >= 4:
            power = np.convolve(power, np.full(4, 0.25), "valid")
        gate = -70.0
        for _ in range(2):
            kept = power[-0.691 + 10 * np.log10(power + 1e-12) > gate]
            if not len(kept):
                return -70.0
            loudness = -0.691 + 10 * float(np.log10(kept.mean()))
            gate = max(-70.0, loudness - 10.0)
        return loudness


def _block_powers(blocks: np.ndarray) -> np.ndarray:
    """[n, 2] of blocks [n, samples, 2, channels]."""
    powers = (blocks**2).mean(1)
    return np.stack([powers[:, 0].mean(-1), powers[:, 1].sum(-1)], 1)


def _shelf(rate: int) -> tuple[np.ndarray, np.ndarray]:
    """First K-weighting biquad (b, a): a 4 dB high shelf for the head."""
    k = np.tan(np.pi * 1681.974450955533 / rate)
    quality, high = 0.7071752369554196, 10 ** (3.999843853973347 / 20)
    band = high**0.4996667741545416
    norm = 1 + k / quality + k * k
    b = np.array([high + band * k / quality + k * k, 2 * (k * k - high), high - band * k / quality + k * k]) / norm
    return b, np.array([1, 2 * (k * k - 1) / norm, (1 - k / quality + k * k) / norm])


def _high_pass(rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Second K-weighting biquad (b, a): a high pass at 38 Hz."""
    k = np.tan(np.pi * 38.13547087602444 / rate)
    quality = 0.5003270373238773
    norm = 1 + k / quality + k * k
    return np.array([1.0, -2.0, 1.0]), np.array([1, 2 * (k * k - 1) / norm, (1 - k / quality + k * k) / norm])
