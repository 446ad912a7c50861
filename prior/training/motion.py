"""Train audio to motion: `python -m prior.training.motion CACHE --footage DIR`.

In: the tracks that `adapt prepare` wrote (`CACHE/CLIP/track.safetensors`) and the sound of the same clips, found by
file name under `--footage`. Sound and picture are first brought into step: a ridge regression that never saw the person
says by how much, and drops clips whose sound does not belong to the picture. Out: the motion weights.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from prior.face.model import load_face_model
from prior.motion import diffusion
from prior.motion.filtering import LINEAR_TAPS, with_context
from prior.motion.model import INPUTS, WEIGHTS, MotionConfig, MotionModel, MotionNetwork
from prior.motion.style import mouth_measures
from prior.speech.pretrained_front_end import FrontEnd
from prior.training.run import descend, one_line_errors
from prior.training.spoken_clips import (
    SpokenClip,
    belonging,
    in_step,
    on_closures,
    sounding,
    spoken_clips,
)
from render.head.face_model import FaceModel
from render.store import file_sha256

CROP_ROWS = 200  # 4 s
DENOISER_DILATIONS = (1, 2, 4, 8, 1, 2)
GAIN_STIFFNESS = 0.003  # what a change of an axis costs beside a wrong spread, both squared logarithms


def concordance_over_known(guess: torch.Tensor, truth: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Lin's concordance (1989) over time of [B, T, K] series, rows where `known` [B, T]; returns [B, K].

    To learn by: differentiable, and a little below 1 where series are equal, so that none divides by 0.
    """
    weight = known[..., None].float()
    count = weight.sum(1).clamp(min=1)
    mean_guess, mean_truth = (guess * weight).sum(1) / count, (truth * weight).sum(1) / count
    off_guess, off_truth = (guess - mean_guess[:, None]) * weight, (truth - mean_truth[:, None]) * weight
    covariance = (off_guess * off_truth).sum(1) / count
    variances = (off_guess**2).sum(1) / count + (off_truth**2).sum(1) / count
    return 2 * covariance / (variances + (mean_guess - mean_truth) ** 2 + 1e-6)


def drawn(series: Sequence[tuple[torch.Tensor, ...]], batch: int, generator: torch.Generator) -> list[torch.Tensor]:
    """Random crops of `CROP_ROWS` rows from series of equal-length tensors, zero-padded, stacked."""
    lengths = torch.tensor([min(float(len(one[0])), 4.0 * CROP_ROWS) for one in series])
    picked = torch.multinomial(lengths, batch, replacement=True, generator=generator).tolist()
    crops: list[list[torch.Tensor]] = []
    for index in picked:
        count = len(series[index][0])
        start = int(torch.randint(0, max(1, count - CROP_ROWS + 1), (1,), generator=generator))
        parts = [value[start : start + CROP_ROWS] for value in series[index]]
        short = CROP_ROWS - len(parts[0])
        crops.append([nn.functional.pad(p, (0, 0) * (p.ndim - 1) + (0, short)) for p in parts])
    return [torch.stack(parts) for parts in zip(*crops, strict=True)]


class MotionTrainer:
    """Fits a `MotionModel` to clips; see `losses` for what it minimises."""

    def __init__(
        self,
        face_model: FaceModel,
        clips: list[SpokenClip],
        seed: int,
        members: int = 1,
    ) -> None:
        torch.manual_seed(seed)
        self.face_model = face_model
        axes = face_model.lower_basis.shape[0]
        columns = clips[0].rows.shape[1] - INPUTS
        self.model = MotionModel(MotionConfig(axes, members=members, front_end=columns), dropout=0.2)
        means = torch.stack([clip.lower[clip.known].mean(0) for clip in clips])
        spreads = torch.stack([clip.style.spread for clip in clips]).clamp(min=1e-3)
        closed = torch.stack([clip.style.closed for clip in clips])
        self.model.neutral_spread.copy_(spreads.median(0).values)
        self.model.neutral_closed.copy_(closed.median(0).values)
        self.model.neutral_mean.copy_(self.model.neutral_closed + (means - closed).median(0).values)
        moved = torch.cat([(clip.lower - mean)[clip.known] for clip, mean in zip(clips, means, strict=True)])
        axis = mouth_measures(face_model, torch.eye(axes))[:, 0] - mouth_measures(face_model, torch.zeros(axes))[0]
        opening = moved @ axis
        self.model.opening_axis.copy_(axis)
        self.model.closing_direction.copy_((moved * opening[:, None]).mean(0) / opening.square().mean())
        # How much of the mouth's movement an axis makes: squared centimetres over the lower face.
        power = (face_model.lower_basis.square().sum((1, 2)) * self.model.neutral_spread**2).detach()
        self.axis_weight = power / power.sum()
        self.series = [
            (
                clip.rows,
                clip.known,
                (clip.lower - mean) / spread,
                mean.expand(len(clip.rows), -1),
                spread.expand(len(clip.rows), -1),
                clip.measures,
            )
            for clip, mean, spread in zip(clips, means, spreads, strict=True)
        ]
        self.generator = torch.Generator().manual_seed(seed)
        self._start_linear()

    @torch.no_grad()
    def _start_linear(self, strength: float = 0.3) -> None:
        """Start every member at the ridge regression from rows to displacement (all taps, with a constant)."""
        axes, inputs = self.model.config.axes, self.model.config.inputs
        size = LINEAR_TAPS * inputs + 1
        gram, cross, count = torch.zeros(size, size), torch.zeros(size, axes), 0
        for rows, known, truth, *_ in self.series:
            design = torch.cat([with_context(rows), torch.ones(len(rows), 1)], 1)[known]
            gram += design.T @ design
            cross += design.T @ truth[known].clamp(-4, 4)
            count += len(design)
        # Inputs have unlike spreads: the penalty is in units of each one's own power.
        penalty = strength * (gram.diagonal() + 1e-3 * count)
        penalty[-1] = 0.0
        weights = torch.linalg.solve(gram.double() + penalty.diag().double(), cross.double()).float()
        filters = weights[:-1].reshape(LINEAR_TAPS, inputs, axes).permute(2, 1, 0)
        for member in self.model.members:
            assert isinstance(member, MotionNetwork) and member.linear.bias is not None
            member.linear.weight.copy_(filters)
            member.linear.bias.copy_(weights[-1])
            member.head.weight.mul_(0.1)
            member.head.bias.zero_()

    def losses(self, batch: int) -> dict[str, torch.Tensor]:
        """One batch's weighted losses by name."""
        rows, known, truth, mean, spread, measures = drawn(self.series, batch, self.generator)
        distorted = self._distorted(rows)
        terms: dict[str, torch.Tensor] = {}
        for member in self.model.members:
            guess = member(distorted)
            error = (guess - truth.clamp(-4, 4)).square() * self.axis_weight
            shown = mouth_measures(self.face_model, mean + spread * guess)
            agreement = 1 - concordance_over_known(shown, measures, known)  # [B, 3]
            unit = measures.flatten(0, 1).std(0) + 1e-6
            velocity = ((shown.diff(dim=1) - measures.diff(dim=1)) / unit).square().mean(-1) * known[:, 1:]
            parts = {
                "coefficients": (error.sum(-1) * known).sum() / known.sum().clamp(min=1),
                "agreement": (agreement * torch.tensor([1.0, 0.5, 0.5])).sum(-1).mean(),
                "velocity": 2.0 * velocity.mean(),
            }
            for name, value in parts.items():
                terms[name] = terms.get(name, torch.zeros(())) + value / len(self.model.members)
        return terms

    def _distorted(self, rows: torch.Tensor) -> torch.Tensor:
        """Input rows with noise, so that the network does not lean on a training voice's small signs."""
        noise = torch.randn(rows.shape, generator=self.generator) * 0.05
        hidden = torch.rand(len(rows), 1, rows.shape[-1], generator=self.generator) < 0.05
        return torch.where(hidden, torch.zeros(()), rows + noise)

    def train(self, steps: int, batch: int, peak_rate: float = 1e-3) -> dict[str, float]:
        """One cosine run of AdamW; returns the smoothed losses at its end."""
        named = dict(self.model.named_parameters())
        filters = [value for name, value in named.items() if ".linear." in name]
        others = [value for name, value in named.items() if ".linear." not in name]
        self.model.train()
        smoothed = descend(filters, others, lambda: self.losses(batch), steps, peak_rate)
        self.model.eval()
        return smoothed


def set_gain(model: MotionModel, face_model: FaceModel, unseen: list[tuple[SpokenClip, torch.Tensor]]) -> None:
    """Set the gain from displacements [T, E] of clips whose people the predicting model did not see.

    First every axis gets the truth's spread. Axes move together in another way than they are heard, so the measures are
    then brought to the truth's spread, too, with as little change as does it; at last all axes are scaled so that the
    opening has it, closures included. Each in the middle of the clips.
    """
    ratios = [
        (clip.lower[clip.known].std(0) / (clip.style.spread * guess[clip.known]).std(0).clamp(min=1e-4))
        for clip, guess in unseen
    ]
    gain = torch.stack(ratios).median(0).values.clamp(0.7, 3.0)
    gain = gain_of_measures(face_model, gain, unseen)
    model.gain.copy_(gain)
    openings = []
    for clip, guess in unseen:
        lower = model.shaped(gain * guess, clip.rows, clip.gate, clip.style)
        shown = mouth_measures(face_model, lower)[clip.known, 0].std()
        openings.append(shown / clip.measures[clip.known, 0].std())
    model.gain.copy_(gain / torch.stack(openings).median())


def gain_of_measures(
    face_model: FaceModel, gain: torch.Tensor, unseen: list[tuple[SpokenClip, torch.Tensor]]
) -> torch.Tensor:
    """A gain [E] near the given one with which the measures of the mouth have the truth's spread."""
    axes = len(gain)
    axis = mouth_measures(face_model, torch.eye(axes)) - mouth_measures(face_model, torch.zeros(axes))  # [E, 3]
    heard = [(clip.style.spread * guess * clip.gate[:, None])[clip.known] for clip, guess in unseen]
    together = torch.stack([torch.cov(one.T) for one in heard])  # [N, E, E]
    true = torch.stack([clip.measures[clip.known].std(0) for clip, _ in unseen])
    change = torch.zeros(axes, requires_grad=True)  # logarithm
    optimiser = torch.optim.LBFGS([change], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        moved = axis * (gain * change.exp())[:, None]
        spread = torch.einsum("ek,nef,fk->nk", moved, together, moved).clamp(min=1e-12).sqrt()
        value = (spread / true).log().median(0).values.square().sum() + GAIN_STIFFNESS * change.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    return gain * change.detach().exp()


def with_denoiser(
    model: MotionModel, unseen: list[tuple[SpokenClip, torch.Tensor]], steps: int, batch: int, seed: int
) -> tuple[MotionModel, float]:
    """A copy of `model` that samples, its denoiser learnt around displacements of people the predictor did not see.

    Returns:
        The model, and the smoothed loss: squared error of the clean series.
    """
    torch.manual_seed(seed)
    sampled = MotionModel(replace(model.config, denoiser_dilations=DENOISER_DILATIONS))
    sampled.front_end = model.front_end
    sampled.load_state_dict(model.state_dict(), strict=False)
    sampled.gain.fill_(1.0)  # a sample has the truth's spread already
    series = []
    for clip, guess in unseen:
        truth = (clip.lower - clip.lower[clip.known].mean(0)) / clip.style.spread.clamp(min=1e-3)
        series.append((clip.rows, clip.known, truth.clamp(-4, 4), guess))
    denoiser = sampled.denoiser
    assert denoiser is not None  # the configuration above has one
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(denoiser.parameters(), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps, pct_start=0.1)
    smoothed = float("nan")
    for _ in (progress := tqdm(range(steps), desc="denoiser", mininterval=10)):
        rows, known, truth, mean = drawn(series, batch, generator)
        timestep = torch.rand(batch, generator=generator)
        noisy = diffusion.noised(truth, torch.randn(truth.shape, generator=generator), timestep)
        error = (denoiser(noisy, mean, rows, timestep) - truth).square().mean(-1)
        loss = (error * known).sum() / known.sum().clamp(min=1)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(denoiser.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        smoothed = loss.item() if smoothed != smoothed else 0.97 * smoothed + 0.03 * loss.item()
        progress.set_postfix(loss=f"{smoothed:.3f}", refresh=False)
    return sampled.eval(), smoothed


def guesses_unseen(
    face_model: FaceModel, kept: list[list[SpokenClip]], folds: int, steps: int, batch: int, seed: int
) -> list[tuple[SpokenClip, torch.Tensor]]:
    """Every person's clips at their own speed with displacements [T, E] by a model that did not see the person.

    Args:
        face_model: of the clips' expressions.
        kept: clips, each at every speed, its own first.
        folds: parts into which people are divided, each predicted by a model of the others; 0 for none.
        steps: of each model's training.
        batch: likewise.
        seed: likewise.
    """
    people = sorted({copies[0].person for copies in kept})
    unseen: list[tuple[SpokenClip, torch.Tensor]] = []
    for fold in range(folds):
        out = set(people[fold::folds])
        trainer = MotionTrainer(face_model, [c for copies in kept for c in copies if c.person not in out], seed)
        trainer.train(steps, batch)
        plain = [copies[0] for copies in kept if copies[0].person in out]
        unseen += [(clip, trainer.model.displacement(clip.rows)) for clip in plain]
    return unseen


def main() -> None:
    """Command line; see the module's first lines."""
    parser = argparse.ArgumentParser(description="Train audio to motion.")
    parser.add_argument("cache", type=Path, help="prepared clips of the people to learn from")
    parser.add_argument("--footage", type=Path, required=True, help="folder with the clips' own files, for their sound")
    parser.add_argument("--face-model", type=Path, default=None)
    parser.add_argument("--front-end", type=Path, default=None, help="folder of HuBERT or wav2vec 2.0 weights")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument(
        "--speeds", type=float, nargs="*", default=[], help="factors of further copies with resampled sound and motion"
    )
    parser.add_argument("--members", type=int, default=2, help="networks whose predictions are averaged")
    parser.add_argument("--folds", type=int, default=2, help="extra runs without a part of the people, for the gain")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--denoiser-steps", type=int, default=0, help="train a model that samples, too")
    parser.add_argument("--sampled-out", type=Path, default=Path("motion_sampled.safetensors"))
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    with one_line_errors("prior.training.motion"):
        train(parser.parse_args())


def train(given: argparse.Namespace) -> None:
    """Train as the flags of `main` say.

    Raises:
        StoreError: the cache holds no tracks, or of too few people whose sound belongs to the picture.
    """
    began = time.time()
    face_model = load_face_model(given.face_model)
    speeds = (1.0, *given.speeds)
    front_end = FrontEnd(given.front_end) if given.front_end else None
    if front_end is not None:
        front_end.learn(waveform for _, _, waveform in sounding(given.cache, given.footage))
    versions = list(spoken_clips(given.cache, given.footage, face_model, speeds, front_end))
    plain = [copies[0] for copies in versions]
    lags = on_closures(in_step(plain, set()), plain)
    kept = belonging(versions, lags, speeds)
    unseen = guesses_unseen(face_model, kept, given.folds, given.steps, given.batch, given.seed)
    trainer = MotionTrainer(face_model, [clip for copies in kept for clip in copies], given.seed, given.members)
    losses = trainer.train(given.steps, given.batch)
    if unseen:
        set_gain(trainer.model, face_model, unseen)
    facts: dict[str, object] = {
        "clips": len(kept),
        "people": len({copies[0].person for copies in kept}),
        "left_out": sorted(set(lags) - {copies[0].name for copies in kept}),
        "lag_rows": {name: lag for name, (lag, _) in sorted(lags.items())},
        "losses": losses,
        "seconds_taken": time.time() - began,
        "phonetics_sha256": file_sha256(WEIGHTS.with_name("phonetics.safetensors")),
    }
    trainer.model.front_end = front_end
    trainer.model.save(given.out, facts)
    if unseen and given.denoiser_steps:
        sampled, loss = with_denoiser(trainer.model, unseen, given.denoiser_steps, 2 * given.batch, given.seed)
        sampled.save(given.sampled_out, {**facts, "denoiser_loss": loss})
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
