"""Train the voice detector: `python -m prior.training.voice SPEECH…`.

In: real sound or video files in which people speak or sing. Beside them stand the same sounds with music under them,
whispered, and through rooms, noise and codecs, voices as machines make them, and instruments, drums and clatter made by
code, which have no voice. Out: the detector's weights. One sound of five is not trained on; what is heard in those is
printed.
"""

from __future__ import annotations

import argparse
import json
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.signal import butter, lfilter, sosfilt
from torch import nn
from tqdm import tqdm

from prior.motion.closures import speech_gate
from prior.speech.features import level, log_mel
from prior.speech.phonemes import LABEL_RATE
from prior.speech.phonetics import posteriors, shipped_phonetics
from prior.speech.sound import SAMPLE_RATE, read_waveform
from prior.speech.voice import INPUTS, WEIGHTS, VoiceDetector, detector_rows, voice
from prior.teachers.speech import hush, music
from prior.training.phonetics import augment
from prior.training.run import descend, one_line_errors
from render.errors import FootageError

LONGEST_SECONDS = 12.0  # of a real sound
MADE_SECONDS = 6.0
MIXED, WHISPERED = 0.35, 0.15  # shares of the real sounds that are also mixed with music, and whispered
CROP_ROWS = 200
SPLICED = 5  # of the crops of either kind in a batch: a part is of the other kind, so that borders are learnt
VOICE_WEIGHT = 3.0  # in the loss: speech taken for music is worse than music taken for speech
SCALE_STEPS = (0, 2, 3, 4, 5, 7, 9, 10, 12, 14, 16, 19)


def _notes(seconds: float, generator: np.random.Generator, beat: tuple[float, float]) -> list[tuple[float, float]]:
    """Start (s) and frequency (Hz) of notes and chords in one rhythm."""
    every, root = generator.uniform(*beat), generator.uniform(70, 400)
    notes, start = [], 0.0
    while start < seconds - 0.05:
        for step in generator.choice(SCALE_STEPS, generator.choice([1, 1, 1, 2, 3]), replace=False):
            notes.append((start, root * 2 ** (float(step) / 12)))
        start += every * float(generator.choice([0.5, 1, 1, 2]))
    return notes


def _laid(seconds: float, parts: list[tuple[float, np.ndarray]], generator: np.random.Generator) -> np.ndarray:
    """Sounds [n], each from its start (s) on and of its own loudness, in one waveform."""
    sound = np.zeros(int(seconds * SAMPLE_RATE))
    for start, part in parts:
        first = int(start * SAMPLE_RATE)
        part = part[: len(sound) - first]
        sound[first : first + len(part)] += part * generator.uniform(0.3, 1)
    return (0.2 * sound / max(float(np.abs(sound).max()), 1e-9)).astype(np.float32)


def _clock(seconds: float) -> np.ndarray:
    return np.arange(max(1, int(seconds * SAMPLE_RATE))) / SAMPLE_RATE


def plucked_string(hz: float, seconds: float, generator: np.random.Generator) -> np.ndarray:
    """One plucked string [n] (Karplus & Strong 1983)."""
    period, decay = max(2, int(SAMPLE_RATE / hz)), generator.uniform(0.985, 0.9995)
    brightness, softness = generator.uniform(0.3, 0.98), generator.uniform(0.2, 1.0)
    excited = np.zeros(len(_clock(seconds)))
    burst = lfilter([softness], [1, softness - 1], generator.uniform(-1, 1, period))
    excited[:period] = burst[: len(excited)]
    feedback = np.zeros(period + 2)
    feedback[0], feedback[period], feedback[period + 1] = 1, -decay * brightness, -decay * (1 - brightness)
    return np.asarray(lfilter([1.0], feedback, excited))


def plucked(seconds: float, generator: np.random.Generator) -> np.ndarray:
    """Guitars, harps and their like: strings [N] plucked in a rhythm."""
    notes = _notes(seconds, generator, (0.12, 0.6))
    strings = [(start, plucked_string(hz, generator.uniform(0.3, 2.5), generator)) for start, hz in notes]
    return _laid(seconds, strings, generator)


def bells(seconds: float, generator: np.random.Generator) -> np.ndarray:
    """Bells, pianos, mallets: partials [N] that ring out."""
    ratios = [(1, 2.76, 5.4), (1, 2, 3), (1, 1.2, 2.7), (1, 3.9, 9.2)][int(generator.integers(4))]
    attack, clock, parts = generator.uniform(100, 600), _clock(2.0), []
    for start, hz in _notes(seconds, generator, (0.12, 0.8)):
        ringing = [
            np.sin(2 * np.pi * hz * ratio * clock) * np.exp(-clock * generator.uniform(1, 10) * (1 + number))
            for number, ratio in enumerate(ratios)
            if hz * ratio < 7500
        ]
        parts.append((start, sum(ringing) * np.minimum(1, clock * attack)))
    return _laid(seconds, parts, generator)


def sustained(seconds: float, generator: np.random.Generator) -> np.ndarray:
    """Bowed strings, winds, organs, synthesisers: harmonics [N] under two peaks, with or without vibrato."""
    vibrato, rate, slope = generator.uniform(0, 0.012), generator.uniform(4, 7), generator.uniform(0.6, 2.2)
    attack, release = generator.uniform(0.005, 0.15), generator.uniform(0.02, 0.3)
    every, most = int(generator.choice([1, 2])), int(generator.choice([1, 4, 30]))
    peaks = [(generator.uniform(*at), generator.uniform(80, 400)) for at in ((250, 900), (900, 3000))]
    parts = []
    for start, hz in _notes(seconds, generator, (0.2, 1.2)):
        length = min(seconds - start, generator.uniform(0.2, 2.0))
        clock = _clock(length)
        phase = hz * clock + vibrato * hz * np.sin(2 * np.pi * rate * clock) / (2 * np.pi * rate)
        tone = np.zeros(len(clock))
        for harmonic in range(1, min(most, int(7500 / hz)) + 1, every):
            formants = sum(3 * np.exp(-(((harmonic * hz - at) / width) ** 2)) for at, width in peaks)
            shifted = 2 * np.pi * harmonic * phase + generator.uniform(0, 6)
            tone += harmonic**-slope * (1 + formants) * np.sin(shifted)
        parts.append((start, tone * np.minimum(1, clock / attack) * np.clip((length - clock) / release, 0, 1)))
    return _laid(seconds, parts, generator)


def drums(seconds: float, generator: np.random.Generator) -> np.ndarray:
    """Kick, snare, hats and toms [N] in a rhythm."""
    every, start, parts = generator.uniform(0.1, 0.35), 0.0, []
    while start < seconds - 0.05:
        clock = _clock(0.5)
        noise = generator.standard_normal(len(clock))
        hz, fall = generator.uniform(40, 300), generator.uniform(0, 8)
        skin = np.sin(2 * np.pi * (hz * clock + fall * (1 - np.exp(-clock * 30)))) * np.exp(
            -clock * generator.uniform(5, 20)
        )
        rattle = np.diff(noise, prepend=0) if generator.random() < 0.5 else noise
        rattle = rattle * np.exp(-clock * generator.uniform(12, 90))
        parts.append((start, skin * generator.choice([0, 1, 1]) + rattle * generator.choice([0, 0.3, 1])))
        start += every * float(generator.choice([0.5, 1, 1, 2]))
    return _laid(seconds, parts, generator)


def clatter(seconds: float, generator: np.random.Generator) -> np.ndarray:
    """Steps, knocks, keys, claps: filtered bursts of noise [N] at irregular times, over a little noise."""
    low = generator.uniform(200, 4000)
    band = butter(2, [low, min(7800, low * generator.uniform(1.2, 4))], "band", fs=SAMPLE_RATE, output="sos")
    start, parts = generator.uniform(0, 0.3), []
    while start < seconds - 0.05:
        clock = _clock(0.3)
        burst = generator.standard_normal(len(clock)) * np.exp(-clock * generator.uniform(20, 150))
        parts.append((start, sosfilt(band, burst)))
        start += generator.exponential(0.25) + 0.05
    floor = 1e-4 * generator.standard_normal(int(seconds * SAMPLE_RATE))
    return (_laid(seconds, parts, generator) + floor).astype(np.float32)


def band(seconds: float, generator: np.random.Generator) -> np.ndarray:
    """Two or three instruments at once [N]."""
    players = [plucked, bells, sustained, drums]
    chosen = generator.choice(len(players), int(generator.integers(2, 4)), replace=False)
    return _laid(seconds, [(0.0, players[number](seconds, generator)) for number in chosen], generator)


#: What has no voice: name → (seconds, generator) to a waveform float32 [N] at `SAMPLE_RATE`.
VOICELESS: dict[str, Callable[[float, np.random.Generator], np.ndarray]] = {
    **{"plucked": plucked, "bells": bells, "sustained": sustained, "drums": drums, "clatter": clatter, "band": band},
    "chords": lambda seconds, generator: music(seconds, generator)[1],
    "hush": lambda seconds, generator: hush(seconds, generator)[1],
}


def formant_voice(seconds: float, generator: np.random.Generator) -> np.ndarray:
    """Babble [N] of a voice as machines make it: a gliding buzz whose formants go from a consonant to a vowel."""
    clock, rate, pitch = _clock(seconds), generator.uniform(2.5, 6), generator.uniform(80, 260)
    count = int(seconds * rate) + 2
    marks = np.arange(2 * count) / (2 * rate)  # a consonant and a vowel a syllable
    vowels = generator.uniform((250, 800, 2200), (850, 2300, 3000), (count, 3))
    closed = generator.uniform((200, 700, 2000), (400, 1800, 2600), (count, 3))
    formants = np.stack([closed, vowels], 1).reshape(-1, 3)
    loud = np.stack([generator.uniform(0, 0.4, count), generator.uniform(0.6, 1, count)], 1).ravel()
    glide = generator.uniform(0, 0.25) * generator.uniform(-1, 1, 2 * count)
    shake = generator.uniform(0, 0.02) * generator.standard_normal(int(seconds * 100) + 2)
    hz = pitch * (1 + np.interp(clock, marks, glide) + np.interp(clock, np.arange(len(shake)) / 100, shake))
    phase, sound = np.cumsum(hz) / SAMPLE_RATE, np.zeros(len(clock))
    for harmonic in range(1, int(4000 / pitch)):
        for number, (gain, width) in enumerate(((1.0, 90.0), (0.6, 120.0), (0.25, 170.0))):
            off = (harmonic * hz - np.interp(clock, marks, formants[:, number])) / width
            sound += gain * np.exp(-np.square(off)) * np.sin(2 * np.pi * harmonic * phase)
    breath = generator.uniform(0, 0.1) * generator.standard_normal(len(clock))
    sound = (sound + breath) * np.interp(clock, marks, loud)
    return (0.2 * sound / max(float(np.abs(sound).max()), 1e-9)).astype(np.float32)


def whispered(waveform: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Speech [N] as a whisper: noise with the spectral envelope, by cepstrum, of each 25 ms."""
    size, hop, window = 400, 160, np.hanning(400)
    sound = np.zeros(len(waveform) + size)
    for first in range(0, len(waveform) - size, hop):
        spectrum = np.abs(np.fft.rfft(waveform[first : first + size] * window, 1024))
        cepstrum = np.fft.irfft(np.log(spectrum + 1e-5))
        cepstrum[26:-25] = 0
        envelope = np.exp(np.fft.rfft(cepstrum).real)
        noise = envelope * np.exp(2j * np.pi * generator.random(len(envelope)))
        sound[first : first + size] += window * np.fft.irfft(noise, 1024)[:size]
    sound = lfilter([1, -0.7], [1], sound[: len(waveform)])
    return (0.2 * sound / max(float(np.abs(sound).max()), 1e-9)).astype(np.float32)


def over_music(waveform: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Speech [N] over music that is up to 15 dB quieter."""
    made = VOICELESS[str(generator.choice(["plucked", "bells", "sustained", "drums", "band", "chords"]))]
    under = made(len(waveform) / SAMPLE_RATE + 0.1, generator)[: len(waveform)]
    loudness = [float(np.sqrt(np.square(one).mean())) + 1e-9 for one in (waveform, under)]
    mixed = waveform / loudness[0] + under / loudness[1] * 10 ** (-generator.uniform(0, 15) / 20)
    return (0.2 * mixed / np.abs(mixed).max()).astype(np.float32)


@dataclass(frozen=True)
class JudgedSound:
    """One sound as the detector reads it.

    Attributes:
        kind: "speech", "over music", "whispered", "formant voice", or of `VOICELESS`.
        held_out: not to be trained on.
        mel: log-mel [≥ 2 T − 1, MEL_BANDS]; phonetic: posteriors [T, C].
        label: [T] 1 for a voice, 0 for none, −1 where nothing is said of it.
    """

    kind: str
    held_out: bool
    mel: torch.Tensor
    phonetic: torch.Tensor
    label: torch.Tensor


def heard(kind: str, held_out: bool, mel: torch.Tensor, label: torch.Tensor | float) -> JudgedSound:
    """A sound's log-mel, with a label [T] or the same one throughout."""
    phonetic = posteriors(shipped_phonetics(), mel)
    labels = torch.full((len(phonetic),), label) if isinstance(label, float) else label[: len(phonetic)]
    return JudgedSound(kind, held_out, mel, phonetic, labels)


def examples(paths: list[Path], made: int, seed: int) -> list[JudgedSound]:
    """All sounds to learn from and to judge by.

    Args:
        paths: real sounds with voices; silent and unreadable ones are passed over.
        made: how many sounds of each kind are made by code.
        seed: of what is drawn.
    """
    generator, shaken = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    found = []
    for path in tqdm(paths, desc="speech", mininterval=10):
        try:
            waveform = read_waveform(path)[: int(LONGEST_SECONDS * SAMPLE_RATE)]
        except FootageError:
            continue
        mel = log_mel(torch.from_numpy(level(waveform)))
        gate = speech_gate(posteriors(shipped_phonetics(), mel))
        label = torch.where(gate > 0.5, 1.0, -1.0)
        if len(gate) < LABEL_RATE or not bool((label > 0).any()):
            continue
        held_out = zlib.crc32(path.name.split("_")[0].encode()) % 5 == 0  # all of a person's
        found += [heard("speech", held_out, one, label) for one in (mel, augment(mel[None], shaken)[0])]
        for kind, change, share in (("over music", over_music, MIXED), ("whispered", whispered, WHISPERED)):
            if generator.random() < share:
                changed = torch.from_numpy(level(change(waveform, generator)))
                found.append(heard(kind, held_out, log_mel(changed), label))
    for kind, make in tqdm({**VOICELESS, "formant voice": formant_voice}.items(), desc="made", mininterval=10):
        for number in range(made):
            mel = log_mel(torch.from_numpy(level(make(MADE_SECONDS, generator))))
            said = 0.0 if kind in VOICELESS else 1.0
            found += [heard(kind, number % 5 == 0, one, said) for one in (mel, augment(mel[None], shaken)[0])]
    return found


def train(sounds: list[JudgedSound], steps: int, batch: int, seed: int) -> tuple[VoiceDetector, dict[str, float]]:
    """A detector learnt from sounds, and its smoothed loss; half of a batch has a voice."""
    torch.manual_seed(seed)
    detector, generator = VoiceDetector(dropout=0.1), torch.Generator().manual_seed(seed)
    rows = [(detector_rows(one.mel, one.phonetic), one.label) for one in sounds]
    spoken = torch.tensor([float((one.label > 0).sum()) for one in sounds])
    share = {kind: sum(one.kind == kind for one in sounds) for kind in VOICELESS}
    silent = torch.tensor([1.0 / share[one.kind] if one.kind in VOICELESS else 0.0 for one in sounds])

    def losses() -> dict[str, torch.Tensor]:
        picked = [torch.multinomial(weight, batch // 2, True, generator=generator) for weight in (spoken, silent)]
        inputs, labels = torch.zeros(batch, CROP_ROWS, INPUTS), torch.full((batch, CROP_ROWS), -1.0)
        for place, index in enumerate(torch.cat(picked).tolist()):
            row, label = rows[index]
            first = int(torch.randint(0, max(1, len(label) - CROP_ROWS + 1), (1,), generator=generator))
            count = min(CROP_ROWS, len(label))
            inputs[place, :count], labels[place, :count] = row[first : first + count], label[first : first + count]
        for place in range(SPLICED):
            cut, other = int(torch.randint(50, 150, (1,), generator=generator)), batch // 2 + place
            for series in (inputs, labels):
                series[[place, other], cut:] = series[[other, place], cut:]
        logits = detector(inputs + 0.1 * torch.randn(inputs.shape, generator=generator))
        known = labels >= 0
        weight = torch.where(labels[known] > 0, VOICE_WEIGHT, 1.0)
        return {"loss": nn.functional.binary_cross_entropy_with_logits(logits[known], labels[known], weight)}

    detector.train()
    smoothed = descend([], list(detector.parameters()), losses, steps, 3e-3)
    return detector.eval(), smoothed


def judged(detector: VoiceDetector, sounds: list[JudgedSound]) -> dict[str, float]:
    """By kind, how surely a voice is heard on average where something is said of it."""
    means: dict[str, list[float]] = {}
    for one in sounds:
        surely = voice(detector, one.mel, one.phonetic)
        means.setdefault(one.kind, []).append(float(surely[one.label >= 0].mean()))
    return {kind: round(float(np.mean(values)), 4) for kind, values in means.items()}


def main() -> None:
    """Command line; see the module's first lines."""
    parser = argparse.ArgumentParser(description="Train the voice detector.")
    parser.add_argument("speech", nargs="+", type=Path, help="real sound or video files with voices in them")
    parser.add_argument("--made", type=int, default=30, help="sounds of each kind made by code")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    given = parser.parse_args()
    with one_line_errors("prior.training.voice"):
        began = time.time()
        sounds = examples(given.speech, given.made, given.seed)
        taught = [one for one in sounds if not one.held_out]
        detector, loss = train(taught, given.steps, given.batch, given.seed)
        facts: dict[str, object] = {"sounds": len(taught), **loss, "seconds_taken": time.time() - began}
        facts["held_out"] = judged(detector, [one for one in sounds if one.held_out])
        detector.save(given.out, facts)
        print(json.dumps(facts))


if __name__ == "__main__":
    main()
