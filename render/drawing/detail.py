"""Detail: what an actor's own frames show beyond the renderer's resolution, and how it is drawn at the source's.

The renderer draws crops of 256 px. What a frame of the bank shows that such a crop cannot hold (pores, stubble, the
edges of teeth) is kept as differences of luma over uv. A drawn crop is scaled up, and the differences are added where
the frames of the bank count, pixel by pixel, as much as the renderer counted each beside the others.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from cuda_ext import ops
from render.drawing.crop import CROP_SIZE
from render.drawing.look import BANK_FRAMES
from render.errors import StoreError

#: Side of the maps, texels: at least as fine as most footage, since each of two samplings softens.
DETAIL_SIZE = 1024
#: Source px per crop px from which detail is kept and drawn, and up to which.
LEAST_SCALE, LARGEST_SCALE = 1.15, 4.0
#: No footage has more source px per crop px: a crop that is a whole picture of 16384 px has 64.
SOURCE_SCALES = (1.0, 64.0)
#: Differences of luma are stored in steps of one, over this range to either side.
RANGE = 0.35
QUALITY = 95
#: Frames of the bank that count little count less: what is fine would be averaged away.
SHARPENING = 4
#: Strength of detail is compared over windows of twice so many px; by so much, at most, it is raised.
STRENGTH_PX, LARGEST_GAIN = 16, 2.0
SCALE = "scale"


@dataclass(frozen=True)
class Detail:
    """Fine differences of luma of K frames of one actor over uv.

    Attributes:
        maps: [1, K, D, D] float32, what is added to sRGB in [0, 1].
        scale: source px per crop px of the footage that they are from.
    """

    maps: torch.Tensor
    scale: float

    def stored(self) -> dict[str, torch.Tensor]:
        """As tensors of a file: each map as bytes of a grey JPEG."""
        tensors = {SCALE: torch.tensor(self.scale)}
        for number, one in enumerate(self.maps[0].numpy()):
            grey = np.clip(np.rint((one / RANGE + 1) * 127.5), 0, 255).astype(np.uint8)
            tensors[str(number)] = torch.from_numpy(cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1])
        return tensors

    @staticmethod
    def of_stored(tensors: dict[str, torch.Tensor]) -> "Detail":
        """The inverse of `stored`, but for what a JPEG loses; raises `StoreError` for what are no such tensors."""
        names = [str(number) for number in range(BANK_FRAMES)]
        if wrong := sorted(set(tensors) ^ {SCALE, *names}):
            raise StoreError(f"detail: {', '.join(wrong)} missing or unknown; fit the actor again")
        low, high = SOURCE_SCALES
        if tensors[SCALE].numel() != 1 or not low < float(tensors[SCALE]) <= high:
            raise StoreError("detail: its scale is that of no footage; fit the actor again")
        maps = [_grey_picture(tensors[name]) for name in names]
        values = (torch.from_numpy(np.stack(maps)).float() / 127.5 - 1) * RANGE
        return Detail(_sampled_often(values[None]), float(tensors[SCALE]))

    def at_scale(self, scale: float) -> "Detail":
        """The same for a source of so many px per crop px: finer than that, nothing is left."""
        size = self.maps.shape[-1]
        wanted = max(CROP_SIZE, round(size * min(1.0, scale / self.scale)))
        if wanted >= size:
            return self
        return Detail(_sampled_often(F.interpolate(self.maps, size=(wanted, wanted), mode="area")), scale)


def _sampled_often(maps: torch.Tensor) -> torch.Tensor:
    """Maps in the memory that is sampled, or each frame would copy all of them."""
    return maps.contiguous(memory_format=torch.channels_last)


def _grey_picture(data: torch.Tensor) -> np.ndarray:
    """[D, D] uint8 of a JPEG's bytes; raises `StoreError` for what is none, or of another size."""
    size, in_bytes = (DETAIL_SIZE, DETAIL_SIZE), data.dtype == torch.uint8 and data.ndim == 1
    try:
        fits = in_bytes and _jpeg_size(data.numpy().tobytes()) == size
        picture = cv2.imdecode(data.numpy(), cv2.IMREAD_GRAYSCALE) if fits else None
    except cv2.error:
        picture = None
    if picture is None or picture.shape != size:
        raise StoreError(f"detail: its maps cannot be read as pictures of {DETAIL_SIZE} px; fit the actor again")
    return picture


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Rows and columns that a JPEG's frame header says, so that none is decoded that is larger; None where it has none.

    Of ITU T.81 B.1 and B.2.2: segments of a marker and a length; those that begin a frame are C0 to CF without C4, C8
    and CC. The first one counts, as it does for decoders.
    """
    place = 2
    while data[:2] == b"\xff\xd8" and data[place : place + 1] == b"\xff" and place + 9 <= len(data):
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(data[place + 5 : place + 7]), int.from_bytes(data[place + 7 : place + 9])
        place += 2 + length
    return None


def native_size(scale: float) -> int:
    """Side of a crop, px, that holds what a source of so many px per crop px shows: a multiple of 16."""
    return round(CROP_SIZE * min(max(scale, 1.0), LARGEST_SCALE) / 16) * 16


def fine_luma(native: torch.Tensor, crops: torch.Tensor) -> torch.Tensor:
    """What crops do not hold of the same crops at native size.

    Args:
        native: [N, 3, S, S] sRGB in [0, 1].
        crops: [N, 3, CROP_SIZE, CROP_SIZE] the same pictures.

    Returns:
        [N, 1, S, S] differences of luma.
    """
    return (native - enlarged(crops, native.shape[-1])).mean(1, keepdim=True)


def enlarged(images: torch.Tensor, size: int | tuple[int, int]) -> torch.Tensor:
    """Crops [N, C, H, W] scaled up to a side or to (height, width) px, as smoothly as they are put into a picture."""
    return F.interpolate(images, size=size, mode="bicubic", align_corners=False)


def with_detail(
    rgb: torch.Tensor, shares: torch.Tensor, detail: Detail, uv: torch.Tensor, where: torch.Tensor
) -> torch.Tensor:
    """Drawn crops, or the same window of each, at the size of `uv`, with detail.

    Args:
        rgb: [B, 3, H, W] sRGB in [0, 1], as drawn.
        shares: [B, K, H, W], how much each frame of the bank counts at a pixel.
        detail: of the actor, at the source's scale.
        uv: [B, Y, X, 2] of the same at native size.
        where: [B, 1, Y, X] in [0, 1], how much of the detail is wanted.

    Returns:
        [B, 3, Y, X] in [0, 1].
    """
    size = uv.shape[1], uv.shape[2]
    fine = ops.texture(detail.maps, uv, filter_mode="bilinear")
    sharp = shares.pow(SHARPENING)
    weight = sharp / sharp.sum(1, keepdim=True).clamp(min=1e-6)
    weight = F.interpolate(weight, size=size, mode="bilinear", align_corners=False)
    added = _as_strong(fine, weight) * where
    return (enlarged(rgb, size) + added).clamp(0, 1)


def _as_strong(fine: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """A weighted mean [B, 1, Y, X] of details [B, K, Y, X] that is about as strong as they are, place by place.

    What does not lie on the same pixel in all of them would be averaged away. So the mean is given back the strength of
    its parts (blending that keeps the variance, after Heitz and Neyret 2018), up to `LARGEST_GAIN`.
    """
    mean = (fine * weight).sum(1, keepdim=True)
    wanted, left = (
        F.avg_pool2d(strength, 2 * STRENGTH_PX, STRENGTH_PX, STRENGTH_PX // 2, count_include_pad=False)
        for strength in ((fine.square() * weight).sum(1, keepdim=True), mean.square())
    )
    gain = ((wanted + 1e-8) / (left + 1e-8)).sqrt().clamp(max=LARGEST_GAIN)
    return mean * F.interpolate(gain, size=mean.shape[-2:], mode="bilinear", align_corners=False)
