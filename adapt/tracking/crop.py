"""The crop that the renderer sees: a similarity per frame from head pose, shape and focal alone.

In: head pose of every frame. Out: `crop_from_image` [T, 2, 3]. It is centred on the projection of a point fixed in
the head, between nose and chin and inside it, keeps the head upright and at one size, and is smoothed within a shot.
Neither expression nor detected mouth points take part: a crop that followed the jaw would tell the network the answer.
"""

from collections.abc import Iterable

import numpy as np
import torch

from adapt.progress import SILENT, Progress
from prior.face.points import CHIN, EYE_DISTANCE_CM, NOSE_TIP, eye_distance
from render.drawing.crop import cut_crop
from render.head.camera import camera_from_head
from render.head.face_model import FaceModel
from render.head.track import Track
from render.video.reader import Footage

#: Crop side, and the eye distance of a frontal face in it, px.
CROP_PX = 256
CROP_EYE_DISTANCE_PX = 84.0
#: A source whose own eye distance is past this gets a crop of twice the side.
LARGE_EYE_DISTANCE_PX = 130.0
#: The fixed point lies this far inside the face, so that a turned head stays in the middle.
ANCHOR_DEPTH_CM = 4.0
#: Standard deviation of the smoothing in time.
SMOOTH_SECONDS = 0.06


def crop_anchor(model: FaceModel, shape: torch.Tensor) -> torch.Tensor:
    """The fixed point [3] (cm, head space) of a person's head, from the face at rest."""
    rest = model.mean.to(shape.dtype) + torch.einsum("s,svk->vk", shape, model.shape_basis.to(shape.dtype))
    anchor = (rest[NOSE_TIP] + rest[CHIN]) / 2
    return anchor * anchor.new_tensor([0.0, 1.0, 1.0]) - anchor.new_tensor([0.0, 0.0, ANCHOR_DEPTH_CM])


def crop_path(
    model: FaceModel,
    shape: torch.Tensor,
    pose: tuple[torch.Tensor, torch.Tensor],
    focal_px: torch.Tensor,
    centre: tuple[float, float],
) -> torch.Tensor:
    """Where the crop of each frame lies, before smoothing: [T, 4] x, y (px), log of eye distance (px), turn (radians).

    Args:
        model: the face model.
        shape: [S].
        pose: rotation and translation, each [T, 3] float64.
        focal_px: [T].
        centre: principal point, px.
    """
    matrix = camera_from_head(*pose)
    anchor = crop_anchor(model, shape.double())
    point = torch.einsum("tij,j->ti", matrix[:, :3, :3], anchor) + matrix[:, :3, 3]
    scale = focal_px.double() / point[:, 2]
    rest = model.mean.double() + torch.einsum("s,svk->vk", shape.double(), model.shape_basis.double())
    distance = eye_distance(rest).clamp(min=EYE_DISTANCE_CM / 2)
    up = matrix[:, :2, 1]
    turn = torch.atan2(up[:, 0], -up[:, 1])
    position = point[:, :2] * scale[:, None] + torch.tensor(centre, dtype=torch.float64)
    return torch.cat([position, (scale * distance).log()[:, None], turn[:, None]], -1)


def smooth_path(path: torch.Tensor, timestamps: torch.Tensor, shot: torch.Tensor) -> torch.Tensor:
    """Gaussian mean in time [T, 4] of a path [T, 4], never across a cut; linear motion is kept, also at shot ends."""
    result = path.clone()
    for number in shot.unique():
        rows = (shot == number).nonzero()[:, 0]
        turn = path[rows, 3]
        steps = torch.remainder(turn.diff() + torch.pi, 2 * torch.pi) - torch.pi
        values = path[rows].clone()
        values[:, 3] = torch.cat([turn[:1], turn[0] + steps.cumsum(0)])
        times = timestamps[rows]
        low = torch.searchsorted(times, times - 3.5 * SMOOTH_SECONDS)
        high = torch.searchsorted(times, times + 3.5 * SMOOTH_SECONDS, right=True)
        for index in range(len(rows)):
            # As many neighbours on either side, so that a shot's end does not pull the mean inwards.
            reach = min(index - int(low[index]), int(high[index]) - 1 - index)
            near = slice(index - reach, index + reach + 1)
            weight = torch.exp(-(((times[near] - times[index]) / SMOOTH_SECONDS) ** 2) / 2)
            result[rows[index]] = (weight[:, None] * values[near]).sum(0) / weight.sum()
    return result


def crop_from_path(path: torch.Tensor, crop_size: int) -> torch.Tensor:
    """Similarities `crop_from_image` [T, 2, 3] float64 for a square crop of `crop_size` px from a path [T, 4]."""
    scale = CROP_EYE_DISTANCE_PX * (crop_size / CROP_PX) / path[:, 2].exp()
    cosine, sine = scale * torch.cos(path[:, 3]), scale * torch.sin(path[:, 3])
    linear = torch.stack([torch.stack([cosine, sine], -1), torch.stack([-sine, cosine], -1)], 1)
    shift = crop_size / 2 - torch.einsum("tij,tj->ti", linear, path[:, :2])
    return torch.cat([linear, shift[:, :, None]], -1)


def choose_crop_size(path: torch.Tensor, confidence: torch.Tensor) -> int:
    """256, or 512 where the source's own eye distance (median over confident frames) is past 130 px."""
    log_distances = path[confidence > 0, 2]
    large = len(log_distances) > 0 and float(log_distances.median().exp()) > LARGE_EYE_DISTANCE_PX
    return 2 * CROP_PX if large else CROP_PX


def read_crops(footage: Footage, track: Track, frames: Iterable[int], progress: Progress = SILENT) -> torch.Tensor:
    """Crops of some frames, uint8 [N, 3, crop_size, crop_size] sRGB, in the order given."""
    wanted = [int(frame) for frame in frames]
    places: dict[int, list[int]] = {}
    for row, index in enumerate(wanted):
        places.setdefault(index, []).append(row)
    crops = np.zeros((len(wanted), track.crop_size, track.crop_size, 3), np.uint8)
    first, last = min(wanted), max(wanted)
    for frame in progress.over("crops", footage.frames(first, last + 1), last + 1 - first):
        if frame.index in places:
            affine = track.crop_from_image[frame.index].numpy()
            crops[places[frame.index]] = cut_crop(frame.rgb, affine, track.crop_size)
    return torch.from_numpy(crops).permute(0, 3, 1, 2).contiguous()
