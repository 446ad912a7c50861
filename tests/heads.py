"""Heads for tests: simulated points of a head that moves, and a real portrait (public domain) at any size."""

from pathlib import Path

import cv2
import numpy as np
import torch
from skimage.data import astronaut

from adapt.synthetic.actor import babble, make_actor
from adapt.tracking.jaw_leak import USUAL_LEAK
from prior.face.model import load_face_model
from prior.face.points import opening
from prior.speech.sound import SAMPLE_RATE, read_waveform
from render.head.camera import Intrinsics, camera_from_head, project, rotation_matrix, rotation_vector, transform_points
from tests.media import Sound, make_clip

SIZE = (640, 480)
SENTENCE = Path(__file__).parents[1] / "examples" / "sentence.flac"


DISTANCE_CM = 90.0


FOCAL_PX = 1500.0


def head(frames, seed=0, turn=0.15, jaw=1.0, noise_px=0.0, leak=USUAL_LEAK):
    """Points [T, 468, 3] of a person of random shape whose head and mouth move smoothly, and the truth.

    They turn with the jaw as the detector's do, by `leak` radians for a lip gap of one eye distance.
    """
    model = load_face_model()
    generator = torch.Generator().manual_seed(seed)
    times = torch.arange(frames, dtype=torch.float64) / 25
    shape = torch.randn(len(model.shape_basis), generator=generator).double() * 0.7

    def wave(count, hertz):
        phase = torch.rand(count, generator=generator).double() * 6.28
        speed = hertz * (0.7 + 0.6 * torch.rand(count, generator=generator).double())
        return torch.sin(6.28 * times[:, None] * speed + phase)

    rotation = turn * wave(3, 0.3)
    translation = torch.tensor([1.0, -2.0, DISTANCE_CM]) + torch.tensor([1.5, 1.0, 2.0]) * wave(3, 0.2)
    lower = 0.4 * wave(len(model.lower_basis), 1.5)
    lower[:, 0] = jaw * (0.5 + 0.5 * wave(1, 2.0)[:, 0])
    upper = 0.3 * wave(len(model.upper_basis), 0.5)
    vertices = model.vertices(shape.float(), lower.float(), upper.float()).double()[:, : model.landmark_count]
    gap = opening(vertices)
    leaking = rotation_matrix(gap[:, None] * torch.tensor(leak, dtype=torch.float64))
    nodding = rotation_vector(rotation_matrix(rotation) @ leaking)
    camera = transform_points(camera_from_head(nodding, translation), vertices)
    flat = project(camera, Intrinsics.centred(FOCAL_PX, *SIZE))
    depth = (camera[..., 2:] - translation[:, None, 2:]) * FOCAL_PX / translation[:, None, 2:]
    points = torch.cat([flat, depth], -1)
    points += noise_px * torch.randn(points.shape, generator=generator).double()
    return points, times, {"rotation": rotation, "translation": translation, "gap": gap, "shape": shape}


def portrait(face_px: float, size: tuple[int, int] = (1280, 720), at: tuple[int, int] = (640, 360)) -> np.ndarray:
    """The portrait (a face 110 px high) scaled so that its face is `face_px` high, its centre `at`, on grey."""
    scale = face_px / 110
    small = cv2.resize(astronaut(), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    picture = np.full((size[1], size[0], 3), 90, np.uint8)
    x, y = round(at[0] - 222 * scale), round(at[1] - 120 * scale)
    x0, y0 = max(x, 0), max(y, 0)
    x1, y1 = min(x + small.shape[1], size[0]), min(y + small.shape[0], size[1])
    picture[y0:y1, x0:x1] = small[y0 - y : y1 - y, x0 - x : x1 - x]
    return picture


def near(index: int = 0, size: tuple[int, int] = (240, 180)) -> np.ndarray:
    return portrait(100, size=size, at=(size[0] // 2 + index % 3, size[1] // 2))


TAKE_SECONDS, TAKE_FPS, TAKE_PX = 1.2, 25, 256


def film_takes(folder: Path) -> Path:
    """Write two takes, `index.csv`, and a file that is no video; returns the folder."""
    folder.mkdir()
    actor = make_actor(TAKE_PX)
    times = torch.arange(round(TAKE_SECONDS * TAKE_FPS), dtype=torch.float64) / TAKE_FPS
    voice = read_waveform(SENTENCE)[SAMPLE_RATE:]
    for number in (0, 1):
        take = actor.perform(actor.speak(babble(TAKE_SECONDS, seed=number), times), times, seed=number)
        sounds = [Sound(seconds=TAKE_SECONDS, voice=voice)]
        make_clip(folder / f"take {number}.mp4", pictures=list(actor.frames(take)), rate=TAKE_FPS, sounds=sounds)
    (folder / "damaged.mp4").write_bytes(b"no video at all")
    rows = ["file,person,speech", "take 0.mp4,ada,yes", "take 1.mp4,ada,yes", "damaged.mp4,bob,yes"]
    (folder / "index.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder
