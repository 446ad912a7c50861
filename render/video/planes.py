"""One coded picture: its planes as arrays, the way it is turned upright, and its colour matrix.

In: decoded PyAV frames. Out: planar arrays in the source's own sampling and depth, upright rgb, and the constants
that turn rgb back into those planes. Formats that are not planar are repacked without loss (nv12 → yuv420p).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Interpolation

from render.errors import FootageError

# Formats with interleaved samples → the planar format that holds the same samples.
PLANAR_OF = {
    "nv12": "yuv420p",
    "nv21": "yuv420p",
    "nv16": "yuv422p",
    "nv24": "yuv444p",
    "p010le": "yuv420p10le",
    "p210le": "yuv422p10le",
    "yuyv422": "yuv422p",
    "uyvy422": "yuv422p",
    "y210le": "yuv422p10le",
    "pal8": "gbrp",
    "rgb24": "gbrp",
    "bgr24": "gbrp",
    "rgb0": "gbrp",
    "bgr0": "gbrp",
    "0rgb": "gbrp",
    "0bgr": "gbrp",
    "rgba": "gbrap",
    "bgra": "gbrap",
    "argb": "gbrap",
    "abgr": "gbrap",
    "rgb48le": "gbrp16le",
    "rgb48be": "gbrp16le",
    "rgba64le": "gbrap16le",
    "rgba64be": "gbrap16le",
    "monow": "gray",
    "monob": "gray",
}
# FFmpeg's number of a colour matrix → (Kr, Kb): ITU-T H.273 table 4.
LUMA_WEIGHTS = {
    1: (0.2126, 0.0722),  # BT.709
    4: (0.30, 0.11),  # FCC
    5: (0.299, 0.114),  # BT.601, 625 lines
    6: (0.299, 0.114),  # BT.601, 525 lines
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # BT.2020, non-constant luminance
}
BT709, BT601 = 1, 5
RGB_MATRIX, UNSPECIFIED = 0, 2
# Numbers that mean something (ITU-T H.273, tables 2 to 4); all others are reserved, and say nothing.
PRIMARIES, TRANSFERS, MATRICES = {1, *range(4, 13), 22}, {1, *range(4, 19)}, {1, *range(4, 18)}
# Every pixel gets its own interpolated chroma; bicubic would cost twice the time and differs by 0.05 of a level.
CONVERSION = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


@dataclass(frozen=True)
class Colour:
    """How samples mean colour: `matrix` and `is_full_range` are in force, the `tag_` numbers are as in the file.

    A number that means nothing counts as `UNSPECIFIED`, and so does the matrix of rgb on samples that are not rgb.
    """

    matrix: int
    is_full_range: bool
    is_rgb: bool
    tag_matrix: int
    tag_range: int
    tag_primaries: int
    tag_transfer: int

    @property
    def is_tagged(self) -> bool:
        """Whether the file says anything about its colour."""
        unsaid = self.tag_matrix == self.tag_primaries == self.tag_transfer == UNSPECIFIED
        return not unsaid or self.tag_range == ColorRange.JPEG

    def yuv_from_rgb(self, bit_depth: int) -> tuple[np.ndarray, np.ndarray]:
        """Matrix float64 [3, 3], offset [3]: rgb in [0, 1] → Y, Cb, Cr in units of a sample (ITU-T H.273, 8.3)."""
        red, blue = LUMA_WEIGHTS[self.matrix]
        luma = np.array([red, 1 - red - blue, blue])
        weights = np.stack(
            [luma, (np.array([0, 0, 1]) - luma) / (2 * (1 - blue)), (np.array([1, 0, 0]) - luma) / (2 * (1 - red))]
        )
        unit = 1 << (bit_depth - 8)
        if self.is_full_range:
            scale, offset = np.full(3, 256 * unit - 1.0), np.array([0.0, 128.0 * unit, 128.0 * unit])
        else:
            scale = np.array([219.0, 224.0, 224.0]) * unit
            offset = np.array([16.0, 128.0, 128.0]) * unit
        return weights * scale[:, None], offset


@dataclass(frozen=True)
class Orientation:
    """Coded → upright picture: first `transposes`, then `flips_x`, then `flips_y`. `matrix` is the tag itself."""

    transposes: bool = False
    flips_x: bool = False
    flips_y: bool = False
    matrix: tuple[int, ...] | None = None

    @staticmethod
    def of(frame: av.VideoFrame, path: Path) -> Orientation:
        """The orientation that the frame is tagged with.

        Raises:
            FootageError: the tag turns the picture by something else than a multiple of 90 degrees.
        """
        side_data: Any = frame.side_data
        tagged = [s for s in side_data if s.type.name == "DISPLAYMATRIX"]
        if not tagged:
            return Orientation()
        matrix = tuple(int(v) for v in np.frombuffer(tagged[0], dtype=np.int32)[:9])
        # Row vectors: x' = a·x + c·y, y' = b·x + d·y, with y downwards (ISO/IEC 14496-12, 8.3.2).
        a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
        if b == c == 0 and a and d:
            return Orientation(False, a < 0, d < 0, matrix)
        if a == d == 0 and b and c:
            return Orientation(True, c < 0, b < 0, matrix)
        raise FootageError(f"{path}: its rotation tag {(a, b, c, d)} is not a multiple of 90 degrees")

    @property
    def rotation(self) -> int:
        """Clockwise angle in degrees: 0, 90, 180 or 270 (of a mirrored picture: the turn after mirroring)."""
        if not self.transposes:
            return 180 if self.flips_y else 0
        return 270 if self.flips_y else 90

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Upright (width, height) of a coded one, and the other way round."""
        return (height, width) if self.transposes else (width, height)

    def upright(self, plane: np.ndarray) -> np.ndarray:
        """A coded plane [H, W, ...] turned upright, contiguous."""
        if self.transposes:
            plane = cv2.transpose(plane)
        return self._flipped(plane)

    def coded(self, plane: np.ndarray) -> np.ndarray:
        """An upright plane [H, W, ...] turned back to how it is coded, contiguous."""
        plane = self._flipped(plane)
        return cv2.transpose(plane) if self.transposes else plane

    def _flipped(self, plane: np.ndarray) -> np.ndarray:
        if self.flips_x and self.flips_y:
            return cv2.flip(plane, -1)
        if self.flips_x:
            return cv2.flip(plane, 1)
        return cv2.flip(plane, 0) if self.flips_y else plane

    def coded_from_upright(self, coded_width: int, coded_height: int) -> np.ndarray:
        """Pixel coordinates (centres at x + 0.5) of an upright point in the coded picture, float64 [2, 3]."""
        width, height = self.size(coded_width, coded_height)
        x = np.array([-1.0, 0.0, width]) if self.flips_x else np.array([1.0, 0.0, 0.0])
        y = np.array([0.0, -1.0, height]) if self.flips_y else np.array([0.0, 1.0, 0.0])
        return np.stack([y, x]) if self.transposes else np.stack([x, y])


def planar_format(name: str, path: Path) -> str:
    """The planar, little-endian format in which frames of format `name` are handed out.

    Raises:
        FootageError: samples of this format cannot be handed out without loss.
    """
    name = PLANAR_OF.get(name, name.replace("yuvj", "yuv"))
    if name.endswith("be"):
        name = name[:-2] + "le"
    components = av.VideoFormat(name).components
    one_each = sorted(c.plane for c in components) == list(range(len(components)))
    if not one_each or not all(8 <= c.bits <= 16 for c in components):
        raise FootageError(f"{path}: pixel format {name} is not supported; convert it to yuv422p10 or the like first")
    return name


def planar(frame: av.VideoFrame) -> av.VideoFrame:
    """The frame itself if its format is planar already, else a repacked copy with the same samples."""
    name = planar_format(frame.format.name, Path("frame"))
    if name == frame.format.name or name == frame.format.name.replace("yuvj", "yuv"):
        return frame
    return frame.reformat(format=name, interpolation=Interpolation.POINT | Interpolation.ACCURATE_RND)


def plane_views(frame: av.VideoFrame) -> list[np.ndarray]:
    """Arrays [H, W] uint8 or uint16 over the memory of a planar frame, in plane order (Y U V A, G B R A or gray)."""
    views = []
    planes: Any = frame.planes
    deep = frame.format.components[0].bits > 8
    for plane, component in zip(planes, sorted(frame.format.components, key=_plane), strict=True):
        rows = np.frombuffer(plane, dtype="<u2" if deep else np.uint8).reshape(plane.height, -1)
        views.append(rows[:, : component.width])
    return views


def _plane(component: Any) -> int:
    return component.plane


def frame_planes(frame: av.VideoFrame) -> list[np.ndarray]:
    """Copies of the planes of a frame of any supported format."""
    return [view.copy() for view in plane_views(planar(frame))]


def frame_colour(frame: av.VideoFrame, path: Path) -> Colour:
    """The colour tags of a frame, and what holds where they are silent (BT.709 from 720 lines on, else BT.601).

    Raises:
        FootageError: a matrix that is not a plain linear one (YCgCo, constant luminance, ICtCp).
    """
    is_rgb = frame.format.is_rgb or frame.format.has_palette
    tag, primaries, transfer = _meant_tags(frame)
    matrix = tag
    if is_rgb:
        matrix = RGB_MATRIX
    elif tag == UNSPECIFIED:
        matrix = BT709 if frame.width >= 1280 or frame.height > 576 else BT601
    elif tag not in LUMA_WEIGHTS:
        raise FootageError(
            f"{path}: colour matrix {tag} (of ITU-T H.273) is not supported; convert it to BT.709 or BT.2020 first"
        )
    is_full = is_rgb or "yuvj" in frame.format.name or int(frame.color_range) == ColorRange.JPEG
    return Colour(
        matrix=matrix,
        is_full_range=is_full,
        is_rgb=is_rgb,
        tag_matrix=tag,
        tag_range=int(ColorRange.JPEG) if "yuvj" in frame.format.name else int(frame.color_range),
        tag_primaries=primaries,
        tag_transfer=transfer,
    )


def drop_meaningless_tags(frame: av.VideoFrame) -> None:
    """Let a decoded frame say nothing where its colour tags are reserved numbers: FFmpeg converts no such frame."""
    frame.colorspace, frame.color_primaries, frame.color_trc = _meant_tags(frame)


def _meant_tags(frame: av.VideoFrame) -> tuple[int, int, int]:
    """Matrix, primaries and transfer of a frame, as far as they mean something."""
    is_rgb = frame.format.is_rgb or frame.format.has_palette
    matrix = _meant(int(frame.colorspace), {RGB_MATRIX, *MATRICES} if is_rgb else MATRICES)
    return matrix, _meant(int(frame.color_primaries), PRIMARIES), _meant(int(frame.color_trc), TRANSFERS)


def _meant(tag: int, meaningful: set[int]) -> int:
    return tag if tag in meaningful else UNSPECIFIED


def mastering_words(frame: av.VideoFrame) -> str:
    """The frame's HDR10 mastering display and light levels as x265 parameters; empty where it has none.

    Units as in ITU-T H.265, D.3.28: chromaticity in 0.00002, luminance in 0.0001 cd/m².
    """
    side_data: Any = frame.side_data
    words = []
    for item in side_data:
        if item.type.name == "MASTERING_DISPLAY_METADATA":
            values = np.frombuffer(item, dtype=np.int32)  # ten fractions, then whether they are set
            fractions = values[:20:2] / np.maximum(values[1:20:2], 1)
            (rx, ry, gx, gy, bx, by, wx, wy), (darkest, brightest) = fractions[:8] * 50_000, fractions[8:] * 10_000
            if values[20] and values[21]:
                points = zip("G B R WP".split(), ((gx, gy), (bx, by), (rx, ry), (wx, wy)), strict=True)
                place = "".join(f"{name}({x:.0f},{y:.0f})" for name, (x, y) in points)
                words.append(f"master-display={place}L({brightest:.0f},{darkest:.0f})")
        if item.type.name == "CONTENT_LIGHT_LEVEL":
            words.append("max-cll={},{}".format(*np.frombuffer(item, dtype=np.uint32)[:2]))
    return ":".join(words)


def dynamic_hdr(frame: av.VideoFrame, header: bytes) -> tuple[str, ...]:
    """What describes the light of each frame: "Dolby Vision", "HDR10+".

    Args:
        frame: of the stream.
        header: of a Matroska file with the stream.
    """
    side_data: Any = frame.side_data
    kinds = {item.type.name for item in side_data}
    is_dolby = any(name.startswith("DOVI") for name in kinds) or any(word in header for word in (b"dvcC", b"dvvC"))
    return ("Dolby Vision",) * is_dolby + ("HDR10+",) * ("DYNAMIC_HDR_PLUS" in kinds)


def rgb_from_frame(frame: av.VideoFrame, colour: Colour, is_exact: bool = True) -> np.ndarray:
    """Coded (not rotated) 8-bit picture, uint8 [H, W, 3]; not exact: many times faster, a few levels off."""
    return frame.reformat(
        format="rgb24",
        src_colorspace=None if colour.is_rgb else colour.matrix,
        src_color_range=ColorRange.JPEG if colour.is_full_range else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        interpolation=CONVERSION if is_exact else Interpolation.FAST_BILINEAR,
        threads=1,
    ).to_ndarray()
