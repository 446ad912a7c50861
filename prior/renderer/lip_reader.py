"""The lip reader of renderer pretraining: what shape do the lips in this picture have?

In: pictures around mouths. Out: the gaps of the inner lips and where points of both lips lie. It is taught by real
mouths and their tracks, then stays as it is: a drawn mouth has to read as the real one does. Colours alone do not ask
for that: a small opening is a few dark pixels, and closed lips in their place cost next to nothing. It ships nowhere.
"""

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from prior.face.points import LIP_PAIRS, LIPS_INNER, LIPS_OUTER, eye_distance
from prior.renderer.losses import box_filter
from prior.renderer.mouth_pictures import cut_out, mouth_corners
from render.drawing.unet import prefers_bfloat16

#: Height and width of the picture around a mouth, px of a 256 px crop.
PICTURE_PX = (96, 128)
#: Gaps, in eye distances, are read on a logarithmic scale from here on: small openings count as large ones do.
LEAST_GAP = 0.02
#: Pictures a step, learning rate, and how far pictures are moved about, px, while it is taught.
TAUGHT_PICTURES, TEACHING_RATE, MOVED_PX = 48, 1e-3, 6
POINTS = (*LIPS_INNER, *LIPS_OUTER)


@dataclass(frozen=True)
class Mouths:
    """Real mouths and what is to be read from them.

    Attributes:
        pictures: uint8 [N, 3, h, w], each larger than `PICTURE_PX` by `MOVED_PX` on every side.
        points: [N, P, 2] of `POINTS`, px from the picture's middle.
        gaps: [N, G] of `LIP_PAIRS`, log of eye distances.
    """

    pictures: torch.Tensor
    points: torch.Tensor
    gaps: torch.Tensor

    @staticmethod
    def joined(parts: "list[Mouths]") -> "Mouths":
        """Mouths of several people."""
        return Mouths(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Mouths)))

    def to(self, device: str) -> "Mouths":
        """The same on a device."""
        return Mouths(self.pictures.to(device), self.points.to(device), self.gaps.to(device))


class LipReader(nn.Module):
    """A small convolutional network that reads lips.

    Args:
        width: channels of the first layer.
    """

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        sizes = [3, width, 2 * width, 3 * width, 4 * width]
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in zip(sizes, sizes[1:], strict=False))
        cells = (PICTURE_PX[0] // 16) * (PICTURE_PX[1] // 16)
        outputs = 2 * len(POINTS) + len(LIP_PAIRS)
        self.head = nn.Sequential(nn.Linear(cells * sizes[-1], 128), nn.LeakyReLU(0.1), nn.Linear(128, outputs))
        self.register_buffer("mean", torch.zeros(outputs))
        self.register_buffer("spread", torch.ones(outputs))
        self.mean: torch.Tensor
        self.spread: torch.Tensor

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Gaps and points [B, G + 2 P] of pictures [B, 3, *PICTURE_PX] in [0, 1], in standard deviations of people."""
        x = pictures - pictures.mean((2, 3), keepdim=True)
        x = (4 * x).contiguous(memory_format=torch.channels_last)
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
        return self.head(x.flatten(1).float())


def read_mouths(crops: torch.Tensor, clip_vertices: torch.Tensor, mouth: torch.Tensor) -> Mouths:
    """What there is to learn from real crops.

    Args:
        crops: [N, 3, H, W] in [0, 1].
        clip_vertices: [N, V, 4] of their heads.
        mouth: [N, 1, H, W] masks of their mouths.
    """
    height, width = crops.shape[-2:]
    device_points = clip_vertices[..., :2] / clip_vertices[..., 3:] * clip_vertices.new_tensor([1.0, -1.0])
    points = (device_points + 1) / 2 * clip_vertices.new_tensor([width, height])
    upper, lower = (list(side) for side in zip(*LIP_PAIRS, strict=True))
    gaps = (points[:, lower] - points[:, upper]).norm(dim=-1) / eye_distance(points)[:, None]
    size_px = (PICTURE_PX[0] + 2 * MOVED_PX, PICTURE_PX[1] + 2 * MOVED_PX)
    corners = mouth_corners(mouth, size_px)
    pictures = (cut_out(crops, corners, size_px) * 255).round().to(torch.uint8)
    middle = corners.flip(1)[:, None] + points.new_tensor([size_px[1], size_px[0]]) / 2
    return Mouths(pictures, points[:, POINTS] - middle, (gaps + LEAST_GAP).log())


def teach_reading(reader: LipReader, mouths: Mouths, steps: int, random: torch.Generator) -> float:
    """Teach a reader by real mouths, moved about, tinted and at times blurred: it is to read the shape, not the finish.

    Args:
        reader: learns; it stays as it is then.
        mouths: of many people.
        steps: of `TAUGHT_PICTURES` each.
        random: what is drawn from.

    Returns:
        Mean absolute error at the end, smoothed, in standard deviations.
    """
    device = mouths.pictures.device
    everything = torch.cat([mouths.gaps, mouths.points.flatten(1)], 1)
    reader.mean.copy_(everything.mean(0))
    reader.spread.copy_(everything.std(0).clamp(min=1e-3))
    optimiser = torch.optim.Adam(reader.parameters(), TEACHING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    smoothed = 1.0
    for _ in tqdm(range(steps), desc="teach the lip reader", mininterval=10):
        rows = torch.randint(len(mouths.pictures), (TAUGHT_PICTURES,), generator=random)
        moved = torch.randint(-MOVED_PX, MOVED_PX + 1, (2,), generator=random)
        pictures = moved_about(mouths.pictures[rows].float() / 255, moved)
        gain = 1 + 0.3 * (2 * torch.rand(len(rows), 3, 1, 1, generator=random) - 1)
        pictures = (pictures * gain.to(device)).clamp(0, 1)
        size = (1, 1, 3, 5)[int(torch.randint(4, (), generator=random))]
        pictures = box_filter(pictures, size) if size > 1 else pictures
        points = mouths.points[rows] - moved.to(device)
        wanted = (torch.cat([mouths.gaps[rows], points.flatten(1)], 1) - reader.mean) / reader.spread
        with torch.autocast(device.type, torch.bfloat16, enabled=prefers_bfloat16(device)):
            read = reader(pictures)
        loss = (read.float() - wanted).abs().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        smoothed += 0.02 * (float(loss.detach()) - smoothed)
    reader.requires_grad_(False)
    return smoothed


def moved_about(pictures: torch.Tensor, moved: torch.Tensor) -> torch.Tensor:
    """Pictures without their margin, their middle moved by whole px [2] (x, y) within it."""
    x, y = (MOVED_PX + int(value) for value in moved)
    return pictures[..., y : y + PICTURE_PX[0], x : x + PICTURE_PX[1]]


def misread(reader: LipReader, real: torch.Tensor, drawn: torch.Tensor, mouth: torch.Tensor) -> torch.Tensor:
    """How differently drawn mouths read from the real ones [B], in standard deviations; gaps count as points do.

    Args:
        reader: taught.
        real: [B, 3, H, W] crops in [0, 1].
        drawn: [B, 3, H, W] complete crops; gradients reach them.
        mouth: [B, 1, H, W] masks of their mouths.
    """
    corners = mouth_corners(mouth, PICTURE_PX)
    real, drawn = (cut_out(images, corners, PICTURE_PX) for images in (real, drawn))
    with torch.autocast(drawn.device.type, torch.bfloat16, enabled=prefers_bfloat16(drawn.device)):
        with torch.no_grad():
            wanted = reader(real).float()
        off = (reader(drawn).float() - wanted).abs()
    gaps = len(LIP_PAIRS)
    return off[:, :gaps].mean(1) + off[:, gaps:].mean(1)
