"""The phonetic encoder: log-mel in, the probability of each phoneme class every 20 ms out, for any voice.

A stack of residual one-dimensional convolutions (depthwise over time, then two linear layers over channels, as in
ConvNeXt, arXiv 2201.03545), seeing `context_rows` rows to either side and nothing else, so that a long sound run in
overlapping pieces gives what it gives in one. Trained by `prior.training.phonetics`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import torch
from torch import nn

from prior.network import load_network
from prior.speech.features import FRAME_RATE, LOG_FLOOR, MEL_BANDS
from prior.speech.phonemes import CLASSES, LABEL_RATE
from render.store import save_tensors

KIND = "adapt-phonetics"
KIND_VERSION = 1

WEIGHTS = Path(__file__).parents[1] / "weights" / "phonetics.safetensors"

MEL_MEAN, MEL_SCALE = -12.0, 4.0  # natural log of band power of levelled speech: its usual mean and spread
PIECE_ROWS = 1500  # posterior rows computed at once (30 s): bounds memory, does not change the result


@dataclass(frozen=True)
class PhoneticConfig:
    """Size of the encoder.

    Attributes:
        width: channels.
        dilations: one residual block each; its convolution has 7 taps this many rows apart.
    """

    width: int = 144
    dilations: tuple[int, ...] = (1, 2, 4, 1, 2, 4, 1, 2)


class ConvolutionBlock(nn.Module):
    """Residual block over [B, T, C]: depthwise convolution over time, then a two-layer mix of channels."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.time = nn.Conv1d(width, width, 7, padding=3 * dilation, dilation=dilation, groups=width)
        self.norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 2 * width)
        self.narrow = nn.Linear(2 * width, width)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows [B, T, C] to rows of the same shape."""
        mixed = self.time(rows.transpose(1, 2)).transpose(1, 2)
        return rows + self.narrow(nn.functional.gelu(self.widen(self.norm(mixed))))


class PhoneticEncoder(nn.Module):
    """Log-mel [B, 2 T, MEL_BANDS] at 100 rows/s to class log-probabilities [B, T, len(CLASSES)] at 50 rows/s."""

    def __init__(self, config: PhoneticConfig = PhoneticConfig()) -> None:
        super().__init__()
        self.config = config
        self.stem = nn.Conv1d(MEL_BANDS, config.width, 6, stride=2)
        self.blocks = nn.ModuleList(ConvolutionBlock(config.width, dilation) for dilation in config.dilations)
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, len(CLASSES))

    @property
    def context_rows(self) -> int:
        """Posterior rows to either side that can change a row."""
        return 3 * sum(self.config.dilations) + 2

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        """Log-probabilities; row t is centred on mel row 2 t. Missing rows beyond the ends are silence."""
        return self.classified(self.hidden(mel))

    def hidden(self, mel: torch.Tensor) -> torch.Tensor:
        """What the classes are told from: [B, T, width] of log-mel [B, 2 T, MEL_BANDS]."""
        silence = torch.log(torch.tensor(LOG_FLOOR)).item()
        padded = nn.functional.pad(mel, (0, 0, 2, 4), value=silence)
        rows = self.stem(((padded - MEL_MEAN) / MEL_SCALE).transpose(1, 2)).transpose(1, 2)
        rows = rows[:, : (mel.shape[1] + 1) // 2]
        for block in self.blocks:
            rows = block(rows)
        return self.norm(rows)

    def classified(self, hidden: torch.Tensor) -> torch.Tensor:
        """Class log-probabilities [B, T, len(CLASSES)] of hidden rows [B, T, width]."""
        return torch.log_softmax(self.head(hidden), -1)

    def save(self, path: Path, facts: dict[str, object]) -> None:
        """Write half-precision weights with `facts` about the training."""
        tensors = {name: value.half() for name, value in self.state_dict().items()}
        save_tensors(
            path,
            KIND,
            KIND_VERSION,
            tensors,
            {**facts, "config": asdict(self.config), "classes": list(CLASSES)},
        )


def load_phonetics(path: Path | None = None) -> PhoneticEncoder:
    """The encoder from `path` (default: the shipped weights), in evaluation mode, float32, on the CPU.

    Raises:
        StoreError, StoreVersionError: the file is missing, foreign or of another version.
    """
    path = WEIGHTS if path is None else path
    return load_network(lambda **sizes: PhoneticEncoder(PhoneticConfig(**sizes)), path, KIND, KIND_VERSION)


@cache
def shipped_phonetics() -> PhoneticEncoder:
    """The shipped encoder, read once a process."""
    return load_phonetics()


@torch.no_grad()
def posteriors(encoder: PhoneticEncoder, mel: torch.Tensor) -> torch.Tensor:
    """Class probabilities of a whole sound.

    Args:
        encoder: from `load_phonetics`.
        mel: float32 [T, MEL_BANDS] of `audio.features`.

    Returns:
        float32 [ceil(T / 2), len(CLASSES)] at `LABEL_RATE`, each row summing to 1. Pieces of `PIECE_ROWS` rows are
        run with `context_rows` beyond both ends, so their borders leave no trace.
    """
    step = FRAME_RATE // LABEL_RATE
    count = (len(mel) + step - 1) // step
    margin = encoder.context_rows
    pieces = []
    for first in range(0, count, PIECE_ROWS):
        begin, end = max(0, first - margin), min(count, first + PIECE_ROWS + margin)
        rows = encoder(mel[None, begin * step : end * step])[0]
        pieces.append(rows[first - begin : first - begin + PIECE_ROWS])
    return torch.cat(pieces).exp()
