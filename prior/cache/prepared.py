"""One clip of a prepared cache, as training reads it.

In: a folder that `adapt prepare FOOTAGE… -o CACHE` wrote; its layout is described in `adapt.preparation.prepare`. Out:
tracks and crops. Needs only torch, numpy, safetensors and cv2.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import torch

from render.errors import StoreError
from render.head.track import Track
from render.text import read_json

TRACK_NAME = "track.safetensors"
CROPS_NAME = "crops.mp4"
FACTS_NAME = "facts.json"


@dataclass(frozen=True)
class PreparedClip:
    """A clip's track and the crops of some of its frames.

    Attributes:
        folder: the clip's folder in the cache.
        track: of all its frames, with `crop_size` that of the crops.
        facts: what `adapt.preparation.prepare` says of the clip.
    """

    folder: Path
    track: Track
    facts: dict[str, object]

    @property
    def person(self) -> str:
        """Name of the person; clips of one person share it."""
        return str(self.facts["person"])

    def frames(self) -> torch.Tensor:
        """Rows [N] (int64, ascending) of the track that have a crop."""
        return torch.tensor(self.facts["crop_frames"], dtype=torch.int64)

    @cached_property
    def _crops(self) -> np.ndarray:
        frames = len(self.frames())
        crops = np.empty((frames, self.track.crop_size, self.track.crop_size, 3), np.uint8)
        video = cv2.VideoCapture(str(self.folder / CROPS_NAME))
        count = 0
        while count < frames:
            there, bgr = video.read()
            if not there:
                raise StoreError(f"{self.folder / CROPS_NAME}: {count} of {frames} crops; run `adapt prepare` again")
            crops[count] = bgr[..., ::-1]
            count += 1
        video.release()
        return crops

    def crop(self, frame: int) -> np.ndarray:
        """Crop of a row of the track that has one: uint8 [H, W, 3] sRGB. All of the clip's are decoded and kept."""
        return self._crops[int(torch.searchsorted(self.frames(), frame))]


def prepared_clips(cache: Path) -> Iterator[PreparedClip]:
    """Every clip of a cache, by name.

    Raises:
        StoreError: the cache holds none.
    """
    paths = sorted(Path(cache).glob(f"*/{TRACK_NAME}"))
    if not paths:
        raise StoreError(f"{cache}: no */{TRACK_NAME}; make it with `adapt prepare FOOTAGE -o {cache}`")
    for path in paths:
        facts = read_json(path.parent / FACTS_NAME)
        yield PreparedClip(path.parent, Track.load(path), facts)
