"""Siting: where a chroma sample lies among the luma samples that share it.

Neither PyAV nor the file says it in one word for all codecs, so the converter is asked: where it reads the chroma of a
frame, there new chroma must be written. Where nothing says it, chroma lies at the left, as in MPEG-2, H.264 and the
4:2:2 of cameras; JPEG's decoders say themselves that it lies in the middle.
"""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np

from render.video.planes import CONVERSION, planar, plane_views

#: FFmpeg's names (ITU-T H.273, figure 9) → (across, down).
LOCATIONS = {
    "left": (0.0, 0.5),
    "center": (0.5, 0.5),
    "topleft": (0.0, 0.0),
    "top": (0.5, 0.0),
    "bottomleft": (0.0, 1.0),
    "bottom": (0.5, 1.0),
}
#: Given to decoders; one that reads another siting in its stream keeps that.
ASSUMED = {"chroma_sample_location": "left"}
#: How Matroska's header says "half across, half down" (ChromaSitingHorz, ChromaSitingVert).
HALF_AND_HALF = b"\x55\xb7\x81\x02\x55\xb8\x81\x02"


@dataclass(frozen=True)
class Siting:
    """Place of a chroma sample in its cell: 0 is the cell's first luma sample, 1 its last, `across` and `down`."""

    across: float = 0.0
    down: float = 0.5

    @property
    def location(self) -> str:
        """FFmpeg's name of the nearest place that has one."""
        return min(LOCATIONS, key=lambda name: self.distance(LOCATIONS[name]))

    def distance(self, other: tuple[float, float]) -> float:
        """How far another place is, in units of the cell."""
        return abs(self.across - other[0]) + abs(self.down - other[1])


def read_siting(frame: av.VideoFrame) -> Siting:
    """Where chroma is taken to lie when `frame` is converted; its picture is overwritten for the question.

    Without subsampling in a direction the answer there is `Siting()`'s.
    """
    picture = planar(frame)
    if picture.format.is_rgb or len(picture.format.components) < 3:
        return Siting()
    picture.make_writable()
    luma, *chroma = plane_views(picture)[:3]
    unit = 1 << (picture.format.components[0].bits - 8)
    luma[:] = 128 * unit
    # Cb rises by 64 a sample across, Cr down; what is read at a cell's first luma sample tells how far off it lies.
    steps, middles = [], []
    for plane, axis in zip(chroma, (1, 0), strict=True):
        steps.append(-(-luma.shape[axis] // plane.shape[axis]))
        middles.append(plane.shape[axis] // 2)
        ramp = np.clip(128 + 64 * (np.arange(plane.shape[axis]) - middles[-1]), 64, 192) * unit
        plane[:] = ramp[None, :] if axis else ramp[:, None]
    full = plane_views(picture.reformat(format="yuv444p16le", interpolation=CONVERSION, threads=1))
    at = [middle * step for middle, step in zip(middles, steps, strict=True)]
    answers = []
    for plane, step, middle, default in zip(full[1:3], steps, middles, (0.0, 0.5), strict=True):
        offset = (128 - plane[at[1], at[0]] / 256) / 64 * step
        is_known = step > 1 and middle > 0
        answers.append(float(np.clip(np.rint(2 * offset / (step - 1)) / 2, 0, 1)) if is_known else default)
    return Siting(*answers)
