"""Puts rendered patches back into a coded picture and touches nothing else.

In: the planes of one frame as coded, and a `Patch`: rgb and matte in crop space with the similarity that cut the crop
out of the upright image. Out: planes of the same sampling, range and depth. The patch is warped straight into the coded
picture (its rotation tag and the shape of its pixels included), converted with the footage's own matrix and blended
where the matte is at least 1/512. A chroma sample changes only where the matte over its own luma samples does; it is
written where the reader takes it to lie, so that what was read comes back. Rounding is plain, without dither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import av
import cv2
import numpy as np

from render.video.reader import Footage

MATTE_FLOOR = 1 / 512
BORDER_MARGIN_PX = 2
# Part of the matte, from outside inwards, along which source and patch are compared for colour.
BORDER_BAND = (0.02, 0.7)
COLOUR_REACH = 0.08  # of the crop's width: how far a colour difference at the border, or on skin, spreads
COLOUR_LIMIT = 0.12  # in [0, 1]: larger differences at the border are other content, not another tone
SKIN_LIMIT = 0.25  # the same on skin that both show
GRAIN_REACH_PX = 24  # around the patch, where the source's own grain is measured
DETAIL_SIGMA_PX = 1.0  # what is finer than this is called grain
ROUNDING_VARIANCE = 1 / 12  # of whole numbers, in sample units; rounding the patch adds it by itself
MAD_TO_DEVIATION = 1.4826  # median absolute deviation → standard deviation of a normal distribution


@dataclass(frozen=True)
class Patch:
    """What is put into one frame.

    Attributes:
        rgb: float32 [H, W, 3] in [0, 1], crop space, in the footage's own transfer curve.
        matte: float32 [H, W] in [0, 1].
        crop_from_image: float64 [2, 3], similarity from upright image to crop, both in square px, centres at x + 0.5.
        held_back: part of the matte that what lies in front has taken away.
    """

    rgb: np.ndarray
    matte: np.ndarray
    crop_from_image: np.ndarray
    held_back: float = 0.0


@dataclass(frozen=True)
class Grain:
    """Fine noise of luma: standard `deviation` in sample units, `sigma_px` of the blur that makes it as soft."""

    deviation: float
    sigma_px: float


@dataclass(frozen=True)
class Box:
    """A window of the coded luma plane, aligned to chroma samples: x0 ≤ x < x1, y0 ≤ y < y1 in px."""

    x0: int
    y0: int
    x1: int
    y1: int

    def of(self, plane: np.ndarray, step_x: int = 1, step_y: int = 1) -> np.ndarray:
        """The window of a plane that has every `step_x`-th column and `step_y`-th row of luma's."""
        return plane[self.y0 // step_y : -(-self.y1 // step_y), self.x0 // step_x : -(-self.x1 // step_x)]


def composite(
    footage: Footage,
    planes: list[np.ndarray],
    patch: Patch,
    grain: Grain | None = None,
    seed: tuple[int, int] = (0, 0),
) -> list[np.ndarray]:
    """Blend one patch into one frame.

    Args:
        footage: where the frame is from: sampling, depth, colour, orientation.
        planes: the frame's planes, uint8 or uint16, not changed.
        patch: what to put in.
        grain: noise that the patch should have as much of as its surroundings; none is added if not given.
        seed: (job's seed, frame number), which decide the noise.

    Returns:
        New planes; equal to the old ones wherever the matte is below 1/512.
    """
    placed = _place(footage, patch)
    if placed is None:
        return planes
    box, matte = placed
    rgb = np.clip(_warped(patch.rgb, _coded_from_crop(footage, patch), box), 0, 1)
    if footage.colour.is_rgb:
        top = (1 << footage.bit_depth) - 1
        channels = [rgb[..., i] * top for i in (1, 2, 0)]  # planes are in the order G, B, R
    else:
        matrix, offset = footage.colour.yuv_from_rgb(footage.bit_depth)
        yuv = cv2.transform(rgb, np.hstack([matrix, offset[:, None]]))
        channels = [yuv[..., i] for i in range(3)]
    if grain is not None and not footage.colour.is_rgb:
        channels[0] = channels[0] + _noise(channels[0], matte, grain, seed)
    result = list(planes)
    steps = plane_steps(footage.pix_fmt)
    for number, (channel, step) in enumerate(zip(channels, steps, strict=False)):
        result[number] = planes[number].copy()
        window, top = box.of(result[number], *step), (1 << footage.bit_depth) - 1
        if step == (1, 1):
            _blend(window, channel, matte, matte > 0, top)
        else:
            place = footage.siting.across, footage.siting.down
            matte_there = _resampled(matte, [_area(*one) for one in zip(step, place, strict=True)], step)
            colour = _resampled(channel, [_undoing(*one) for one in zip(step, place, strict=True)], step)
            _blend(window, colour, matte_there, _any_in_cell(matte > 0, step), top)
    return result


def _blend(window: np.ndarray, channel: np.ndarray, matte: np.ndarray, touched: np.ndarray, top: int) -> None:
    """Blend a channel into a window of a plane whose samples end at `top`, in place, where `touched`."""
    blended = np.clip(np.rint(window * (1 - matte) + channel * matte), 0, top)
    window[touched] = blended[touched].astype(window.dtype)


@dataclass(frozen=True)
class _Taps:
    """Weights of luma samples; `first` is the position of the first in the chroma sample's own cell."""

    first: int
    weights: np.ndarray


@cache
def _area(step: int, place: float) -> _Taps:
    """Mean over a chroma sample's surroundings: its cell, or, at a luma sample of it, a triangle around that."""
    if step == 1 or place == 0.5:
        return _Taps(0, np.full(step, 1 / step))
    return _Taps(round(place * (step - 1)) - step + 1, np.convolve(np.ones(step), np.ones(step)) / step**2)


@cache
def _undoing(step: int, place: float) -> _Taps:
    """The shortest filter from luma to chroma positions that exactly undoes linear interpolation from chroma to luma.

    A mean would dull edges with every pass: what a viewer's interpolation has softened would be softened again. Of two
    samples a cell, the filter is (-1, 2, 5, 2, -1) / 7 at a luma sample and (-1, 3, 3, -1) / 4 between two.
    """
    at = place * (step - 1)
    taps = np.arange(int(np.floor(at)) - step, int(np.ceil(at)) + step + 1)
    taps = taps[abs(taps - at) <= step]
    chroma = np.arange(-2, 3)
    interpolation = np.maximum(0, 1 - abs((taps[None] - at) / step - chroma[:, None]))  # [chroma, taps]
    return _Taps(int(taps[0]), np.linalg.pinv(interpolation) @ (chroma == 0))


def _resampled(channel: np.ndarray, filters: Sequence[_Taps], step: tuple[int, int]) -> np.ndarray:
    """Filter a channel at luma resolution across and down, at every `step`-th sample."""
    across, down = filters
    one, border = np.ones(1), cv2.BORDER_REPLICATE
    rows = cv2.sepFilter2D(channel, cv2.CV_32F, across.weights, one, anchor=(-across.first, 0), borderType=border)
    rows = np.ascontiguousarray(rows[:, :: step[0]])
    columns = cv2.sepFilter2D(rows, cv2.CV_32F, one, down.weights, anchor=(0, -down.first), borderType=border)
    return np.asarray(columns[:: step[1]])


def _any_in_cell(touched: np.ndarray, step: tuple[int, int]) -> np.ndarray:
    """Whether any luma sample of a chroma sample's own cell is touched."""
    height, width = touched.shape
    padded = np.pad(touched, ((0, -height % step[1]), (0, -width % step[0])))
    # Several times faster than `any` over a reshaped array.
    corners = [padded[down :: step[1], across :: step[0]] for down in range(step[1]) for across in range(step[0])]
    return np.asarray(np.logical_or.reduce(corners))


def plane_steps(pix_fmt: str) -> list[tuple[int, int]]:
    """Luma samples per sample of each plane, (across, down); planes beyond the third (alpha) are left out."""
    form = av.VideoFormat(pix_fmt, 64, 64)
    parts = form.components[:3] if len(form.components) >= 3 else form.components[:1]
    return [(64 // part.width, 64 // part.height) for part in parts]


def _coded_from_crop(footage: Footage, patch: Patch) -> np.ndarray:
    return _square(footage.coded_from_image) @ np.linalg.inv(_square(patch.crop_from_image))


def _square(affine: np.ndarray) -> np.ndarray:
    return np.vstack([np.asarray(affine, dtype=np.float64), [0.0, 0.0, 1.0]])


def _place(footage: Footage, patch: Patch) -> tuple[Box, np.ndarray] | None:
    """Window of the coded luma plane that the matte covers, and the matte there; None where it covers nothing."""
    rows = np.flatnonzero((patch.matte >= MATTE_FLOOR).any(axis=1))
    columns = np.flatnonzero((patch.matte >= MATTE_FLOOR).any(axis=0))
    if not len(rows):
        return None
    coded_from_crop = _coded_from_crop(footage, patch)
    x, y = (columns[0] - 1.0, columns[-1] + 2.0), (rows[0] - 1.0, rows[-1] + 2.0)
    corners = coded_from_crop @ np.array([[x[0], x[1], x[0], x[1]], [y[0], y[0], y[1], y[1]], [1, 1, 1, 1]])
    step_x, step_y = (max(s) for s in zip(*plane_steps(footage.pix_fmt), strict=True))
    low = np.floor(corners[:2].min(axis=1)) - BORDER_MARGIN_PX
    high = np.ceil(corners[:2].max(axis=1)) + BORDER_MARGIN_PX
    box = Box(
        x0=int(np.clip(low[0], 0, footage.coded_width)) // step_x * step_x,
        y0=int(np.clip(low[1], 0, footage.coded_height)) // step_y * step_y,
        x1=min(-(-int(np.clip(high[0], 0, footage.coded_width)) // step_x) * step_x, footage.coded_width),
        y1=min(-(-int(np.clip(high[1], 0, footage.coded_height)) // step_y) * step_y, footage.coded_height),
    )
    if box.x0 >= box.x1 or box.y0 >= box.y1:
        return None
    matte = np.clip(_warped(patch.matte, coded_from_crop, box), 0, 1)
    matte[matte < MATTE_FLOOR] = 0
    return (box, matte) if matte.any() else None


def _warped(image: np.ndarray, coded_from_crop: np.ndarray, box: Box) -> np.ndarray:
    """Resample a crop-space image [H, W(, C)] at the pixels of `box`; beyond it colours go on and mattes are 0."""
    scale = np.sqrt(abs(np.linalg.det(coded_from_crop[:2, :2])))
    # How much further than the mean a coded pixel reaches in the crop, across and down: exactly 1 if it is square.
    stretch = np.round(np.linalg.norm(np.linalg.inv(coded_from_crop[:2, :2]), axis=1) * scale, 9)
    if scale < stretch.max():
        # Each coded pixel averages over stretch / scale crop pixels.
        across, down = (float(0.5 * np.sqrt(max(1e-6, (scale / one) ** -2 - 1))) for one in stretch)
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), across, sigmaY=down))
    is_colour = image.ndim == 3
    # OpenCV puts pixel centres at whole numbers.
    to_box = np.array([[1, 0, -box.x0 - 0.5], [0, 1, -box.y0 - 0.5], [0, 0, 1]]) @ coded_from_crop
    to_box = to_box @ np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    return cv2.warpAffine(
        np.ascontiguousarray(image, dtype=np.float32),
        to_box[:2],
        (box.x1 - box.x0, box.y1 - box.y0),
        flags=cv2.INTER_CUBIC if is_colour and scale >= 1 else cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE if is_colour else cv2.BORDER_CONSTANT,
    )


def blurred(image: np.ndarray, sigma_px: float) -> np.ndarray:
    """An image [H, W(, C)] under a Gaussian."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px))


def changed_outside(footage: Footage, before: list[np.ndarray], after: list[np.ndarray], patches: list[Patch]) -> int:
    """Number of samples that differ between two sets of planes although no patch's matte covers them."""
    covered = np.zeros((footage.coded_height, footage.coded_width), dtype=bool)
    for patch in patches:
        placed = _place(footage, patch)
        if placed is not None:
            box, matte = placed
            box.of(covered)[:] |= matte > 0
    count = 0
    steps = plane_steps(footage.pix_fmt)
    for number, (old, new) in enumerate(zip(before, after, strict=True)):
        changed = old != new
        rows, columns = (np.flatnonzero(changed.any(axis)) for axis in (1, 0))
        if not len(rows):
            continue
        if number < len(steps):  # looked at only where anything changed, as that is a small part
            across, down = steps[number]
            where = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
            luma = slice(rows[0] * down, (rows[-1] + 1) * down), slice(columns[0] * across, (columns[-1] + 1) * across)
            changed[where] &= ~_any_in_cell(covered[luma], steps[number])
        count += int(np.count_nonzero(changed))
    return count


def match_tone(rgb: np.ndarray, source: np.ndarray, matte: np.ndarray, skin: np.ndarray | None = None) -> np.ndarray:
    """Shift the tone of a rendered crop to the source's, along the border of the matte and where both show skin.

    The difference there is averaged over neighbours and carried on by normalised convolution, so that nothing finer
    than the tone changes.

    Args:
        rgb: rendered colours, float32 [H, W, 3] in [0, 1].
        source: the source frame in the same crop, float32 [H, W, 3] in [0, 1].
        matte: float32 [H, W] in [0, 1].
        skin: float32 [H, W, 3], the source's skin where the crop shows it, NaN elsewhere; nowhere if not given.

    Returns:
        float32 [H, W, 3] in [0, 1].
    """
    border = (matte > BORDER_BAND[0]) & (matte < BORDER_BAND[1])
    if not border.any():
        return rgb
    difference = source - rgb
    alike = border & (_largest(difference) < COLOUR_LIMIT)
    if skin is not None:
        skin_difference = np.nan_to_num(skin - rgb, nan=SKIN_LIMIT)
        shared = _largest(skin_difference) < SKIN_LIMIT
        difference, alike = np.where(shared[..., None], skin_difference, difference), alike | shared
    band = alike.astype(np.float32)
    sigma = COLOUR_REACH * rgb.shape[1]
    # The tone is smooth: a quarter of the resolution is enough.
    small = (max(1, rgb.shape[1] // 4), max(1, rgb.shape[0] // 4))
    stacked = cv2.resize(np.dstack([difference * band[..., None], band]), small, interpolation=cv2.INTER_AREA)
    stacked = blurred(stacked, sigma / 4)
    tone = stacked[..., :3] / np.maximum(stacked[..., 3:], 1e-4)
    return np.clip(rgb + cv2.resize(tone, rgb.shape[1::-1], interpolation=cv2.INTER_LINEAR), 0, 1)


def _largest(difference: np.ndarray) -> np.ndarray:
    """The largest of the three channels' absolute values [H, W]; several times faster than `max` over an axis."""
    first, second, third = cv2.split(np.abs(difference))
    return np.maximum(np.maximum(first, second), third)


def measure_grain(footage: Footage, planes: list[np.ndarray], patch: Patch) -> Grain | None:
    """The source's own grain in a ring around the patch; None where there is no ring or no patch."""
    placed = _place(footage, patch)
    if placed is None:
        return None
    box, matte = placed
    reach = GRAIN_REACH_PX
    wide = Box(
        max(0, box.x0 - reach),
        max(0, box.y0 - reach),
        min(footage.coded_width, box.x1 + reach),
        min(footage.coded_height, box.y1 + reach),
    )
    inside = np.zeros((wide.y1 - wide.y0, wide.x1 - wide.x0), dtype=np.uint8)
    inside[box.y0 - wide.y0 : box.y1 - wide.y0, box.x0 - wide.x0 : box.x1 - wide.x0] = matte > 0
    ring = cv2.dilate(inside, np.ones((3, 3), np.uint8)) == 0
    return _grain_of(wide.of(planes[0]).astype(np.float32), ring)


def _grain_of(luma: np.ndarray, where: np.ndarray) -> Grain | None:
    """Deviation and softness of the finest detail; edges are left out by medians and by keeping to the flatter half."""
    slope = blurred(luma, 2 * DETAIL_SIGMA_PX)
    steepness = np.hypot(cv2.Sobel(slope, cv2.CV_32F, 1, 0), cv2.Sobel(slope, cv2.CV_32F, 0, 1))
    if np.count_nonzero(where) < 64:
        return None
    flat = where & (steepness <= np.median(steepness[where]))
    detail = luma - blurred(luma, DETAIL_SIGMA_PX)
    deviation = MAD_TO_DEVIATION * float(np.median(np.abs(detail[flat])))
    # White noise blurred by s has correlation exp(-1 / 4 s²) between neighbours.
    pairs = flat[:, 1:] & flat[:, :-1]
    product = (detail[:, 1:] * detail[:, :-1])[pairs].mean() if pairs.any() else 0.0
    correlation = float(np.clip(product / max(1e-6, float((detail[flat] ** 2).mean())), 0.0, 0.9))
    return Grain(deviation, float(np.sqrt(-1 / (4 * np.log(correlation)))) if correlation > 0.02 else 0.0)


def _noise(luma: np.ndarray, matte: np.ndarray, grain: Grain, seed: tuple[int, int]) -> np.ndarray:
    """Noise that brings the grain inside the matte up to `grain`; zero where it has as much already."""
    present = _grain_of(luma, matte > 0)
    missing = grain.deviation**2 - (present.deviation**2 if present else 0.0) - ROUNDING_VARIANCE
    if missing <= 0:
        return np.zeros_like(luma)
    noise = np.random.default_rng(seed).standard_normal(luma.shape, dtype=np.float32)
    if grain.sigma_px > 0:
        noise = blurred(noise, grain.sigma_px)
    detail = noise - blurred(noise, DETAIL_SIGMA_PX)
    return noise * np.float32(np.sqrt(missing) / max(1e-6, float(detail.std())))
