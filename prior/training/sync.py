"""Train the sync network: `python -m prior.training.sync CACHE --footage DIR`.

In: the tracks that `adapt prepare` wrote and the sound of the same clips, found by file name under `--footage`; only
clips whose sound belongs to the picture are used, brought into step first (`prior.training.spoken_clips.in_step`). Out:
the sync weights. The network must tell the true lag from all others of a stretch, and a stretch's own sound from those
of the others in the batch.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from prior.cache.prepared import FACTS_NAME
from prior.face.model import load_face_model
from prior.motion.filtering import LINEAR_TAPS, with_context
from prior.motion.model import SOUND_INPUTS
from prior.motion.sync import (
    LONGEST_LAG_FRAMES,
    MARGIN_ROWS,
    ROWS_PER_FRAME,
    WEIGHTS,
    SyncConfig,
    SyncMember,
    SyncModel,
)
from prior.speech.phonemes import LABEL_RATE, SILENCE
from prior.training.run import descend, one_line_errors
from prior.training.spoken_clips import SpokenClip, belonging, in_step, spoken_clips
from render.store import file_sha256
from render.text import read_json

SPEED_FACTORS = (0.9, 1.0, 1.12)  # resampled sound with its motion: other voices and tempi
STRETCH_SECONDS = (1.5, 5.0)  # of what is judged at once
LEAST_SPEECH = 0.3  # share of rows with speech in a stretch that is learnt from
LEAST_KNOWN = 0.8
DROPOUT = 0.2
LARGEST_START = 4.0  # whitened motion is clamped there for the regression


@dataclass(frozen=True)
class Series:
    """Sound and motion in step, a row each at `LABEL_RATE`.

    Attributes:
        sound: [T, SOUND_INPUTS].
        motion: [T, E] in units of spread, about its mean.
        known: bool [T], where the motion is known.
        weight: how often it is drawn.
    """

    sound: torch.Tensor
    motion: torch.Tensor
    known: torch.Tensor
    weight: float


class SyncTrainer:
    """Fits a `SyncModel` by contrast over lags and clips.

    Args:
        clips: in step.
        config: of the model.
        seed: of weights and batches.
    """

    def __init__(self, clips: list[SpokenClip], config: SyncConfig, seed: int) -> None:
        torch.manual_seed(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.model = SyncModel(config, DROPOUT)
        variances = torch.stack([clip.lower[clip.known].var(0) for clip in clips])
        self.model.spread.copy_(variances.mean(0).sqrt())
        self.series = [
            Series(
                clip.rows[:, :SOUND_INPUTS],
                self.model.unit_motion(clip.lower, clip.known),
                clip.known,
                len(clip.rows) ** 0.5,
            )
            for clip in clips
        ]
        self.log_scale = nn.Parameter(torch.tensor(-1.5))
        self._start_linear()

    @torch.no_grad()
    def _start_linear(self, strength: float = 0.3) -> None:
        """Start the linear parts: motion whitened, and the ridge regression from sound to it."""
        axes = self.model.config.axes
        every = torch.cat([one.motion[one.known] for one in self.series])
        values, vectors = torch.linalg.eigh(every.T @ every / len(every))
        # Axes that hardly ever move are mostly noise: they are not blown up.
        whiten = (vectors / values.clamp(min=0.1 * float(values[-1])).sqrt()).T
        size = LINEAR_TAPS * SOUND_INPUTS + 1
        gram, cross = torch.zeros(size, size), torch.zeros(size, axes)
        for one in self.series:
            design = torch.cat([with_context(one.sound), torch.ones(len(one.sound), 1)], 1)[one.known]
            gram += design.T @ design
            cross += design.T @ (one.motion[one.known] @ whiten.T).clamp(-LARGEST_START, LARGEST_START)
        penalty = strength * (gram.diagonal() + 1e-3 * len(every))
        penalty[-1] = 0.0
        weights = torch.linalg.solve(gram.double() + penalty.diag().double(), cross.double()).float()
        for member in self.model.members:
            assert isinstance(member, SyncMember) and member.filter.bias is not None
            member.filter.weight.copy_(weights[:-1].reshape(LINEAR_TAPS, SOUND_INPUTS, axes).permute(2, 1, 0))
            member.filter.bias.copy_(weights[-1])
            member.whiten.weight.copy_(whiten)
            member.motion.head.weight.mul_(0.1)

    def _draw(self, batch: int, row_count: int) -> tuple[torch.Tensor, ...]:
        """Stretches of `row_count` rows T: sound [B, T + 2 margins, inputs], whether it is there, motion, known."""
        weights = torch.tensor([one.weight if len(one.sound) >= row_count else 0.0 for one in self.series])
        parts: list[tuple[torch.Tensor, ...]] = []
        for _ in range(20 * batch):
            if len(parts) == batch:
                break
            one = self.series[int(torch.multinomial(weights, 1, generator=self.generator))]
            start = int(torch.randint(0, len(one.sound) - row_count + 1, (1,), generator=self.generator))
            known = one.known[start : start + row_count]
            speech = 1 - one.sound[start : start + row_count, SILENCE]
            if known.float().mean() < LEAST_KNOWN or speech.mean() < LEAST_SPEECH:
                continue
            first, last = start - MARGIN_ROWS, start + row_count + MARGIN_ROWS
            before, after = max(0, -first), max(0, last - len(one.sound))
            sound = F.pad(one.sound[max(0, first) : last], (0, 0, before, after))
            there = F.pad(torch.ones(last - first - before - after), (before, after))
            motion = one.motion[start : start + row_count]
            parts.append((sound, there, motion - motion[known].mean(0), known))
        return tuple(torch.stack(values) for values in zip(*parts, strict=True))

    def loss(self, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Cross-entropies of one batch: over lags, over clips."""
        shortest, longest = (round(seconds * LABEL_RATE) for seconds in STRETCH_SECONDS)
        row_count = int(torch.randint(shortest, longest + 1, (1,), generator=self.generator))
        sound, there, motion, known = self._draw(batch, row_count)
        sound, motion = self._distorted(sound, motion)
        over_lags, over_clips = torch.zeros(()), torch.zeros(())
        for member in self.model.members:
            assert isinstance(member, SyncMember)
            sound_vectors, motion_vectors = member.sound_vectors(sound), member.motion_vectors(motion)
            lags, clips = contrasts(sound_vectors, there, motion_vectors, known)
            scale = self.log_scale.exp() * row_count**0.5
            middle = torch.full((len(lags),), LONGEST_LAG_FRAMES)
            own_clip = torch.arange(len(clips))
            over_lags = over_lags + F.cross_entropy(scale * lags, middle, label_smoothing=0.05)
            over_clips = (
                over_clips + F.cross_entropy(scale * clips, own_clip) + F.cross_entropy(scale * clips.T, own_clip)
            )
        count = len(self.model.members)
        return over_lags / count, over_clips / (2 * count)

    def _distorted(self, sound: torch.Tensor, motion: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Noise, hidden inputs, and other amounts of movement, so that nobody's small signs are learnt."""

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=self.generator)

        batch, axes = len(sound), motion.shape[-1]
        noisy = sound + 0.05 * normal(*sound.shape)
        noisy = noisy * (torch.rand(batch, 1, SOUND_INPUTS, generator=self.generator) > 0.05)
        gain = (0.2 * normal(batch, 1, 1) + 0.2 * normal(batch, 1, axes)).exp()
        kept = torch.rand(batch, 1, axes, generator=self.generator) > 0.1
        return noisy, motion * gain * kept + 0.1 * normal(*motion.shape)

    def train(self, steps: int, batch: int, peak_rate: float = 1.5e-3) -> dict[str, float]:
        """One cosine run of AdamW; returns the smoothed losses at its end."""
        named = dict(self.model.named_parameters())
        linear = [value for name, value in named.items() if ".filter." in name or ".whiten." in name]
        others = [value for name, value in named.items() if ".filter." not in name and ".whiten." not in name]
        others.append(self.log_scale)
        self.model.train()
        smoothed = descend(
            linear, others, lambda: dict(zip(("lags", "clips"), self.loss(batch), strict=True)), steps, peak_rate
        )
        self.model.eval()
        return smoothed


def contrasts(
    sound: torch.Tensor, there: torch.Tensor, motion: torch.Tensor, known: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean products of stretches at every lag, and of every stretch's motion with every other's sound at lag 0.

    Args:
        sound: [B, T + 2 margins, D] vectors.
        there: [B, T + 2 margins], 1 where there is sound.
        motion: [B, T, D] vectors.
        known: bool [B, T], where the motion is known.

    Returns:
        [B, lags], and [B, B] with a row a sound and a column a motion.
    """
    count = motion.shape[1]
    weighted = motion * known[..., None]
    lags = []
    for start in range(0, 2 * MARGIN_ROWS + 1, ROWS_PER_FRAME):
        part = there[:, start : start + count] * known
        products = (sound[:, start : start + count] * weighted).sum(-1) * part
        lags.append(products.sum(1) / part.sum(1).clamp(min=1))
    middle = sound[:, MARGIN_ROWS : MARGIN_ROWS + count]
    clips = torch.einsum("itd,jtd->ij", middle, weighted) / known.sum(1)
    return torch.stack(lags, 1), clips


def own_sound(cache: Path, versions: list[list[SpokenClip]]) -> list[list[SpokenClip]]:
    """Without the clips whose facts say that the sound is not the picture's."""

    def says_no(name: str) -> bool:
        return read_json(cache / name / FACTS_NAME).get("speech") is False

    return [copies for copies in versions if not says_no(copies[0].name)]


def clips_in_step(cache: Path, footage: Path, factors: tuple[float, ...]) -> tuple[list[SpokenClip], dict[str, object]]:
    """The clips of a cache whose sound belongs to the picture, in step, at every speed; and which were left out.

    Raises:
        StoreError: the cache holds no tracks, or of too few people whose sound belongs to the picture.
    """
    versions = own_sound(cache, list(spoken_clips(cache, footage, load_face_model(), factors)))
    lags = in_step([copies[factors.index(1.0)] for copies in versions], set())
    kept = belonging(versions, lags, factors)
    facts: dict[str, object] = {
        "clips": len(kept),
        "people": len({copies[0].person for copies in kept}),
        "left_out": sorted(set(lags) - {copies[0].name for copies in kept}),
    }
    return [clip for copies in kept for clip in copies], facts


def main() -> None:
    """Command line; see the module's first lines."""
    parser = argparse.ArgumentParser(description="Train the sync network.")
    parser.add_argument("cache", type=Path, help="prepared clips of the people to learn from")
    parser.add_argument("--footage", type=Path, required=True, help="folder with the clips' own files, for their sound")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--members", type=int, default=2, help="networks whose products are averaged")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    with one_line_errors("prior.training.sync"):
        train(parser.parse_args())


def train(given: argparse.Namespace) -> None:
    """Train as the flags of `main` say."""
    began = time.time()
    clips, facts = clips_in_step(given.cache, given.footage, SPEED_FACTORS)
    trainer = SyncTrainer(clips, SyncConfig(clips[0].lower.shape[1], members=given.members), given.seed)
    losses = trainer.train(given.steps, given.batch)
    facts |= {
        "steps": given.steps,
        "losses": losses,
        "seconds_taken": round(time.time() - began),
        "phonetics_sha256": file_sha256(WEIGHTS.with_name("phonetics.safetensors")),
    }
    trainer.model.save(given.out, facts)
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
