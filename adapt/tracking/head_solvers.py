"""Head solvers: Gauss–Newton steps for pose, shape and expression of a head from landmarks.

In: `HeadFit` (the model's points) and `Observations`. All solve batches of frames at once; conventions of `head_model`.
"""

import torch

from adapt.tracking.head_model import (
    HeadFit,
    Observations,
    basis_jacobian,
    heads_of,
    point_weights,
    pose_jacobian,
    project_heads,
)
from adapt.tracking.smoothing import solve_tied
from prior.face.points import EYE_DISTANCE_CM
from render.head.camera import rotation_vector

SHAPE_ROUNDS = 4
POSE_ROUNDS = 4
EXPRESSION_ROUNDS = 2
#: How surely the focal prior is taken, log standard deviation.
FOCAL_DEVIATION = 0.15

#: Noise of the gap between a pair of lip points, share of the eye distance: what keeps closed lips closed.
#: No curve from read to true gaps on top: one learnt on a rendered head opens real mouths too wide.
GAP_NOISE = 0.003
#: Frames' worth of evidence that many chosen frames of one shot have together: they err alike.
EVIDENCE_FRAMES = 8.0
#: Second difference expected between frames: rotation (radians), place (share of the eye distance), log of size; and
#: how many times that a fast motion is.
POSE_BEND = (0.006, 0.004, 0.002)
POSE_ROBUST = 12.0
#: The same of expression coefficients.
EXPRESSION_BEND = 1.0
EXPRESSION_ROBUST = 2.0


def normal_equations(
    jacobian: torch.Tensor, residual: torch.Tensor, weights: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Hessian [N, K, K] and gradient [N, K] of Σ w |residual|² / 2, from [N, V, 2, K], [N, V, 2] and [N, V]."""
    scale = weights.sqrt().repeat_interleave(2, dim=1)[..., None]
    scaled, error = jacobian.flatten(1, 2) * scale, residual.flatten(1)[..., None] * scale
    return scaled.transpose(1, 2) @ scaled, (scaled.transpose(1, 2) @ error)[..., 0]


def first_pose(fit: HeadFit, points: torch.Tensor, focal: torch.Tensor) -> torch.Tensor:
    """Pose rows [N, 6] by weak perspective (Umeyama 1991, on the rigid points and the detector's depth).

    Args:
        fit: the face model.
        points: [N, 468, 3] float64, px from the image centre, with depth.
        focal: [N] px.
    """
    flip = points.new_tensor([1.0, -1.0, -1.0])
    target, source = points[:, fit.rigid_index] * flip, fit.rigid.mean
    source_centre, target_centre = source.mean(0), target.mean(1)
    a, b = source - source_centre, target - target_centre[:, None]
    u, s, vt = torch.linalg.svd(torch.einsum("nvi,vj->nij", b, a))
    sign = torch.ones_like(s)
    sign[:, 2] = torch.det(u @ vt)
    turn = u @ (sign[:, :, None] * vt)
    scale = (s * sign).sum(-1) / (a * a).sum()
    rotation = rotation_vector(flip[:, None] * turn * flip)
    origin = (target_centre - scale[:, None] * (turn @ source_centre)) * flip
    return torch.cat([rotation, origin[:, :2] / focal[:, None], (focal / scale).log()[:, None]], -1)


def solve_shape(fit: HeadFit, observations: Observations, pose: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Shape [S] and the factor by which all focals are to be multiplied, from chosen frames.

    Each frame's own pose and expression are eliminated (Schur complement). `pose` [N, 6] is where they start.
    """
    points, frames = fit.spread, len(pose)
    axes, shapes = len(points.expression), len(points.shape)
    shape, log_factor = torch.zeros(shapes, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    expression = torch.zeros(frames, axes, dtype=torch.float64)
    prior = torch.ones(shapes + 1, dtype=torch.float64)
    prior[-1] = FOCAL_DEVIATION**-2
    per_frame = slice(0, 6 + axes)
    wanted = observations.points[:, fit.spread_index]
    for _ in range(SHAPE_ROUNDS):
        projection = project_heads(
            points, heads_of(points, shape, expression), pose, observations.focal * log_factor.exp()
        )
        residual = projection.image - wanted
        jacobian = torch.cat(
            [
                pose_jacobian(projection, pose),
                basis_jacobian(projection, torch.cat([points.expression, points.shape])),
                projection.image[..., None],
            ],
            -1,
        )
        weights = point_weights(residual, points, projection, observations.eye_distance)
        hessian, gradient = normal_equations(jacobian, residual, weights)
        hessian.diagonal(dim1=1, dim2=2)[:, 6 : 6 + axes] += 1.0
        gradient[:, 6 : 6 + axes] += expression
        mixed = hessian[:, per_frame, 6 + axes :]
        solved = torch.linalg.solve(
            hessian[:, per_frame, per_frame], torch.cat([mixed, gradient[:, per_frame, None]], -1)
        )
        share = min(1.0, EVIDENCE_FRAMES / frames)
        reduced = share * (hessian[:, 6 + axes :, 6 + axes :] - mixed.transpose(1, 2) @ solved[..., :-1]).sum(0)
        right = share * (gradient[:, 6 + axes :] - (mixed.transpose(1, 2) @ solved[..., -1:])[..., 0]).sum(0)
        right = right + prior * torch.cat([shape, log_factor[None]])
        step = -torch.linalg.solve(reduced + torch.diag(prior), right)
        frame_step = -(solved[..., -1] + solved[..., :-1] @ step)
        shape = shape + step[:-1]
        log_factor = (log_factor + step[-1]).clamp(-3 * FOCAL_DEVIATION, 3 * FOCAL_DEVIATION)
        pose, expression = pose + frame_step[:, :6], expression + frame_step[:, 6:]
    return shape, float(log_factor.exp())


def pose_bend(pose: torch.Tensor) -> torch.Tensor:
    """The second difference [6] that is expected of pose rows [N, 6]."""
    # Place in the image is x / z · focal: a share of the eye distance there is that share of 6.3 cm / distance here.
    place = POSE_BEND[1] * EYE_DISTANCE_CM / float(pose[:, 5].median().exp())
    return pose.new_tensor([POSE_BEND[0]] * 3 + [place] * 2 + [POSE_BEND[2]])


def solve_pose(fit: HeadFit, observations: Observations, shape: torch.Tensor, pose: torch.Tensor) -> torch.Tensor:
    """Pose rows [N, 6] from points that the jaw does not move, tied in time; `pose` is where they start."""
    frames = len(pose)
    heads = heads_of(fit.rigid, shape, torch.zeros(1, len(fit.rigid.expression), dtype=torch.float64))
    heads = heads.expand(frames, -1, -1)
    wanted = observations.points[:, fit.rigid_index]
    bend = pose_bend(pose)
    ridge = 1e-3 * torch.eye(6, dtype=torch.float64)
    for _ in range(POSE_ROUNDS):
        projection = project_heads(fit.rigid, heads, pose, observations.focal)
        residual = projection.image - wanted
        weights = point_weights(residual, fit.rigid, projection, observations.eye_distance)
        hessian, gradient = normal_equations(pose_jacobian(projection, pose), residual, weights)
        pose = pose + solve_tied(hessian + ridge, gradient, pose, observations.timestamps, bend**-2, POSE_ROBUST)
    return pose


def solve_expression(fit: HeadFit, observations: Observations, shape: torch.Tensor, pose: torch.Tensor) -> torch.Tensor:
    """Expression [N, E] with the poses held, weakly tied in time; the gaps of the lip pairs count on their own."""
    points = fit.moving
    axes = len(points.expression)
    expression = torch.zeros(len(pose), axes, dtype=torch.float64)
    stiffness = torch.full((axes,), EXPRESSION_BEND**-2, dtype=torch.float64)
    prior = torch.eye(axes, dtype=torch.float64)
    wanted = observations.points[:, fit.moving_index]
    for _ in range(EXPRESSION_ROUNDS):
        projection = project_heads(points, heads_of(points, shape, expression), pose, observations.focal)
        residual = projection.image - wanted
        jacobian = basis_jacobian(projection, points.expression)
        weights = point_weights(residual, points, projection, observations.eye_distance)
        gap_weight = projection.visible[:, fit.gap_upper] / (
            (GAP_NOISE * observations.eye_distance[:, None]) ** 2 * len(fit.gap_upper)
        )
        difference = [value[:, fit.gap_lower] - value[:, fit.gap_upper] for value in (jacobian, residual)]
        hessian, gradient = normal_equations(
            torch.cat([jacobian, difference[0]], 1),
            torch.cat([residual, difference[1]], 1),
            torch.cat([weights, gap_weight], 1),
        )
        expression = expression + solve_tied(
            hessian + prior, gradient + expression, expression, observations.timestamps, stiffness, EXPRESSION_ROBUST
        )
    return expression
