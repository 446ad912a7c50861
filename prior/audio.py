"""Sound as the models hear it: any file to a mono 16 kHz waveform, log-mel bands and prosody.

In: a media file, or a float32 waveform [N] in [-1, 1]. Out: feature rows at `FRAME_RATE`, where row t is centred on
t / FRAME_RATE seconds of the file's own clock (sample 0 is time 0; a stream that starts late is padded). Levels are
in dB relative to full scale. Files are decoded as a stream of blocks; only the 16 kHz mono waveform (3.8 MB a
minute) is held.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
import torch
from scipy.signal import lfilter

from render.errors import FootageError

SAMPLE_RATE = 16_000  # Hz
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
LOW_ENERGY_SLOPE, SWING_SLOPE = 20.0, 1.0  # slopes of `music_or_noise`
LOUDNESS_BLOCK_SECONDS = 0.1  # loudness is measured over four of these, every one of them
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


@dataclass(frozen=True)
class AudioFacts:
    """What a sound file is like, for a report before dubbing.

    Attributes:
        duration_seconds: length of the decoded stream.
        sample_rate_hz, channels: of the file's own stream.
        loudness_lufs: integrated loudness after ITU-R BS.1770-4, at least -70, that standard's gate (all channels
            weighted 1: surround channels count 1.5 dB less than there).
        peak_dbfs: largest sample (not the true peak between samples), at least -100.
        clipped_fraction: share of samples at full scale (|x| >= 0.999).
        silence_fraction: share of 100 ms blocks below -60 dBFS or more than 40 dB below the loudest tenth.
        noise_floor_dbfs: level of the quietest tenth of the blocks that are not digital silence, at least -100.
        music_or_noise: in [0, 1], see `music_or_noise`.
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

    from render.media import open_media

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


def describe_audio(path: str | Path) -> AudioFacts:
    """Measure a file's sound. The file is read once, as a stream.

    Raises:
        FootageError: see `audio_blocks`.
    """
    meter: _LoudnessMeter | None = None
    waveform: list[np.ndarray] = []
    peak, clipped, samples_seen = 0.0, 0, 0
    for samples, rate in audio_blocks(path):
        if meter is None:
            meter = _LoudnessMeter(rate, samples.shape[1])
            resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
        meter.add(samples)
        magnitude = np.abs(samples)
        peak = max(peak, float(magnitude.max(initial=0.0)))
        clipped += int((magnitude >= 0.999).sum())
        samples_seen += len(samples)
        waveform.append(resampler.resample_chunk(samples.mean(axis=1)))
    assert meter is not None  # audio_blocks raises on an empty stream
    levels = meter.level_dbfs()
    loudest = np.quantile(levels, 0.9)
    audible = levels[levels > -90.0]
    return AudioFacts(
        duration_seconds=samples_seen / meter.rate,
        sample_rate_hz=meter.rate,
        channels=meter.channels,
        loudness_lufs=meter.integrated_lufs(),
        peak_dbfs=20 * float(np.log10(max(peak, 1e-5))),
        clipped_fraction=clipped / (samples_seen * meter.channels),
        silence_fraction=float((levels < max(-60.0, loudest - 40.0)).mean()),
        noise_floor_dbfs=float(np.quantile(audible, 0.1)) if len(audible) else -100.0,
        music_or_noise=music_or_noise(np.concatenate(waveform)),
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
        self._states = [np.zeros((2, channels)) for _ in self._filters]
        self._rest = np.zeros((0, 2, channels))
        self._powers: list[np.ndarray] = []  # [n, 2, channels]: plain and K-weighted mean squares

    def add(self, samples: np.ndarray) -> None:
        """Take the next samples [n, channels]."""
        weighted = samples.astype(np.float64)
        for index, (b, a) in enumerate(self._filters):
            weighted, self._states[index] = lfilter(b, a, weighted, axis=0, zi=self._states[index])
        pending = np.concatenate([self._rest, np.stack([samples, weighted], 1)])
        whole = len(pending) // self._size * self._size
        blocks = pending[:whole].reshape(-1, self._size, 2, self.channels)
        self._powers.append((blocks**2).mean(1))
        self._rest = pending[whole:]

    def _blocks(self) -> np.ndarray:
        powers = np.concatenate(self._powers)
        return powers if len(powers) else (self._rest**2).mean(0, keepdims=True)  # shorter than one block

    def level_dbfs(self) -> np.ndarray:
        """Unweighted level of every 100 ms block [n], mean of the channels' power, at least -100."""
        return 10 * np.log10(self._blocks()[:, 0].mean(-1) + 1e-10)

    def integrated_lufs(self) -> float:
        """Gated loudness: 400 ms blocks every 100 ms, absolute gate -70, relative gate 10 LU under the mean."""
        power = self._blocks()[:, 1].sum(-1)
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
    own = torch.fft.irfft(torch.fft.rfft(window, size).abs().square())[: longest + 1]
    pitches, voicings = [], []
    for chunk in _frames(waveform, PITCH_WINDOW):
        chunk = (chunk - chunk.mean(1, keepdim=True)) * window
        correlation = torch.fft.irfft(torch.fft.rfft(chunk, size).abs().square())[:, : longest + 1] / own
        normalised = correlation / (correlation[:, :1] + LOG_FLOOR * own[0])
        # A slightly lower score for long lags keeps the octave below from winning on a tie.
        lags = torch.arange(shortest, longest + 1)
        score = normalised[:, shortest:] - 0.02 * torch.log2(lags / shortest)
        best = score.argmax(1)
        pitches.append(SAMPLE_RATE / lags[best].float())
        voicings.append(normalised[:, shortest:].gather(1, best[:, None])[:, 0].clamp(0.0, 1.0))
    return torch.cat(pitches), torch.cat(voicings)
