"""Gauss–Newton fits of the face model to detector points: shape and focal, head pose, expression.

In: points of one person in some frames, px from the image centre. Out: coefficients. Batched float64 tensors with
closed-form Jacobians. A pose is a row of six: rotation (axis-angle, radians), x / z, y / z and log z of the head's
origin in camera space, because these are what an image shows. Letters: N frames, V points, E expression and S shape
axes.
"""

from dataclasses import dataclass

import torch

from prior.face.points import EYELIDS, FACE_OVAL, LIP_PAIRS, LIPS_INNER, LIPS_OUTER, RIGID_POINTS
from render.head.camera import rotation_matrix
from render.head.face_model import FaceModel

#: Detector noise of a point, share of the eye distance; and by how many points that err together one is divided.
POINT_NOISE = 0.012
SHARED_NOISE = 12.0
#: Errors beyond this many noises count by their size, not its square (Huber).
HUBER = 2.0

#: Points that expression moves less than this (cm, root of the sum over axes) do not take part in finding it.
LEAST_MOTION_CM = 0.03


@dataclass(frozen=True)
class Points:
    """Some of the detector's points with their part of the face model, float64.

    Attributes:
        mean: [V, 3]; shape: [S, V, 3]; expression: [E, V, 3], lower then upper; normal: [V, 3] outward at the mean.
        weight: [V] how much each counts.
    """

    mean: torch.Tensor
    shape: torch.Tensor
    expression: torch.Tensor
    normal: torch.Tensor
    weight: torch.Tensor

    def part(self, index: torch.Tensor, weight: torch.Tensor) -> "Points":
        """The points of an index [K] with other weights [K]."""
        return Points(self.mean[index], self.shape[:, index], self.expression[:, index], self.normal[index], weight)


@dataclass(frozen=True)
class HeadFit:
    """A face model made ready for fitting.

    Attributes:
        every: all detector points; spread: those of shape, at `spread_index`; rigid: those of head pose, at
            `rigid_index`; moving: those of expression, at `moving_index`.
        gap_upper, gap_lower: places of the lip pairs among the moving points.
        lower_count: how many of the expression axes are lower.
    """

    every: Points
    spread: Points
    spread_index: torch.Tensor
    rigid: Points
    rigid_index: torch.Tensor
    moving: Points
    moving_index: torch.Tensor
    gap_upper: torch.Tensor
    gap_lower: torch.Tensor
    lower_count: int

    @staticmethod
    def of(model: FaceModel) -> "HeadFit":
        """Prepare a face model."""
        count = model.landmark_count
        mean = model.mean[:count].double()
        expression = torch.cat([model.lower_basis, model.upper_basis])[:, :count].double()
        skin = model.faces[(model.faces < count).all(1)].long()
        face_normal = torch.linalg.cross(mean[skin[:, 1]] - mean[skin[:, 0]], mean[skin[:, 2]] - mean[skin[:, 0]])
        normal = torch.zeros_like(mean)
        for corner in range(3):
            normal.index_add_(0, skin[:, corner], face_normal)
        weight = torch.ones(count, dtype=torch.float64)
        weight[list(FACE_OVAL)] = 0.3  # the outline slides along the face as it turns
        weight[list(LIPS_OUTER)] = 4.0
        weight[list(LIPS_INNER)] = 6.0
        normal = normal / normal.norm(dim=-1, keepdim=True)
        every = Points(mean, model.shape_basis[:, :count].double(), expression, normal, weight)

        rigid = torch.tensor(RIGID_POINTS)
        # Neighbouring skin points say the same: every other one will do, but for lips and eyelids.
        moves = expression.square().sum((0, 2)).sqrt() > LEAST_MOTION_CM
        detail = torch.zeros(count, dtype=torch.bool)
        detail[[*LIPS_INNER, *LIPS_OUTER, *(point for eye in EYELIDS for lid in eye for point in lid)]] = True
        enough = detail | (torch.arange(count) % 2 == 0)
        weight = torch.where(detail, weight, 2 * weight)
        spread, moving = enough.nonzero()[:, 0], (enough & moves).nonzero()[:, 0]
        place = {int(point): row for row, point in enumerate(moving)}
        return HeadFit(
            every,
            every.part(spread, weight[spread]),
            spread,
            every.part(rigid, torch.ones(len(rigid), dtype=torch.float64)),
            rigid,
            every.part(moving, weight[moving]),
            moving,
            torch.tensor([place[upper] for upper, _ in LIP_PAIRS]),
            torch.tensor([place[lower] for _, lower in LIP_PAIRS]),
            len(model.lower_basis),
        )


@dataclass(frozen=True)
class Observations:
    """What the detector saw of one person in N frames with a face, in order of time.

    Attributes:
        points: [N, 468, 2] float64, px from the image centre.
        timestamps: [N] seconds.
        focal: [N] px.
        eye_distance: [N] px of a frontal face at this distance; the unit of noise.
    """

    points: torch.Tensor
    timestamps: torch.Tensor
    focal: torch.Tensor
    eye_distance: torch.Tensor


@dataclass(frozen=True)
class Projection:
    """Projected points and what is needed to differentiate them.

    Attributes:
        image: [N, V, 2] px.
        per_camera: [N, V, 2, 3] px per cm in camera space.
        turned: [N, V, 3] points in camera axes, about the head's origin; matrix: [N, 3, 3] camera axes from head axes.
        visible: [N, V] weight by how much the surface faces the camera.
    """

    image: torch.Tensor
    per_camera: torch.Tensor
    turned: torch.Tensor
    matrix: torch.Tensor
    visible: torch.Tensor


def translation_of(pose: torch.Tensor) -> torch.Tensor:
    """Translation [N, 3] cm of pose rows [N, 6]."""
    depth = pose[:, 5:].exp()
    return torch.cat([pose[:, 3:5] * depth, depth], -1)


def cross_matrix(vectors: torch.Tensor) -> torch.Tensor:
    """Matrices [..., 3, 3] M with M p = v × p of vectors [..., 3]."""
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*vectors.shape[:-1], 3, 3)


def left_jacobian(rotation: torch.Tensor) -> torch.Tensor:
    """How a change of axis-angle [N, 3] turns space: [N, 3, 3] (Solà et al. 2018, eq. 145)."""
    angle = rotation.norm(dim=-1).clamp(min=1e-6)[:, None, None]
    skew = cross_matrix(rotation)
    identity = torch.eye(3, dtype=rotation.dtype)
    return identity + (1 - angle.cos()) / angle**2 * skew + (angle - angle.sin()) / angle**3 * skew @ skew


def heads_of(points: Points, shape: torch.Tensor, expression: torch.Tensor) -> torch.Tensor:
    """Head-space points [N, V, 3] at shape [S] and expression [N, E]."""
    rest = points.mean + torch.einsum("s,svk->vk", shape, points.shape)
    return rest + (expression @ points.expression.flatten(1)).unflatten(1, rest.shape)


def project_heads(points: Points, heads: torch.Tensor, pose: torch.Tensor, focal: torch.Tensor) -> Projection:
    """Project head-space points [N, V, 3] at pose rows [N, 6] with focal [N] px; px are from the image centre."""
    matrix = rotation_matrix(pose[:, :3]) * pose.new_tensor([1.0, -1.0, -1.0])
    turned = heads @ matrix.transpose(1, 2)
    camera = turned + translation_of(pose)[:, None]
    x, y, z = camera.unbind(-1)
    scale = focal[:, None] / z
    zero = torch.zeros_like(x)
    per_camera = torch.stack([scale, zero, -scale * x / z, zero, scale, -scale * y / z], -1).unflatten(-1, (2, 3))
    facing = -((points.normal @ matrix.transpose(1, 2)) * camera).sum(-1) / camera.norm(dim=-1)
    visible = (2 * facing + 0.5).clamp(0.05, 1.0)
    return Projection(camera[..., :2] * scale[..., None], per_camera, turned, matrix, visible)


def pose_jacobian(projection: Projection, pose: torch.Tensor) -> torch.Tensor:
    """Derivative [N, V, 2, 6] of projected points by pose rows [N, 6]."""
    # Per axis of the image: a · (turn × p) = (p × a) · turn. Flat, because many small products cost many calls.
    across = torch.linalg.cross(projection.turned[:, :, None].expand_as(projection.per_camera), projection.per_camera)
    turn = (across.flatten(1, 2) @ left_jacobian(pose[:, :3])).unflatten(1, across.shape[1:3])
    depth = pose[:, 5].exp()[:, None, None, None]
    place = translation_of(pose)[:, None, :, None]
    return torch.cat([turn, projection.per_camera[..., :2] * depth, projection.per_camera @ place], -1)


def basis_jacobian(projection: Projection, basis: torch.Tensor) -> torch.Tensor:
    """Derivative [N, V, 2, K] of projected points by the coefficients of a basis [K, V, 3]."""
    per_head = (projection.per_camera.flatten(1, 2) @ projection.matrix).unflatten(1, projection.per_camera.shape[1:3])
    return torch.einsum("nvij,kvj->nvik", per_head, basis)


def point_weights(
    residual: torch.Tensor, points: Points, projection: Projection, eye_distance: torch.Tensor
) -> torch.Tensor:
    """Weights [N, V] in 1 / px² of residuals [N, V, 2]: the points' own, noise, visibility, and Huber's factor."""
    noise = POINT_NOISE * eye_distance[:, None]
    robust = HUBER / (residual.norm(dim=-1) / noise).clamp(min=HUBER)
    return points.weight * projection.visible * robust / (noise**2 * SHARED_NOISE)


def residual_of(
    fit: HeadFit, observations: Observations, shape: torch.Tensor, pose: torch.Tensor, expression: torch.Tensor
) -> torch.Tensor:
    """Mean distance [N] between fitted and seen points, share of the eye distance."""
    image = project_heads(fit.every, heads_of(fit.every, shape, expression), pose, observations.focal).image
    return (image - observations.points).norm(dim=-1).mean(-1) / observations.eye_distance
