import pytest
import torch

from prior.cache.landmarks import KIND, KIND_VERSION, Landmarks
from render.errors import StoreError
from render.store import save_tensors

TENSORS = {
    "timestamps": torch.arange(2, dtype=torch.float64),
    "shot": torch.zeros(2, dtype=torch.int32),
    "points": torch.full((2, 468, 3), float("nan")),
    "flow": torch.zeros(2, 4, 2),
    "confidence": torch.zeros(2),
}
FACTS = {"width": 64, "height": 48, "person": "ada", "source": {}}


def test_landmarks_come_back(tmp_path):
    save_tensors(tmp_path / "whole", KIND, KIND_VERSION, TENSORS, FACTS)
    loaded = Landmarks.load(tmp_path / "whole")
    assert (loaded.width, loaded.person) == (64, "ada") and loaded.points.isnan().all()


@pytest.mark.parametrize(("tensors", "facts"), [({"more": torch.zeros(1)}, {}), ({}, {"more": 1})])
def test_other_landmarks_are_refused_by_name(tmp_path, tensors, facts):
    save_tensors(tmp_path / "other", KIND, KIND_VERSION, {**TENSORS, **tensors}, {**FACTS, **facts})
    with pytest.raises(StoreError, match="other: damaged"):
        Landmarks.load(tmp_path / "other")
