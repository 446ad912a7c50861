"""Faces by MediaPipe: its two detectors, and its refined mesh of 478 landmarks on each face's own turned crop.

The models are inside the mediapipe wheel, so nothing is downloaded. The mesh network is run on crops that we cut: that
finds faces of 40 px, averages fine detail instead of skipping it, and tells how sure the network is.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import finalize

import cv2
import numpy as np

from adapt.cast.faces import Face, LandmarkLayout, eye_centres, is_known
from prior.face.points import RIGID_POINTS

FACE_MESH_LAYOUT = LandmarkLayout(
    right_eye=(33, 133),
    left_eye=(362, 263),
    nose_tip=4,
    chin=152,
    brow_top=9,
    side_right=234,
    side_left=454,
    mouth_right=61,
    mouth_left=291,
    inner_lip_top=13,
    inner_lip_bottom=14,
    rigid=RIGID_POINTS,
)


MESH_SIZE = 192
# Side of the square that the mesh network sees, as a multiple of the landmarks' larger extent: what it was trained
# with.
# A second look, tighter by a fifth, was tried: it opens shaded lips of real people by up to 9 % too wide.
MESH_MARGIN = 1.5
# Side of a detector tile, px of the picture: a 40 px face is then a tenth of it.
TILE = 384
TILE_OVERLAP = 96
# Least confidence of a face that is followed, and of one that is found anew; of a detector's proposal.
LEAST_CONFIDENCE = 0.5
LEAST_NEW_CONFIDENCE = 0.95
LEAST_DETECTION = 0.4
LEAST_FACE_PX = 24.0
# The mesh network is as sure of a face that stands on its head, chin for brow, as of one the right way up; the
# detectors are not. They are asked again in a picture about the face, so many times the mesh network's square and of
# so many px, and in the same turned by 180 degrees: a face is upside down where that is surely, and more surely, one.
# Of 89 faces in 44 clips none is turned by that, of the same upside down all are.
ABOUT_FACE, ABOUT_FACE_PX = 2.0, 320
# Eyes of the detectors and of the mesh network are the same when so near, in eye distances.
EYES_AGREE = 0.5
SURELY_TURNED, MORE_SURELY = 0.75, 0.05


MESH_GRAPH = """
input_stream: "image"
output_stream: "landmarks"
output_stream: "presence"
node {
  calculator: "ConstantSidePacketCalculator"
  output_side_packet: "PACKET:with_attention"
  options: { [mediapipe.ConstantSidePacketCalculatorOptions.ext]: { packet { bool_value: true } } }
}
node {
  calculator: "FaceLandmarksModelLoader"
  input_side_packet: "WITH_ATTENTION:with_attention"
  output_side_packet: "MODEL:model"
}
node { calculator: "TfLiteCustomOpResolverCalculator" output_side_packet: "OP_RESOLVER:op_resolver" }
node {
  calculator: "ImageToTensorCalculator"
  input_stream: "IMAGE:image"
  output_stream: "TENSORS:picture"
  options: {
    [mediapipe.ImageToTensorCalculatorOptions.ext] {
      output_tensor_width: 192
      output_tensor_height: 192
      output_tensor_float_range { min: 0.0 max: 1.0 }
    }
  }
}
node {
  calculator: "InferenceCalculator"
  input_side_packet: "MODEL:model"
  input_side_packet: "OP_RESOLVER:op_resolver"
  input_stream: "TENSORS:picture"
  output_stream: "TENSORS:output"
  options: { [mediapipe.InferenceCalculatorOptions.ext] { delegate { xnnpack { num_threads: 1 } } } }
}
node {
  calculator: "SplitTensorVectorCalculator"
  input_stream: "output"
  output_stream: "landmark_tensors"
  output_stream: "presence_tensor"
  options: {
    [mediapipe.SplitVectorCalculatorOptions.ext] { ranges: { begin: 0 end: 6 } ranges: { begin: 6 end: 7 } }
  }
}
node {
  calculator: "TensorsToFaceLandmarksWithAttention"
  input_stream: "TENSORS:landmark_tensors"
  output_stream: "LANDMARKS:landmarks"
}
node {
  calculator: "TensorsToFloatsCalculator"
  input_stream: "TENSORS:presence_tensor"
  output_stream: "FLOAT:presence"
  options: { [mediapipe.TensorsToFloatsCalculatorOptions.ext] { activation: SIGMOID } }
}
"""


#: The descriptor of standard error is the process's: two that put it aside at once could lose it for good.
STDERR_ASIDE = Lock()


@contextmanager
def silent_libraries() -> Iterator[None]:
    """Native libraries greet on standard error while they load; errors still come as exceptions.

    They write to the descriptor, past Python, so it is put aside for the whole process: what other threads write
    there meanwhile is lost. Nothing but loading and a first picture belongs inside.
    """
    sys.stderr.flush()
    with STDERR_ASIDE, open(os.devnull, "w") as sink:
        saved = os.dup(2)
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


class MeshDetector:
    """MediaPipe's refined face mesh on a square picture: 478 landmarks and the confidence that this is a face.

    Uses the models inside the mediapipe wheel. One thread, no state from picture to picture.
    """

    def __init__(self) -> None:
        with silent_libraries():
            import mediapipe
            from mediapipe.python._framework_bindings import resource_util

            resource_util.set_resource_dir(str(Path(mediapipe.__file__).parents[1]))
            self._mediapipe = mediapipe
            self._packets: dict[str, Any] = {}
            self._time = 0
            self._graph = mediapipe.CalculatorGraph(graph_config=MESH_GRAPH)
            for stream in ("landmarks", "presence"):
                self._graph.observe_output_stream(stream, self._packets.__setitem__)
            # A graph that is still running when Python ends would wait for it, and Python for the graph.
            finalize(self, self._graph.close)
            self._graph.start_run()
            self(np.zeros((MESH_SIZE, MESH_SIZE, 3), np.uint8))

    def __call__(self, square: np.ndarray) -> tuple[np.ndarray, float]:
        """Landmarks float32 [478, 3] in units of the picture's side, and confidence; picture uint8 [192, 192, 3]."""
        packet = self._mediapipe.packet_creator.create_image_frame(
            square, image_format=self._mediapipe.ImageFormat.SRGB
        )
        self._time += 1
        self._graph.add_packet_to_input_stream("image", packet.at(self._time))
        self._graph.wait_until_idle()
        points = self._mediapipe.packet_getter.get_proto(self._packets["landmarks"]).landmark
        presence = self._mediapipe.packet_getter.get_float(self._packets["presence"])
        return np.array([(point.x, point.y, point.z) for point in points], np.float32), presence


class MediaPipeBackend:
    """Faces by MediaPipe: its two detectors on the picture and on tiles of it, its refined mesh on each face's own
    crop.
    """

    layout = FACE_MESH_LAYOUT
    point_count = 478

    def __init__(self) -> None:
        self._mesh = MeshDetector()
        with silent_libraries():
            from mediapipe.python.solutions.face_detection import FaceDetection

            self._detectors = [FaceDetection(LEAST_DETECTION, model_selection=model) for model in (0, 1)]
            for detector in self._detectors:
                finalize(self, detector.close)
                detector.process(np.zeros((64, 64, 3), np.uint8))

    def detect(self, rgb: np.ndarray, small: bool) -> list[Face]:
        """All faces in a picture, from the whole picture down to tiles of it in which 40 px is large."""
        height, width = rgb.shape[:2]
        faces: list[Face] = []
        for x, y, w, h in [(0, 0, width, height), *(_tiles(width, height) if small else ())]:
            for square in self._candidates(rgb[y : y + h, x : x + w], (x, y)):
                if any(_covers(face, square) for face in faces):
                    continue
                face = self._mesh_twice(rgb, square)
                if not face or is_known(face, faces):
                    continue
                turned = self._turned(rgb, face)
                if turned:  # what was found of it before the right way up was known goes
                    faces = [*(other for other in faces if not is_known(other, [turned])), turned]
                elif face.confidence >= LEAST_NEW_CONFIDENCE:
                    faces.append(face)
        return faces

    def _mesh_twice(self, rgb: np.ndarray, square: "Square") -> Face | None:
        """The face in a square; again from its own landmarks, as the detector's box is loose."""
        face = self._mesh_in(rgb, square)
        return face and self.follow(rgb, face)

    def _turned(self, rgb: np.ndarray, face: Face) -> Face | None:
        """The face the right way up, if it was found standing on its head; else None."""
        square = _square_of(face.landmarks)
        about = replace(square, side=ABOUT_FACE * square.side)
        upright, _ = self._surest(rgb, about)
        over, found = self._surest(rgb, replace(about, angle=about.angle + np.pi))
        if found is None or over < max(SURELY_TURNED, upright + MORE_SURELY):
            return None
        again = self._mesh_twice(rgb, found)
        return again if again and again.confidence >= LEAST_NEW_CONFIDENCE else None

    def _surest(self, rgb: np.ndarray, about: "Square") -> tuple[float, "Square | None"]:
        """Score of the detectors' surest face in the middle of a square of the picture, and where it is."""
        shown = about.cut(rgb, ABOUT_FACE_PX)
        best: tuple[float, Square | None] = (0.0, None)
        for score, found in self._found(shown):
            is_middle = np.abs(found.centre / ABOUT_FACE_PX - 0.5).max() < 0.2
            if is_middle and score > best[0]:
                matrix = about.image_from_unit()
                centre = matrix[:, :2] @ (found.centre / ABOUT_FACE_PX) + matrix[:, 2]
                side = found.side * about.side / ABOUT_FACE_PX
                best = score, Square(centre, side, found.angle + about.angle)
        return best

    def follow(self, rgb: np.ndarray, face: Face) -> Face | None:
        """The face again, looked for in a crop around its last landmarks."""
        return self._mesh_in(rgb, _square_of(face.landmarks))

    def proves(self, rgb: np.ndarray, face: Face) -> bool:
        """Whether both detectors find a face there whose eyes are where the mesh network has them.

        That network is as sure of a lamp as of a face, once it is led there; two detectors that look at its upright
        picture hardly ever are, and hardly ever miss a face.
        """
        about = _square_of(face.landmarks)
        about = replace(about, side=ABOUT_FACE * about.side)
        shown, matrix = np.ascontiguousarray(about.cut(rgb, ABOUT_FACE_PX)), about.image_from_unit()
        eyes = np.stack([eye[:2] for eye in eye_centres(face.landmarks, self.layout)])
        allowed = EYES_AGREE * float(np.linalg.norm(eyes[1] - eyes[0]))

        def agrees(detection: Any) -> bool:
            found = np.array([[eye.x, eye.y] for eye in detection.location_data.relative_keypoints[:2]])
            there = found @ matrix[:, :2].T + matrix[:, 2]
            return float(np.linalg.norm(there - eyes, axis=1).mean()) < allowed

        return all(any(map(agrees, one.process(shown).detections or [])) for one in self._detectors)

    def _candidates(self, tile: np.ndarray, offset: tuple[int, int]) -> Iterator["Square"]:
        """Squares around what the detectors find in a part of the picture."""
        for _, square in self._found(tile):
            yield replace(square, centre=square.centre + offset)

    def _found(self, tile: np.ndarray) -> Iterator[tuple[float, "Square"]]:
        """What the detectors find in a picture: their score, and a square for the mesh network."""
        height, width = tile.shape[:2]
        scale = max(1.0, max(height, width) / TILE)
        if scale > 1.0:
            size = (max(1, round(width / scale)), max(1, round(height / scale)))
            tile = cv2.resize(tile, size, interpolation=cv2.INTER_AREA)
        tile = np.ascontiguousarray(tile)
        for detector in self._detectors:
            for detection in detector.process(tile).detections or []:
                location = detection.location_data
                box, eyes = location.relative_bounding_box, location.relative_keypoints[:2]
                right, left = (np.array([eye.x * width, eye.y * height]) for eye in eyes)
                centre = np.array([(box.xmin + box.width / 2) * width, (box.ymin + box.height / 2) * height])
                side = max(box.width * width, box.height * height)
                angle = float(np.arctan2(left[1] - right[1], left[0] - right[0]))
                yield detection.score[0], Square(centre, MESH_MARGIN * side, angle)

    def _mesh_in(self, rgb: np.ndarray, square: "Square") -> Face | None:
        if square.side < LEAST_FACE_PX:
            return None
        points, confidence = self._mesh(square.cut(rgb))
        if confidence < LEAST_CONFIDENCE:
            return None
        landmarks = square.to_image(points)
        box = np.concatenate([landmarks[:, :2].min(axis=0), landmarks[:, :2].max(axis=0)])
        if _inside(box, rgb.shape) < 0.5:
            return None
        return Face(box.astype(np.float32), landmarks, confidence)


@dataclass(frozen=True)
class Square:
    """A turned square in the picture: `centre` [2] px, `side` px, `angle` radians clockwise."""

    centre: np.ndarray
    side: float
    angle: float

    def image_from_unit(self) -> np.ndarray:
        """[2, 3] affine from the unit square to px."""
        cos, sin = np.cos(self.angle) * self.side, np.sin(self.angle) * self.side
        turn = np.array([[cos, -sin], [sin, cos]])
        return np.concatenate([turn, (self.centre - turn @ (0.5, 0.5))[:, None]], axis=1)

    def cut(self, rgb: np.ndarray, px: int = MESH_SIZE) -> np.ndarray:
        """The square's picture, uint8 [px, px, 3]; shrunk by area averaging, so that fine detail does not flicker."""
        factor = int(np.clip(round(self.side / px), 1, 4))
        size = px * factor
        # Pixel centres are at + 0.5; warpAffine puts them at whole numbers.
        matrix = self.image_from_unit()
        matrix[:, 2] += matrix[:, :2] @ (0.5 / size, 0.5 / size) - 0.5
        matrix[:, :2] /= size
        flags = cv2.WARP_INVERSE_MAP | (cv2.INTER_CUBIC if self.side < px else cv2.INTER_LINEAR)
        warped = cv2.warpAffine(rgb, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_CONSTANT)
        if factor > 1:
            warped = cv2.resize(warped, (px, px), interpolation=cv2.INTER_AREA)
        return warped

    def to_image(self, points: np.ndarray) -> np.ndarray:
        """Landmarks float32 [N, 3] in px from unit-square ones."""
        matrix = self.image_from_unit()
        plane = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        return np.concatenate([plane, points[:, 2:] * self.side], axis=1).astype(np.float32)


def _square_of(landmarks: np.ndarray) -> Square:
    right, left = eye_centres(landmarks, FACE_MESH_LAYOUT)
    angle = float(np.arctan2(left[1] - right[1], left[0] - right[0]))
    cos, sin = np.cos(angle), np.sin(angle)
    level = landmarks[:, :2] @ np.array([[cos, -sin], [sin, cos]])
    low, high = level.min(axis=0), level.max(axis=0)
    centre = np.array([[cos, -sin], [sin, cos]]) @ ((low + high) / 2)
    return Square(centre.astype(np.float64), float((high - low).max()) * MESH_MARGIN, angle)


def _tiles(width: int, height: int) -> Iterator[tuple[int, int, int, int]]:
    """Overlapping tiles (x, y, width, height) that cover a picture larger than one of them."""
    if max(width, height) <= TILE * 1.25:
        return
    step = TILE - TILE_OVERLAP
    columns = max(1, -(-(width - TILE_OVERLAP) // step))
    rows = max(1, -(-(height - TILE_OVERLAP) // step))
    for y in np.linspace(0, max(0, height - TILE), rows).astype(int):
        for x in np.linspace(0, max(0, width - TILE), columns).astype(int):
            yield int(x), int(y), min(TILE, width), min(TILE, height)


def _covers(face: Face, square: Square) -> bool:
    """Whether a candidate is a face that was found already."""
    centre = (face.box[:2] + face.box[2:]) / 2
    size = float((face.box[2:] - face.box[:2]).max())
    near = float(np.abs(centre - square.centre).max()) < 0.35 * size
    return near and 0.4 < square.side / MESH_MARGIN / size < 2.5


def _inside(box: np.ndarray, shape: tuple[int, ...]) -> float:
    """Part of a box's area that lies in the picture."""
    low = np.maximum(box[:2], 0)
    high = np.minimum(box[2:], (shape[1], shape[0]))
    return float(np.prod(np.maximum(high - low, 0)) / max(np.prod(box[2:] - box[:2]), 1e-9))
