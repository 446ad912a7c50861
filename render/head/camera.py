"""Spaces and the maps between them: head (cm) → camera (cm) → image (px) → crop (px) → clip space.

Head space: x right in the image, y up, z out of the face. Camera space: OpenCV (x right, y down, z forward). A frontal
face has rotation 0: `camera_from_head = R(rotation) · diag(1, −1, −1)`. NDC: x right, y up, z in [−1, 1], smaller is
nearer. The image is upright and of square pixels, whatever the coded ones are (`render.video.pixel_shape`); pixel
centres are at (x + 0.5, y + 0.5), row 0 at the top. Transforms are named `dst_from_src`.
"""

from dataclasses import dataclass

import torch

NEAR_CM = 1.0
FAR_CM = 10_000.0


@dataclass(frozen=True)
class Intrinsics:
    """Pinhole camera: focal lengths and principal point in px of the upright image."""

    fx: float
    fy: float
    cx: float
    cy: float

    @staticmethod
    def centred(focal_px: float, width: int, height: int) -> "Intrinsics":
        """Square pixels, principal point at the image centre."""
        return Intrinsics(focal_px, focal_px, width / 2, height / 2)


def rotation_matrix(rotation: torch.Tensor) -> torch.Tensor:
    """Axis-angle [..., 3] (radians) to rotation matrices [..., 3, 3] (Rodrigues' formula), smooth at 0."""
    angle_squared = (rotation * rotation).sum(-1)[..., None, None]
    small = angle_squared < 1e-8
    safe = torch.where(small, torch.ones_like(angle_squared), angle_squared)
    angle = safe.sqrt()
    first = torch.where(small, 1 - angle_squared / 6, torch.sin(angle) / angle)
    second = torch.where(small, 0.5 - angle_squared / 24, (1 - torch.cos(angle)) / safe)
    x, y, z = rotation.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*rotation.shape[:-1], 3, 3)
    identity = torch.eye(3, dtype=rotation.dtype, device=rotation.device)
    return identity + first * skew + second * (skew @ skew)


def rotation_vector(matrix: torch.Tensor) -> torch.Tensor:
    """Rotation matrices [..., 3, 3] to axis-angle [..., 3] (radians, angle < π): inverse of `rotation_matrix`."""
    axis = torch.stack(
        [
            matrix[..., 2, 1] - matrix[..., 1, 2],
            matrix[..., 0, 2] - matrix[..., 2, 0],
            matrix[..., 1, 0] - matrix[..., 0, 1],
        ],
        -1,
    )
    sine = axis.norm(dim=-1, keepdim=True) / 2
    cosine = (matrix.diagonal(dim1=-2, dim2=-1).sum(-1, keepdim=True) - 1) / 2
    angle = torch.atan2(sine, cosine)
    ratio = torch.where(sine < 1e-6, torch.ones_like(sine), angle / sine.clamp(min=1e-12))
    return axis / 2 * ratio


def camera_from_head(rotation: torch.Tensor, translation: torch.Tensor) -> torch.Tensor:
    """Head pose to matrices [..., 4, 4].

    Args:
        rotation: [..., 3] axis-angle, radians, 0 = frontal.
        translation: [..., 3] cm, the head origin in camera space.
    """
    flip = torch.tensor([1.0, -1.0, -1.0], dtype=rotation.dtype, device=rotation.device)
    upper = torch.cat([rotation_matrix(rotation) * flip, translation[..., None]], -1)
    last = torch.zeros_like(upper[..., :1, :])
    last[..., 3] = 1
    return torch.cat([upper, last], -2)


def head_turn(rotation: torch.Tensor) -> torch.Tensor:
    """Yaw and pitch of the way a head looks, degrees [..., 2], of rotations [..., 3] (axis-angle, radians).

    Yaw is positive where the nose points to the image's left, pitch where it points down; roll changes neither. This is
    what is meant by yaw wherever it is told or compared.
    """
    x, y, z = rotation_matrix(rotation)[..., 2].unbind(-1)  # against the way that the face looks
    return torch.stack([torch.atan2(x, z), torch.atan2(-y, torch.hypot(x, z))], -1).rad2deg()


def transform_points(dst_from_src: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Apply rigid or affine [..., 4, 4] matrices to points [..., V, 3]; returns [..., V, 3]."""
    return points @ dst_from_src[..., :3, :3].transpose(-1, -2) + dst_from_src[..., None, :3, 3]


def project(points: torch.Tensor, intrinsics: Intrinsics) -> torch.Tensor:
    """Camera-space points [..., 3] (cm) to image positions [..., 2] (px)."""
    x, y, z = points.unbind(-1)
    return torch.stack([intrinsics.fx * x / z + intrinsics.cx, intrinsics.fy * y / z + intrinsics.cy], -1)


def transform_pixels(dst_from_src: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Apply planar affine maps [..., 2, 3] (such as `crop_from_image`) to positions [..., N, 2] in px."""
    return positions @ dst_from_src[..., :2].transpose(-1, -2) + dst_from_src[..., None, :, 2]


def invert_affine(dst_from_src: torch.Tensor) -> torch.Tensor:
    """Inverse of planar affine maps [..., 2, 3]."""
    linear = torch.linalg.inv(dst_from_src[..., :2])
    return torch.cat([linear, -linear @ dst_from_src[..., 2:]], -1)


def clip_from_camera(
    intrinsics: Intrinsics, crop_from_image: torch.Tensor, crop_width: int, crop_height: int
) -> torch.Tensor:
    """Projection matrices [..., 4, 4] into the clip space of a crop (or of the image itself, with an identity map).

    Args:
        intrinsics: of the upright image.
        crop_from_image: [..., 2, 3] planar affine map from image px to crop px.
        crop_width: px.
        crop_height: px.

    Returns:
        `clip_from_camera`; after the divide, crop px (u, v) is at x = 2u/W − 1, y = 1 − 2v/H, and depth `NEAR_CM` to
        `FAR_CM` maps to −1 … 1.
    """
    affine = crop_from_image
    pinhole = affine.new_tensor(
        [[intrinsics.fx, 0.0, intrinsics.cx], [0.0, intrinsics.fy, intrinsics.cy], [0.0, 0.0, 1.0]]
    )
    last = torch.zeros_like(affine[..., :1, :])
    last[..., 2] = 1
    crop_from_camera = torch.cat([affine, last], -2) @ pinhole  # [..., 3, 3], homogeneous px
    row_x = crop_from_camera[..., 0, :] * (2 / crop_width) - crop_from_camera[..., 2, :]
    row_y = crop_from_camera[..., 2, :] - crop_from_camera[..., 1, :] * (2 / crop_height)
    clip = affine.new_zeros(*affine.shape[:-2], 4, 4)
    clip[..., 0, :3] = row_x
    clip[..., 1, :3] = row_y
    clip[..., 2, 2] = (FAR_CM + NEAR_CM) / (FAR_CM - NEAR_CM)
    clip[..., 2, 3] = -2 * FAR_CM * NEAR_CM / (FAR_CM - NEAR_CM)
    clip[..., 3, 2] = 1
    return clip
