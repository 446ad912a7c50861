"""Sound as the models hear it: any file to a mono 16 kHz waveform, log-mel bands and prosody.

In: a media file, or a float32 waveform [N] in [-1, 1]. Out: feature rows at `FRAME_RATE`, where row t is centred on
t / FRAME_RATE seconds of the file's own clock (sample 0 is time 0; a stream that starts late is padded). Levels are
in dB relative to full scale. Files are decoded as a stream of blocks; only the 16 kHz mono waveform (3.8 MB a
minute) is held.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from prior.speech.sound import SAMPLE_RATE

HOP = 160  # samples between frames: 10 ms
WINDOW = 400  # samples in a frame: 25 ms
FFT_SIZE = 512
FRAME_RATE = SAMPLE_RATE // HOP  # 100 frames/s
MEL_BANDS = 64
MEL_LOW_HZ, MEL_HIGH_HZ = 60.0, 7600.0
LOG_FLOOR = 1e-10  # power, relative to full scale
SPEECH_LEVEL_DB = -26.0  # root mean square of the sounding frames after `level`
MOST_GAIN_DB = 30.0  # what is quieter than that below speech is no speech, and is not made as loud
PITCH_WINDOW = 640  # samples: 40 ms, two periods of the lowest pitch
PITCH_LOW_HZ, PITCH_HIGH_HZ = 70.0, 420.0
PROSODY = ("energy", "pitch", "voicing", "activity")  # columns of `prosody`

CHUNK_FRAMES = 3000  # frames analysed at once: bounds memory, does not change the result


@dataclass(frozen=True)
class Features:
    """What the phonetic encoder and the motion model read of a sound.

    Attributes:
        mel: float32 [T, MEL_BANDS], natural log of band power, at `FRAME_RATE`.
        prosody: float32 [T, 4], columns `PROSODY`.
    """

    mel: torch.Tensor
    prosody: torch.Tensor


def frame_level_db(waveform: torch.Tensor) -> torch.Tensor:
    """Root mean square of each 25 ms frame in dB of full scale.

    Args:
        waveform: float32 [N] at `SAMPLE_RATE`.

    Returns:
        float32 [T], T = N // HOP + 1, not below -100.
    """
    power = torch.cat([chunk.square().mean(1) for chunk in _frames(waveform, WINDOW)])
    return 10 * torch.log10(power + LOG_FLOOR)


def level(waveform: np.ndarray) -> np.ndarray:
    """Scale speech to a common loudness: its sounding frames get `SPEECH_LEVEL_DB`.

    Sounding frames are those within 30 dB of the loudest hundredth, so silence before, after and between sentences
    takes no part. A waveform without any sound (all below -80 dB) is returned as it is.
    """
    levels = frame_level_db(torch.from_numpy(np.ascontiguousarray(waveform, dtype=np.float32)))
    audible = levels[levels > -80.0]
    if not len(audible):
        return waveform.astype(np.float32)
    sounding = audible[audible > torch.quantile(_thinned(audible), 0.99) - 30.0]
    gain_db = min(SPEECH_LEVEL_DB - 10 * torch.log10((10 ** (sounding / 10)).mean()).item(), MOST_GAIN_DB)
    return (waveform * 10 ** (gain_db / 20)).astype(np.float32)


def log_mel(waveform: torch.Tensor) -> torch.Tensor:
    """Log-mel bands: Hann window, power spectrum, triangular bands on the mel scale of O'Shaughnessy (1987).

    Args:
        waveform: float32 [N] at `SAMPLE_RATE`.

    Returns:
        float32 [T, MEL_BANDS], T = N // HOP + 1, natural log of power.
    """
    window = torch.hann_window(WINDOW)
    scale = 2.0 / window.sum() ** 2
    bands = _mel_bands()
    rows = []
    for chunk in _frames(waveform, WINDOW):
        power = torch.fft.rfft(chunk * window, FFT_SIZE).abs().square() * scale  # [t, FFT_SIZE // 2 + 1]
        rows.append(torch.log(power @ bands + LOG_FLOOR))
    return torch.cat(rows)


def prosody(waveform: torch.Tensor) -> torch.Tensor:
    """Energy, pitch, voicing and voice activity.

    Args:
        waveform: float32 [N] at `SAMPLE_RATE`.

    Returns:
        float32 [T, 4]: energy (0 at the loudest hundredth, -1 at 60 dB below and under), pitch (octaves
        from the sound's own median, 0 where unvoiced), voicing in [0, 1] (height of the normalised autocorrelation
        peak), activity in [0, 1] (how surely the frame stands out of the noise floor).
    """
    levels = frame_level_db(waveform)
    audible = levels[levels > -80.0]
    if not len(audible):
        return torch.cat([torch.full((len(levels), 1), -1.0), torch.zeros(len(levels), 3)], 1)
    loud = torch.quantile(_thinned(audible), 0.99)
    floor = torch.quantile(_thinned(audible), 0.10)
    energy = ((levels - loud) / 60.0).clamp(-1.0, 0.0)
    threshold = torch.clamp(torch.maximum(loud - 35.0, floor + 6.0), max=loud - 15.0)
    activity = torch.sigmoid((levels - threshold) / 2.0)
    pitch_hz, voicing = _pitch(waveform)
    voicing = voicing * activity
    voiced = voicing > 0.5
    octaves = torch.zeros_like(pitch_hz)
    if voiced.any():
        octaves[voiced] = torch.log2(pitch_hz[voiced] / pitch_hz[voiced].median()).clamp(-2.0, 2.0)
    return torch.stack([energy, octaves, voicing, activity], 1)


def features(waveform: np.ndarray) -> Features:
    """Log-mel and prosody of a waveform [N] at `SAMPLE_RATE`, brought to a common loudness first."""
    levelled = torch.from_numpy(level(waveform))
    return Features(log_mel(levelled), prosody(levelled))


def _frames(waveform: torch.Tensor, size: int) -> Iterator[torch.Tensor]:
    """Centred frames [t, size] in chunks of at most `CHUNK_FRAMES`; frame t is centred on sample t * HOP."""
    count = len(waveform) // HOP + 1
    padded = torch.nn.functional.pad(waveform, (size // 2, size))
    for first in range(0, count, CHUNK_FRAMES):
        last = min(first + CHUNK_FRAMES, count)
        yield padded[first * HOP : (last - 1) * HOP + size].unfold(0, size, HOP)


def _thinned(values: torch.Tensor) -> torch.Tensor:
    """At most 2**20 evenly spaced values: `torch.quantile` refuses more than 2**24."""
    return values[:: max(1, len(values) >> 20)]


def _mel_bands() -> torch.Tensor:
    """Triangular bands [FFT_SIZE // 2 + 1, MEL_BANDS], each with unit peak."""
    low, high = (2595.0 * np.log10(1.0 + hz / 700.0) for hz in (MEL_LOW_HZ, MEL_HIGH_HZ))
    edges = 700.0 * (10.0 ** (np.linspace(low, high, MEL_BANDS + 2) / 2595.0) - 1.0)  # Hz
    bins = np.arange(FFT_SIZE // 2 + 1) * SAMPLE_RATE / FFT_SIZE
    rise = (bins[:, None] - edges[None, :-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[None, 2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    bands = np.clip(np.minimum(rise, fall), 0.0, None)
    # The lowest bands are narrower than a bin and may hold none: they take the nearest bin.
    centres = np.abs(bins[:, None] - edges[None, 1:-1]).argmin(0)
    empty = bands.sum(0) == 0
    bands[centres[empty], np.flatnonzero(empty)] = 1.0
    return torch.from_numpy(bands.astype(np.float32))


def _pitch(waveform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Pitch in Hz and voicing in [0, 1] by the autocorrelation of Boersma (1993), without path search.

    The autocorrelation of the windowed frame is divided by that of the window, so that the peak of a periodic sound
    is 1 at any lag.
    """
    window = torch.hann_window(PITCH_WINDOW)
    size = 2 * PITCH_WINDOW
    shortest, longest = int(SAMPLE_RATE / PITCH_HIGH_HZ), int(SAMPLE_RATE / PITCH_LOW_HZ)
    window_correlation = torch.fft.irfft(torch.fft.rfft(window, size).abs().square())[: longest + 1]
    pitches, voicings = [], []
    for chunk in _frames(waveform, PITCH_WINDOW):
        chunk = (chunk - chunk.mean(1, keepdim=True)) * window
        correlation = torch.fft.irfft(torch.fft.rfft(chunk, size).abs().square())[:, : longest + 1] / window_correlation
        normalised = correlation / (correlation[:, :1] + LOG_FLOOR * window_correlation[0])
        # A slightly lower score for long lags keeps the octave below from winning on a tie.
        lags = torch.arange(shortest, longest + 1)
        score = normalised[:, shortest:] - 0.02 * torch.log2(lags / shortest)
        best = score.argmax(1)
        pitches.append(SAMPLE_RATE / lags[best].float())
        voicings.append(normalised[:, shortest:].gather(1, best[:, None])[:, 0].clamp(0.0, 1.0))
    return torch.cat(pitches), torch.cat(voicings)
