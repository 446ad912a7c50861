"""Perceptual distances of a drawn mouth from the real one: SqueezeNet features, LPIPS, DISTS, where their weights are.

In: crops [T, 3, H, W], sRGB in [0, 1], and a mask [T, 1, H, W], of whose batch the enclosing rectangle is compared.
Out: one value a frame [T], 0 for equal pictures. No weights ship: LPIPS takes its trunk (torchvision's file) from
`TORCH_HOME/hub/checkpoints` and its linear weights from the installed `lpips` package; DISTS its VGG16 from there, too,
and its own weights from `ADAPT_MODELS`. What is absent is named in one line, never replaced.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError

import torch
import torch.nn.functional as F
from torch import nn

from adapt.metrics.picture import rectangle_of, squeezenet_distance
from prior.renderer.perceptual import load_trunk, trunk_path
from render.errors import StoreError

#: A distance [T] of drawn from real crops [T, 3, H, W] around a mask [T, 1, H, W].
Distance = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


ALEX_FILE, VGG_FILE = "alexnet-owt-7be5be79.pth", "vgg16-397923af.pth"
#: Convolutions of AlexNet by their place in `features`: (in, out, kernel, stride, padding); it pools before POOLED.
ALEX = {
    0: (3, 64, 11, 4, 2),
    3: (64, 192, 5, 1, 2),
    6: (192, 384, 3, 1, 1),
    8: (384, 256, 3, 1, 1),
    10: (256, 256, 3, 1, 1),
}
ALEX_POOLED = (3, 6)
#: Places of VGG16's 3 × 3 convolutions in `features`, by block; width of each block.
VGG = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
VGG_WIDTHS = (64, 128, 256, 512, 512)
DISTS_FILE = "dists_weights.pt"
IMAGENET_MEAN, IMAGENET_SCALE = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: Keeps DISTS's quotients finite: its c1 and c2.
DISTS_FLOOR = 1e-6


class AlexTrunk(nn.Module):
    """Convolutions of AlexNet (Krizhevsky 2014); gives the five activations."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.ModuleDict(
            {str(i): nn.Conv2d(a, b, kernel, stride, padding) for i, (a, b, kernel, stride, padding) in ALEX.items()}
        )

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Activations of normalised images [B, 3, H, W]."""
        activations = []
        for place, convolution in self.features.items():
            x = F.max_pool2d(x, 3, 2) if int(place) in ALEX_POOLED else x
            x = F.relu(convolution(x))
            activations.append(x)
        return activations


class VggTrunk(nn.Module):
    """Convolutions of VGG16 (Simonyan & Zisserman 2015); gives the last activation of each block.

    Args:
        root_pooling: halve by the root of blurred squares (Henaff & Simoncelli 2016, as DISTS does), not by maxima.
    """

    def __init__(self, root_pooling: bool = False) -> None:
        super().__init__()
        self.features = nn.ModuleDict()
        inputs = 3
        for places, width in zip(VGG, VGG_WIDTHS, strict=True):
            for place in places:
                self.features[str(place)] = nn.Conv2d(inputs, width, 3, padding=1)
                inputs = width
        self.root_pooling = root_pooling

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Activations of normalised images [B, 3, H, W]."""
        activations = []
        for block, places in enumerate(VGG):
            if block:
                x = _root_pool(x) if self.root_pooling else F.max_pool2d(x, 2)
            for place in places:
                x = F.relu(self.features[str(place)](x))
            activations.append(x)
        return activations


def _root_pool(x: torch.Tensor) -> torch.Tensor:
    """Half the size: square root of squares under a 3 × 3 Hann window."""
    window = torch.hann_window(5, periodic=False)[1:-1]
    kernel = torch.outer(window, window)
    kernel = (kernel / kernel.sum()).expand(x.shape[1], 1, 3, 3)
    return (F.conv2d(x.square(), kernel.contiguous(), stride=2, padding=1, groups=x.shape[1]) + 1e-12).sqrt()


class Lpips(nn.Module):
    """LPIPS v0.1 (Zhang et al. 2018): unit-length features, squared differences, learnt weights a channel.

    Args:
        trunk: network of the features.
        weights: a non-negative vector [C] for each of them.
    """

    def __init__(self, trunk: nn.Module, weights: list[torch.Tensor]) -> None:
        super().__init__()
        self.trunk, self.weights = trunk, weights

    def forward(self, drawn: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Distance [B] of sRGB images [B, 3, H, W] in [0, 1]."""
        # The paper's own normalisation, stated for [-1, 1], is this one.
        features = [self.trunk(_imagenet(picture)) for picture in (drawn, real)]
        total = drawn.new_zeros(len(drawn))
        for own, other, weight in zip(*features, self.weights, strict=True):
            own, other = (x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10) for x in (own, other))
            total = total + ((own - other).square() * weight[:, None, None]).sum(1).mean((1, 2))
        return total


class Dists(nn.Module):
    """DISTS (Ding et al. 2020, eq. 5 to 7): likeness of the means and of the structure of VGG16's feature maps.

    Args:
        trunk: `VggTrunk` with root pooling.
        alpha: [C] weight of each channel's mean, the picture's own three first.
        beta: [C] weight of its structure; all weights together sum to 1 after normalising.
    """

    def __init__(self, trunk: VggTrunk, alpha: torch.Tensor, beta: torch.Tensor) -> None:
        super().__init__()
        total = alpha.sum() + beta.sum()
        self.trunk, self.alpha, self.beta = trunk, alpha / total, beta / total

    def forward(self, drawn: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Distance [B] of sRGB images [B, 3, H, W] in [0, 1]."""
        means, structures = [], []
        pairs = zip([drawn, *self.trunk(_imagenet(drawn))], [real, *self.trunk(_imagenet(real))], strict=True)
        for own, other in pairs:
            mean, wanted = own.mean((2, 3)), other.mean((2, 3))
            variance, wanted_variance = own.var((2, 3), correction=0), other.var((2, 3), correction=0)
            covariance = (own * other).mean((2, 3)) - mean * wanted
            means.append((2 * mean * wanted + DISTS_FLOOR) / (mean**2 + wanted**2 + DISTS_FLOOR))
            structures.append((2 * covariance + DISTS_FLOOR) / (variance + wanted_variance + DISTS_FLOOR))
        return 1 - (torch.cat(means, 1) * self.alpha + torch.cat(structures, 1) * self.beta).sum(1)


def _imagenet(rgb: torch.Tensor) -> torch.Tensor:
    mean, scale = (rgb.new_tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_SCALE))
    return (rgb - mean) / scale


def load_lpips(network: str = "alex") -> Lpips:
    """LPIPS on AlexNet (the paper's choice for judging) or "vgg".

    Raises:
        StoreError: its trunk or linear weights are not there.
    """
    trunk, name = (AlexTrunk(), ALEX_FILE) if network == "alex" else (VggTrunk(), VGG_FILE)
    _load_features(trunk, name)
    package = find_spec("lpips")
    if package is None or package.origin is None:
        raise StoreError("lpips is not installed: its linear weights come with `pip install --no-deps lpips`")
    linear = _read(Path(package.origin).parent / "weights" / "v0.1" / f"{network}.pth", "reinstall lpips")
    weights = [linear[f"lin{layer}.model.1.weight"].flatten().float() for layer in range(5)]
    return Lpips(trunk, weights).eval().requires_grad_(False)


def load_dists() -> Dists:
    """DISTS from the user's weights.

    Raises:
        StoreError: VGG16 or the weights of the paper's authors are not there.
    """
    path = trunk_path().with_name(DISTS_FILE)
    weights = _read(path, f"put the authors' weights.pt there as {DISTS_FILE}, or set ADAPT_MODELS")
    trunk = VggTrunk(root_pooling=True)
    _load_features(trunk, VGG_FILE)
    return (
        Dists(trunk, weights["alpha"].flatten().float(), weights["beta"].flatten().float()).eval().requires_grad_(False)
    )


def _load_features(trunk: nn.Module, name: str) -> None:
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    tensors = _read(path, f"put torchvision's {name} there, or set TORCH_HOME")
    try:
        trunk.load_state_dict({key: value for key, value in tensors.items() if key.startswith("features.")})
    except RuntimeError as error:
        raise StoreError(f"{path}: not the weights of that network ({str(error).splitlines()[0]})") from error


def _read(path: Path, remedy: str) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise StoreError(f"{path}: no such weights; {remedy}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError) as error:
        raise StoreError(f"{path}: cannot be read; {remedy}") from error


@dataclass(frozen=True)
class PerceptualMetrics:
    """The distances that can be had here.

    Attributes:
        distances: by name: "squeezenet", "lpips", "dists".
        missing: why the others cannot, one sentence by name.
    """

    distances: dict[str, Distance] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def perceptual_metrics() -> PerceptualMetrics:
    """Load every perceptual distance whose weights are there."""
    metrics = PerceptualMetrics()
    try:
        trunk = load_trunk()
        metrics.distances["squeezenet"] = lambda drawn, real, mask: squeezenet_distance(trunk, drawn, real, mask)
    except StoreError as error:
        metrics.missing["squeezenet"] = f"SqueezeNet feature distance is not available: {error}"
    for name, label, load in (("lpips", "LPIPS", load_lpips), ("dists", "DISTS", load_dists)):
        try:
            metrics.distances[name] = around_mask(load())
        except StoreError as error:
            metrics.missing[name] = f"{label} is not available: {error}"
    return metrics


def around_mask(network: Lpips | Dists) -> Distance:
    """A network's distance of the rectangle around a batch's mask, frame by frame so that batches do not matter."""

    def distance(drawn: torch.Tensor, real: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        part = rectangle_of(mask)
        with torch.inference_mode():
            return torch.cat([network(drawn[i : i + 1][part], real[i : i + 1][part]) for i in range(len(drawn))])

    return distance
