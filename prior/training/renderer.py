"""Train the renderer prior on a prepared cache: `python -m prior.training.renderer CACHE [-o FILE] [--minutes M]`.

In: what `adapt prepare` wrote of many people. Out: `renderer.safetensors` with an exponential mean of the weights,
beside it `mouth_features.safetensors` of the judge, and in `--checkpoints` a JSON-lines log, a summary, and a state
from which the same command goes on. Texture encoder and network learn together: every batch draws people, encodes each
one's texture from a random stretch of their footage, and draws neighbouring other frames of them. A lip reader asks for
the shape of the lips; in the later part of the run a judge looks at the mouths as well. Some people are kept out for
validation. Several GPUs: `torchrun --nproc-per-node N -m prior.training.renderer …`. `--pack FOLDER` writes what a
training reads, to be carried to another machine, and trains nothing.
"""

import argparse
import math
import os
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from tqdm import tqdm

from cuda_ext.library import NO_CUDA
from prior.cache.pack import LARGEST_MEGABYTES, write_pack
from prior.cache.prepared import prepared_clips
from prior.face.model import load_face_model
from prior.renderer.lip_reader import LipReader, Mouths, misread, read_mouths, teach_reading
from prior.renderer.losses import completed, detail_weight, renderer_loss
from prior.renderer.mouth_features import around_mouths
from prior.renderer.perceptual import TRUNK_NAME, load_trunk, trunk_path
from prior.renderer.prior import WEIGHTS, RendererPrior, load_renderer_prior
from prior.training.mouth_judge import MouthJudge, convinced, judged, teach
from prior.training.renderer_batch import Augmentation, Drawing, TrainingConfig, prepare_drawing, start_prior
from prior.training.renderer_items import BatchStream, RendererDataset, TrainingItem
from prior.training.run import (
    RunPart,
    StepTimes,
    TrainingRun,
    add_settings,
    heed_no_signal,
    one_line_errors,
    share_gradients,
)
from render.drawing.gbuffer import gbuffer
from render.errors import ConfigError, StoreError
from render.store import write_json

CHECKPOINT = "adapt-renderer-checkpoint"
CHECKPOINT_VERSION = 5
BEST_NAME, FEATURES_NAME, SUMMARY_NAME = "best.safetensors", "mouth_features.safetensors", "summary.json"
VALIDATION_SHARE = 16  # one person in so many is kept out
VALIDATION_ITEMS = 12
MEAN_DECAY = 0.998
#: The judge learns alone at first, for this part of the run, and its say rises from 0 over as much again.
#: A judge of patches that knew no person was tried: it changed next to nothing that was measured.
JUDGE_RISE = 0.1
JUDGE_RATE = 1e-3
#: It is taught by so many real mouths a person before that.
TAUGHT_MOUTHS = 12
#: The judge's features beside its verdict.
FEATURE_SHARE = 0.5
#: The lip reader is taught by so many a person.
READ_MOUTHS = 40
#: Processes that read crops for a GPU: each has some 180 items a second ready, thirty steps of the usual size.
GPU_WORKERS = 2


class RendererTrainer:
    """One training run: weights, their running mean, optimiser, judge; resumes from its folder.

    Args:
        cache: prepared folder.
        folder: of log, checkpoint and best weights.
        prior: to start from, fresh or trained; learns in place.
        config: settings.
        device: where the networks run.

    Raises:
        StoreError: the cache holds too few people or frames, or there is no trunk for the perceptual term.
    """

    def __init__(self, cache: Path, folder: Path, prior: RendererPrior, config: TrainingConfig, device: str) -> None:
        self.config, self.device = config, device
        self.times, self.is_stopping = StepTimes(), False
        self.run = TrainingRun(folder, CHECKPOINT, CHECKPOINT_VERSION, 60 * config.save_minutes)
        self.rank, self.ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        names = sorted({clip.person for clip in prepared_clips(cache)})
        if len(names) < 2:
            raise StoreError(f"{cache}: holds {len(names)} person; at least 2 are needed")
        self.validation_people = names[VALIDATION_SHARE // 2 :: VALIDATION_SHARE] or names[-1:]
        self.people = [name for name in names if name not in self.validation_people][:: config.every_person]
        self.best, self.taught, self.can_read = math.inf, False, False
        self.started_from = {key: prior.facts[key] for key in ("steps", "minutes", "sha256") if key in prior.facts}
        if not self.run.is_begun and not prior.facts:
            start_prior(cache, prior, self.people)
        cpu_model = prior.model
        self.prior: RendererPrior = prior.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.prior.model = cpu_model.to(device)
        parameters = dict(prior.named_parameters())
        self.mean = {name: value.detach().clone() for name, value in parameters.items()}
        self.optimiser = torch.optim.Adam(parameters.values(), config.learning_rate, betas=(0.9, 0.99), eps=1e-10)
        self.judge = MouthJudge().to(device)
        self.judge_optimiser = torch.optim.Adam(self.judge.parameters(), JUDGE_RATE, betas=(0.5, 0.99))
        self.reader = LipReader().to(device)
        if self.run.is_begun:
            facts = self.run.resume(self._parts())
            self.best = math.inf if facts["best"] is None else float(facts["best"])
            self.taught, self.can_read = bool(facts["taught"]), bool(facts["can_read"])
            self.reader.requires_grad_(not self.can_read)
        erased = self.prior.erasing_expressions.cpu()
        self.dataset = RendererDataset(cache, cpu_model, erased, self.people, config.targets, config.seed)
        held = RendererDataset(cache, cpu_model, erased, self.validation_people, config.targets, config.seed + 1)
        self.validation = [TrainingItem.stack([held[index]]) for index in range(VALIDATION_ITEMS)]
        self.trunk = load_trunk(trunk_for(cache)).to(device)

    def progress(self) -> float:
        """Share of the run that is done."""
        config, run = self.config, self.run
        return run.step / config.steps if config.steps else run.seconds / (60 * config.minutes)

    def train(self, workers: int = 0) -> None:
        """Go on to the end, or until a signal asks to stop; validates and saves on the way."""
        run = self.run
        if not run.is_begun and self.rank == 0:
            run.log({"step": 0, "minutes": 0.0, "validation": self.validate()})
        if workers:
            self.dataset.decode()
        stream = BatchStream(self.dataset, self.config.people, run.step, self.rank, self.ranks)
        batches = iter(torch.utils.data.DataLoader(stream, None, num_workers=workers, worker_init_fn=heed_no_signal))
        bar = tqdm(desc="train", initial=run.step, mininterval=5, disable=self.rank > 0)
        sums: dict[str, float] = {}
        count = 0
        run.start()
        with run.stoppable():
            while self.progress() < 1 and not (self.is_stopping if self.ranks > 1 else run.stopped_by):
                for name, value in self.times.timed(batches, self._update).items():
                    sums[name] = sums.get(name, 0.0) + value
                count += 1
                bar.update()
                if run.is_due() or self.progress() >= 1:
                    self.save({name: value / count for name, value in sums.items()})
                    sums, count = {}, 0
        bar.close()
        if run.stopped_by and self.rank == 0:
            run.save(self._parts(), self._facts())  # at once: who ends a process does not wait for long

    def _update(self, item: TrainingItem) -> dict[str, float]:
        config, run = self.config, self.run
        random = torch.Generator().manual_seed(hash((config.seed, run.step, self.rank)) % 2**31)
        rise = min(1.0, (run.step + 1) / config.warmup_steps)
        fall = 0.02 + 0.98 * (1 + math.cos(math.pi * min(1.0, self.progress()))) / 2
        for group in self.optimiser.param_groups:
            group["lr"] = config.learning_rate * rise * fall
        has_window = (torch.rand(config.people * config.targets, generator=random) >= config.code_dropout).float()
        augmentation = Augmentation(config.colour_jitter, config.code_noise)
        drawing = prepare_drawing(self.prior, item.to(self.device), random, augmentation)
        drawn = self._drawn(drawing, has_window.to(self.device))
        losses = renderer_loss(drawn, drawing.inputs, trunk=self.trunk)
        if self.config.shape:
            losses["shape"] = self._misread(drawing, drawn[0])
            losses["total"] = losses["total"] + self.config.shape * losses["shape"]
        self.optimiser.zero_grad(set_to_none=True)
        losses |= self._learn(drawing, drawn, losses["total"])
        parameters = [parameter for parameter in self.prior.parameters() if parameter.grad is not None]
        run.tick()
        if self.ranks > 1:
            self.is_stopping = share_gradients(
                run, [parameter.grad for parameter in parameters if parameter.grad is not None]
            )
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        self.optimiser.step()
        run.step += 1
        decay = min(MEAN_DECAY, run.step / (run.step + 10))
        with torch.no_grad():
            for name, parameter in self.prior.named_parameters():
                self.mean[name].lerp_(parameter, 1 - decay)
        return {name: float(value.detach()) for name, value in losses.items()}

    def _drawn(self, drawing: Drawing, has_window: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What the network draws; it gets neither the source's scale nor the window where these are ablated."""
        inputs = replace(drawing.shown, log_scale=drawing.inputs.log_scale * self.config.use_scale)
        rgb, matte_logit, _ = self.prior.renderer(drawing.samples, inputs, has_window * self.config.use_window)
        return rgb, matte_logit

    def _learn(
        self, drawing: Drawing, drawn: tuple[torch.Tensor, torch.Tensor], total: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Send the gradient of the loss, and the judge's share of it, back through the network; what the judge said."""
        said = self._judged(drawing, drawn[0])
        if "convinced" not in said:
            total.backward()
            return said
        wanted = said["convinced"] + FEATURE_SHARE * said["features"]
        loss_gradient, matte_gradient = torch.autograd.grad(total, drawn)
        (judge_gradient,) = torch.autograd.grad(wanted, drawn[0])
        rise = min(1.0, (self.progress() - self.config.adversarial_from) / JUDGE_RISE - 1)
        # So the judge has as much to say as is wanted, however large its loss is.
        size = self.config.adversarial * rise * loss_gradient.norm() / judge_gradient.norm().clamp(min=1e-12)
        torch.autograd.backward(drawn, (loss_gradient + size * judge_gradient, matte_gradient))
        return {name: value.detach() for name, value in said.items()}

    def _teach_reader(self) -> None:
        """Teach the lip reader by real mouths, before anything is drawn."""
        heads = self.dataset.mouths(READ_MOUTHS)
        people = [
            read_mouths(crops, vertices, gbuffer(self.dataset.model, vertices).mouth) for crops, vertices in heads
        ]
        random = torch.Generator().manual_seed(self.config.seed)
        with self.run.breakable(self.reader):
            error = teach_reading(self.reader, Mouths.joined(people).to(self.device), self.config.reading, random)
        tqdm.write(f"lip reader: {error:.3f}")
        self.can_read = True

    def _misread(self, drawing: Drawing, rgb: torch.Tensor) -> torch.Tensor:
        """How differently the shape of drawn mouths reads, where sources are sharp enough to show it."""
        if not self.can_read:
            self._teach_reader()
        inputs = drawing.inputs
        trust = detail_weight(inputs.log_scale)
        off = misread(self.reader, inputs.crop, completed(rgb, inputs), inputs.buffer.mouth)
        return (off * trust).sum() / trust.sum().clamp(min=1)

    def _judged(self, drawing: Drawing, rgb: torch.Tensor) -> dict[str, torch.Tensor]:
        """What the judge makes of a drawn batch, after it has learnt from the batch; empty before its time."""
        share = (self.progress() - self.config.adversarial_from) / JUDGE_RISE
        if not self.config.adversarial or share <= 0:
            return {}
        if not self.taught:
            mouths = self.dataset.mouths(TAUGHT_MOUTHS)
            model = self.dataset.model
            people = [around_mouths(crops, gbuffer(model, heads).mouth).to(self.device) for crops, heads in mouths]
            random = torch.Generator().manual_seed(self.config.seed)
            with self.run.breakable(self.judge):
                tqdm.write(f"judge: {teach(self.judge, people, self.config.teaching, random):.3f}")
            self.taught = True
        inputs = drawing.inputs
        mouth, trust = inputs.buffer.mouth, detail_weight(inputs.log_scale)
        whole = completed(rgb, inputs)
        known = around_mouths(drawing.known, drawing.known_mouth)
        real, asked = around_mouths(inputs.crop, mouth), around_mouths(whole, mouth)
        loss = judged(self.judge, known, real, asked.detach(), trust)
        self.judge_optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if self.ranks > 1:
            share_gradients(self.run, [p.grad for p in self.judge.parameters() if p.grad is not None])
        self.judge_optimiser.step()
        if share <= 1:
            return {"judge": loss.detach()}
        self.judge.requires_grad_(False)
        verdict, features = convinced(self.judge, known, real, asked, trust)
        self.judge.requires_grad_(True)
        return {"judge": loss.detach(), "convinced": verdict, "features": features}

    def validate(self) -> dict[str, float]:
        """Mean terms and regions over people kept out, with the running mean of the weights in place."""
        current = {name: value.detach().clone() for name, value in self.prior.named_parameters()}
        self._put(self.mean)
        sums: dict[str, float] = {}
        random = torch.Generator().manual_seed(0)
        with torch.inference_mode():
            for item in self.validation:
                drawing = prepare_drawing(self.prior, item.to(self.device), random)
                drawn = self._drawn(drawing, torch.ones(len(drawing.inputs), device=self.device))
                terms = renderer_loss(drawn, drawing.inputs, trunk=self.trunk) | drawing.region_errors(drawn[0])
                for name, value in terms.items():
                    sums[name] = sums.get(name, 0.0) + float(value) / len(self.validation)
        self._put(current)
        return sums

    def save(self, training: dict[str, float]) -> None:
        """Validate, log, write the checkpoint; where validation is best so far, also the prior's weights."""
        if self.rank:
            return
        validation, run = self.validate(), self.run
        run.log({"step": run.step, "minutes": run.seconds / 60, "training": training, "validation": validation})
        # The judge's part is not in this total and may raise it: from there on the last state counts.
        if validation["total"] < self.best or (
            self.config.adversarial and self.progress() > self.config.adversarial_from
        ):
            self.best = validation["total"]
            current = {name: value.detach().clone() for name, value in self.prior.named_parameters()}
            self._put(self.mean)
            self.prior.facts = {
                "steps": run.step,
                "minutes": round(run.seconds / 60, 1),
                "people": len(self.people),
                "validation": validation,
                "training": asdict(self.config),
                "started_from": self.started_from,
            }
            self.prior.save(run.folder / BEST_NAME)
            self._put(current)
        if self.taught:
            self.judge.save_features(run.folder / FEATURES_NAME)
        run.save(self._parts(), self._facts())

    def summary(self) -> dict[str, Any]:
        """What the run did and how fast this sitting was; validation before its first step, where logged, and last."""
        run, log, frames = self.run, self.run.logged(), self.config.people * self.config.targets * self.ranks
        return {
            "device": torch.cuda.get_device_name(self.device) if self.device.startswith("cuda") else self.device,
            "people": len(self.people),
            "steps": run.step,
            "frames": run.step * frames,
            "minutes": round(run.seconds / 60, 2),
            **self.times.summary(frames),
            **({"validation_before": log[0]["validation"]} if log and log[0]["step"] == 0 else {}),
            **({"validation": log[-1]["validation"]} if log else {}),
        }

    def _facts(self) -> dict[str, Any]:
        best = self.best if math.isfinite(self.best) else None  # JSON has no infinity
        return {"best": best, "taught": self.taught, "can_read": self.can_read}

    def _parts(self) -> dict[str, RunPart]:
        return {
            "weight": self.prior,
            "mean": self.mean,
            "judge": self.judge,
            "reader": self.reader,
            "adam": self.optimiser,
            "judge_adam": self.judge_optimiser,
        }

    def _put(self, values: dict[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.prior.named_parameters():
                parameter.copy_(values[name])


def main(arguments: list[str] | None = None) -> None:
    """Train from the command line."""
    has_gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description="Train the renderer prior on a prepared cache.")
    parser.add_argument("cache", type=Path, help="folder written by `adapt prepare`, or by --pack")
    parser.add_argument("--pack", type=Path, metavar="FOLDER", help="write what a training reads there; train nothing")
    parser.add_argument("--pack-megabytes", type=float, default=LARGEST_MEGABYTES, help="most that the pack may hold")
    parser.add_argument("-o", "--out", type=Path, default=WEIGHTS, help="file of the finished prior")
    parser.add_argument("--checkpoints", type=Path, default=Path("runs/renderer"), help="folder of log and checkpoint")
    parser.add_argument("--device", default="cuda" if has_gpu else "cpu")
    parser.add_argument("--workers", type=int, default=GPU_WORKERS * has_gpu, help="processes that read crops")
    parser.add_argument("--widths", type=int, nargs="+", help="channels of the network, fine to coarse")
    parser.add_argument("--face-model", type=Path, help="another head in the same file form")
    parser.add_argument("--start", type=Path, help="prior to start from instead of random weights")
    add_settings(parser, TrainingConfig)
    given = parser.parse_args(arguments)
    with one_line_errors("prior.training.renderer"):
        if given.pack:
            trunk = trunk_for(given.cache)
            load_trunk(trunk)  # raises where there is none
            print(f"{given.pack}: {write_pack(given.cache, given.pack, trunk, given.pack_megabytes)}")
        else:
            train(given)


def trunk_for(cache: Path) -> Path:
    """The trunk's file: a pack has its own."""
    own = cache / TRUNK_NAME
    return own if own.is_file() else trunk_path()


def train(given: argparse.Namespace) -> None:
    """Train as the flags of `main` say, on one device or as one of several processes."""
    config = TrainingConfig(**{name: getattr(given, name) for name in TrainingConfig.__dataclass_fields__})
    device = given.device
    if device.startswith("cuda") and NO_CUDA:
        raise ConfigError(f"--device {device}: {NO_CUDA}; or pass --device cpu")
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group("nccl" if device == "cuda" else "gloo")
        device = f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" else device
    torch.manual_seed(config.seed)
    model = load_face_model(given.face_model)
    if given.start:
        prior = load_renderer_prior(given.start, model=model).train().requires_grad_(True)
    else:
        prior = RendererPrior(model, {"widths": given.widths} if given.widths else None)
    trainer = RendererTrainer(given.cache, given.checkpoints, prior, config, device)
    trainer.train(given.workers)
    run = trainer.run
    if run.stopped_by and trainer.progress() < 1:
        print(f"{given.checkpoints}: stopped at step {run.step}; the same command goes on from there")
        sys.exit(128 + run.stopped_by)
    if trainer.rank == 0:
        summary = trainer.summary()
        write_json(given.checkpoints / SUMMARY_NAME, summary)
        made = {given.out: BEST_NAME}
        if trainer.taught:
            made[given.out.with_name(FEATURES_NAME)] = FEATURES_NAME
        given.out.parent.mkdir(parents=True, exist_ok=True)
        for out, name in made.items():
            if out.resolve() != (given.checkpoints / name).resolve():  # nor where it is written among checkpoints
                shutil.copyfile(given.checkpoints / name, out)
        told = f"step {run.step}, {summary.get('frames_per_second', 0)} frames/s"
        print(f"{given.out}: {told}, validation loss {trainer.best:.4f}, {given.checkpoints / SUMMARY_NAME} tells more")


if __name__ == "__main__":
    main()
