"""Train the renderer prior on a prepared cache: `python -m prior.pretrain_renderer CACHE [-o FILE] [--minutes M]`.

In: what `adapt prepare` wrote of many people. Out: `renderer.safetensors` with an exponential mean of the weights, and
in `--checkpoints` a JSON-lines log and a state from which the same command goes on. Texture encoder and network learn
together: every batch draws people, encodes each one's texture from a random stretch of their footage, and draws other
frames of them. Some people are kept out for validation. Several GPUs: `torchrun --nproc-per-node N -m
prior.pretrain_renderer …`.
"""

import argparse
import json
import math
import os
import shutil
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
import torch.distributed as dist
from tqdm import tqdm

from prior.dataset import BatchStream, RendererDataset, TrainingItem, good_frames
from prior.face_model import load_face_model
from prior.losses import LossWeights, SqueezeNetTrunk, load_trunk, renderer_loss
from prior.prepared import prepared_clips
from prior.renderer_prior import WEIGHTS, Enrollment, RendererPrior, extreme_expressions
from render.errors import StoreError
from render.gbuffer import gbuffer, outer_mask
from render.neural_texture import COLOUR_CHANNELS, sample_texture
from render.store import load_tensors, save_tensors

CHECKPOINT = "adapt-renderer-checkpoint"
CHECKPOINT_VERSION = 1
STATE_NAME = "checkpoint.safetensors"
MEAN_PEOPLE = 64
VALIDATION_SHARE = 16  # one person in so many is kept out
VALIDATION_ITEMS = 12
MEAN_DECAY = 0.998


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of a training run.

    Attributes:
        people: items a batch; targets: frames an item.
        minutes: of training, over all resumed runs; steps: instead of minutes, where not 0.
        learning_rate: highest; it rises over `warmup_steps` and falls to a fiftieth along a cosine.
        rows, columns: size of the part of the crop, around *outer*, that is drawn in training (multiples of 16).
        save_minutes: between checkpoints, each with a validation.
        colour_jitter: largest change of gain of a person; a third of it between enrollment and target.
        code_noise: standard deviation added to normalised expressions; code_dropout: share withheld.
        use_scale: whether the network is told the source's scale (off for an ablation).
        seed: of everything.
    """

    people: int = 2
    targets: int = 3
    minutes: float = 60.0
    steps: int = 0
    learning_rate: float = 8e-4
    warmup_steps: int = 100
    rows: int = 192
    columns: int = 208
    save_minutes: float = 4.0
    colour_jitter: float = 0.25
    code_noise: float = 0.15
    code_dropout: float = 0.1
    use_scale: bool = True
    seed: int = 0


@dataclass(frozen=True)
class Drawing:
    """A batch as the network and the loss read it: B = P · T samples."""

    features: torch.Tensor
    inner: torch.Tensor
    mouth: torch.Tensor
    outer: torch.Tensor
    crop: torch.Tensor
    window: torch.Tensor
    log_scale: torch.Tensor

    def losses(
        self, prior: RendererPrior, known: torch.Tensor, weights: LossWeights, trunk: SqueezeNetTrunk | None
    ) -> dict[str, torch.Tensor]:
        """Terms of `renderer_loss` for what the prior's network draws."""
        rgb, logit = prior.renderer(
            self.features, self.inner, self.outer, self.crop, self.window, self.log_scale, known
        )
        return renderer_loss(rgb, logit, self.crop, self.inner, self.mouth, self.outer, self.log_scale, weights, trunk)


def mirror_signs(prior: RendererPrior) -> torch.Tensor:
    """+1 for lower axes that a mirrored face keeps, −1 for those it turns round [E]."""
    model = prior.model
    mirror = model.mean.new_tensor([-1.0, 1.0, 1.0])
    partner = torch.cdist(model.mean * mirror, model.mean).argmin(1)
    agreement = (model.lower_basis * (model.lower_basis[:, partner] * mirror)).sum((1, 2))
    return torch.where(agreement < 0, -1.0, 1.0)


def prepare_drawing(
    prior: RendererPrior, item: TrainingItem, config: TrainingConfig, random: torch.Generator, augment: bool
) -> Drawing:
    """Rasterize a batch, encode its textures and sample them; augmented copies where asked."""
    people, targets = item.crops.shape[:2]
    enrollment, crop = item.enrollment(), item.crops.float() / 255
    if augment:
        spread = config.colour_jitter
        gain = 1 + spread * (2 * torch.rand(people, 3, generator=random) - 1)
        other = gain * (1 + spread / 3 * (2 * torch.rand(people, 3, generator=random) - 1))
        gain, other = gain.to(crop.device), other.to(crop.device)
        crop = (crop * gain[:, None, :, None, None]).clamp(0, 1)
        tinted = (enrollment.crops * other[:, None, None, :, None, None]).clamp(0, 1)
        enrollment = Enrollment(tinted, enrollment.clip_vertices, enrollment.opening)
    textures = prior.encode(enrollment)
    buffer = gbuffer(prior.model, item.clip_vertices.flatten(0, 1))
    outer = outer_mask(prior.model, item.outer_vertices.flatten(0, 1))
    rows, columns = _around(outer, config.rows, config.columns)
    buffer = buffer.part(rows, columns)
    # One person after the other: a repeated texture would cost its gradient once a frame.
    features = torch.cat(
        [
            sample_texture(texture[None], buffer.frames(slice(first, first + targets)))
            for texture, first in zip(textures, range(0, people * targets, targets), strict=True)
        ]
    )
    images = [features, buffer.inner, buffer.mouth]
    images += [image[:, :, rows, columns] for image in (outer, crop.flatten(0, 1))]
    window = item.window.flatten(0, 1)
    if augment:
        renderer = prior.renderer
        noise = torch.randn(window.shape, generator=random).to(window.device)
        window = window + config.code_noise * renderer.expression_scale * noise
        if torch.rand((), generator=random) < 0.5:
            images = [image.flip(-1) for image in images]
            window = window * mirror_signs(prior).to(window.device)
    log_scale = item.log_scale.flatten()
    features, inner, mouth, outer, crop = (image.contiguous(memory_format=torch.channels_last) for image in images)
    return Drawing(features, inner, mouth, outer, crop, window, log_scale * config.use_scale)


def _around(outer: torch.Tensor, rows: int, columns: int) -> tuple[slice, slice]:
    """Rows and columns of a part of that size around masks [B, 1, H, W], with more of what is above than below."""
    slices = []
    for used, size, share in ((outer.amax((0, 1, 3)), rows, 0.8), (outer.amax((0, 1, 2)), columns, 0.5)):
        where = used.nonzero()[:, 0]
        low, high = (int(where.min()), int(where.max()) + 1) if len(where) else (0, len(used))
        first = min(max(0, low - round(share * (size - (high - low)))), max(0, len(used) - size))
        slices.append(slice(first, first + size))
    return slices[0], slices[1]


def start_prior(cache: Path, prior: RendererPrior, people: list[str]) -> None:
    """Set what is counted, not learnt: expression statistics, fixed expressions, mean texture."""
    rows = []
    for clip in prepared_clips(cache):
        if clip.person in people:
            frames = good_frames(clip)
            chosen = torch.linspace(0, max(0, len(frames) - 1), min(len(frames), 60)).long()
            rows.append(clip.track.lower_expression[frames[chosen]])
    lower = torch.cat(rows)
    prior.renderer.expression_mean.copy_(lower.mean(0))
    prior.renderer.expression_scale.copy_(lower.std(0).clamp(min=1e-3))
    prior.outer_expressions.copy_(extreme_expressions(prior.model, lower))
    dataset = RendererDataset(cache, prior.model, prior.outer_expressions, people, targets=1)
    total = torch.zeros(COLOUR_CHANNELS, *prior.mean_texture.shape[1:])
    weight = torch.zeros_like(total)
    for index in range(MEAN_PEOPLE):
        rgb, seen = prior.unwrapped(TrainingItem.stack([dataset[index]]).enrollment())
        total += (rgb * seen)[0].flatten(0, 1)
        weight += seen.expand_as(rgb)[0].flatten(0, 1)
    with torch.no_grad():
        overall = total.sum((1, 2), keepdim=True) / weight.sum((1, 2), keepdim=True)
        prior.mean_texture[:COLOUR_CHANNELS] = (total + 0.05 * overall) / (weight + 0.05)


class Trainer:
    """One training run: weights, their running mean, optimiser, log."""

    def __init__(self, cache: Path, run: Path, prior: RendererPrior, config: TrainingConfig, device: str) -> None:
        self.run, self.config, self.device = run, config, device
        self.rank, self.ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        names = sorted({clip.person for clip in prepared_clips(cache)})
        if len(names) < 2:
            raise SystemExit(f"pretrain_renderer: {cache} holds {len(names)} person; at least 2 are needed")
        self.validation_people = names[VALIDATION_SHARE // 2 :: VALIDATION_SHARE] or names[-1:]
        self.people = [name for name in names if name not in self.validation_people]
        self.step, self.seconds, self.best, self.clock = 0, 0.0, math.inf, 0.0
        resuming = (run / STATE_NAME).is_file()
        if not resuming:
            start_prior(cache, prior, self.people)
        cpu_model = prior.model
        self.prior: RendererPrior = prior.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.prior.model = cpu_model.to(device)
        parameters = dict(prior.named_parameters())
        self.mean = {name: value.detach().clone() for name, value in parameters.items()}
        self.optimiser = torch.optim.Adam(parameters.values(), config.learning_rate, betas=(0.9, 0.99), eps=1e-10)
        if resuming:
            self._resume()
        outer = self.prior.outer_expressions.cpu()
        self.dataset = RendererDataset(cache, cpu_model, outer, self.people, config.targets, config.seed)
        held = RendererDataset(cache, cpu_model, outer, self.validation_people, config.targets, config.seed + 1)
        self.validation = [TrainingItem.stack([held[index]]) for index in range(VALIDATION_ITEMS)]
        try:
            self.trunk: SqueezeNetTrunk | None = load_trunk().to(device)
        except StoreError as error:
            raise SystemExit(f"pretrain_renderer: {error}") from error

    def progress(self) -> float:
        """Share of the run that is done."""
        config = self.config
        return self.step / config.steps if config.steps else self.seconds / (60 * config.minutes)

    def train(self, workers: int = 0) -> None:
        """Go on to the end; validates and saves on the way."""
        stream = BatchStream(self.dataset, self.config.people, self.step, self.rank, self.ranks)
        batches = iter(torch.utils.data.DataLoader(stream, batch_size=None, num_workers=workers))
        saved = time.monotonic()
        bar = tqdm(desc="train", initial=self.step, mininterval=5, disable=self.rank > 0)
        sums: dict[str, float] = {}
        count = 0
        self.clock = time.monotonic()
        while self.progress() < 1:
            for name, value in self._update(next(batches)).items():
                sums[name] = sums.get(name, 0.0) + value
            count += 1
            bar.update()
            if time.monotonic() - saved > 60 * self.config.save_minutes or self.progress() >= 1:
                self.save({name: value / count for name, value in sums.items()})
                sums, count, saved = {}, 0, time.monotonic()

    def _update(self, item: TrainingItem) -> dict[str, float]:
        config = self.config
        random = torch.Generator().manual_seed(hash((config.seed, self.step, self.rank)) % 2**31)
        rise = min(1.0, (self.step + 1) / config.warmup_steps)
        fall = 0.02 + 0.98 * (1 + math.cos(math.pi * min(1.0, self.progress()))) / 2
        for group in self.optimiser.param_groups:
            group["lr"] = config.learning_rate * rise * fall
        known = (torch.rand(config.people * config.targets, generator=random) >= config.code_dropout).float()
        drawing = prepare_drawing(self.prior, item.to(self.device), config, random, augment=True)
        losses = drawing.losses(self.prior, known.to(self.device), LossWeights(), self.trunk)
        self.optimiser.zero_grad(set_to_none=True)
        losses["total"].backward()
        parameters = [parameter for parameter in self.prior.parameters() if parameter.grad is not None]
        self.clock, before = time.monotonic(), self.clock
        self.seconds += self.clock - before
        if self.ranks > 1:
            self._share([parameter.grad for parameter in parameters if parameter.grad is not None])
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        self.optimiser.step()
        self.step += 1
        decay = min(MEAN_DECAY, self.step / (self.step + 10))
        with torch.no_grad():
            for name, parameter in self.prior.named_parameters():
                self.mean[name].lerp_(parameter, 1 - decay)
        return {name: float(value.detach()) for name, value in losses.items()}

    def _share(self, gradients: list[torch.Tensor]) -> None:
        """Average gradients over ranks, and the clock with them: all ranks must agree on how far the run is."""
        clock = gradients[0].new_tensor([self.seconds])
        flat = torch.cat([clock, *(gradient.flatten() for gradient in gradients)])
        dist.all_reduce(flat)
        flat /= self.ranks
        self.seconds = float(flat[0])
        for gradient, value in zip(gradients, flat[1:].split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(value.view_as(gradient))

    def validate(self) -> dict[str, float]:
        """Mean terms over people kept out, with the running mean of the weights in place."""
        own = {name: value.detach().clone() for name, value in self.prior.named_parameters()}
        self._put(self.mean)
        sums: dict[str, float] = {}
        random = torch.Generator().manual_seed(0)
        with torch.inference_mode():
            for item in self.validation:
                drawing = prepare_drawing(self.prior, item.to(self.device), self.config, random, augment=False)
                known = torch.ones(len(drawing.crop), device=self.device)
                for name, value in drawing.losses(self.prior, known, LossWeights(), self.trunk).items():
                    sums[name] = sums.get(name, 0.0) + float(value) / len(self.validation)
        self._put(own)
        return sums

    def save(self, training: dict[str, float]) -> None:
        """Validate, log, write the checkpoint; where validation is best so far, also the prior's weights."""
        if self.rank:
            return
        validation = self.validate()
        line = {"step": self.step, "minutes": self.seconds / 60, "training": training, "validation": validation}
        self.run.mkdir(parents=True, exist_ok=True)
        with (self.run / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        if validation["total"] < self.best:
            self.best = validation["total"]
            own = {name: value.detach().clone() for name, value in self.prior.named_parameters()}
            self._put(self.mean)
            self.prior.facts = {
                "steps": self.step,
                "minutes": round(self.seconds / 60, 1),
                "people": len(self.people),
                "validation": validation,
                "training": asdict(self.config),
            }
            self.prior.save(self.run / "best.safetensors")
            self._put(own)
        self._save_checkpoint()

    def _save_checkpoint(self) -> None:
        tensors = {f"weight.{name}": value for name, value in self.prior.state_dict().items()}
        tensors |= {f"mean.{name}": value for name, value in self.mean.items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"adam.{index}.{name}": value for name, value in state.items()}
        facts = {"step": self.step, "seconds": self.seconds, "best": self.best}
        save_tensors(self.run / STATE_NAME, CHECKPOINT, CHECKPOINT_VERSION, tensors, facts)

    def _resume(self) -> None:
        tensors, facts = load_tensors(self.run / STATE_NAME, CHECKPOINT, CHECKPOINT_VERSION)
        parts: dict[str, dict[str, torch.Tensor]] = {"weight": {}, "mean": {}, "adam": {}}
        for name, value in tensors.items():
            kind, _, rest = name.partition(".")
            parts[kind][rest] = value
        self.prior.load_state_dict(parts["weight"])
        self.mean = {name: value.to(self.device) for name, value in parts["mean"].items()}
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in parts["adam"].items():
            index, _, field = name.partition(".")
            state.setdefault(int(index), {})[field] = value
        self.optimiser.load_state_dict({"state": state, "param_groups": self.optimiser.state_dict()["param_groups"]})
        self.step, self.seconds, self.best = int(facts["step"]), float(facts["seconds"]), float(facts["best"])

    def _put(self, values: dict[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.prior.named_parameters():
                parameter.copy_(values[name])


def main(arguments: list[str] | None = None) -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(description="Train the renderer prior on a prepared cache.")
    parser.add_argument("cache", type=Path, help="folder written by `adapt prepare`")
    parser.add_argument("-o", "--out", type=Path, default=WEIGHTS, help="file of the finished prior")
    parser.add_argument("--checkpoints", type=Path, default=Path("runs/renderer"), help="folder of log and checkpoint")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=0, help="processes that read crops")
    parser.add_argument("--widths", type=int, nargs="+", help="channels of the network, fine to coarse")
    parser.add_argument("--face-model", type=Path, help="another head in the same file form")
    for field in fields(TrainingConfig):
        flag = f"--{field.name.replace('_', '-')}"
        if isinstance(field.default, bool):
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=field.default)
        else:
            parser.add_argument(flag, type=type(field.default), default=field.default)
    given = parser.parse_args(arguments)
    config = TrainingConfig(**{field.name: getattr(given, field.name) for field in fields(TrainingConfig)})
    device = given.device
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group("nccl" if device == "cuda" else "gloo")
        device = f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" else device
    torch.manual_seed(config.seed)
    prior = RendererPrior(load_face_model(given.face_model), {"widths": given.widths} if given.widths else None)
    trainer = Trainer(given.cache, given.checkpoints, prior, config, device)
    trainer.train(given.workers)
    if trainer.rank == 0:
        shutil.copyfile(given.checkpoints / "best.safetensors", given.out)
        print(f"{given.out}: step {trainer.step}, validation loss {trainer.best:.4f}")


if __name__ == "__main__":
    main()
