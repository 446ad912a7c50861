"""Train the Wav2Lip baseline: `python -m prior.training.wav2lip CACHE [-o FILE] [--minutes M]`.

In: a prepared cache; clips whose sound belongs to the picture by the sync network's judgement, brought into step by it.
Out: generator weights; in `--checkpoints` a JSON-lines log and a state from which the same command goes on. As
published: windows of five frames, each with its own sound, lower half black, beside a reference frame of the same
person from elsewhere; mean absolute difference plus a small weight of a frozen sync expert that sees five drawn lower
halves. Unlike there, the masked frame is an erased and filled crop, and the expert is taught by our sync network: from
five lower halves it foresees the network's motion vector, whose products with the batch's sound vectors are contrasted.
"""

import argparse
import json
import math
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from prior.baselines.wav2lip import FACE_SIZE, WEIGHTS, Wav2Lip, faces_of, masked, mel_rows, mel_windows
from prior.cache.prepared import PreparedClip, prepared_clips
from prior.face.model import load_face_model
from prior.motion.model import sound_rows
from prior.motion.sync import FRAME_RATE, SyncMember, SyncModel, best_lag, motion_rows, shipped_sync_model
from prior.renderer.prior import load_renderer_prior
from prior.speech.features import features
from prior.speech.phonemes import LABEL_RATE
from prior.speech.phonetics import shipped_phonetics
from prior.speech.sound import read_waveform
from prior.training.run import RunPart, TrainingRun, one_line_errors
from prior.training.spoken_clips import BELONGING
from render.drawing.erasure import erased_mask, fill_erased
from render.drawing.unet import prefers_bfloat16
from render.errors import StoreError
from render.head.face_model import FaceModel

CHECKPOINT, CHECKPOINT_VERSION = "adapt-wav2lip-checkpoint", 1
AUDIO_NAME = "audio.ogg"
RUN_FRAMES = 5
#: A run's frames lie within this time; a reference is at least `APART_SECONDS` from its window.
RUN_SECONDS, APART_SECONDS = 0.25, 1.0
SAVE_SECONDS = 120.0
VALIDATION_SHARE = 10  # every so many-th person is kept out


@dataclass(frozen=True)
class Wav2LipConfig:
    """Settings of a run.

    Attributes:
        width: of the generator; at 0.23 it takes 2 MB in 8 bits.
        minutes: of training, over all resumed runs.
        expert_share: of these for the expert, before the generator starts.
        windows: a batch, of five frames each.
        peak_rate: Adam's, falling to 0 along a cosine (published: 1e-4, for days).
        sync_weight: of the expert's loss (published: 0.03; there a small expert is soon fooled by coloured specks).
        least_sync: confidence of the sync network from which a clip's sound belongs to it.
        seed: of weights and batches.
    """

    width: float = 0.23
    minutes: float = 20.0
    expert_share: float = 0.12
    windows: int = 4
    peak_rate: float = 1e-3
    sync_weight: float = 0.005
    least_sync: float = 1.2
    seed: int = 0


@dataclass(frozen=True)
class SpokenFaces:
    """The crops of one clip as Wav2Lip sees them; N frames.

    Attributes:
        person: who.
        seconds: [N] of the frames.
        faces: uint8 [N, 3, 96, 96] BGR; filled: the same with what is erased filled in.
        sound: [N, 1, MEL_BANDS, MEL_ROWS], in step.
        sound_vectors, motion_vectors: [N, D] of the sync network.
        runs: int64 [R], first frames of runs of `RUN_FRAMES` neighbours.
    """

    person: str
    seconds: torch.Tensor
    faces: torch.Tensor
    filled: torch.Tensor
    sound: torch.Tensor
    sound_vectors: torch.Tensor
    motion_vectors: torch.Tensor
    runs: torch.Tensor


class LowerFaceExpert(nn.Module):
    """Five lower halves BGR [B, 15, 48, 96] to the sync network's motion vector of the middle one [B, D]."""

    def __init__(self, size: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3 * RUN_FRAMES
        for outputs in (24, 32, 48, 64):
            layers += [nn.Conv2d(inputs, outputs, 3, 2, 1), nn.GroupNorm(4, outputs), nn.ReLU()]
            inputs = outputs
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.2), nn.Linear(inputs * 3 * 6, size))

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """Faces [B, 5, 3, 96, 96] in [0, 1]."""
        return self.layers(faces[..., FACE_SIZE // 2 :, :].flatten(1, 2))


def read_faces(
    clip: PreparedClip, model: FaceModel, erasing_expressions: torch.Tensor, sync: SyncModel, least_sync: float
) -> SpokenFaces | None:
    """A clip's faces and sound, or None where its sound does not belong to it or no five neighbours have crops."""
    if not (clip.folder / AUDIO_NAME).is_file():
        return None
    frames, track = clip.frames(), clip.track
    frames = frames[track.sure()[frames]]
    seconds = track.timestamps[frames]
    firsts = torch.arange(max(0, len(frames) - RUN_FRAMES + 1))
    runs = firsts[seconds[firsts + RUN_FRAMES - 1] - seconds[firsts] < RUN_SECONDS]
    waveform = read_waveform(clip.folder / AUDIO_NAME)
    if not len(runs) or len(track) < FRAME_RATE or len(waveform) < FRAME_RATE:
        return None
    rows, _ = sound_rows(shipped_phonetics(), features(waveform))
    lower, known, first = motion_rows(track.motion())
    offset = best_lag(sync.curve(rows, lower, known, first))
    if not math.isfinite(offset.agreement) or offset.confidence < least_sync:
        return None
    sound_vectors, motion_vectors = _vectors(sync, rows, sync.unit_motion(lower, known))
    lag = offset.lag_frames / FRAME_RATE
    at_sound = ((seconds + lag) * LABEL_RATE).round().long().clamp(0, len(sound_vectors) - 1)
    at_motion = ((seconds * LABEL_RATE).round().long() - first).clamp(0, len(motion_vectors) - 1)
    faces, filled = [], []
    # Five neighbours share one outline: the head hardly moves between them.
    for start in range(0, len(frames), RUN_FRAMES):
        part = frames[start : start + RUN_FRAMES]
        crops = torch.stack([torch.from_numpy(clip.crop(int(row))).permute(2, 0, 1) for row in part]).float() / 255
        middle = part[len(part) // 2].repeat(len(erasing_expressions))
        erased = erased_mask(model, track.clip_vertices(model, middle, erasing_expressions)[None], track.crop_size)
        faces.append(faces_of(crops))
        filled.append(faces_of(fill_erased(crops, erased.expand(len(part), -1, -1, -1))))
    return SpokenFaces(
        clip.person,
        seconds,
        (torch.cat(faces) * 255).round().to(torch.uint8),
        (torch.cat(filled) * 255).round().to(torch.uint8),
        mel_windows(mel_rows(waveform), seconds + lag),
        sound_vectors[at_sound],
        motion_vectors[at_motion],
        runs,
    )


@torch.no_grad()
def _vectors(sync: SyncModel, rows: torch.Tensor, motion: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Sound and motion vectors of all members side by side."""
    members = [member for member in sync.members if isinstance(member, SyncMember)]
    sound_vectors = torch.cat([member.sound_vectors(rows[None])[0] for member in members], 1)
    return sound_vectors, torch.cat([member.motion_vectors(motion[None])[0] for member in members], 1)


class Wav2LipTrainer:
    """Learns the expert, then the generator; resumes from its folder.

    Args:
        clips: of all people.
        folder: of checkpoint and log.
        config: settings.

    Raises:
        StoreError: there is no clip.
    """

    def __init__(self, clips: list[SpokenFaces], folder: Path, config: Wav2LipConfig) -> None:
        if not clips:
            raise StoreError(f"no clip {BELONGING}")
        self.config = config
        self.run = TrainingRun(folder, CHECKPOINT, CHECKPOINT_VERSION, SAVE_SECONDS)
        people = sorted({clip.person for clip in clips})
        kept_out = set(people[VALIDATION_SHARE - 1 :: VALIDATION_SHARE])
        self.validation = [clip for clip in clips if clip.person in kept_out]
        self.clips = [clip for clip in clips if clip.person not in kept_out]
        self.of_person = defaultdict(list)
        for clip in clips:
            self.of_person[clip.person].append(clip)
        motion = torch.cat([clip.motion_vectors for clip in self.clips])
        self.mean, self.spread = motion.mean(0), motion.std(0).clamp(min=1e-3)
        sound = torch.cat([clip.sound_vectors for clip in self.clips])[:2000]
        # Products of strangers get unit variance before the contrast.
        self.product_scale = 1 / float((sound @ motion[torch.randperm(len(motion))[: len(sound)]].T).std())
        torch.manual_seed(config.seed)
        self.generator = Wav2Lip(config.width).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.expert = LowerFaceExpert(motion.shape[1])
        self.optimiser = torch.optim.Adam(self.generator.parameters(), config.peak_rate, betas=(0.5, 0.999))
        self.expert_optimiser = torch.optim.AdamW(self.expert.parameters(), 1e-3)
        if self.run.is_begun:
            self.run.resume(self._parts())
        self.random = torch.Generator().manual_seed(config.seed + self.run.step)

    def draw(self, clips: list[SpokenFaces]) -> tuple[torch.Tensor, ...]:
        """A batch of windows [W, 5, …]: filled faces, faces, reference [W, 3, 96, 96], sound, both vectors [W, D]."""
        windows = []
        weights = torch.tensor([len(clip.runs) ** 0.5 for clip in clips])
        for number in torch.multinomial(weights, self.config.windows, replacement=True, generator=self.random).tolist():
            clip = clips[number]
            first = int(clip.runs[self._index(len(clip.runs))])
            run = slice(first, first + RUN_FRAMES)
            middle = first + RUN_FRAMES // 2
            values = [clip.filled[run], clip.faces[run], self._reference(clip, middle)]
            if self._index(2):
                values = [value.flip(-1) for value in values]
            pictures = [value.float() / 255 for value in values]
            windows.append((*pictures, clip.sound[run], clip.sound_vectors[middle], clip.motion_vectors[middle]))
        return tuple(torch.stack(values) for values in zip(*windows, strict=True))

    def _index(self, count: int) -> int:
        return int(torch.randint(count, (1,), generator=self.random))

    def _reference(self, clip: SpokenFaces, middle: int) -> torch.Tensor:
        """A face of the same person from another clip or another moment."""
        others = self.of_person[clip.person]
        other = others[self._index(len(others))]
        if other is not clip:
            return other.faces[self._index(len(other.faces))]
        far = ((clip.seconds - clip.seconds[middle]).abs() >= APART_SECONDS).nonzero()[:, 0]
        return clip.faces[int(far[self._index(len(far))]) if len(far) else self._index(len(clip.faces))]

    def teach_expert(self) -> float:
        """One step of the expert; its loss, 1 where it says nothing."""
        _, faces, _, _, _, motion_vectors = self.draw(self.clips)
        self.expert.train()
        loss = F.mse_loss(self.expert(faces), (motion_vectors - self.mean) / self.spread)
        self.expert_optimiser.zero_grad()
        loss.backward()
        self.expert_optimiser.step()
        return loss.item()

    def losses(self, clips: list[SpokenFaces]) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean absolute difference, and the expert's contrast, of a batch."""
        filled, faces, reference, sound, sound_vectors, _ = self.draw(clips)
        image = torch.cat([masked(filled.flatten(0, 1)), reference.repeat_interleave(RUN_FRAMES, 0)], 1)
        image = image.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=prefers_bfloat16("cpu")):
            drawn = self.generator(sound.flatten(0, 1), image).float()
        difference = (drawn - faces.flatten(0, 1)).abs().mean()
        motion = self.expert(drawn.unflatten(0, faces.shape[:2])) * self.spread + self.mean
        contrast = F.cross_entropy(self.product_scale * motion @ sound_vectors.T, torch.arange(len(sound_vectors)))
        return difference, contrast

    def progress(self) -> float:
        """Share of the minutes that are over."""
        return min(1.0, self.run.seconds / (60 * self.config.minutes))

    def train(self) -> None:
        """Go on until the minutes are over; save now and then."""
        smoothed: dict[str, float] = {}
        bar = tqdm(total=100, desc="minutes, %", mininterval=10)
        self.run.start()
        while self.progress() < 1:
            if self.progress() < self.config.expert_share:
                fresh = {"expert": self.teach_expert()}
            else:
                fresh = self._teach_generator()
            for name, value in fresh.items():
                smoothed[name] = 0.98 * smoothed.get(name, value) + 0.02 * value
            self.run.step += 1
            self.run.tick()
            bar.update(round(100 * self.progress()) - bar.n)
            if self.run.is_due():
                self.save_state(smoothed)
        self.save_state(smoothed)

    def _teach_generator(self) -> dict[str, float]:
        config = self.config
        part = (self.progress() - config.expert_share) / (1 - config.expert_share)
        for group in self.optimiser.param_groups:
            group["lr"] = config.peak_rate * (0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * part)))
        self.expert.eval().requires_grad_(False)
        self.generator.train()
        difference, contrast = self.losses(self.clips)
        self.optimiser.zero_grad()
        ((1 - config.sync_weight) * difference + config.sync_weight * contrast).backward()
        self.optimiser.step()
        return {"difference": difference.item(), "contrast": contrast.item()}

    @torch.no_grad()
    def validate(self, batches: int = 16) -> dict[str, float]:
        """Mean losses on the people kept out, of fixed batches."""
        random, self.random = self.random, torch.Generator().manual_seed(0)
        self.generator.eval()
        self.expert.eval()
        means = torch.tensor([[float(value) for value in self.losses(self.validation)] for _ in range(batches)]).mean(0)
        self.random = random
        return {"difference": float(means[0]), "contrast": float(means[1])}

    def save_state(self, training: dict[str, float]) -> None:
        """Write a log line and the checkpoint."""
        line = {"step": self.run.step, "minutes": round(self.run.seconds / 60, 2), "training": training}
        if self.validation and "difference" in training:
            line["validation"] = self.validate()
        self.run.log(line)
        self.run.save(self._parts(), {"config": asdict(self.config)})

    def _parts(self) -> dict[str, RunPart]:
        return {"weight": self.generator, "expert": self.expert, "adam": self.optimiser}


def main(arguments: list[str] | None = None) -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(description="Train the Wav2Lip baseline on a prepared cache.")
    parser.add_argument("cache", type=Path, help="folder written by `adapt prepare`")
    parser.add_argument("-o", "--out", type=Path, default=WEIGHTS)
    parser.add_argument("--checkpoints", type=Path, default=Path("runs/wav2lip"), help="folder of log and checkpoint")
    parser.add_argument("--minutes", type=float, default=Wav2LipConfig.minutes)
    parser.add_argument("--width", type=float, default=Wav2LipConfig.width)
    parser.add_argument("--least-sync", type=float, default=Wav2LipConfig.least_sync)
    given = parser.parse_args(arguments)
    with one_line_errors("prior.training.wav2lip"):
        train(given)


def train(given: argparse.Namespace) -> None:
    """Train as the flags of `main` say."""
    config = Wav2LipConfig(width=given.width, minutes=given.minutes, least_sync=given.least_sync)
    model, sync, expressions = load_face_model(), shipped_sync_model(), load_renderer_prior().erasing_expressions
    clips = [
        faces
        for clip in tqdm(list(prepared_clips(given.cache)), desc="clips", mininterval=10)
        if (faces := read_faces(clip, model, expressions, sync, config.least_sync)) is not None
    ]
    trainer = Wav2LipTrainer(clips, given.checkpoints, config)
    trainer.train()
    facts = {
        "config": asdict(config),
        "steps": trainer.run.step,
        "clips": len(clips),
        "people": len({clip.person for clip in clips}),
        "frames": sum(len(clip.faces) for clip in clips),
        "validation": trainer.validate() if trainer.validation else {},
    }
    trainer.generator.eval().save(given.out, facts)
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
