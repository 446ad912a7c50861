"""Detector landmarks of one clip: what `adapt prepare --stage landmarks` stores and the face model is learnt from."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from render.errors import StoreError
from render.store import damage_named, load_tensors, save_tensors

KIND = "adapt-landmarks"
KIND_VERSION = 2
FILE_NAME = "landmarks.safetensors"


@dataclass(frozen=True)
class Landmarks:
    """Landmarks of one person in one clip.

    Attributes:
        width, height: px of the upright image.
        timestamps: [T] float64 seconds.
        shot: [T] int32 index of the shot.
        points: [T, 468, 3] float32: x, y in px of the upright image, relative depth (px, smaller is nearer); NaN where
            the face was not found.
        flow: [T, K, 2] float32 px, motion of the skin at the rigid points since the frame before; NaN where not known.
        confidence: [T] float32 in [0, 1].
        person: name of the person; clips of one person share it.
        source: facts of the clip.
    """

    width: int
    height: int
    timestamps: torch.Tensor
    shot: torch.Tensor
    points: torch.Tensor
    flow: torch.Tensor
    confidence: torch.Tensor
    person: str
    source: dict[str, object]

    def save(self, path: Path) -> None:
        """Write as safetensors, atomically."""
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, torch.Tensor)}
        facts = {name: value for name, value in vars(self).items() if name not in tensors}
        save_tensors(path, KIND, KIND_VERSION, tensors, facts)

    @staticmethod
    def load(path: Path) -> "Landmarks":
        """Read one file; raises `StoreError` or `StoreVersionError`."""
        tensors, facts = load_tensors(path, KIND, KIND_VERSION)
        with damage_named(path, KIND):
            return Landmarks(**{**tensors, **facts})


def load_all(cache: Path) -> Iterator[Landmarks]:
    """Every clip's landmarks under `cache` (`cache/CLIP/landmarks.safetensors`), sorted by clip name."""
    paths = sorted(cache.glob(f"*/{FILE_NAME}"))
    if not paths:
        raise StoreError(
            f"{cache}: no */{FILE_NAME}; make it with `adapt prepare FOOTAGE -o {cache} --stage landmarks`"
        )
    for path in paths:
        yield Landmarks.load(path)
