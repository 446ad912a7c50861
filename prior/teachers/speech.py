"""Teachers of the phonetic encoder: synthesised speech with exact phone times, and real speech aligned to phones.

Only training uses them. Synthesis needs libespeak-ng, flite or festival installed; alignment needs the package
pocketsphinx. Every teacher returns mono float32 at `audio.SAMPLE_RATE` and label rows (see `prior.speech.phonemes`).
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from prior.speech.features import FRAME_RATE, frame_level_db
from prior.speech.phonemes import LABEL_RATE, SILENCE, STOPS, classes_of_arpabet, classes_of_ipa, label_rows
from prior.speech.sound import SAMPLE_RATE, resample

Labelled = tuple[np.ndarray, np.ndarray]  # waveform float32 [N], labels int8 [T]
FLITE_VOICES = ("slt", "rms", "awb", "kal16")
FESTIVAL_VOICES = {  # voice -> (phone set, language of the words it reads)
    "cmu_us_slt_arctic_hts": ("arpabet", "en"),
    "ked_diphone": ("arpabet", "en"),
    "pc_diphone": ("italian", "it"),
    "lp_diphone": ("italian", "it"),
}
_ITALIAN = {"SS": "ʃ", "tS": "tʃ", "dZ": "dʒ", "J": "ɲ", "L": "ʎ", "E": "ɛ", "O": "ɔ", "ts": "ts", "dz": "dz", "#": ""}

_PADDING = int(0.2 * SAMPLE_RATE)  # pocketsphinx needs some noise floor on both ends


def espeak_speech(text: str, voice: str, words_per_minute: int = 175, pitch: int = 50) -> Labelled:
    """Speak `text` with espeak-ng.

    Args:
        text: in the script of the voice's language.
        voice: language with an optional variant, such as "de+f2".
        words_per_minute: 80 to 450.
        pitch: 0 to 99.
    """
    library, rate = _espeak()
    samples: list[np.ndarray] = []
    events: list[tuple[float, str]] = []

    def collect(block: Any, count: int, event: Any) -> int:
        index = 0
        while event[index].type:
            if event[index].type == _EVENT_PHONEME:
                name = bytes(event[index].name).split(b"\0")[0].decode("utf-8", "ignore")
                events.append((event[index].sample / rate, name))
            index += 1
        if block and count > 0:
            samples.append(np.ctypeslib.as_array(block, (count,)).astype(np.float32) / 32768)
        return 0

    callback = _CALLBACK(collect)
    library.espeak_SetSynthCallback(callback)
    if library.espeak_SetVoiceByName(voice.encode()):
        raise ValueError(f"espeak_speech(): no voice {voice!r}")
    library.espeak_SetParameter(1, words_per_minute, 0)
    library.espeak_SetParameter(3, pitch, 0)
    encoded = text.encode()
    library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, 1, None, None)
    waveform = resample(np.concatenate(samples), rate)
    seconds = len(waveform) / SAMPLE_RATE
    times = [time for time, _ in events] + [seconds]
    segments = [
        (times[i], times[i + 1], classes_of_ipa(name) if name else [SILENCE]) for i, (_, name) in enumerate(events)
    ]
    return waveform, _with_closures(label_rows([(0.0, times[0], [SILENCE]), *segments], seconds), waveform)


def flite_speech(text: str, voice: str, stretch: float = 1.0) -> Labelled:
    """Speak English `text` with a flite voice; `stretch` > 1 is slower."""
    import soundfile  # at use: only the synthesis step reads sound files

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "speech.wav")
        command = ["flite", "-voice", voice, "--setf", f"duration_stretch={stretch}", "-psdur"]
        printed = subprocess.run(
            [*command, "-t", text, "-o", str(path)], check=True, capture_output=True, text=True
        ).stdout
        samples, rate = soundfile.read(path, dtype="float32")
    segments, start = [], 0.0
    for item in printed.split():
        phone, end = item.rsplit(":", 1)
        segments.append((start, float(end), classes_of_arpabet(phone)))
        start = float(end)
    waveform = resample(samples, rate)
    return waveform, label_rows(segments, len(waveform) / SAMPLE_RATE)


def festival_speech(texts: list[str], voice: str) -> list[Labelled]:
    """Speak several texts with one festival voice, in one run of the program."""
    import soundfile

    phone_set, _ = FESTIVAL_VOICES[voice]
    spoken = []
    with tempfile.TemporaryDirectory() as folder:
        script = [f"(voice_{voice})"]
        for index, text in enumerate(texts):
            quoted = text.replace('"', " ")
            script.append(f'(set! u (utt.synth (Utterance Text "{quoted}")))')
            script.append(f'(utt.save.segs u "{folder}/{index}.lab")(utt.save.wave u "{folder}/{index}.wav" \'riff)')
        source = Path(folder, "speak.scm")
        source.write_text("\n".join(script), encoding="latin-1", errors="ignore")
        subprocess.run(["festival", "-b", str(source)], check=True, capture_output=True)
        for index in range(len(texts)):
            samples, rate = soundfile.read(f"{folder}/{index}.wav", dtype="float32")
            rows = [line.split() for line in Path(folder, f"{index}.lab").read_text("latin-1").splitlines()]
            segments, start = [], 0.0
            for row in (row for row in rows if len(row) == 3):
                phone = row[2]
                if phone_set == "arpabet" or phone == "pau":
                    classes = classes_of_arpabet(phone)
                else:
                    classes = classes_of_ipa(_ITALIAN.get(phone, phone.rstrip("1"))) or [SILENCE]
                segments.append((start, float(row[0]), classes))
                start = float(row[0])
            waveform = resample(samples, rate)
            spoken.append((waveform, label_rows(segments, len(waveform) / SAMPLE_RATE)))
    return spoken


def aligned_labels(waveform: np.ndarray, transcript: str) -> np.ndarray:
    """Labels of transcribed English speech by forced alignment; all -1 where the alignment fails."""
    words = _align(waveform, transcript)
    return _rows_of_words(words, len(waveform))


def decoded_labels(waveform: np.ndarray, least_agreement: float = 0.4) -> np.ndarray:
    """Labels of untranscribed English speech: pocketsphinx's words, aligned, where its phone decoder agrees.

    A word is kept where at least `least_agreement` of its frames have the class that the word-free phone decoder
    hears there; other words, and all speech in other languages, come out as -1.
    """
    from pocketsphinx import Decoder

    decoder = Decoder(loglevel="FATAL")
    _listen(decoder, waveform)
    if decoder.hyp() is None or not decoder.hyp().hypstr:
        return _rows_of_words([], len(waveform))
    phones = phone_decoder_labels(waveform)
    kept = []
    for word in _align(waveform, decoder.hyp().hypstr):
        rows = _rows_of_words([word], len(waveform))
        spoken = rows >= 0
        if spoken.any() and (rows[spoken] == phones[spoken]).mean() >= least_agreement:
            kept.append(word)
    return _rows_of_words(kept, len(waveform))


def phone_decoder_labels(waveform: np.ndarray) -> np.ndarray:
    """What pocketsphinx's own phone decoder (phone bigrams, no words) hears: the reference row of the encoder."""
    from pocketsphinx import Decoder, get_model_path

    model = os.path.join(get_model_path("en-us"), "en-us-phone.lm.bin")
    decoder = Decoder(loglevel="FATAL", lm=None, allphone=model, lw=2.0, beam=1e-20, pbeam=1e-20)
    _listen(decoder, waveform)
    phones = [(part.word, part.start_frame, part.end_frame + 1 - part.start_frame) for part in decoder.seg()]
    return _rows_of_words([phones], len(waveform))


Phone = tuple[str, int, int]  # CMU name, first frame, frames, at 100 frames/s of the padded sound


def _align(waveform: np.ndarray, transcript: str) -> list[list[Phone]]:
    """Forced alignment in two passes (words, then phones); a list of words, each a list of phones."""
    from pocketsphinx import Decoder

    decoder = Decoder(loglevel="FATAL", lm=None, bestpath=False)
    decoder.set_align_text(transcript)
    try:
        _listen(decoder, waveform)
        decoder.set_alignment()
        _listen(decoder, waveform)
        alignment = decoder.get_alignment()
    except RuntimeError:
        return []
    if alignment is None:
        return []
    return [[(phone.name, phone.start, phone.duration) for phone in word] for word in alignment]


def _listen(decoder: Any, waveform: np.ndarray) -> None:
    """Give a decoder one whole utterance with a noise floor on both ends."""
    noise = (np.random.default_rng(0).standard_normal(_PADDING) * 3e-4).astype(np.float32)
    padded = np.concatenate([noise, waveform, noise])
    decoder.start_utt()
    decoder.process_raw((np.clip(padded, -1, 1) * 32767).astype(np.int16).tobytes(), full_utt=True)
    decoder.end_utt()


def _rows_of_words(words: list[list[Phone]], samples: int) -> np.ndarray:
    """Label rows of aligned words; noise words ("+NSN+") stay unknown."""
    early = _PADDING / SAMPLE_RATE
    segments = [
        (first / 100 - early, (first + count) / 100 - early, classes_of_arpabet(name))
        for word in words
        for name, first, count in word
        if not name.startswith("+")
    ]
    seconds = samples / SAMPLE_RATE
    clipped = [(max(0.0, start), min(seconds, end), classes) for start, end, classes in segments if end > 0]
    return label_rows(clipped, seconds)


def _with_closures(labels: np.ndarray, waveform: np.ndarray) -> np.ndarray:
    """Move the start of voiceless stops back over the silence before their burst (espeak-ng times the burst)."""
    labels = labels.copy()
    level = np.array(frame_level_db(_tensor(waveform)))[:: FRAME_RATE // LABEL_RATE]
    quiet = level < level.max() - 40.0
    starts = np.flatnonzero((labels[1:] != labels[:-1]) & np.isin(labels[1:], STOPS)) + 1
    for start in starts.tolist():
        for row in range(start - 1, max(start - 5, -1), -1):  # at most 80 ms
            if not quiet[row] or labels[row] == SILENCE:
                break
            labels[row] = labels[start]
    return labels


def _tensor(waveform: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(waveform, dtype=np.float32))


_EVENT_PHONEME = 7
_PHONEME_EVENTS_IN_IPA = 0x0003
_OUTPUT_SYNCHRONOUS = 2


class _Event(ctypes.Structure):
    """`espeak_EVENT` of espeak-ng's speak_lib.h."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("name", ctypes.c_ubyte * 8),
    ]


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@cache
def _espeak() -> tuple[ctypes.CDLL, int]:
    """The initialised library and its sample rate, Hz."""
    library = ctypes.CDLL("libespeak-ng.so.1")
    rate = library.espeak_Initialize(_OUTPUT_SYNCHRONOUS, 0, None, _PHONEME_EVENTS_IN_IPA)
    if rate <= 0:
        raise RuntimeError("espeak-ng could not start: its voice data are missing")
    return library, rate


def music(seconds: float, generator: np.random.Generator) -> tuple[str, np.ndarray, np.ndarray]:
    """Chords, a melody and beats without a voice, labelled silence: what no mouth should follow."""
    count = int(seconds * SAMPLE_RATE)
    time_seconds = np.arange(count) / SAMPLE_RATE
    sound = np.zeros(count)
    beat = float(generator.uniform(0.25, 0.6))
    root = float(generator.uniform(80, 200))
    for start in np.arange(0, seconds, beat):
        since_start = np.clip(time_seconds - start, 0, None)
        envelope = (
            (time_seconds >= start) * np.exp(-since_start * generator.uniform(1, 8)) * np.minimum(since_start * 80, 1)
        )
        slope = generator.uniform(0.7, 2)
        for step in generator.choice([0, 3, 4, 7, 10, 12, 16, 19, 24], generator.integers(1, 5)):
            hz = root * 2 ** (step / 12) * (1 + 0.003 * np.sin(2 * np.pi * 5 * time_seconds))
            for harmonic in range(1, int(generator.integers(2, 12))):
                sound += envelope * np.sin(2 * np.pi * harmonic * hz * time_seconds) / harmonic**slope
        if generator.random() < 0.6:
            sound += generator.uniform(0.5, 3) * generator.standard_normal(count) * envelope * np.exp(-since_start * 20)
    sound = 0.2 * sound / np.abs(sound).max()
    return "music", sound.astype(np.float32), np.zeros(int(seconds * LABEL_RATE) + 1, np.int8)


def hush(seconds: float, generator: np.random.Generator) -> tuple[str, np.ndarray, np.ndarray]:
    """Noise of a random colour, clicks and mains hum without a voice, labelled silence."""
    count = int(seconds * SAMPLE_RATE)
    spectrum = np.fft.rfft(generator.standard_normal(count))
    hz = np.fft.rfftfreq(count, 1 / SAMPLE_RATE) + 20
    sound = np.fft.irfft(spectrum * hz ** -generator.uniform(-0.3, 1.2), count)
    sound = sound / sound.std() * (1 + 0.5 * np.sin(np.arange(count) * generator.uniform(0, 3e-4)))
    time_seconds = np.arange(count) / SAMPLE_RATE
    for harmonic in range(1, int(generator.integers(1, 6))):
        hum = np.sin(2 * np.pi * harmonic * generator.choice([50, 60]) * time_seconds)
        sound += generator.uniform(0, 4) * hum
    clicks = generator.integers(0, count, int(generator.integers(0, int(3 * seconds))))
    sound[clicks] += generator.uniform(5, 60, len(clicks))
    sound = 0.1 * sound / np.abs(sound).max()
    return "music", sound.astype(np.float32), np.zeros(int(seconds * LABEL_RATE) + 1, np.int8)
