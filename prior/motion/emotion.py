"""Emotion: what it does to a mouth that talks, learnt from lips that were measured while people acted.

In: an emotion's name. Out: by how much each measure of the mouth lies elsewhere on average, and by what factor it moves
further about that. Learnt and scored by `prior.benchmarks.emotion`; what the words are is in its file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from prior.motion.style import CORNERS, MEASURES, mouth_measures
from render.errors import StoreError
from render.head.face_model import FaceModel
from render.store import Form, load_tensors, refuse_other_forms, save_tensors

KIND = "adapt-emotions"
KIND_VERSION = 1
WEIGHTS = Path(__file__).parents[1] / "weights" / "emotion.safetensors"

#: Columns of `mouth_shape`.
SHAPE = (*MEASURES, "corner height")
UPPER_LIP = 0  # the middle of its outer border
#: No emotion moves a mouth further, cm, or widens or narrows its movement more.
FARTHEST_CM, LARGEST_RATIO = 3.0, 4.0
WORDS = "emotions"  # the fact that names them


@dataclass(frozen=True)
class EmotionalMouth:
    """What one emotion, in full, does to a mouth beside neutral talking.

    Attributes:
        shift: [len(SHAPE)] added to the mean, cm of the average head.
        ratio: [len(SHAPE)] of movement about it.
    """

    shift: torch.Tensor
    ratio: torch.Tensor


def mouth_shape(face_model: FaceModel, lower: torch.Tensor) -> torch.Tensor:
    """Columns `SHAPE` [.., 4] of expressions [.., E], cm: `mouth_measures`, and corners above the upper lip."""

    def above(vertices: torch.Tensor) -> torch.Tensor:
        return vertices[..., list(CORNERS), 1].mean(-1) - vertices[..., UPPER_LIP, 1]

    corners = above(face_model.mean) + lower @ above(face_model.lower_basis)
    return torch.cat([mouth_measures(face_model, lower), corners[..., None]], -1)


def save_emotions(path: Path, mouths: Mapping[str, EmotionalMouth], facts: dict[str, object]) -> None:
    """Write emotions by their words, with `facts` about how they were learnt."""
    tensors = {
        name: torch.stack([getattr(mouth, name) for mouth in mouths.values()]).float() for name in ("shift", "ratio")
    }
    save_tensors(path, KIND, KIND_VERSION, tensors, {**facts, WORDS: list(mouths)})


def load_emotions(path: Path | None = None) -> dict[str, EmotionalMouth]:
    """Emotions by their words, from `path` (default: the shipped ones).

    Raises:
        StoreError, StoreVersionError: the file is missing, foreign or of another version, or holds no such thing.
    """
    path = WEIGHTS if path is None else path
    tensors, facts = load_tensors(path, KIND, KIND_VERSION)
    words = facts.get(WORDS)
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise StoreError(f"{path}: damaged: {WORDS} are no words; copy the file again")
    size = (len(words), len(SHAPE))
    forms = {
        "shift": Form(size, None, -FARTHEST_CM, FARTHEST_CM),
        "ratio": Form(size, None, 1 / LARGEST_RATIO, LARGEST_RATIO),
    }
    refuse_other_forms(path, tensors, forms)
    return {word: EmotionalMouth(tensors["shift"][row], tensors["ratio"][row]) for row, word in enumerate(words)}


@cache
def shipped_emotions() -> dict[str, EmotionalMouth]:
    """The shipped emotions, read once a process."""
    return load_emotions()
