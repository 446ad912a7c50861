"""Score audio to motion: `python -m prior.benchmarks.motion CACHE --footage DIR --train CACHE [--speech DIR]`.

CACHE holds tracks of people the model never saw. Every clip's mouth is predicted from its sound and compared with the
tracked one over the part of the clip that its style was not measured on. Prints JSON lines: one a clip and row, then
the means of each row. Rows: the model; the same with the sound of another moment; ridge regressions from log-mel, the
encoder's posteriors and loudness, learnt on `--train`, with the style that the model gets; and the same regressions
given the scored part's own mean and spread, which no method has in use (their concordance is their correlation). Then
what it is worth to know the actor (`prior.benchmarks.own_speech`), closures where phone times are known, silence,
timing, drift and speed.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from prior.benchmarks.own_speech import curve_over_clips, curve_within, gain_over, means_of, row_scores, score_stretches
from prior.face.model import load_face_model
from prior.motion.model import MotionModel, load_motion_model
from prior.motion.style import STYLE_PRIOR_FRAMES, MouthStyle, mouth_measures
from prior.speech.features import level
from prior.speech.phonemes import CLASSES, CLOSED, LABEL_RATE, LABIODENTAL
from prior.speech.sound import SAMPLE_RATE, read_waveform
from prior.teachers import speech as teachers
from prior.teachers.speech import music
from prior.training.spoken_clips import LEAST_SYNC, SpokenClip, in_step, on_closures, ridge_predictions, spoken_clips
from prior.training.voice import MADE_SECONDS, VOICELESS
from render.head.face_model import FaceModel

STYLE_SECONDS, GAP_SECONDS = 4.0, 1.0  # enrollment at the clip's start, and what lies between it and what is scored
SHORTEST_SECONDS = 2.0  # of scored rows
# How far lips may stay open at p b m and still count as closed: share of the predicted motion's own range (5th to 95th
# percentile) above rest. What a detector sees in pictures is judged by the real mouth's range, and less strictly.
CLOSED_SHARE_OF_OWN = 0.10
MADE, FIRST_SEED = 6, 5_000  # sounds of each kind without a voice, drawn otherwise than those trained on
MUCH_SECONDS = 10.0  # of own speech outside a stretch, voiced
GAINS = (("all, own speech and filter", "4 s, frames"), ("all, own speech and filter", "all, own speech"))
SENTENCES = (
    "Maybe Bob bought my pretty purple pump, but Peter may pay for a better map by tomorrow.",
    "The poor man's baby played with a big brown bear in the middle of the empty room.",
    "Five very fine families of fish live above the frozen river and move fast before February.",
)


def split(clip: SpokenClip) -> tuple[torch.Tensor, torch.Tensor]:
    """Known rows for measuring the style and for scoring, bool [T] each; short clips are halved."""
    total = len(clip.known) / LABEL_RATE
    enroll = min(STYLE_SECONDS, total / 2 - 0.25)
    gap = GAP_SECONDS if total > STYLE_SECONDS + GAP_SECONDS + 2 * SHORTEST_SECONDS else 0.25
    clock = torch.arange(len(clip.known)) / LABEL_RATE
    return clip.known & (clock < enroll), clip.known & (clock >= enroll + gap)


def score_clips(
    model: MotionModel, face_model: FaceModel, clips: list[SpokenClip], learnt: list[SpokenClip]
) -> list[dict[str, object]]:
    """One row a clip and method; `clips` are in step already, `learnt` are the ridge's training clips."""
    everyone = clips + learnt
    out = {clip.person for clip in clips}
    inputs = {
        "ridge log-mel": [clip.mel for clip in everyone],
        "ridge posteriors": [clip.rows[:, : len(CLASSES)] for clip in everyone],
        "ridge loudness": [clip.rows[:, len(CLASSES) : len(CLASSES) + 1] for clip in everyone],
    }
    ridge = {name: ridge_predictions(series, everyone, out) for name, series in inputs.items()}
    # What restores the spread, measured on training people left out, as the model's gain is.
    gain = {}
    for name, predicted in ridge.items():
        spreads = [guess[clip.known].std(0) for guess, clip in zip(predicted, everyone, strict=True)]
        gain[name] = 1 / torch.stack(spreads[len(clips) :]).median(0).values
    usual = torch.stack([clip.measures[clip.known].std(0) for clip in learnt]).median(0).values
    lines: list[dict[str, object]] = []
    for index, clip in enumerate(clips):
        enrolled, scored = split(clip)
        if scored.sum() < SHORTEST_SECONDS * LABEL_RATE or enrolled.sum() < LABEL_RATE:
            continue
        style = MouthStyle.of(clip.lower[enrolled], clip.measures[enrolled, 0])
        shifted = torch.roll(clip.rows, len(clip.rows) // 2, 0), torch.roll(clip.gate, len(clip.rows) // 2, 0)
        guesses = {
            "model": mouth_measures(face_model, model.expression(clip.rows, clip.gate, style)),
            "model, average person's style": mouth_measures(face_model, model.expression(clip.rows, clip.gate)),
            "model, shuffled sound": mouth_measures(face_model, model.expression(*shifted, style)),
        }
        enrolled_measures, truth = clip.measures[enrolled], clip.measures[scored]
        own_share = style.frames / (style.frames + STYLE_PRIOR_FRAMES)
        spread = (own_share * enrolled_measures.var(0) + (1 - own_share) * usual**2).sqrt()
        for name, predicted in ridge.items():
            prediction = predicted[index]
            guesses[name] = prediction * gain[name] * spread + enrolled_measures.mean(0)
            unit = (prediction - prediction[scored].mean(0)) / prediction[scored].std(0).clamp(min=1e-6)
            guesses[f"{name}, given mean and spread"] = unit * truth.std(0) + truth.mean(0)
        for name, guess in guesses.items():
            row: dict[str, object] = {"clip": clip.name, "person": clip.person, "row": name}
            lines.append({**row, **row_scores(guess, clip.measures, scored)})
    return lines


def closures(model: MotionModel, face_model: FaceModel, waveform: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Share of p b m during which the lips of the average mouth come together, seen at 25 frames/s.

    Args:
        model: the model.
        face_model: of its coefficients.
        waveform: [N] at `SAMPLE_RATE`.
        labels: int [T] classes at `LABEL_RATE`.

    Returns:
        instances, closed (count and how many are), labiodental (count of f v) and low (how many of those stay in the
        lower third of the range).
    """
    seconds = len(waveform) / SAMPLE_RATE
    frames = np.arange(0, seconds, 1 / 25)
    gap = mouth_measures(face_model, model.predict(waveform, frames).lower_expression)[:, 0].numpy()
    rest = float(mouth_measures(face_model, model.neutral_closed)[0])
    extent = float(np.quantile(gap, 0.95) - np.quantile(gap, 0.05))
    counts = {"instances": 0.0, "closed": 0.0, "labiodental": 0.0, "low": 0.0}
    for wanted, count, good, limit in (
        (CLOSED, "instances", "closed", rest + CLOSED_SHARE_OF_OWN * extent),
        (LABIODENTAL, "labiodental", "low", rest + extent / 3),
    ):
        inside = np.isin(labels, wanted).astype(int)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], inside, [0]])))
        for start, end in edges.reshape(-1, 2) / LABEL_RATE:
            near = (frames >= start - 0.02) & (frames <= end + 0.02)
            counts[count] += 1
            counts[good] += float(gap[near].min() <= limit)
    return counts


def timing(model: MotionModel, face_model: FaceModel, waveform: np.ndarray) -> dict[str, object]:
    """Shift, drift and silence of one sound, and the time it takes."""
    frames = np.arange(0, len(waveform) / SAMPLE_RATE, 1 / 25)

    def opening(sound: np.ndarray, times: np.ndarray) -> np.ndarray:
        return mouth_measures(face_model, model.predict(sound, times).lower_expression)[:, 0].numpy()

    reference = opening(waveform, frames)
    errors = []
    for k in range(-10, 11):
        silence = np.zeros(abs(k) * SAMPLE_RATE // 25, np.float32)
        moved = np.concatenate([silence, waveform]) if k >= 0 else waveform[len(silence) :]
        shown = opening(moved, frames)
        lags = range(-14, 15)
        fits = [_fit(reference, shown, lag) for lag in lags]
        errors.append(abs(lags[int(np.argmax(fits))] - k))
    copies = int(600 / (len(waveform) / SAMPLE_RATE)) + 1
    long = np.tile(waveform, copies)
    start = (copies - 2) * len(waveform) / SAMPLE_RATE
    began = time.perf_counter()
    last = opening(long, start + frames)
    taken = time.perf_counter() - began
    second = opening(long, len(waveform) / SAMPLE_RATE + frames)
    quiet = np.zeros(10 * SAMPLE_RATE, np.float32)
    _, chords, _ = music(10.0, np.random.default_rng(0))
    noise = (np.random.default_rng(0).standard_normal(len(quiet)) * 1e-3).astype(np.float32)
    return {
        "shift_error_frames": int(max(errors)),
        "drift_cm": float(np.abs(last - second).max()),
        "long_seconds": len(long) / SAMPLE_RATE,
        "times_real_time": taken / (len(long) / SAMPLE_RATE),
        "silence_spread_cm": float(opening(quiet, frames).std()),
        "noise_floor_spread_cm": float(opening(noise, frames[frames < 10]).std()),
        "music_spread_cm": float(opening(chords, frames[frames < 10]).std()),
        "speech_spread_cm": float(reference.std()),
    }


def stillness(model: MotionModel, face_model: FaceModel, spoken_cm: float) -> dict[str, float]:
    """By kind of sound without a voice, how far the opening deviates, over `spoken_cm`, by which it does in speech."""
    frames = np.arange(0, MADE_SECONDS, 1 / 25)
    shares = {}
    for kind, make in VOICELESS.items():
        moved = []
        for seed in range(MADE):
            sound = make(MADE_SECONDS, np.random.default_rng(FIRST_SEED + seed))
            gap = mouth_measures(face_model, model.predict(sound, frames).lower_expression)[:, 0]
            moved.append(float(gap.std()))
        shares[kind] = round(float(np.mean(moved)) / spoken_cm, 4)
    return shares


def _fit(reference: np.ndarray, shown: np.ndarray, lag: int) -> float:
    a = reference[max(0, -lag) : len(reference) - max(0, lag)]
    b = shown[max(0, lag) : len(shown) - max(0, -lag)]
    return float(np.corrcoef(a[20:-20], b[20:-20])[0, 1])


def print_own_speech(model: MotionModel, face_model: FaceModel, clips: list[SpokenClip]) -> None:
    """Print what own speech is worth on clips in step: rows, their means, gains, and curves of the long takes."""
    lines = score_stretches(model, face_model, clips, split)
    for line in lines:
        print(json.dumps({**line, "clips": "stretches"}))
    much = [line for line in lines if float(line["seconds"]) >= MUCH_SECONDS]  # type: ignore[arg-type]
    for label, group in (("stretches", lines), (f"stretches, {MUCH_SECONDS:.0f} s or more known", much)):
        for name in dict.fromkeys(str(line["row"]) for line in group):
            print(json.dumps(means_of(group, name, label)))
        if group:
            for better, worse in GAINS:
                print(json.dumps({**gain_over(group, better, worse), "clips": label}))
    for row in curve_within(model, face_model, clips, split):
        print(json.dumps(row))


def print_closures(model: MotionModel, face_model: FaceModel, speech: Path | None) -> None:
    """Print how often lips close in synthesised speech, and in transcribed speech where a folder of it is given."""
    total: dict[str, float] = {}
    for text in SENTENCES:
        for voice in teachers.FLITE_VOICES:
            for key, value in closures(model, face_model, *teachers.flite_speech(text, voice)).items():
                total[key] = total.get(key, 0.0) + value
    print(json.dumps({"closures": "synthesised", **total}))
    if speech:
        total = {}
        for transcript in sorted(speech.glob("*.txt")):
            sound = next(p for p in sorted(speech.glob(transcript.stem + ".*")) if p != transcript)
            waveform = read_waveform(sound)
            labels = teachers.aligned_labels(level(waveform), transcript.read_text("utf-8").strip().lower())
            for key, value in closures(model, face_model, waveform, labels).items():
                total[key] = total.get(key, 0.0) + value
        print(json.dumps({"closures": "transcribed", **total}))


def main() -> None:
    """Command line; see the module's first lines."""
    parser = argparse.ArgumentParser(description="Score audio to motion.")
    parser.add_argument("cache", type=Path, help="prepared clips of people never trained on")
    parser.add_argument("--footage", type=Path, required=True, help="folder of those clips' own files")
    parser.add_argument("--train", type=Path, required=True, help="prepared clips the ridge rows learn from")
    parser.add_argument("--train-footage", type=Path, required=True)
    parser.add_argument("--speech", type=Path, default=None, help="sounds with .txt transcripts, for closures")
    parser.add_argument("--sentences", type=Path, default=None, help="prepared clips of one person, in step already")
    parser.add_argument("--sentences-footage", type=Path, default=None)
    parser.add_argument("--weights", type=Path, default=None)
    arguments = parser.parse_args()
    model, face_model = load_motion_model(arguments.weights), load_face_model()
    ear = model.front_end
    raw = [one for (one,) in spoken_clips(arguments.cache, arguments.footage, face_model, front_end=ear)]
    learnt = [one for (one,) in spoken_clips(arguments.train, arguments.train_footage, face_model, front_end=ear)]
    lags = on_closures(in_step(raw + learnt, {clip.person for clip in raw}), learnt)
    teach = [clip.delayed(lags[clip.name][0]) for clip in learnt if lags[clip.name][1] >= LEAST_SYNC]
    stepped = [clip.delayed(lags[clip.name][0]) for clip in raw if lags[clip.name][1] >= LEAST_SYNC]
    for label, chosen in (("in step", stepped), ("every clip as found", raw)):
        rows = score_clips(model, face_model, chosen, teach)
        for row in rows:
            print(json.dumps({**row, "clips": label}))
        for name in sorted({str(row["row"]) for row in rows}):
            print(json.dumps(means_of(rows, name, label)))
    print(json.dumps({"lags": {clip.name: lags[clip.name] for clip in raw}}))
    print_own_speech(model, face_model, stepped)
    if arguments.sentences:
        footage = arguments.sentences_footage or arguments.sentences
        sentences = [one for (one,) in spoken_clips(arguments.sentences, footage, face_model, front_end=ear)]
        for row in curve_over_clips(model, face_model, sentences):
            print(json.dumps(row))
    print_closures(model, face_model, arguments.speech)
    waveform, _ = teachers.flite_speech(" ".join(SENTENCES), teachers.FLITE_VOICES[0])
    times = timing(model, face_model, waveform)
    print(json.dumps(times))
    print(json.dumps({"still": stillness(model, face_model, float(str(times["speech_spread_cm"])))}))


if __name__ == "__main__":
    main()
