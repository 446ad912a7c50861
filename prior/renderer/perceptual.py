"""Perceptual trunk: SqueezeNet 1.1 features, and the distance of two pictures by them.

Weights are torchvision's, from outside (`ADAPT_MODELS`); pictures are float32 [B, 3, H, W] sRGB in [0, 1].
"""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from render.errors import StoreError

TRUNK_NAME = "squeezenet1_1_trunk.safetensors"
#: Index of each Fire module in SqueezeNet 1.1's `features`: (squeezed, expanded) channels.
FIRES = {
    3: (16, 64),
    4: (16, 64),
    6: (32, 128),
    7: (32, 128),
    9: (48, 192),
    10: (48, 192),
    11: (64, 256),
    12: (64, 256),
}
POOLS = (2, 5, 8)
#: Outputs that are compared; the same taps as in LPIPS (Zhang et al. 2018).
TAPS = (1, 4, 7, 9, 10, 11, 12)
#: Those compared in training: fine ones keep texture, the last adds little.
TRAINING_TAPS = (1, 4, 7, 10)

MEAN_BGR = (104.0, 117.0, 123.0)


class Fire(nn.Module):
    """SqueezeNet's squeeze and expand."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, inputs, H, W] to [B, 2 × expanded, H, W]."""
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.expand1x1(x)), F.relu(self.expand3x3(x))], 1)


class SqueezeNetTrunk(nn.Module):
    """Convolutional trunk of SqueezeNet 1.1 (Iandola et al. 2016), the Caffe training; frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.ModuleDict({"0": nn.Conv2d(3, 64, 3, stride=2)})
        width = 64
        for index, (squeezed, expanded) in FIRES.items():
            self.features[str(index)] = Fire(width, squeezed, expanded)
            width = 2 * expanded
        self.requires_grad_(False)

    def forward(self, rgb: torch.Tensor, taps: Sequence[int] = TAPS) -> list[torch.Tensor]:
        """Features at `taps` of sRGB images [B, 3, H, W] in [0, 1]."""
        x = 255 * rgb.flip(1) - rgb.new_tensor(MEAN_BGR)[:, None, None]
        features = []
        for index in range(max(taps) + 1):
            if index == 1:
                x = F.relu(x)
            elif index in POOLS:
                x = F.max_pool2d(x, 3, 2, ceil_mode=True)
            else:
                x = self.features[str(index)](x)
            if index in taps:
                features.append(x)
        return features


def trunk_path() -> Path:
    """Where the trunk's weights are looked for: in the folder `ADAPT_MODELS` (default `../shared/models`)."""
    default = Path(__file__).parents[2] / ".." / "shared" / "models"
    return Path(os.environ.get("ADAPT_MODELS", default)).resolve() / TRUNK_NAME


def load_trunk(path: Path | None = None) -> SqueezeNetTrunk:
    """The perceptual trunk from a safetensors file with torchvision's key names.

    Raises:
        StoreError: no such file, or not that network. No trunk ships: its weights are another project's.
    """
    path = trunk_path() if path is None else path
    if not path.is_file():
        raise StoreError(f"{path}: no SqueezeNet trunk; set ADAPT_MODELS to the folder that holds {TRUNK_NAME}")
    trunk = SqueezeNetTrunk()
    try:
        trunk.load_state_dict(load_file(str(path)))
    except RuntimeError as error:
        raise StoreError(f"{path}: not a SqueezeNet 1.1 trunk ({str(error).splitlines()[0]})") from error
    return trunk.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def feature_differences(
    trunk: SqueezeNetTrunk, first: torch.Tensor, second: torch.Tensor, taps: Sequence[int] = TAPS
) -> list[torch.Tensor]:
    """How far features of pictures lie apart, place by place: squared difference of unit-length features, as in LPIPS.

    Args:
        trunk: of `load_trunk`.
        first: [B, 3, H, W] sRGB in [0, 1]; gradients reach it.
        second: [B, 3, H, W], the real one.
        taps: outputs of the trunk that are compared.

    Returns:
        One [B, 1, h, w] a tap, ≥ 0, each coarser than the last.
    """
    with torch.no_grad():
        wanted = trunk(second, taps)
    pairs = zip(trunk(first, taps), wanted, strict=True)
    unit = ((F.normalize(a.float(), dim=1, eps=1e-3), F.normalize(b.float(), dim=1, eps=1e-3)) for a, b in pairs)
    return [(own - other).square().sum(1, keepdim=True) for own, other in unit]


def feature_distance(
    trunk: SqueezeNetTrunk, first: torch.Tensor, second: torch.Tensor, taps: Sequence[int] = TAPS
) -> torch.Tensor:
    """SqueezeNet feature distance [B]: like LPIPS (Zhang et al. 2018) without learnt weights.

    Arguments as for `feature_differences`.

    Returns:
        [B] ≥ 0, the sum over taps of the mean over positions; comparable with no published number.
    """
    return over_places(feature_differences(trunk, first, second, taps))


def over_places(differences: list[torch.Tensor], mask: torch.Tensor | None = None) -> torch.Tensor:
    """Sum over taps of the mean of `feature_differences` over positions [B], or over those of a mask [B, 1, H, W]."""
    if mask is None:
        return torch.stack([one.mean((1, 2, 3)) for one in differences]).sum(0)
    total = differences[0].new_zeros(len(mask))
    for one in differences:
        weight = F.adaptive_avg_pool2d(mask, (one.shape[-2], one.shape[-1]))
        total = total + (one * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp(min=1e-3)
    return total
