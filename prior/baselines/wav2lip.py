"""Wav2Lip, the person-generic baseline: sound and one reference frame in, the lower half of a face out.

The architecture of Prajwal et al. 2020 (arXiv 2008.10010) written anew: an identity encoder on a 96 × 96 face whose
lower half is black beside a reference face (6 channels, BGR in [0, 1]), a sound encoder on 16 mel rows of 80 bands, and
a decoder that takes the identity encoder's features on its way up. At width 1 the parameters are called and shaped as
in the official checkpoint, which `load_wav2lip` reads where the user has it; ours is narrower and learnt by
`prior.training.wav2lip`. Frames of an enrollment are its only references, and its masked frame is a query whose mouth
is erased already.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from prior.network import stored_network, unpacked_weights
from prior.speech.sound import SAMPLE_RATE
from render.drawing.unet import prefers_bfloat16
from render.errors import StoreError
from render.store import load_tensors, packed, save_tensors

KIND = "adapt-wav2lip"
KIND_VERSION = 1

WEIGHTS = Path(__file__).parents[1] / "weights" / "wav2lip.safetensors"

ENVIRONMENT = "ADAPT_WAV2LIP"
FACE_SIZE = 96
#: The face in a 256 px crop: top, bottom, left, right px; its lower half holds lips and jaw. Above the crop its top row
#: is repeated.
FACE_BOX, CROP_SIZE = (-30, 222, 18, 238), 256
#: Published sound settings: 80 bands from 55 to 7600 Hz, 800-sample windows every 200, pre-emphasis; 100 dB of level up
#: to `REFERENCE_DB` become -4 to 4.
MEL_ROWS, MEL_BANDS, MEL_HOP, MEL_WINDOW = 16, 80, 200, 800
MEL_LOW_HZ, MEL_HIGH_HZ, EMPHASIS = 55.0, 7600.0, 0.97
REFERENCE_DB, LOWEST_DB, MEL_LIMIT = 20.0, -100.0, 4.0
FRAME_SECONDS = 0.04
#: Most frames drawn at once.
BATCH = 32


#: (out, kernel, stride, padding) of plain layers; a single number is a residual 3 × 3 layer repeated so often.
FACE_ENCODER = (
    ((16, 7, 1, 3),),
    ((32, 3, 2, 1), 2),
    ((64, 3, 2, 1), 3),
    ((128, 3, 2, 1), 2),
    ((256, 3, 2, 1), 2),
    ((512, 3, 2, 1), 1),
    ((512, 3, 1, 0), (512, 1, 1, 0)),
)
SOUND_ENCODER = (
    *((32, 3, 1, 1), 2),
    *((64, 3, (3, 1), 1), 2),
    *((128, 3, 3, 1), 2),
    *((256, 3, (3, 2), 1), 1),
    *((512, 3, 1, 0), (512, 1, 1, 0)),
)
#: (out, stride, residual layers after it) of the decoder's steps up, after a first layer of one position.
DECODER = ((512, 1, 1), (512, 2, 2), (384, 2, 2), (256, 2, 2), (128, 2, 2), (64, 2, 2))


class ConvolutionLayer(nn.Module):
    """Convolution (or its transpose), batch norm, residual where asked for, ReLU."""

    def __init__(self, convolution: nn.Module, channels: int, residual: bool = False) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(convolution, nn.BatchNorm2d(channels))
        self.residual = residual

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, H, W] to [B, C', H', W']."""
        y = self.conv_block(x)
        return F.relu(y + x if self.residual else y)


def _layers(inputs: int, plan: tuple[Any, ...], width: float) -> tuple[list[nn.Module], int]:
    """Layers after a plan such as `SOUND_ENCODER`, and the channels they end with."""
    layers: list[nn.Module] = []
    for step in plan:
        if isinstance(step, int):
            layers += [ConvolutionLayer(nn.Conv2d(inputs, inputs, 3, 1, 1), inputs, residual=True) for _ in range(step)]
            continue
        wanted, kernel, stride, padding = step
        outputs = channels(wanted, width)
        layers.append(ConvolutionLayer(nn.Conv2d(inputs, outputs, kernel, stride, padding), outputs))
        inputs = outputs
    return layers, inputs


def channels(published: int, width: float) -> int:
    """Channels of a layer at a width, at least 8 and divisible by 4 where narrowed."""
    return published if width == 1 else max(8, 4 * round(published * width / 4))


class Wav2Lip(nn.Module):
    """The generator.

    Args:
        width: factor on all channels; 1 is as published (36.3 M parameters).
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self.width = width
        self.face_encoder_blocks = nn.ModuleList()
        inputs, skips = 6, []
        for plan in FACE_ENCODER:
            layers, inputs = _layers(inputs, plan, width)
            self.face_encoder_blocks.append(nn.Sequential(*layers))
            skips.append(inputs)
        layers, inputs = _layers(1, SOUND_ENCODER, width)
        self.audio_encoder = nn.Sequential(*layers)
        first, inputs = _layers(inputs, ((512, 1, 1, 0),), width)
        self.face_decoder_blocks = nn.ModuleList([nn.Sequential(*first)])
        for (wanted, stride, repeats), skip in zip(DECODER, reversed(skips[1:]), strict=True):
            outputs = channels(wanted, width)
            padding = (0, 0) if stride == 1 else (1, 1)
            up = nn.ConvTranspose2d(inputs + skip, outputs, 3, stride, *padding)
            rest, inputs = _layers(outputs, (repeats,), width)
            self.face_decoder_blocks.append(nn.Sequential(ConvolutionLayer(up, outputs), *rest))
        last, inputs = _layers(inputs + skips[0], ((32, 3, 1, 1),), width)
        self.output_block = nn.Sequential(*last, nn.Conv2d(inputs, 3, 1), nn.Sigmoid())

    def forward(self, mel: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
        """Faces BGR [B, 3, 96, 96] in [0, 1].

        Args:
            mel: [B, 1, MEL_BANDS, MEL_ROWS] around each frame.
            faces: [B, 6, 96, 96] BGR in [0, 1]: the frame with its lower half black, then the reference.
        """
        skips = []
        for block in self.face_encoder_blocks:
            faces = block(faces)
            skips.append(faces)
        x = self.audio_encoder(mel)
        for block in self.face_decoder_blocks:
            x = torch.cat([block(x), skips.pop()], 1)
        return self.output_block(x)

    def save(self, path: Path, facts: dict[str, Any]) -> None:
        """Write in 8 bits (`render.store.packed`), atomically."""
        tensors = {name: value for name, value in self.state_dict().items() if "num_batches" not in name}
        save_tensors(path, KIND, KIND_VERSION, packed(tensors), {**facts, "width": self.width})


def load_wav2lip(path: Path | None = None) -> Wav2Lip:
    """Read a generator: ours (`.safetensors`), or the official checkpoint.

    Args:
        path: default the file that `ADAPT_WAV2LIP` names, else the shipped weights.

    Raises:
        StoreError, StoreVersionError: missing, damaged, or not a Wav2Lip.
    """
    path = Path(os.environ.get(ENVIRONMENT) or WEIGHTS) if path is None else Path(path)
    if path.suffix == ".safetensors":
        stored, facts = load_tensors(path, KIND, KIND_VERSION)
        width, tensors = facts.get("width"), unpacked_weights(stored, path)
    else:
        width, tensors = 1.0, _official(path)
    model = stored_network(Wav2Lip, {"width": width}, {**_counters(tensors), **tensors}, path)
    return model.eval().requires_grad_(False)


def _counters(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Batch norm's counts of batches, which nothing reads, for every norm among the tensors."""
    norms = (name.removesuffix("running_mean") for name in tensors if name.endswith("running_mean"))
    return {f"{norm}num_batches_tracked": torch.tensor(0) for norm in norms}


def _official(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise StoreError(f"{path}: no such Wav2Lip weights; give the authors' wav2lip.pth, or unset {ENVIRONMENT}")
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError) as error:
        raise StoreError(f"{path}: cannot be read as a checkpoint ({str(error).splitlines()[0]})") from error
    tensors = held.get("state_dict", held) if isinstance(held, dict) else None
    if not isinstance(tensors, dict) or not all(isinstance(value, torch.Tensor) for value in tensors.values()):
        raise StoreError(f"{path}: not a checkpoint of tensors; give the authors' wav2lip.pth, or unset {ENVIRONMENT}")
    return {name.removeprefix("module."): value for name, value in tensors.items()}


def mel_rows(waveform: np.ndarray) -> torch.Tensor:
    """The published sound front end: waveform [N] at `SAMPLE_RATE` to [T, MEL_BANDS] in ± `MEL_LIMIT`, 80 rows/s."""
    sound = torch.from_numpy(np.ascontiguousarray(waveform, dtype=np.float32))
    sound = torch.cat([sound[:1], sound[1:] - EMPHASIS * sound[:-1]]) if len(sound) else sound.new_zeros(1)
    spectrum = torch.stft(
        F.pad(sound, (MEL_WINDOW // 2, MEL_WINDOW // 2)),
        MEL_WINDOW,
        MEL_HOP,
        window=torch.hann_window(MEL_WINDOW),
        center=False,
        return_complex=True,
    ).abs()
    level = 20 * torch.log10((_mel_filters() @ spectrum).clamp(min=10 ** (LOWEST_DB / 20))) - REFERENCE_DB
    return (2 * MEL_LIMIT * (level - LOWEST_DB) / -LOWEST_DB - MEL_LIMIT).clamp(-MEL_LIMIT, MEL_LIMIT).T


def _mel_filters() -> torch.Tensor:
    """Triangles of equal area on Slaney's scale (linear to 1 kHz, then 27 bands to a factor of 6.4)."""
    per_band, knee, ratio = 200 / 3, 1000.0, np.log(6.4) / 27

    def mel(hz: float) -> float:
        return hz / per_band if hz < knee else knee / per_band + np.log(hz / knee) / ratio

    points = np.linspace(mel(MEL_LOW_HZ), mel(MEL_HIGH_HZ), MEL_BANDS + 2)
    edges = np.where(points < knee / per_band, points * per_band, knee * np.exp(ratio * (points - knee / per_band)))
    bins = np.linspace(0, SAMPLE_RATE / 2, MEL_WINDOW // 2 + 1)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    triangles = np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))[:, None]
    return torch.from_numpy(triangles.astype(np.float32))


def mel_windows(rows: torch.Tensor, seconds: torch.Tensor) -> torch.Tensor:
    """Sound around frames: mel rows [T, MEL_BANDS] and frame times [N] to [N, 1, MEL_BANDS, MEL_ROWS].

    A window is centred on the middle of its frame, as in the official training; beyond the ends there is silence.
    """
    first = ((seconds + FRAME_SECONDS / 2) * (SAMPLE_RATE / MEL_HOP) - MEL_ROWS / 2).round().long()
    place = first[:, None] + torch.arange(MEL_ROWS)
    inside = (place >= 0) & (place < len(rows))
    values = rows[place.clamp(0, len(rows) - 1)]
    return torch.where(inside[..., None], values, torch.tensor(-MEL_LIMIT)).transpose(1, 2)[:, None]


def faces_of(crops: torch.Tensor) -> torch.Tensor:
    """Faces BGR [N, 3, 96, 96] of crops [N, 3, H, W] sRGB in [0, 1]."""
    top, bottom, left, right = (edge * crops.shape[-1] // CROP_SIZE for edge in FACE_BOX)
    padded = F.pad(crops.flip(1), (0, 0, -top, 0), mode="replicate")[..., : bottom - top, left:right]
    return F.interpolate(padded, (FACE_SIZE, FACE_SIZE), mode="bilinear", antialias=True)


def crops_of(faces: torch.Tensor, crops: torch.Tensor, erased: torch.Tensor) -> torch.Tensor:
    """Crops [N, 3, H, W] with faces BGR [N, 3, 96, 96] drawn over the erased area [N, 1, H, W]."""
    top, bottom, left, right = (edge * crops.shape[-1] // CROP_SIZE for edge in FACE_BOX)
    large = F.interpolate(faces, (bottom - top, right - left), mode="bicubic", antialias=False).clamp(0, 1).flip(1)
    drawn = crops.clone()
    drawn[..., :bottom, left:right] = large[..., -top:, :]
    return torch.where(erased > 0, drawn, crops)


def masked(faces: torch.Tensor) -> torch.Tensor:
    """Faces [N, 3, 96, 96] with the lower half black."""
    upper = faces.clone()
    upper[:, :, FACE_SIZE // 2 :] = 0
    return upper


def choose_reference(enrollment: torch.Tensor, query: torch.Tensor) -> int:
    """The enrollment face [N, 3, 96, 96] whose upper half is nearest to those of the query [T, 3, 96, 96]."""
    half = FACE_SIZE // 2
    # The mean query decides: one reference for all frames does not flicker.
    wanted = query[:, :, :half].mean(0)
    return int((enrollment[:, :, :half] - wanted).square().mean((1, 2, 3)).argmin())


@torch.inference_mode()
def draw_wav2lip(
    model: Wav2Lip,
    enrollment: torch.Tensor,
    crops: torch.Tensor,
    erased: torch.Tensor,
    waveform: np.ndarray,
    seconds: torch.Tensor,
) -> torch.Tensor:
    """Draw query frames to a sound.

    Args:
        model: of `load_wav2lip`.
        enrollment: [N, 3, H, W] uint8 sRGB crops, or float in [0, 1]; one becomes the reference.
        crops: [T, 3, H, W] float sRGB in [0, 1], erased and filled inside the erased area.
        erased: [T, 1, H, W], what is drawn.
        waveform: [M] at `SAMPLE_RATE`.
        seconds: [T] times of the frames on the sound's clock.

    Returns:
        [T, 3, H, W] complete crops.
    """
    candidates = faces_of(enrollment.float() / 255 if enrollment.dtype == torch.uint8 else enrollment)
    faces = faces_of(crops)
    reference = candidates[choose_reference(candidates, faces)]
    sound = mel_windows(mel_rows(waveform), seconds)
    drawn = []
    for first in range(0, len(faces), BATCH):
        part = masked(faces[first : first + BATCH])
        count = len(part)
        image = torch.cat([part, reference.expand(count, -1, -1, -1)], 1)
        # A batch of one size whatever the clip's length.
        image = F.pad(image, (0, 0, 0, 0, 0, 0, 0, BATCH - count)).contiguous(memory_format=torch.channels_last)
        mel = F.pad(sound[first : first + BATCH], (0, 0, 0, 0, 0, 0, 0, BATCH - count))
        with torch.autocast("cpu", torch.bfloat16, enabled=prefers_bfloat16("cpu")):
            drawn.append(model(mel, image)[:count].float())
    return crops_of(torch.cat(drawn), crops, erased)
