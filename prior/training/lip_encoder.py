"""Train the lip encoder: `python -m prior.training.lip_encoder CACHE --footage DIR --speech DIR… --teacher FILE…`.

A far larger recogniser's hidden units tell more of lips than phoneme posteriors do. Reduced-rank regression on clips
with tracked lips finds the few directions of them that matter; the encoder then learns to make those from any sound,
with lips in the picture or without: the clips', further speech, and synthesised speech.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from prior.face.model import load_face_model
from prior.motion.filtering import LINEAR_TAPS, with_context
from prior.speech.features import LOG_FLOOR, features
from prior.speech.lip_encoder import COLUMNS, WEIGHTS, LipEncoder, lip_columns
from prior.speech.phonemes import LABEL_RATE
from prior.speech.phonetics import PhoneticEncoder, load_phonetics
from prior.speech.sound import SAMPLE_RATE, read_waveform, resample
from prior.teachers.whisper import WhisperEncoder
from prior.training.phonetics import augment, synthesise
from prior.training.run import one_line_errors
from prior.training.spoken_clips import LEAST_SYNC, SpokenClip, in_step, on_closures, sounding, spoken_clips
from render.errors import FootageError
from render.store import file_sha256

SUFFIXES = (".wav", ".flac", ".opus", ".ogg", ".mp3", ".m4a", ".mp4")  # of files with speech
PRINCIPAL = 128  # components of the hidden units that the regression sees
PENALTY = 0.01  # of the regression, relative to the number of rows
MEASURE_WEIGHT = 3.0  # of opening, width and protrusion beside an axis of expression
SPEED_FACTORS = (0.86, 0.92, 1.09, 1.17)  # of a second copy of real speech: speed, pitch and formants together
PIECE_SECONDS, LEAST_SECONDS = 60, 0.75  # longest and shortest sound that targets are made of at once
CROP_ROWS = 200  # 4 s
SHARES = {"clip": 2.0, "speech": 1.5, "made": 0.6}  # how often a second of each kind is drawn
PLAIN = 2  # crops of a batch that stay as they are
AVERAGE = 0.998  # of the running average of weights that is kept
QUIET_SECONDS = 4.0  # of silence, from whose middle its columns are taken


@dataclass(frozen=True)
class Directions:
    """The directions of a teacher's hidden units that tell most of lips.

    Attributes:
        mean: [H] of the hidden units.
        basis: [H, COLUMNS]; columns are uncorrelated and of unit variance over the clips learnt from.
        importance: [COLUMNS], singular values of what each does to the lips, the first 1.
    """

    mean: torch.Tensor
    basis: torch.Tensor
    importance: torch.Tensor

    def columns(self, hidden: torch.Tensor) -> torch.Tensor:
        """Columns [T, COLUMNS] of hidden units [T, H]."""
        return (hidden - self.mean) @ self.basis


@dataclass(frozen=True)
class HeardSound:
    """One sound to learn from.

    Attributes:
        kind: of `SHARES`.
        mel: half [2 T, MEL_BANDS].
        columns: half [T, COLUMNS], what is to be made of it.
    """

    kind: str
    mel: torch.Tensor
    columns: torch.Tensor


def lip_directions(clips: list[SpokenClip], hidden: list[torch.Tensor]) -> Directions:
    """Reduced-rank regression (Izenman 1975) from hidden units to what clips' lips do.

    Args:
        clips: in step with their sound.
        hidden: [T, H] of a teacher, one to one with the clips' rows.
    """
    known = torch.cat([rows[clip.known] for rows, clip in zip(hidden, clips, strict=True)])
    mean = known.mean(0)
    variances, vectors = torch.linalg.eigh(torch.cov(known.T))
    principal = vectors[:, -PRINCIPAL:] / variances[-1].sqrt()
    size = PRINCIPAL * LINEAR_TAPS + 1
    targets = [_normalised(clip) for clip in clips]
    weight = torch.ones(targets[0].shape[1])
    weight[-clips[0].measures.shape[1] :] = MEASURE_WEIGHT
    gram, cross, count = torch.zeros(size, size), torch.zeros(size, len(weight)), 0
    for rows, clip, target in zip(hidden, clips, targets, strict=True):
        design = torch.cat([with_context((rows - mean) @ principal), torch.ones(len(rows), 1)], 1)[clip.known]
        gram += design.T @ design
        cross += design.T @ target[clip.known]
        count += len(design)
    filters = torch.linalg.solve(gram + PENALTY * count * torch.eye(size), cross)[:-1] * weight
    side_by_side = filters.reshape(LINEAR_TAPS, PRINCIPAL, -1).permute(1, 0, 2).reshape(PRINCIPAL, -1)
    covariance, axes = torch.linalg.eigh(torch.cov(((known - mean) @ principal).T))
    root, inverse = (axes @ torch.diag(covariance.clamp(min=1e-8) ** power) @ axes.T for power in (0.5, -0.5))
    left, strengths, _ = torch.linalg.svd(root @ side_by_side, full_matrices=False)
    return Directions(mean, principal @ inverse @ left[:, :COLUMNS], strengths[:COLUMNS] / strengths[0])


def _normalised(clip: SpokenClip) -> torch.Tensor:
    motion = torch.cat([clip.lower, clip.measures], 1)
    known = motion[clip.known]
    return ((motion - known.mean(0)) / (known.std(0) + 1e-6)).clamp(-4, 4)


def clip_directions(given: argparse.Namespace, teacher: WhisperEncoder) -> Directions:
    """`lip_directions` of a prepared cache's clips whose sound belongs to the picture.

    Raises:
        StoreError: there are none.
    """
    face_model = load_face_model()
    plain = [clip for (clip,) in spoken_clips(given.cache, given.footage, face_model)]
    lags = on_closures(in_step(plain, set()), plain)
    waveforms = {name: waveform for name, _, waveform in sounding(given.cache, given.footage)}
    clips, hidden = [], []
    for clip in tqdm([clip for clip in plain if lags[clip.name][1] >= LEAST_SYNC], desc="teacher"):
        lag = lags[clip.name][0]
        rows = teacher(waveforms[clip.name])[: len(clip.rows)]
        missing = len(clip.rows) - len(rows)
        rows = nn.functional.pad(rows.T[None], (0, missing), mode="replicate")[0].T
        clips.append(clip.delayed(lag))
        hidden.append(torch.roll(rows, lag, 0))
    return lip_directions(clips, hidden)


def waveforms_of(given: argparse.Namespace) -> Iterator[tuple[str, np.ndarray]]:
    """Kind and waveform of all that is learnt from; speech with no picture of lips is read folder by folder."""
    for _, _, waveform in sounding(given.cache, given.footage):
        yield "clip", waveform
    for folder in given.speech:
        left = round(given.speech_minutes * 60 * SAMPLE_RATE)
        for path in sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES):
            try:
                waveform = read_waveform(path)[:left]
            except FootageError:
                continue  # silent
            yield "speech", waveform
            left -= len(waveform)
            if left <= 0:
                break
    if given.made_seconds:
        for _, waveform, _ in synthesise(given.made_seconds, given.seed):
            yield "made", waveform


def heard_sounds(
    waveforms: Iterator[tuple[str, np.ndarray]], teacher: WhisperEncoder, directions: Directions, seed: int
) -> list[HeardSound]:
    """What is to be made of sounds: all in pieces, real speech at another speed besides."""
    generator = np.random.default_rng(seed)
    sounds = []
    for kind, waveform in waveforms:
        for first in range(0, len(waveform), PIECE_SECONDS * SAMPLE_RATE):
            piece = waveform[first : first + PIECE_SECONDS * SAMPLE_RATE]
            if len(piece) < LEAST_SECONDS * SAMPLE_RATE:
                continue
            factors = [1.0] if kind == "made" else [1.0, float(generator.choice(SPEED_FACTORS))]
            for factor in factors:
                faster = resample(piece, SAMPLE_RATE * factor) if factor != 1 else piece
                columns, mel = directions.columns(teacher(faster)), features(faster).mel
                count = min(len(mel) // 2, len(columns))
                sounds.append(HeardSound(kind, mel[: 2 * count].half(), columns[:count].half()))
    return sounds


class LipEncoderTrainer:
    """Fits a `LipEncoder` to sounds beside a phonetic encoder that stays as it is.

    Attributes:
        kept: the encoder with the running average of the weights.
    """

    def __init__(self, encoder: PhoneticEncoder, sounds: list[HeardSound], importance: torch.Tensor, seed: int) -> None:
        torch.manual_seed(seed)
        self.encoder, self.sounds, self.importance = encoder.requires_grad_(False), sounds, importance
        self.net, self.kept = LipEncoder(dropout=0.1), LipEncoder()
        self.kept.load_state_dict(self.net.state_dict())
        self.generator = torch.Generator().manual_seed(seed)
        self.shares = torch.tensor([len(sound.columns) * SHARES[sound.kind] for sound in sounds])

    def batch(self, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Crops of log-mel [B, 2 R, MEL_BANDS], most distorted, columns [B, R, COLUMNS], and the known."""
        silence = float(np.log(LOG_FLOOR))
        mels, columns, known = [], [], []
        for index in torch.multinomial(self.shares, count, True, generator=self.generator).tolist():
            sound = self.sounds[index]
            rows = len(sound.columns)
            start = int(torch.randint(0, max(1, rows - CROP_ROWS + 1), (1,), generator=self.generator))
            mel = sound.mel[2 * start : 2 * (start + CROP_ROWS)].float()
            wanted = sound.columns[start : start + CROP_ROWS].float()
            short = CROP_ROWS - len(wanted)
            mels.append(nn.functional.pad(mel, (0, 0, 0, 2 * short), value=silence))
            columns.append(nn.functional.pad(wanted, (0, 0, 0, short)))
            known.append(torch.arange(CROP_ROWS) < len(wanted))
        plain = torch.stack(mels)
        distorted = torch.cat([plain[:PLAIN], augment(plain, self.generator)[PLAIN:]])
        return distorted, torch.stack(columns), torch.stack(known)

    def loss(self, count: int) -> torch.Tensor:
        """Huber loss of a batch, columns by importance, as a part of their variance."""
        mel, wanted, known = self.batch(count)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                hidden = self.encoder.hidden(mel)
                log_posteriors = self.encoder.classified(hidden)
            made = self.net(mel, hidden, log_posteriors)
        error = nn.functional.huber_loss(
            made.float() * self.importance, wanted * self.importance, reduction="none", delta=2.0
        )
        return (2 * error.sum(-1) * known).sum() / known.sum() / self.importance.square().sum()

    def train(self, steps: int, batch: int, peak_rate: float) -> float:
        """One cosine run of AdamW; returns the smoothed loss at its end."""
        learnt = list(self.net.parameters())
        optimiser = torch.optim.AdamW(learnt, weight_decay=0.05, betas=(0.9, 0.98))
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, peak_rate, total_steps=steps, pct_start=0.1)
        smoothed = float("nan")
        self.net.train()
        for step in (progress := tqdm(range(steps), desc="train", mininterval=10)):
            loss = self.loss(batch)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(learnt, 1.0)
            optimiser.step()
            schedule.step()
            share = 1 - min(AVERAGE, (step + 1) / (step + 11))
            with torch.no_grad():
                for kept, new in zip(self.kept.parameters(), self.net.parameters(), strict=True):
                    kept.lerp_(new, share)
            smoothed = loss.item() if smoothed != smoothed else 0.98 * smoothed + 0.02 * loss.item()
            progress.set_postfix(loss=f"{smoothed:.3f}", refresh=False)
        self.net.eval()
        self._hear_silence()
        return smoothed

    def _hear_silence(self) -> None:
        quiet = features(np.zeros(int(QUIET_SECONDS * SAMPLE_RATE), np.float32)).mel
        rows = lip_columns(self.kept.eval(), self.encoder, quiet)
        self.kept.silent.copy_(rows[len(rows) // 2])


def main() -> None:
    """Command line; see the module's first lines."""
    parser = argparse.ArgumentParser(description="Train the lip encoder.")
    parser.add_argument("cache", type=Path, help="prepared clips of the people to learn from")
    parser.add_argument("--footage", type=Path, required=True, help="folder with the clips' own files, for their sound")
    parser.add_argument("--speech", type=Path, nargs="*", default=[], help="folders of further speech, no lips needed")
    parser.add_argument("--speech-minutes", type=float, default=18.0, help="of each such folder, at most")
    parser.add_argument("--teacher", type=Path, nargs="+", required=True, help="model.bin of CTranslate2, in order")
    parser.add_argument("--made-seconds", type=float, default=120.0, help="of synthesised speech a voice, or 0")
    parser.add_argument("--steps", type=int, default=1700)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    with one_line_errors("prior.training.lip_encoder"):
        train(parser.parse_args())


def train(given: argparse.Namespace) -> None:
    """Train as the flags of `main` say.

    Raises:
        StoreError: the teacher is none, or the cache holds no clips whose sound belongs to the picture.
    """
    began = time.time()
    teacher = WhisperEncoder(given.teacher)
    directions = clip_directions(given, teacher)
    sounds = heard_sounds(waveforms_of(given), teacher, directions, given.seed)
    trainer = LipEncoderTrainer(load_phonetics(), sounds, directions.importance, given.seed)
    loss = trainer.train(given.steps, given.batch, given.rate)
    facts: dict[str, object] = {
        "minutes": sum(len(sound.columns) for sound in sounds) / LABEL_RATE / 60,
        "steps": given.steps,
        "loss": loss,
        "importance": [round(value, 4) for value in directions.importance.tolist()],
        "phonetics_sha256": file_sha256(WEIGHTS.with_name("phonetics.safetensors")),
        "seconds_taken": time.time() - began,
    }
    trainer.kept.save(given.out, facts)
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
