"""The sync network: does a sound belong to a mouth's motion, and by how much is it late?

In: lower expression (tracked, or seen in drawn crops) and a waveform. Out: the lag at which the two agree best, among
± `LONGEST_LAG_FRAMES` frames of 1/25 s, and how clearly. Sound is read as phonetic posteriors and prosody, motion as
coefficients in units of people's spread: no pixel takes part, so that neither codec nor sharpness moves the score. Each
row of either side becomes a vector; their product says how well the two fit there, its mean over a stretch how well the
stretch does. After SyncNet (Chung & Zisserman 2016), learnt by contrast over lags and clips (`prior.training.sync`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

from prior.motion.filtering import LINEAR_REACH_ROWS, LINEAR_STEP_ROWS, LINEAR_TAPS
from prior.motion.model import SOUND_INPUTS, sound_rows
from prior.network import load_network
from prior.speech.features import features
from prior.speech.phonemes import LABEL_RATE
from prior.speech.phonetics import ConvolutionBlock, shipped_phonetics
from render.head.motion import Motion
from render.head.track import SURE_CONFIDENCE
from render.store import save_tensors

KIND = "adapt-sync-model"
KIND_VERSION = 1

WEIGHTS = Path(__file__).parents[1] / "weights" / "sync.safetensors"

FRAME_RATE = 25
ROWS_PER_FRAME = LABEL_RATE // FRAME_RATE
LONGEST_LAG_FRAMES = 15
MARGIN_ROWS = LONGEST_LAG_FRAMES * ROWS_PER_FRAME
LAGS = tuple(range(-LONGEST_LAG_FRAMES, LONGEST_LAG_FRAMES + 1))
#: A lag is judged only where at least this share of the stretch has both sound and motion there.
LEAST_SHARE = 0.5
#: Shortest stretch that can be judged, and longest time between frames that are read as one motion, seconds.
SHORTEST_SECONDS, LONGEST_GAP_SECONDS = 1.0, 0.09


@dataclass(frozen=True)
class SyncConfig:
    """Size of the network.

    Attributes:
        axes: E, lower-expression axes.
        width: channels.
        size: of the vectors that are compared, besides the E linear ones.
        dilations: one residual block each on either side, 7 taps this many rows apart.
        members: networks whose products are averaged.
    """

    axes: int
    width: int = 48
    size: int = 16
    dilations: tuple[int, ...] = (1, 2)
    members: int = 1


@dataclass(frozen=True)
class SyncOffset:
    """How a sound lies against a motion.

    Attributes:
        lag_frames: 1/25 s by which the sound is late (early where negative) against the best agreement.
        confidence: agreement there above the median over all lags.
        agreement: mean product there.
        curve: [2 × LONGEST_LAG_FRAMES + 1] mean product by lag, earliest first; −inf where too little overlaps.
    """

    lag_frames: int
    confidence: float
    agreement: float
    curve: torch.Tensor


class SyncBranch(nn.Module):
    """Rows [B, T, inputs] to [B, T, size]: residual convolutions over time, without any norm at the end.

    The length of a vector is left free: it says how much the row tells.
    """

    def __init__(self, inputs: int, config: SyncConfig, dropout: float) -> None:
        super().__init__()
        self.entry = nn.Linear(inputs, config.width)
        self.blocks = nn.ModuleList(ConvolutionBlock(config.width, dilation) for dilation in config.dilations)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(config.width, config.size)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """See the class."""
        hidden = self.drop(self.entry(rows))
        for block in self.blocks:
            hidden = self.drop(block(hidden))
        return self.head(hidden)


class SyncMember(nn.Module):
    """One network: a branch and a linear part on either side; training starts the linear parts at ridge regression."""

    def __init__(self, config: SyncConfig, dropout: float = 0.0) -> None:
        super().__init__()
        self.sound = SyncBranch(SOUND_INPUTS, config, dropout)
        self.motion = SyncBranch(config.axes, config, dropout)
        self.filter = nn.Conv1d(
            SOUND_INPUTS, config.axes, LINEAR_TAPS, dilation=LINEAR_STEP_ROWS, padding=LINEAR_REACH_ROWS
        )
        self.whiten = nn.Linear(config.axes, config.axes, bias=False)

    def sound_vectors(self, rows: torch.Tensor) -> torch.Tensor:
        """Vectors [B, T, size + E] of sound rows [B, T, INPUTS]; `SOUND_INPUTS` are read."""
        rows = rows[..., :SOUND_INPUTS]
        return torch.cat([self.sound(rows), self.filter(rows.transpose(1, 2)).transpose(1, 2)], -1)

    def motion_vectors(self, motion: torch.Tensor) -> torch.Tensor:
        """Vectors [B, T, size + E] of motion [B, T, E] in units of spread, about its mean."""
        return torch.cat([self.motion(motion), self.whiten(motion)], -1)


class SyncModel(nn.Module):
    """The trained network.

    Attributes:
        spread: [E] standard deviation of people's lower expression about their mean: the unit of motion.
    """

    def __init__(self, config: SyncConfig, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.members = nn.ModuleList(SyncMember(config, dropout) for _ in range(config.members))
        self.register_buffer("spread", torch.ones(config.axes))
        self.spread: torch.Tensor

    @property
    def context_rows(self) -> int:
        """Rows to either side that can change a vector."""
        return max(3 * sum(self.config.dilations), LINEAR_REACH_ROWS)

    def unit_motion(self, lower: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        """Motion [T, E] about its mean over the rows where it is `known` [T], in units of spread, within ± 4."""
        return ((lower - lower[known].mean(0)) / self.spread).clamp(-4, 4)

    @torch.no_grad()
    def curve(self, rows: torch.Tensor, lower: torch.Tensor, known: torch.Tensor, first: int = 0) -> torch.Tensor:
        """Mean product by lag.

        Args:
            rows: sound [S, SOUND_INPUTS or more] at `LABEL_RATE` (`prior.motion.model.sound_rows`).
            lower: [T, E] lower expression at that rate.
            known: bool [T], rows where the motion is known.
            first: row of the sound that goes with the motion's first row at lag 0.

        Returns:
            [len(LAGS)]; −inf where less than `LEAST_SHARE` of the known rows have sound.
        """
        motion = self.unit_motion(lower, known)
        place = torch.arange(len(lower)) + first
        means = []
        vectors = [
            (member.sound_vectors(rows[None])[0], member.motion_vectors(motion[None])[0])  # type: ignore[operator]
            for member in self.members
        ]
        for lag in LAGS:
            at = place + lag * ROWS_PER_FRAME
            both = known & (at >= 0) & (at < len(rows))
            if both.sum() < max(1, LEAST_SHARE * int(known.sum())):
                means.append(torch.tensor(-torch.inf))
                continue
            products = [
                (sound_vectors[at[both]] * motion_vectors[both]).sum(-1).mean()
                for sound_vectors, motion_vectors in vectors
            ]
            means.append(torch.stack(products).mean())
        return torch.stack(means)

    def offset(self, motion: Motion, waveform: np.ndarray) -> SyncOffset:
        """How a sound lies against a motion.

        Args:
            motion: at times on the sound's clock; rows of confidence under `SURE_CONFIDENCE` take no part.
            waveform: [N] at `audio.SAMPLE_RATE`.

        Raises:
            ValueError: less than `SHORTEST_SECONDS` of motion and sound together.
        """
        rows, _ = sound_rows(shipped_phonetics(), features(waveform))
        lower, known, first = motion_rows(motion)
        place = torch.arange(len(lower)) + first
        together = int((known & (place >= 0) & (place < len(rows))).sum()) / LABEL_RATE
        if together < SHORTEST_SECONDS:
            raise ValueError(
                f"SyncModel.offset(): {together:.2f} s of motion with sound; {SHORTEST_SECONDS} s are needed"
            )
        return best_lag(self.curve(rows, lower, known, first))

    def save(self, path: Path, facts: dict[str, object]) -> None:
        """Write half-precision weights with `facts` about the training."""
        tensors = {name: value.half() for name, value in self.state_dict().items()}
        save_tensors(path, KIND, KIND_VERSION, tensors, {**facts, "config": asdict(self.config)})


def best_lag(curve: torch.Tensor) -> SyncOffset:
    """Where a curve [len(LAGS)] is highest, and by how much above its median."""
    best = int(curve.argmax())
    judged = curve[curve.isfinite()]
    return SyncOffset(LAGS[best], float(curve[best] - judged.median()), float(curve[best]), curve)


def motion_rows(motion: Motion) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Motion at `LABEL_RATE`: lower expression [T, E], bool [T] where known, and the first row's place from time 0."""
    sure = motion.confidence >= SURE_CONFIDENCE
    if int(sure.sum()) < 2:
        raise ValueError(f"motion_rows(): {int(sure.sum())} frames of {len(sure)} are known; 2 are needed")
    seconds, values = motion.timestamps[sure].numpy(), motion.lower_expression[sure].numpy()
    first = int(np.ceil(seconds[0] * LABEL_RATE - 1e-6))
    clock = np.arange(first, int(seconds[-1] * LABEL_RATE + 1e-6) + 1) / LABEL_RATE
    lower = np.stack([np.interp(clock, seconds, axis) for axis in values.T], 1).astype(np.float32)
    right = np.searchsorted(seconds, clock).clip(1, len(seconds) - 1)
    known = seconds[right] - seconds[right - 1] <= LONGEST_GAP_SECONDS
    return torch.from_numpy(lower), torch.from_numpy(known), first


def load_sync_model(path: Path | None = None) -> SyncModel:
    """The model from `path` (default: the shipped weights), in evaluation mode, float32, on the CPU.

    Raises:
        StoreError, StoreVersionError: the file is missing, foreign or of another version.
    """
    path = WEIGHTS if path is None else path
    return load_network(lambda **sizes: SyncModel(SyncConfig(**sizes)), path, KIND, KIND_VERSION, ["spread"])


@cache
def shipped_sync_model() -> SyncModel:
    """The shipped model, read once a process."""
    return load_sync_model()
