"""The synthetic actor: a talking head that the project renders itself from the public-domain portrait in scikit-image.

In: timed phonemes (or a seed) and a length. Out: footage with its ground-truth `Track`. The portrait is tracked once;
its pixels become the texture of the face model; hair goes with the head, neck and shoulders follow it less and less
with distance; the mouth's inside is painted, and darker the less it is open. A soft background moves behind. Nobody's
consent is needed for her: it is what the demo, the examples and the tests use.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import mediapipe
import numpy as np
import skimage.data
import torch
from scipy.spatial import Delaunay

from adapt.cast.mediapipe_backend import MediaPipeBackend, silent_libraries
from adapt.reports.clip import encode_clip
from adapt.tracking.sightings import Sightings
from adapt.tracking.track import track_landmarks
from cuda_ext.ops import interpolate, rasterize, texture
from prior.face.model import load_face_model
from prior.face.points import LIPS_INNER, LIPS_OUTER, eye_distance, lip_gap
from render.head.camera import NEAR_CM, camera_from_head, clip_from_camera, transform_points
from render.head.face_model import REGIONS, FaceModel
from render.head.track import Track
from render.store import write_bytes

#: Rows and columns of the portrait that are shown: head, collar and some background.
PORTRAIT = (slice(2, 274), slice(84, 356))
#: Mouth targets of each sound class: opening, change of width, change of protrusion, in eye distances.
TARGETS = {
    **dict.fromkeys(("sil",), (0.0, 0.0, 0.0)),
    **dict.fromkeys(("p", "m"), (0.0, -0.02, 0.0)),
    **dict.fromkeys(("f",), (0.03, 0.0, -0.01)),
    **dict.fromkeys(("w", "u", "U", "y", "oe"), (0.07, -0.14, 0.05)),
    **dict.fromkeys(("th", "t", "n", "s", "j"), (0.07, 0.02, 0.0)),
    **dict.fromkeys(("l", "k", "ng", "h"), (0.13, 0.0, 0.0)),
    **dict.fromkeys(("sh", "r"), (0.10, -0.08, 0.04)),
    **dict.fromkeys(("i", "I", "e"), (0.12, 0.08, -0.01)),
    **dict.fromkeys(("E", "uh", "er"), (0.20, 0.03, 0.0)),
    **dict.fromkeys(("ae", "a"), (0.34, 0.04, 0.0)),
    **dict.fromkeys(("ao", "o"), (0.26, -0.08, 0.03)),
}
#: How much farther than it is the mouth's inside counts when it is compared with the lips, cm.
SHEET_BEHIND_CM = 3.0
#: How far around it (standard deviation, eye distances) a point inside the mouth gets its light from; the least of it,
#: red, green, blue: what the flesh throws back is red.
LIGHT_REACH = 0.025
LEAST_LIGHT = (0.25, 0.15, 0.12)
#: What a seeded actor babbles: every mouth shape comes up within two seconds.
BABBLE = "m a t sil p i s o w ae n f E l u sh a k sil p e r ao m I th uh p a j ae".split()


@dataclass(frozen=True)
class SyntheticActor:
    """A portrait made movable.

    Attributes:
        model: the face model that it moves by.
        pose: track of the portrait itself.
        points: [P, 3] camera-space points (cm) around the face, beyond the model's mesh.
        follow: [P] how much such a point moves with the head.
        faces: [F, 3] int32 over model vertices and points.
        pixels: [V + P, 2] px of the portrait that each vertex shows; the mouth's inside lies below the portrait.
        canvas: [1, 4, H, W] float32 sRGB and opacity: the portrait, and below it the painted mouth.
        rest: [E] lower expression of the closed mouth.
        steps: [3, E] lower expression that opens, widens and protrudes the mouth by one eye distance.
    """

    model: FaceModel
    pose: Track
    points: torch.Tensor
    follow: torch.Tensor
    faces: torch.Tensor
    pixels: torch.Tensor
    canvas: torch.Tensor
    rest: torch.Tensor
    steps: torch.Tensor

    @property
    def size(self) -> int:
        """Width and height of the footage, px."""
        return self.pose.width

    def speak(self, phones: Sequence[tuple[str, float]], timestamps: torch.Tensor) -> torch.Tensor:
        """Lower expression [T, E] at `timestamps` (s) for phones given as (class, end in seconds), in order."""
        ends = np.array([end for _, end in phones])
        starts = np.concatenate([[0.0], ends[:-1]])
        targets = np.array([TARGETS[name] for name, _ in phones])
        # Closures hold for half the phone; other sounds are reached at its middle.
        hold = np.where(np.isin([name for name, _ in phones], ["p", "m", "sil"]), 0.25, 0.0)
        middle, length = (starts + ends) / 2, ends - starts
        times = np.stack([middle - hold * length, middle + hold * length + 1e-4], 1).ravel()
        values = np.repeat(targets, 2, 0)
        query = timestamps.numpy()
        right = np.clip(np.searchsorted(times, query), 1, len(times) - 1)
        part = np.clip((query - times[right - 1]) / (times[right] - times[right - 1]), 0, 1)[:, None]
        eased = 0.5 - 0.5 * np.cos(np.pi * part)
        mouth = values[right - 1] * (1 - eased) + values[right] * eased
        return self.rest + torch.from_numpy(mouth).float() @ self.steps

    def perform(self, lower: torch.Tensor, timestamps: torch.Tensor, seed: int = 0) -> Track:
        """Ground truth of a take: the given lower expression [T, E], with seeded head motion and blinks."""
        count = len(timestamps)
        random = np.random.default_rng(seed)
        time = timestamps.numpy()[:, None]
        waves = sum(
            np.sin(2 * np.pi * (random.uniform(0.1, 0.45, 6) * time + random.uniform(0, 1, 6))) for _ in range(2)
        )
        sway = waves * np.array([0.03, 0.06, 0.025, 0.25, 0.15, 0.3])  # radians, then cm
        pose = self.pose
        rows = torch.zeros(count, dtype=torch.int64)
        return replace(
            pose,
            timestamps=timestamps,
            shot=torch.zeros(count, dtype=torch.int32),
            confidence=torch.ones(count),
            focal_px=pose.focal_px[rows],
            rotation=pose.rotation[rows] + torch.from_numpy(sway[:, :3]).float(),
            translation=pose.translation[rows] + torch.from_numpy(sway[:, 3:]).float(),
            lower_expression=lower,
            upper_expression=pose.upper_expression[rows],
            crop_from_image=pose.crop_from_image[rows],
            source={"file": "synthetic", "person": 1, "seed": seed},
        )

    def frames(self, take: Track) -> Iterator[np.ndarray]:
        """Render a take: uint8 [size, size, 3] sRGB, one a frame."""
        identity = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        height, width = self.canvas.shape[-2:]
        uv = self.pixels / torch.tensor([width, height])
        clip = clip_from_camera(self.pose.intrinsics(0), identity, self.size, self.size)
        mouth = self.model.faces_in("mouth_upper", "mouth_lower").nonzero()[:, 0].to(torch.int32)
        inside = torch.unique(self.model.faces[mouth.long()].flatten().long())
        eye_distance_px = float(eye_distance(self.pose.image_vertices(self.model, torch.tensor([0])))[0])
        still = camera_from_head(self.pose.rotation[0], self.pose.translation[0])
        for index in range(len(take)):
            row = torch.tensor([index])
            moved = camera_from_head(take.rotation[index], take.translation[index])
            head = transform_points(moved @ torch.linalg.inv(still), self.points)
            around = torch.lerp(self.points, head, self.follow[:, None])
            points = torch.cat([take.camera_vertices(self.model, row)[0], around])
            positions = torch.cat([points, torch.ones_like(points[:, :1])], -1) @ clip.T
            # Lips always hide the sheets behind them, also where a tight closure lets the two intersect.
            positions[inside, 2] += 2 * NEAR_CM * SHEET_BEHIND_CM / positions[inside, 3]
            raster = rasterize(positions[None], self.faces, (self.size, self.size))
            sampled = texture(self.canvas, interpolate(uv, raster, self.faces), boundary_mode="clamp")[0]
            alpha = (sampled[3] * (raster.face_id[0] >= 0))[..., None]
            light = _mouth_light(torch.isin(raster.face_id[0], mouth).numpy(), LIGHT_REACH * eye_distance_px)
            rgb = (sampled[:3] * light).permute(1, 2, 0) * alpha + _background(
                self.size, float(take.timestamps[index])
            ) * (1 - alpha)
            yield (rgb.clamp(0, 1) * 255).round().to(torch.uint8).numpy()

    def film(self, path: Path, take: Track) -> None:
        """Render a take into an H.264 mp4 file."""
        write_bytes(Path(path), encode_clip(self.frames(take), take.timestamps.tolist()))


def make_actor(size: int = 512) -> SyntheticActor:
    """The synthetic actor at `size` px: the portrait of Eileen Collins (NASA, public domain)."""
    return cut_out(cv2.resize(skimage.data.astronaut()[PORTRAIT], (size, size), interpolation=cv2.INTER_CUBIC))


def cut_out(portrait: np.ndarray) -> SyntheticActor:
    """The actor in a portrait, uint8 [size, size, 3] sRGB, tracked and cut out."""
    model, size = load_face_model(), len(portrait)
    landmarks = torch.from_numpy(MediaPipeBackend().detect(portrait, small=False)[0].landmarks)
    # The tracker wants at least two frames.
    twice = torch.stack([landmarks, landmarks])
    times = torch.tensor([0.0, 0.04], dtype=torch.float64)
    shot = torch.zeros(2, dtype=torch.int32)
    sightings = Sightings(torch.ones(2), times, shot, (size, size), {}, lambda start, stop: twice[start:stop])
    pose = track_landmarks(model, sightings)
    with silent_libraries(), mediapipe.solutions.selfie_segmentation.SelfieSegmentation(model_selection=0) as cutter:
        person = cutter.process(portrait).segmentation_mask
    # The mask's soft edge holds pixels of the portrait's own background.
    return build_actor(model, portrait, ((person - 0.5) / 0.4).clip(0, 1), pose)


def build_actor(model: FaceModel, portrait: np.ndarray, opacity: np.ndarray, pose: Track) -> SyntheticActor:
    """Make a portrait movable.

    Args:
        model: the face model.
        portrait: uint8 [size, size, 3] sRGB.
        opacity: float [size, size], 1 on the person, 0 on the background.
        pose: track of the portrait; its first row is used.
    """
    size = len(portrait)
    rows = torch.tensor([0])
    vertices = pose.camera_vertices(model, rows)[0]
    pixels = pose.image_vertices(model, rows)[0]
    points, follow, faces = _surroundings(model, vertices, pose)
    around = points[:, :2] / points[:, 2:] * pose.focal_px[0] + size / 2
    head = model.vertices(pose.shape, pose.lower_expression, pose.upper_expression)[0]
    shown = torch.cat([_sheet_pixels(model, head, size, pixels), around.clamp(0.5, size - 0.5)])
    mouth = _paint_mouth(portrait, pixels.numpy())
    colours = np.concatenate([portrait, mouth]).astype(np.float32) / 255
    alpha = np.concatenate([opacity, np.ones((len(mouth), size))]).astype(np.float32)
    canvas = torch.from_numpy(np.concatenate([colours, alpha[..., None]], -1)).permute(2, 0, 1)[None]
    rest, steps = _mouth_steps(model, pose)
    return SyntheticActor(model, pose, points, follow, faces, shown, canvas.contiguous(), rest, steps)


def babble(seconds: float, seed: int = 0) -> list[tuple[str, float]]:
    """Seeded phones that fill `seconds`: (class, end in seconds), with silence at both ends."""
    random = np.random.default_rng(seed)
    phones, end = [("sil", 0.3)], 0.3
    while end < seconds - 0.3:
        name = BABBLE[len(phones) % len(BABBLE)] if seed == 0 else str(random.choice(BABBLE))
        end += float(random.uniform(0.07, 0.16))
        phones.append((name, end))
    return [*phones, ("sil", seconds + 1.0)]


def _background(size: int, seconds: float) -> torch.Tensor:
    """A soft, slowly moving background: [size, size, 3] sRGB."""
    axis = torch.linspace(0, 1, size)
    x, y = axis[None, :], axis[:, None]
    wave = torch.sin(7 * x + 2 * y + 0.9 * seconds) + torch.sin(11 * y - 3 * x - 1.3 * seconds)
    colour = torch.stack([0.48 + 0.05 * wave, 0.52 + 0.04 * wave, 0.58 - 0.03 * wave], -1)
    return colour


def _mouth_light(mouth: np.ndarray, reach_px: float) -> torch.Tensor:
    """Light [3, H, W]: 1 on skin; in the mouth (bool [H, W]) less, the nearer the lips and the narrower the opening."""
    around = torch.from_numpy(cv2.GaussianBlur(mouth.astype(np.float32), (0, 0), reach_px))
    least = torch.tensor(LEAST_LIGHT)[:, None, None]
    return torch.where(torch.from_numpy(mouth), least + (1 - least) * around, torch.ones(()))


def _mouth_steps(model: FaceModel, pose: Track) -> tuple[torch.Tensor, torch.Tensor]:
    """The closed mouth [E] and [3, E] coefficients that change opening, width, protrusion by one eye distance."""
    count = model.lower_basis.shape[0]
    axes = torch.cat([torch.zeros(1, count), torch.eye(count)])
    vertices = model.vertices(pose.shape, axes)
    unit = eye_distance(vertices[0])
    width = vertices[:, LIPS_OUTER[10], 0] - vertices[:, LIPS_OUTER[0], 0]
    protrusion = vertices[:, list(LIPS_OUTER), 2].mean(1)
    measured = torch.stack([lip_gap(vertices), width, protrusion], 1) / unit  # [1 + E, 3]
    slopes = (measured[1:] - measured[0]).T  # [3, E]
    # The shortest coefficients that reach a measure; a little ridge keeps rarely seen axes out.
    gram = slopes @ slopes.T
    steps = torch.linalg.solve(gram + 1e-3 * gram.diagonal().mean() * torch.eye(3), slopes)
    start = pose.lower_expression[0]
    smile = model.vertices(pose.shape, start[None])
    gap = lip_gap(smile)[0] / unit
    spread = (smile[0, LIPS_OUTER[10], 0] - smile[0, LIPS_OUTER[0], 0]) / unit - measured[0, 1]
    rest = start - gap * steps[0] - 0.6 * spread * steps[1]
    return rest, steps


def _surroundings(
    model: FaceModel, vertices: torch.Tensor, pose: Track
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Points around the mesh: positions [P, 3] (camera, cm), how much they follow [P], and all faces [F, 3]."""
    size = pose.width
    edge_of: dict[frozenset[int], int] = {}
    for face in model.faces.tolist():
        for a, b in ((face[0], face[1]), (face[1], face[2]), (face[2], face[0])):
            edge_of[frozenset((a, b))] = edge_of.get(frozenset((a, b)), 0) + 1
    skirt = set(model.faces[model.face_region == REGIONS.index("skirt")].flatten().tolist())
    inner = set(model.faces[model.face_region != REGIONS.index("skirt")].flatten().tolist())
    border = sorted({v for edge, uses in edge_of.items() if uses == 1 for v in edge if v in skirt - inner})
    pixels = pose.image_vertices(model, torch.tensor([0]))[0].numpy()
    outline = cv2.convexHull(pixels[border].astype(np.float32))
    axis = np.linspace(-0.2 * size, 1.2 * size, 29)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2).astype(np.float32)
    away = np.array([-cv2.pointPolygonTest(outline, tuple(map(float, point)), True) for point in grid])
    grid, away = grid[away > 0.02 * size], away[away > 0.02 * size]
    planar = np.concatenate([pixels[border], grid])
    number = np.concatenate([border, len(pixels) + np.arange(len(grid))])
    triangles = Delaunay(planar).simplices
    centres = planar[triangles].mean(1)
    outside = [cv2.pointPolygonTest(outline, tuple(map(float, centre)), False) < 0 for centre in centres]
    faces = torch.cat([model.faces, torch.from_numpy(number[triangles[outside]]).to(torch.int32)])
    depth = float(vertices[border, 2].mean())
    scale = depth / float(pose.focal_px[0])
    points = torch.tensor(np.concatenate([(grid - size / 2) * scale, np.full((len(grid), 1), depth)], 1)).float()
    # Hair and ears are as rigid as the face; neck and shoulders follow less and less.
    below = grid[:, 1] - pixels[list(LIPS_OUTER), 1].mean()
    follow = torch.from_numpy(np.clip(1 - np.minimum(away, below) / (0.3 * size), 0, 1)).float()
    return points, follow * follow * (3 - 2 * follow), faces


def _paint_mouth(portrait: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """The mouth's inside, [size / 4, size, 3] uint8: upper teeth in the left half, tongue in the right."""
    size = len(portrait)
    strip = np.zeros((size // 4, size, 3), np.float32)
    inner = pixels[list(LIPS_INNER)]
    (left, top), (right, bottom) = inner.min(0), inner.max(0)
    inset = 0.15 * (right - left)
    teeth = portrait[int(top + 2) : int(bottom - 2), int(left + inset) : int(right - inset)].astype(np.float32)
    half, height = size // 2, size // 4
    dark = np.array([70.0, 28.0, 28.0], np.float32)
    strip[:] = dark * np.linspace(1.0, 0.5, height)[:, None, None]
    strip[: height // 2, :half] = cv2.resize(teeth, (half, height // 2), interpolation=cv2.INTER_CUBIC)
    fade = np.linspace(0, 1, height // 5)[:, None, None]
    edge = slice(height // 2 - height // 10, height // 2 + height // 10)
    rows = strip[edge, :half]
    strip[edge, :half] = rows * (1 - fade[: len(rows)]) + dark * fade[: len(rows)]
    tongue = np.array([165.0, 82.0, 82.0], np.float32)
    strip[:, half:] = tongue * np.linspace(0.55, 1.0, height)[:, None, None]
    return strip.clip(0, 255).astype(np.uint8)


def _sheet_pixels(model: FaceModel, vertices: torch.Tensor, size: int, pixels: torch.Tensor) -> torch.Tensor:
    """Send the mouth sheets' vertices to the painted strip below the portrait, by their place in head space."""
    pixels = pixels.clone()
    for region, left in (("mouth_upper", 0.0), ("mouth_lower", 0.5)):
        rows = torch.unique(model.faces[model.faces_in(region)].flatten().long())
        place = vertices[rows, :2]
        low, high = place.min(0).values, place.max(0).values
        part = (place - low) / (high - low).clamp(min=1e-6)
        across = size * (left + 0.5 * (0.02 + 0.96 * part[:, 0]))
        down = size + size / 4 * (0.02 + 0.96 * (1 - part[:, 1]))
        pixels[rows] = torch.stack([across, down], -1)
    return pixels
