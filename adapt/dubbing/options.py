"""Options of a dub: the one home of its defaults."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from render.compositing.matte import DEFAULT
from render.drawing.renderer import FIXED_BATCH

#: What `--draft` allows: optimiser steps of a fit, and the encoder's quality. Frames and masks are the same.
DRAFT_FIT_STEPS, DRAFT_QUALITY = 80, "draft"


@dataclass(frozen=True)
class DubOptions:
    """How a dub is made and written.

    Attributes:
        codec: h264, h265, ffv1 or prores; default the source's family.
        quality: draft, standard or final.
        audio: sound files to deliver; None keeps the source's own.
        audio_offset: seconds from the first frame to the start of those files.
        audio_end: seconds from the first frame at which they end at the latest; None for their own end.
        grain: put the source's own grain onto drawn pixels.
        seed: of the grain.
        region: which part of the new mouth is put back, of `render.compositing.matte.REGIONS`.
        occluders: look for what lies in front of the mouth, and keep it there.
        device: where the network runs, such as cpu or cuda.
        batch: frames held at once; does not change the result.
    """

    codec: str | None = None
    quality: str = "standard"
    audio: Sequence[Path] | None = None
    audio_offset: float = 0.0
    audio_end: float | None = None
    grain: bool = False
    seed: int = 0
    region: str = DEFAULT
    occluders: bool = True
    device: str = "cpu"
    batch: int = 2 * FIXED_BATCH
