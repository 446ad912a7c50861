"""Teacher of the lip encoder: hidden units of Whisper's encoder (arXiv 2212.04356), for training only.

The user brings the weights as CTranslate2 writes them (`model.bin`, or its parts in order); nothing of them ships.
Of the base model, layer 3 tells most of lips: r of the opening .698 by ridge regression on people left out, where
posteriors of the phonetic encoder have .585.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
import torch
from torch import nn

from prior.speech.sound import SAMPLE_RATE
from render.errors import StoreError

LAYER = 3
MEL_BANDS, FFT_SIZE, HOP = 80, 400, 160
LOG_FLOOR, RANGE = 1e-10, 8.0  # power; decades below the loudest that are heard
HEADS_OF = {512: 8}  # by width
PIECE_SECONDS, BEFORE_SECONDS, AFTER_SECONDS = 20, 2, 2  # heard at once, and besides before and (silent) after
ROWS_A_SECOND = 50
TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}  # of a stored variable


def stored_variables(parts: list[Path], prefix: str = "encoder/") -> dict[str, torch.Tensor]:
    """Float32 variables of a CTranslate2 model whose names begin with `prefix`, named without it.

    Raises:
        StoreError: a part cannot be read, or is not of such a file.
    """
    try:
        stored = b"".join(path.read_bytes() for path in parts)
    except OSError as error:
        raise StoreError(f"{error.filename}: {error.strerror}; give a CTranslate2 model.bin, or its parts") from error
    try:
        return _parsed(stored, prefix)
    except (struct.error, KeyError, ValueError) as error:
        raise StoreError(f"{parts[0]}: not a CTranslate2 model.bin, or not all of its parts") from error


def _parsed(stored: bytes, prefix: str) -> dict[str, torch.Tensor]:
    place = 0

    def number(code: str) -> int:
        nonlocal place
        (value,) = struct.unpack_from("<" + code, stored, place)
        place += struct.calcsize("<" + code)
        return int(value)

    def name() -> str:
        nonlocal place
        size = number("H")
        place += size
        return stored[place - size : place - 1].decode()

    number("I"), name(), number("I")  # version, kind and revision of the specification
    variables = {}
    for _ in range(number("I")):
        called = name()
        shape = [number("I") for _ in range(number("B"))]
        kind, size = TYPES[number("B")], number("I")
        if called.startswith(prefix):
            values = np.frombuffer(stored, kind, size // np.dtype(kind).itemsize, place).reshape(shape)
            variables[called.removeprefix(prefix)] = torch.from_numpy(values.astype(np.float32))
        place += size
    return variables


def slaney_bands() -> torch.Tensor:
    """Triangular mel filters [MEL_BANDS, FFT_SIZE // 2 + 1] of Slaney's Auditory Toolbox, each of unit area."""

    def hertz(mel: np.ndarray) -> np.ndarray:
        return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp(math.log(6.4) / 27 * (mel - 15)))

    highest = 15 + math.log(SAMPLE_RATE / 2 / 1000) / (math.log(6.4) / 27)
    corners = hertz(np.linspace(0, highest, MEL_BANDS + 2))
    bins = np.linspace(0, SAMPLE_RATE / 2, FFT_SIZE // 2 + 1)
    slopes = (bins - corners[:, None]) / np.diff(corners, append=np.inf)[:, None]
    bands = np.clip(np.minimum(slopes[:-2], 1 - slopes[1:-1]), 0, None)
    return torch.from_numpy(bands * (2 / (corners[2:] - corners[:-2]))[:, None]).float()


class WhisperEncoder:
    """Whisper's encoder up to a layer.

    Args:
        parts: of `model.bin`, in order.

    Raises:
        StoreError: not such a file.
    """

    def __init__(self, parts: list[Path]) -> None:
        self.variables = stored_variables(parts)
        width = len(self.variables["conv1/bias"])
        if width not in HEADS_OF:
            raise StoreError(f"{parts[0]}: {width} channels; the base model has {next(iter(HEADS_OF))}")
        self.width, self.bands = width, slaney_bands()

    def __call__(self, waveform: np.ndarray) -> torch.Tensor:
        """Hidden units [T, width] of layer `LAYER`, 50 rows a second, of a waveform [N] at `SAMPLE_RATE`."""
        piece, before = PIECE_SECONDS * SAMPLE_RATE, BEFORE_SECONDS * SAMPLE_RATE
        parts = []
        for first in range(0, len(waveform), piece):
            begin = max(0, first - before)
            rows = self._piece(waveform[begin : first + piece])
            skipped = (first - begin) * ROWS_A_SECOND // SAMPLE_RATE
            count = min(piece, len(waveform) - first) * ROWS_A_SECOND // SAMPLE_RATE
            parts.append(rows[skipped : skipped + count])
        return torch.cat(parts)

    @torch.no_grad()
    def _piece(self, waveform: np.ndarray) -> torch.Tensor:
        heard = np.pad(waveform.astype(np.float32), (0, AFTER_SECONDS * SAMPLE_RATE))
        rows = self._log_mel(torch.from_numpy(heard))[None]
        for name, stride in (("conv1", 1), ("conv2", 2)):
            weight, bias = self.variables[f"{name}/weight"], self.variables[f"{name}/bias"]
            rows = nn.functional.gelu(nn.functional.conv1d(rows, weight, bias, stride, padding=1))
        hidden = rows[0].T
        hidden = hidden + self.variables["position_encodings/encodings"][: len(hidden)]
        for layer in range(LAYER):
            hidden = self._layer(hidden, f"layer_{layer}")
        return hidden

    def _log_mel(self, waveform: torch.Tensor) -> torch.Tensor:
        spectrum = torch.stft(waveform, FFT_SIZE, HOP, window=torch.hann_window(FFT_SIZE), return_complex=True)
        power = (self.bands @ spectrum[:, :-1].abs().square()).clamp(min=LOG_FLOOR).log10()
        return (torch.maximum(power, power.max() - RANGE) + 4) / 4

    def _layer(self, hidden: torch.Tensor, layer: str) -> torch.Tensor:
        heads = HEADS_OF[self.width]
        attention, spread = f"{layer}/self_attention", f"{layer}/ffn"
        asked = self._linear(self._normed(hidden, attention), f"{attention}/linear_0").chunk(3, -1)
        query, key, value = (one.view(len(hidden), heads, -1).transpose(0, 1) for one in asked)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value).transpose(0, 1).flatten(1)
        hidden = hidden + self._linear(mixed, f"{attention}/linear_1")
        wide = nn.functional.gelu(self._linear(self._normed(hidden, spread), f"{spread}/linear_0"))
        return hidden + self._linear(wide, f"{spread}/linear_1")

    def _normed(self, hidden: torch.Tensor, name: str) -> torch.Tensor:
        gamma, beta = (self.variables[f"{name}/layer_norm/{part}"] for part in ("gamma", "beta"))
        return nn.functional.layer_norm(hidden, (self.width,), gamma, beta)

    def _linear(self, hidden: torch.Tensor, name: str) -> torch.Tensor:
        return nn.functional.linear(hidden, self.variables[f"{name}/weight"], self.variables[f"{name}/bias"])
