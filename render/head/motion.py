"""Motion: lower expression over time, as audio-to-motion predicts it or a track supplies it."""

from dataclasses import dataclass
from pathlib import Path

import torch

from render.errors import StoreError
from render.store import Form, load_tensors, measured, refuse_other_forms, save_tensors

KIND = "adapt-motion"
KIND_VERSION = 1
#: What a file holds.
FORMS = {
    "timestamps": Form(("T",), torch.float64),
    "lower_expression": measured("T", "L"),
    "confidence": Form(("T",), low=0, high=1),
}


@dataclass(frozen=True)
class Motion:
    """Mouth motion at stated times.

    Attributes:
        timestamps: [T] float64 seconds, strictly increasing.
        lower_expression: [T, E_lower] float32 coefficients of the face model.
        confidence: [T] float32 in [0, 1]; 0 where nothing is known.
    """

    timestamps: torch.Tensor
    lower_expression: torch.Tensor
    confidence: torch.Tensor

    def save(self, path: Path) -> None:
        """Write as safetensors, atomically."""
        save_tensors(path, KIND, KIND_VERSION, vars(self), {})

    @staticmethod
    def load(path: Path) -> "Motion":
        """Read a motion file; raises `StoreError` or `StoreVersionError`."""
        tensors, _ = load_tensors(path, KIND, KIND_VERSION)
        refuse_other_forms(path, tensors, FORMS)
        if bool((tensors["timestamps"].diff() <= 0).any()):
            raise StoreError(f"{path}: its times do not increase; make it again")
        return Motion(**tensors)
