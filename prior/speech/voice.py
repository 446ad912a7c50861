"""Whether what sounds is a voice: music, drums and clatter have posteriors of speech sounds, too, but move no mouth.

In: log-mel and phonetic posteriors. Out: [T] in [0, 1] at `LABEL_RATE`, 1 wherever there may be a voice. The network
sees about a second to either side: alone, a plucked string has the spectrum of a vowel, and only what it does over
time tells. Trained by `prior.training.voice`.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

from prior.network import load_network
from prior.speech.features import FRAME_RATE, LOG_FLOOR, MEL_BANDS, level, log_mel
from prior.speech.phonemes import CLASSES, LABEL_RATE, SILENCE
from prior.speech.phonetics import MEL_MEAN, MEL_SCALE, PIECE_ROWS, ConvolutionBlock, posteriors, shipped_phonetics
from render.store import save_tensors

KIND = "adapt-voice"
KIND_VERSION = 1

WEIGHTS = Path(__file__).parents[1] / "weights" / "voice.safetensors"

BANDS_TOGETHER = 2  # neighbouring mel bands that are read as one
INPUTS = MEL_BANDS // BANDS_TOGETHER + len(CLASSES)
# Probabilities, averaged over a second, from which there may be a voice, and surely is: set on training sounds so that
# no row of speech is taken for music. What is doubtful moves the mouth.
AVERAGED_ROWS = 51
POSSIBLE, SURE = 0.02, 0.1
LEAST_SPOKEN = 0.1  # mean probability of speech sounds below which a sound is silent anyway


@dataclass(frozen=True)
class VoiceConfig:
    """Size of the detector.

    Attributes:
        width: channels.
        dilations: one residual block each, 7 taps this many rows apart.
    """

    width: int = 20
    dilations: tuple[int, ...] = (1, 4, 9)


class VoiceDetector(nn.Module):
    """Rows [B, T, INPUTS] of `detector_rows` to logits [B, T]: positive where there is a voice."""

    def __init__(self, config: VoiceConfig = VoiceConfig(), dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.entry = nn.Linear(INPUTS, config.width)
        self.blocks = nn.ModuleList(ConvolutionBlock(config.width, dilation) for dilation in config.dilations)
        self.drop = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, 1)

    @property
    def context_rows(self) -> int:
        """Rows to either side that can change a row."""
        return 3 * sum(self.config.dilations)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """See the class."""
        hidden = self.drop(self.entry(rows))
        for block in self.blocks:
            hidden = self.drop(block(hidden))
        return self.head(self.norm(hidden))[..., 0]

    def save(self, path: Path, facts: dict[str, object]) -> None:
        """Write half-precision weights with `facts` about the training."""
        tensors = {name: value.half() for name, value in self.state_dict().items()}
        save_tensors(path, KIND, KIND_VERSION, tensors, {**facts, "config": asdict(self.config)})


def load_voice(path: Path | None = None) -> VoiceDetector:
    """The detector from `path` (default: the shipped weights), in evaluation mode, float32, on the CPU.

    Raises:
        StoreError, StoreVersionError: the file is missing, foreign or of another version.
    """
    path = WEIGHTS if path is None else path
    return load_network(lambda **sizes: VoiceDetector(VoiceConfig(**sizes)), path, KIND, KIND_VERSION)


@cache
def shipped_voice() -> VoiceDetector:
    """The shipped detector, read once a process."""
    return load_voice()


def detector_rows(mel: torch.Tensor, phonetic: torch.Tensor) -> torch.Tensor:
    """What the detector reads: rows [T, INPUTS], of log-mel [≥ 2 T − 1, MEL_BANDS] and posteriors [T, C]."""
    bands = (mel[:: FRAME_RATE // LABEL_RATE][: len(phonetic)] - MEL_MEAN) / MEL_SCALE
    return torch.cat([bands.unflatten(1, (-1, BANDS_TOGETHER)).mean(-1), phonetic.clamp(min=0).sqrt()], 1)


@torch.no_grad()
def voice(detector: VoiceDetector, mel: torch.Tensor, phonetic: torch.Tensor) -> torch.Tensor:
    """How surely there is a voice [T] in [0, 1]; arguments as of `detector_rows`.

    Pieces are run with all that can change a row beyond both ends, so their borders leave no trace.
    """
    rows, margin = detector_rows(mel, phonetic), detector.context_rows
    beyond = _silence(margin)  # what lies beyond a sound's ends
    padded = torch.cat([beyond, rows, beyond])
    pieces = []
    for first in range(0, len(rows), PIECE_ROWS):
        piece = detector(padded[None, first : first + PIECE_ROWS + 2 * margin])[0]
        pieces.append(piece[margin : len(piece) - margin])
    padded = nn.functional.pad(torch.cat(pieces)[None, None], (AVERAGED_ROWS // 2, AVERAGED_ROWS // 2), "replicate")
    probability = nn.functional.avg_pool1d(padded, AVERAGED_ROWS, 1)[0, 0].sigmoid()
    return ((probability - POSSIBLE) / (SURE - POSSIBLE)).clamp(0, 1)


def _silence(count: int) -> torch.Tensor:
    """Rows [count, INPUTS] of silence."""
    phonetic = torch.zeros(count, len(CLASSES))
    phonetic[:, SILENCE] = 1.0
    mel = torch.full((count * FRAME_RATE // LABEL_RATE, MEL_BANDS), math.log(LOG_FLOOR))
    return detector_rows(mel, phonetic)


def voice_in(waveform: np.ndarray) -> tuple[float, float]:
    """How much of a voice there is in a waveform float32 [N].

    Returns:
        Of what could be speech, the share that is a voice; 1 where hardly anything could be.
        Mean probability of speech by a voice in that second, or piece of one, in which it is highest.
    """
    mel = log_mel(torch.from_numpy(level(waveform)))
    phonetic = posteriors(shipped_phonetics(), mel)
    spoken = 1 - phonetic[:, SILENCE]
    voiced = spoken * voice(shipped_voice(), mel, phonetic)
    share = float(voiced.sum() / spoken.sum()) if float(spoken.mean()) >= LEAST_SPOKEN else 1.0
    seconds = nn.functional.avg_pool1d(voiced[None], min(LABEL_RATE, len(voiced)), 1)
    return share, float(seconds.max())


def silenced(phonetic: torch.Tensor, voiced: torch.Tensor) -> torch.Tensor:
    """Posteriors [T, C] with what is no voice, by `voiced` [T], heard as silence."""
    heard = phonetic * voiced[:, None]
    heard[:, SILENCE] += 1 - voiced
    return heard
