"""Track: one person's motion, shape and camera, recovered from one video, one row a frame of that video."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from render.errors import StoreError
from render.head.camera import Intrinsics, camera_from_head, clip_from_camera, project, transform_points
from render.head.face_model import FaceModel
from render.head.motion import Motion
from render.store import LARGEST, Form, damage_named, load_tensors, measured, refuse_other_forms, save_tensors

KIND = "adapt-track"
KIND_VERSION = 1
#: What a file holds; S, L and U are the face model's.
FORMS = {
    "timestamps": Form(("T",), torch.float64),
    "shot": Form(("T",), torch.int32, low=0),
    "confidence": Form(("T",), low=0, high=1),
    "shape": measured("S"),
    "focal_px": Form(("T",), low=0, high=LARGEST),
    "rotation": measured("T", 3),
    "translation": measured("T", 3),
    "lower_expression": measured("T", "L"),
    "upper_expression": measured("T", "U"),
    "crop_from_image": measured("T", 2, 3, dtype=torch.float64),
}

#: Frames of at least this confidence are tracked surely: they are learnt from, shown and compared.
SURE_CONFIDENCE = 0.5


def frame_seconds(timestamps: torch.Tensor) -> float:
    """How long a frame is, from timestamps [T] seconds: the median difference, of two in the middle the lower one.

    0.0 where there is one frame only.
    """
    return float((timestamps[1:] - timestamps[:-1]).median()) if len(timestamps) > 1 else 0.0


@dataclass(frozen=True)
class Track:
    """One person in one video; rows are the video's frames, in order, faceless ones included.

    Attributes:
        width, height: px of the upright image, in square pixels.
        timestamps: [T] float64 seconds.
        shot: [T] int32 index of the shot.
        confidence: [T] float32 in [0, 1]; 0 where the person's face was not found (other rows there are held, not NaN).
        shape: [S] float32.
        focal_px: [T] float32, constant within a shot; the principal point is the image centre.
        rotation, translation: [T, 3] float32 head pose (radians; cm), see `render.head.camera`.
        lower_expression: [T, E_lower]; upper_expression: [T, E_upper] float32.
        crop_from_image: [T, 2, 3] float64 similarity to the crop, smooth within a shot, independent of expression.
        crop_size: px of the square crop.
        source: facts of the video (file name, sha256, person) as JSON-able values.
    """

    width: int
    height: int
    timestamps: torch.Tensor
    shot: torch.Tensor
    confidence: torch.Tensor
    shape: torch.Tensor
    focal_px: torch.Tensor
    rotation: torch.Tensor
    translation: torch.Tensor
    lower_expression: torch.Tensor
    upper_expression: torch.Tensor
    crop_from_image: torch.Tensor
    crop_size: int
    source: dict[str, object]

    def __len__(self) -> int:
        return len(self.timestamps)

    @property
    def frame_seconds(self) -> float:
        """How long a frame is, see the function; 0.0 where there is one only."""
        return frame_seconds(self.timestamps)

    @property
    def duration_seconds(self) -> float:
        """From the first frame to the end of the last; 0.0 where there is one only."""
        return float(self.timestamps[-1] - self.timestamps[0]) + self.frame_seconds

    def sure(self) -> torch.Tensor:
        """Frames that are tracked surely, bool [T]: of at least `SURE_CONFIDENCE`."""
        return self.confidence >= SURE_CONFIDENCE

    def intrinsics(self, frame: int) -> Intrinsics:
        """Camera of one frame, px of the upright image."""
        return Intrinsics.centred(float(self.focal_px[frame]), self.width, self.height)

    def motion(self) -> Motion:
        """The track's own mouth motion."""
        return Motion(self.timestamps, self.lower_expression, self.confidence)

    def camera_vertices(
        self, model: FaceModel, frames: torch.Tensor, lower_expression: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Camera-space vertices [N, V, 3] (cm) of frames [N] (int64), at another lower expression [N, E] if given."""
        lower = self.lower_expression[frames] if lower_expression is None else lower_expression
        vertices = model.vertices(self.shape, lower, self.upper_expression[frames])
        return transform_points(camera_from_head(self.rotation[frames], self.translation[frames]), vertices)

    def image_vertices(
        self, model: FaceModel, frames: torch.Tensor, lower_expression: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Vertices [N, V, 2] in px of the upright image."""
        points = self.camera_vertices(model, frames, lower_expression)
        centre = points.new_tensor([self.width / 2, self.height / 2])
        unit = project(points, Intrinsics(1.0, 1.0, 0.0, 0.0))
        return unit * self.focal_px[frames][:, None, None] + centre

    def clip_vertices(
        self, model: FaceModel, frames: torch.Tensor, lower_expression: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Clip-space vertices [N, V, 4] in each frame's crop, ready to rasterize."""
        points = self.camera_vertices(model, frames, lower_expression)
        clip = torch.stack(
            [
                clip_from_camera(
                    self.intrinsics(int(frame)), self.crop_from_image[frame], self.crop_size, self.crop_size
                )
                for frame in frames
            ]
        ).to(points.dtype)
        homogeneous = torch.cat([points, torch.ones_like(points[..., :1])], -1)
        return homogeneous @ clip.transpose(-1, -2)

    def with_crop_size(self, crop_size: int) -> "Track":
        """The same crops at another resolution, px."""
        scaled = self.crop_from_image * (crop_size / self.crop_size)
        return replace(self, crop_from_image=scaled, crop_size=crop_size)

    def with_motion(self, lower_expression: torch.Tensor) -> "Track":
        """The same track with another lower expression [T, E_lower]."""
        return replace(self, lower_expression=lower_expression)

    def save(self, path: Path) -> None:
        """Write as safetensors, atomically."""
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, torch.Tensor)}
        facts = {name: value for name, value in vars(self).items() if name not in tensors}
        save_tensors(path, KIND, KIND_VERSION, tensors, facts)

    @staticmethod
    def load(path: Path) -> "Track":
        """Read a track file; raises `StoreError` or `StoreVersionError`."""
        tensors, facts = load_tensors(path, KIND, KIND_VERSION)
        sizes = refuse_other_forms(path, tensors, FORMS)
        if not sizes["T"]:
            raise StoreError(f"{path}: a track of no frame; make it again with `adapt track`")
        if bool((tensors["timestamps"].diff() < 0).any()):
            raise StoreError(f"{path}: its times go back; make it again with `adapt track`")
        with damage_named(path, KIND):
            track = Track(**{**tensors, **facts})
            numbers = [track.width, track.height, track.crop_size]
            if not all(type(number) is int and 0 < number <= LARGEST for number in numbers) or not isinstance(
                track.source, dict
            ):
                raise ValueError("its size, or what it says of its video")
        return track
