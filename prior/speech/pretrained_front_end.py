"""HuBERT or wav2vec 2.0 as a further ear of audio to motion (extra `hubert`): hidden units in, a few columns out.

In: a folder of weights that the user brings, as the package transformers saves them (config.json beside
model.safetensors), and a waveform. Out: rows at `LABEL_RATE`, beside the phonetic posteriors. Nothing is downloaded.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import nn

from prior.speech.features import level
from prior.speech.phonemes import LABEL_RATE
from prior.speech.sound import SAMPLE_RATE
from render.errors import StoreError
from render.store import file_sha256
from render.text import read_json

ENVIRONMENT = "ADAPT_FRONT_END"  # folder of the weights, where they are no longer where a model was trained with them
ARCHITECTURES = ("hubert", "wav2vec2")
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
LAYER = 0.75  # which hidden layer is read, as a part of all: the last ones are made for the training task
COLUMNS = 48  # principal components of the hidden units that are kept

HOP = SAMPLE_RATE // LABEL_RATE  # samples between rows, of every such network

WINDOW = 400  # samples that a row hears before attention
PIECE_ROWS, MARGIN_ROWS = 1000, 100  # rows computed at once (20 s), and heard besides at either end: bounds memory


class FrontEnd(nn.Module):
    """The user's network, and which columns are made of its hidden units.

    Args:
        folder: of the weights, as transformers saves them.
        sha256: that they must have, where given.

    Attributes:
        folder: of the weights.
        sha256: of the weights' file.
        mean: [H] of the hidden units over training sounds.
        basis: [H, COLUMNS], principal directions, scaled to unit variance.

    Raises:
        StoreError: the weights are not there or are others, or the package is missing.
    """

    def __init__(self, folder: Path, sha256: str | None = None) -> None:
        super().__init__()
        self.folder, self.sha256 = folder, file_sha256(_weights_of(folder))
        if sha256 not in (None, self.sha256):
            raise StoreError(
                f"{folder}: not the front end that the motion model was trained with (sha256 {sha256[:12]}…); "
                f"set {ENVIRONMENT} to the folder of that"
            )
        # Kept out of the parameters: the weights are the user's, and are not stored with the motion model.
        self._network = [_network_of(folder)]
        size = self._network[0].config.hidden_size
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("basis", torch.zeros(size, min(COLUMNS, size)))
        self.mean: torch.Tensor
        self.basis: torch.Tensor

    @torch.no_grad()
    def hidden(self, waveform: np.ndarray) -> torch.Tensor:
        """Hidden units [T, H] of a waveform [N] at `SAMPLE_RATE`; row t is centred on t / LABEL_RATE seconds."""
        network = self._network[0]
        sound = torch.from_numpy(level(waveform))
        count = len(sound) // HOP + 1
        sound = nn.functional.pad(sound, (WINDOW // 2, WINDOW))
        layer = round(LAYER * network.config.num_hidden_layers)
        pieces = []
        for first in range(0, count, PIECE_ROWS):
            begin, end = max(0, first - MARGIN_ROWS), min(count, first + PIECE_ROWS + MARGIN_ROWS)
            piece = sound[begin * HOP : (end - 1) * HOP + WINDOW]
            if network.config.feat_extract_norm == "layer":  # such networks were trained on normalised sound
                piece = (piece - piece.mean()) / (piece.std() + 1e-7)
            rows = network(piece[None], output_hidden_states=True).hidden_states[layer][0]
            pieces.append(rows[first - begin : first - begin + PIECE_ROWS])
        return torch.cat(pieces)

    def learn(self, sounds: Iterable[np.ndarray]) -> None:
        """Choose the columns from training sounds, waveforms [N] at `SAMPLE_RATE`."""
        hidden = torch.cat([self.hidden(waveform) for waveform in sounds])
        self.mean.copy_(hidden.mean(0))
        centred = hidden - self.mean
        power, directions = torch.linalg.eigh(centred.T @ centred / len(hidden))
        count = self.basis.shape[1]
        self.basis.copy_(directions[:, -count:] / power[-count:].clamp(min=1e-6).sqrt())

    def columns(self, waveform: np.ndarray) -> torch.Tensor:
        """What the motion model reads of a waveform [N]: [T, COLUMNS], or as many as there are hidden units."""
        return (self.hidden(waveform) - self.mean) @ self.basis

    @property
    def facts(self) -> dict[str, str]:
        """What a motion model says of the front end that it needs."""
        return {"folder": str(self.folder), "sha256": self.sha256}


def recalled_front_end(facts: Any, path: Path) -> FrontEnd:
    """The front end that a motion model was trained with, from where it was or from where `ENVIRONMENT` says.

    Args:
        facts: what the model says of it: `folder` and `sha256`.
        path: of the model, for the message.

    Raises:
        StoreError: see `FrontEnd`; or the model does not say which.
    """
    known = facts if isinstance(facts, dict) else {}
    if not all(isinstance(known.get(name), str) for name in ("folder", "sha256")):
        raise StoreError(f"{path}: does not say which front end it was trained with; copy the file again")
    return FrontEnd(Path(os.environ.get(ENVIRONMENT, facts["folder"])), facts["sha256"])


def _weights_of(folder: Path) -> Path:
    for name in WEIGHT_FILES:
        if (folder / name).is_file() and (folder / "config.json").is_file():
            return folder / name
    raise StoreError(
        f"{folder}: no front end in it (config.json beside {' or '.join(WEIGHT_FILES)}); put HuBERT or wav2vec 2.0 "
        f"weights into a folder and give that, or set {ENVIRONMENT} to it"
    )


def _network_of(folder: Path) -> Any:
    kind = read_json(folder / "config.json").get("model_type")
    if kind not in ARCHITECTURES:
        raise StoreError(f"{folder}: a {kind} network; the front end can be one of {', '.join(ARCHITECTURES)}")
    try:
        from transformers import AutoModel, logging  # an extra, and slow to import
    except ImportError as error:
        raise StoreError(
            f"{folder}: the front end needs the package transformers (pip install 'adapt-dub[hubert]')"
        ) from error
    logging.disable_progress_bar()
    try:
        return AutoModel.from_pretrained(folder, local_files_only=True).eval()
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise StoreError(f"{folder}: its weights cannot be read ({str(error).splitlines()[0]})") from error
