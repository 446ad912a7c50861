"""The lip encoder: what the lips will do, as far as a sound tells it, in a few columns every 20 ms, for any voice.

It reads log-mel and the hidden rows of the phonetic encoder, which stays as it is. Its columns are those directions of
a far larger speech recogniser's hidden units that tell most of lip motion by reduced-rank regression (Izenman 1975); it
has learnt to make them from sound alone, without the recogniser. Trained by `prior.training.lip_encoder`.
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
from prior.speech.phonetics import MEL_MEAN, MEL_SCALE, PIECE_ROWS, ConvolutionBlock, PhoneticEncoder
from render.store import save_tensors

KIND = "adapt-lip-encoder"
KIND_VERSION = 1

WEIGHTS = Path(__file__).parents[1] / "weights" / "lip_encoder.safetensors"

COLUMNS = 16  # eight tell as much of lips; the others keep personal filters free to weigh them otherwise


@dataclass(frozen=True)
class LipEncoderConfig:
    """Size of the encoder.

    Attributes:
        hidden: width of the phonetic encoder's hidden rows.
        width: channels.
        dilations: one residual block each; its convolution has 7 taps this many rows apart.
    """

    hidden: int = 144
    width: int = 192
    dilations: tuple[int, ...] = (1, 2, 4, 8, 1, 2, 4, 8)


class LipEncoder(nn.Module):
    """Log-mel [B, 2 T, MEL_BANDS] and what a phonetic encoder makes of it to columns [B, T, COLUMNS] at 50 rows/s.

    Attributes:
        silent: [COLUMNS] of silence.
    """

    def __init__(self, config: LipEncoderConfig = LipEncoderConfig(), dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.stem = nn.Conv1d(MEL_BANDS, config.width, 6, stride=2)
        self.hidden = nn.Linear(config.hidden, config.width)
        self.classes = nn.Linear(len(CLASSES), config.width)
        self.blocks = nn.ModuleList(ConvolutionBlock(config.width, dilation) for dilation in config.dilations)
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, COLUMNS)
        self.drop = nn.Dropout(dropout)
        self.register_buffer("silent", torch.zeros(COLUMNS))
        self.silent: torch.Tensor

    @property
    def context_rows(self) -> int:
        """Rows of hidden units to either side that can change a row."""
        return 3 * sum(self.config.dilations) + 2

    def forward(self, mel: torch.Tensor, hidden: torch.Tensor, log_posteriors: torch.Tensor) -> torch.Tensor:
        """Columns [B, T, COLUMNS]; row t is centred on mel row 2 t.

        Args:
            mel: [B, 2 T, MEL_BANDS].
            hidden: [B, T, H] of `PhoneticEncoder.hidden`.
            log_posteriors: [B, T, len(CLASSES)] of `PhoneticEncoder.forward`.
        """
        silence = torch.log(torch.tensor(LOG_FLOOR)).item()
        padded = nn.functional.pad(mel, (0, 0, 2, 4), value=silence)
        rows = self.stem(((padded - MEL_MEAN) / MEL_SCALE).transpose(1, 2)).transpose(1, 2)[:, : hidden.shape[1]]
        # Roots: what is heard faintly counts.
        rows = rows + self.hidden(self.drop(hidden)) + self.classes(log_posteriors.exp().sqrt())
        for block in self.blocks:
            rows = rows + self.drop(block(rows) - rows)
        return self.head(self.norm(rows))

    def save(self, path: Path, facts: dict[str, object]) -> None:
        """Write half-precision weights with `facts` about the training."""
        tensors = {name: value.half() for name, value in self.state_dict().items()}
        save_tensors(path, KIND, KIND_VERSION, tensors, {**facts, "config": asdict(self.config)})


def load_lip_encoder(path: Path | None = None) -> LipEncoder:
    """The encoder from `path` (default: the shipped weights), in evaluation mode, float32, on the CPU.

    Raises:
        StoreError, StoreVersionError: the file is missing, foreign or of another version.
    """
    path = WEIGHTS if path is None else path
    return load_network(lambda **sizes: LipEncoder(LipEncoderConfig(**sizes)), path, KIND, KIND_VERSION)


@cache
def shipped_lip_encoder() -> LipEncoder:
    """The shipped encoder, read once a process."""
    return load_lip_encoder()


@torch.no_grad()
def lip_columns(lip_encoder: LipEncoder, encoder: PhoneticEncoder, mel: torch.Tensor) -> torch.Tensor:
    """What a whole sound tells of the lips.

    Args:
        lip_encoder: from `load_lip_encoder`.
        encoder: the phonetic encoder, whose hidden rows it reads.
        mel: float32 [T, MEL_BANDS] of `prior.speech.features`.

    Returns:
        float32 [ceil(T / 2), COLUMNS] at `LABEL_RATE`, computed in pieces whose borders leave no trace. What lies
        beyond the ends is silence.
    """
    step = FRAME_RATE // LABEL_RATE
    count = (len(mel) + step - 1) // step
    margin = encoder.context_rows + lip_encoder.context_rows
    silence = torch.log(torch.tensor(LOG_FLOOR)).item()
    padded = nn.functional.pad(mel, (0, 0, margin * step, margin * step), value=silence)
    pieces = []
    for first in range(0, count, PIECE_ROWS):
        part = padded[None, first * step : (first + PIECE_ROWS + 2 * margin) * step]
        hidden = encoder.hidden(part)
        rows = lip_encoder(part, hidden, encoder.classified(hidden))[0]
        pieces.append(rows[margin : margin + PIECE_ROWS])
    return torch.cat(pieces)[:count]
