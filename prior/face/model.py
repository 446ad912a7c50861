"""The shipped face model, read once."""

from pathlib import Path

from render.head.face_model import FaceModel

WEIGHTS = Path(__file__).parents[1] / "weights" / "face_model.safetensors"


def load_face_model(path: Path | None = None) -> FaceModel:
    """The shipped face model, or the one stored at `path`; raises `StoreError` or `StoreVersionError`."""
    return FaceModel.load(WEIGHTS if path is None else path)
