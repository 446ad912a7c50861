"""The face model type: a mesh with linear shape and expression bases, uv coordinates and face regions.

`vertices = mean + shape · shape_basis + lower · lower_basis + upper · upper_basis`, in head space (cm). The first
`landmark_count` vertices are the landmark backend's points, in its order. The first lower axis opens the jaw. Every
head converted to this file form works.
"""

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import torch

from render.head.lip_seam import LipSeam, lip_seam
from render.store import Form, damage_named, load_tensors, measured, refuse_other_forms, refuse_values, save_tensors

KIND = "adapt-face-model"
KIND_VERSION = 1
#: Values of `FaceModel.face_region`.
REGIONS = ("skin_upper", "skin_lower", "lips", "mouth_upper", "mouth_lower", "eyes", "skirt")
#: What a file holds: V vertices, F faces, S, L and U coefficients.
FORMS = {
    "mean": measured("V", 3),
    "shape_basis": measured("S", "V", 3),
    "lower_basis": measured("L", "V", 3),
    "upper_basis": measured("U", "V", 3),
    "faces": Form(("F", 3), torch.int32, low=0),
    "uv": Form(("V", 2), low=0, high=1),
    "face_region": Form(("F",), torch.uint8, high=len(REGIONS) - 1),
    "rigid_weight": Form(("V",), low=0, high=1),
}


@dataclass(frozen=True)
class FaceModel:
    """A linear face model in head space.

    Attributes:
        mean: [V, 3] float32, cm.
        shape_basis: [S, V, 3] cm per unit coefficient; coefficients have unit variance over people.
        lower_basis: [E_lower, V, 3] cm; mouth, jaw, cheeks; axis 0 opens the jaw.
        upper_basis: [E_upper, V, 3] cm; eyes and brows.
        faces: [F, 3] int32, counter-clockwise seen from outside (from +z).
        uv: [V, 2] in [0, 1], origin top left.
        face_region: [F] uint8, index into `REGIONS`.
        rigid_weight: [V] in [0, 1]; how little expression moves a vertex (1 = rigid with the head).
        landmark_count: the first vertices that are detector landmarks.
    """

    mean: torch.Tensor
    shape_basis: torch.Tensor
    lower_basis: torch.Tensor
    upper_basis: torch.Tensor
    faces: torch.Tensor
    uv: torch.Tensor
    face_region: torch.Tensor
    rigid_weight: torch.Tensor
    landmark_count: int

    def vertices(self, shape: torch.Tensor, lower: torch.Tensor, upper: torch.Tensor | None = None) -> torch.Tensor:
        """Head-space vertices [T, V, 3] (cm) from shape [S] or [T, S], lower [T, E_lower], upper [T, E_upper]."""
        result = self.mean + torch.einsum("...s,svk->...vk", shape, self.shape_basis)
        result = result + torch.einsum("te,evk->tvk", lower, self.lower_basis)
        if upper is not None:
            result = result + torch.einsum("te,evk->tvk", upper, self.upper_basis)
        return result

    def faces_in(self, *regions: str) -> torch.Tensor:
        """Boolean [F]: faces whose region is one of `regions`."""
        wanted = torch.tensor(
            [REGIONS.index(region) for region in regions], dtype=torch.uint8, device=self.face_region.device
        )
        return torch.isin(self.face_region, wanted)

    @cached_property
    def lip_seam(self) -> LipSeam | None:
        """Where the lips touch in uv; None for a head whose lips do not part."""
        return lip_seam(self.faces, self.uv, self.faces_in("lips"))

    def to(self, device: str | torch.device) -> "FaceModel":
        """The same on a device."""
        tensors = {name: value.to(device) for name, value in self._tensors().items()}
        return FaceModel(**tensors, landmark_count=self.landmark_count)

    def _tensors(self) -> dict[str, torch.Tensor]:
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name != "landmark_count"}

    def save(self, path: Path) -> None:
        """Write as safetensors, atomically."""
        facts = {"landmark_count": self.landmark_count, "regions": list(REGIONS)}
        save_tensors(path, KIND, KIND_VERSION, self._tensors(), facts)

    @staticmethod
    def load(path: Path) -> "FaceModel":
        """Read a face model file; raises `StoreError` or `StoreVersionError`."""
        tensors, facts = load_tensors(path, KIND, KIND_VERSION)
        sizes = refuse_other_forms(path, tensors, FORMS)
        refuse_values(path, "faces", tensors["faces"], high=sizes["V"] - 1)
        with damage_named(path, KIND):
            count = int(facts["landmark_count"])
            if not 0 < count <= sizes["V"]:
                raise ValueError(f"{count} landmarks of {sizes['V']} vertices")
        return FaceModel(**tensors, landmark_count=count)
