"""Features of mouths: what a network that judges mouths looks at; a fit is to draw the actor's mouths alike in them.

In: complete crops and masks of their mouths. Out: how far drawn mouths are from the real ones. The network was taught
by the judge of renderer pretraining, to tell real mouths of one person from drawn ones and from those of others. What
differences of colour leave soft, because it cannot be foreseen exactly, is asked for by these.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from prior.network import SIZES, load_network
from prior.renderer.losses import box_filter, completed, detail_weight
from prior.renderer.mouth_pictures import cut_out, mouth_corners
from render.drawing.renderer import RenderInputs
from render.store import packed, save_tensors

KIND = "adapt-mouth-features"
KIND_VERSION = 2
WEIGHTS = Path(__file__).parents[1] / "weights" / "mouth_features.safetensors"
#: Height and width of the picture around a mouth, px of a 256 px crop.
BOX_PX = (112, 144)
#: What is coarser than this box is taken away; what is left is stronger by this gain.
COARSE_BOX_PX, GAIN = 13, 10.0
WIDTH = 32


class MouthFeatures(nn.Module):
    """Four convolutions, each half as fine as the last.

    Args:
        width: channels of the first layer.
    """

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.sizes = [1, width, 2 * width, 3 * width, 4 * width]
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in zip(self.sizes, self.sizes[1:], strict=False))

    def encode(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        """Features of pictures [B, 1, H, W] of `around_mouths`, fine to coarse."""
        features = []
        x = pictures.contiguous(memory_format=torch.channels_last)
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            features.append(x)
        return features

    def save_features(self, path: Path) -> None:
        """Write the convolutions as safetensors, 8 bits a weight."""
        tensors = {f"layers.{name}": value.detach() for name, value in self.layers.state_dict().items()}
        save_tensors(path, KIND, KIND_VERSION, packed(tensors), {SIZES: {"width": self.sizes[1]}})


def load_mouth_features(path: Path | None = None) -> MouthFeatures:
    """The shipped network, or the one stored at `path`; frozen. Raises `StoreError` or `StoreVersionError`."""
    path = WEIGHTS if path is None else path
    return load_network(MouthFeatures, path, KIND, KIND_VERSION).requires_grad_(False)


def around_mouths(rgb: torch.Tensor, mouth: torch.Tensor) -> torch.Tensor:
    """Grey, high-passed pictures around mouths.

    Args:
        rgb: [B, 3, H, W] complete crops.
        mouth: [B, 1, H, W] mask of each mouth; the picture lies around the middle of it.

    Returns:
        [B, 1, *BOX_PX], about in [-1, 1]; differentiable in rgb.
    """
    grey = rgb.mean(1, keepdim=True)
    fine = GAIN * (grey - box_filter(grey, COARSE_BOX_PX))
    return cut_out(fine, mouth_corners(mouth, BOX_PX), BOX_PX)


def feature_error(own: list[torch.Tensor], real: list[torch.Tensor], trust: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of features over their mean size, mean over layers; scalar.

    Args:
        own: of `MouthFeatures.encode`, of B pictures.
        real: the same of what they are to be like.
        trust: [B] how much each source's detail counts.
    """
    weight = trust / trust.sum().clamp(min=1)
    off = [
        ((a - b).abs().mean((1, 2, 3)).float() * weight).sum() / b.abs().mean().float().clamp(min=1e-3)
        for a, b in zip(own, real, strict=True)
    ]
    return torch.stack(off).mean()


def mouth_error(features: MouthFeatures, rgb: torch.Tensor, inputs: RenderInputs) -> torch.Tensor:
    """How far drawn mouths rgb [B, 3, H, W] are from the real ones of `inputs`; scalar, differentiable in rgb."""
    mouth = inputs.buffer.mouth
    with torch.no_grad():
        real = features.encode(around_mouths(inputs.crop, mouth))
    own = features.encode(around_mouths(completed(rgb, inputs), mouth))
    return feature_error(own, real, detail_weight(inputs.log_scale))
